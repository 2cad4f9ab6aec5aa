"""Which images people should look at next: orders over a pool, named as the literature of active learning names them.

Every strategy gives a whole order, best first; `shared` deals places out by shares. At tens of labels typical images
teach more than doubtful ones, and the doubtful ones gain as labels grow (Hacohen, Dekel & Weinshall 2022, "Active
Learning on a Budget: Opposite Strategies Suit High and Low Budgets", ICML, arXiv:2202.02794).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from synthgen.types import Strategy

Ints = NDArray[np.int64]
NEIGHBOURS = 20  # of the paper


def random(n: int, rng: np.random.Generator) -> Ints:
    """A random order of n images."""
    return np.asarray(rng.permutation(n), np.int64)


def by_value(values: ArrayLike, strata: ArrayLike | None = None) -> Ints:
    """Largest first; with strata (n,) int, such as predicted classes, dealt round by round, so that one hard class does
    not fill the queue. Ties go by index."""
    x = np.asarray(values, np.float64)
    order = np.argsort(-x, kind="stable")
    if strata is None or not len(x):
        return np.asarray(order, np.int64)
    group, seen = np.asarray(strata), dict[int, int]()
    turn = np.empty(len(x), np.int64)
    for k in order:
        turn[k] = seen.get(int(group[k]), 0)
        seen[int(group[k])] = int(turn[k]) + 1
    return np.asarray(np.lexsort((np.arange(len(x)), -x, turn)), np.int64)


def typical(features: ArrayLike, labelled: ArrayLike, budget: int, rng: np.random.Generator) -> Ints:
    """Typical and diverse: the features of pool and labelled images are clustered into as many clusters as there are
    labelled images and places; from the largest clusters that hold no labelled image the most typical pool image is
    taken, typicality being the inverse mean distance to the nearest neighbours within the cluster. What is left follows
    in turns over the clusters.

    features: (n, D) of the pool. labelled: (m, D). budget: places that matter; the clusters are made for them.
    Source: TypiClust, Hacohen, Dekel & Weinshall 2022, algorithm 1 and equation 1.
    """
    x = np.asarray(features, np.float64).reshape(-1, np.shape(features)[-1] if np.ndim(features) == 2 else 1)
    known = np.asarray(labelled, np.float64).reshape(-1, x.shape[1])
    n = len(x)
    if not n or budget < 1:
        return np.arange(n, dtype=np.int64)
    from sklearn.cluster import KMeans  # here: it takes its time to import, and `plan` imports this module

    every = np.concatenate([x, known])
    scale = every.std(0)
    every = (every - every.mean(0)) / np.where(scale > 0, scale, 1)
    count = min(budget + len(known), len(np.unique(every, axis=0)))
    state = int(rng.integers(2**31))
    cluster = KMeans(count, n_init=3, random_state=state).fit_predict(every)
    typicality, covered = np.zeros(n), np.bincount(cluster[n:], minlength=count)
    for c in range(count):
        members = np.flatnonzero(cluster[:n] == c)
        if len(members) > 1:
            near = _nearest_distance(every[members], min(NEIGHBOURS, len(members) - 1))
            typicality[members] = 1 / np.maximum(near, 1e-12)
    sizes = np.bincount(cluster[:n], minlength=count)
    place = np.empty(n, np.int64)  # in its cluster
    for c in range(count):
        members = np.flatnonzero(cluster[:n] == c)
        place[members[np.argsort(-typicality[members], kind="stable")]] = np.arange(len(members))
    turn = place + covered[cluster[:n]]  # a labelled image takes its cluster's first turns
    return np.asarray(np.lexsort((np.arange(n), cluster[:n], -sizes[cluster[:n]], turn)), np.int64)


def _nearest_distance(x: NDArray[np.float64], k: int) -> NDArray[np.float64]:
    """(n,) mean Euclidean distance to the k nearest others."""
    from sklearn.neighbors import NearestNeighbors

    distances, _ = NearestNeighbors(n_neighbors=k + 1).fit(x).kneighbors(x)
    return np.asarray(distances[:, 1:].mean(1), np.float64)


def expected_change(probabilities: NDArray[np.floating]) -> float:
    """How much one image's labels are expected to move the last layer's inputs: Σ_k p_k ‖p − e_k‖, the gradient's
    length of the cross-entropy by the logits, averaged over pixels where there are any.

    probabilities: (K,) or (K, H, W), summing to 1 along the first axis.
    Source: Settles, Craven & Ray 2007, "Multiple-Instance Active Learning", NIPS, equation 1 (expected gradient
    length), with the logits as the parameters: the same for each network.
    """
    p = np.asarray(probabilities, np.float64)
    length = np.sqrt(np.maximum((p**2).sum(0)[None] - 2 * p + 1, 0))  # (K, …) ‖p − e_k‖
    return float((p * length).sum(0).mean())


def shared(orders: Mapping[Strategy, Ints], shares: Mapping[Strategy, float], places: int,
           but: Sequence[int] = ()) -> list[tuple[int, Strategy]]:
    """(index, strategy) for so many places: each strategy fills its share in its own order with what nobody took.

    shares are relative. Places are dealt by largest remainder at every step, so that a queue that is left half-way has
    its shares too. but: images that are not to be queued.
    """
    whole = sum(shares.values())
    weights = {name: share / whole for name, share in shares.items() if share > 0} if whole > 0 else {}
    rest = {name: iter([int(k) for k in orders[name]]) for name in weights}
    given, taken, out = dict.fromkeys(weights, 0), set(but), list[tuple[int, Strategy]]()
    while rest and len(out) < places:
        name = min(rest, key=lambda s: ((given[s] + 1) / weights[s], list(weights).index(s)))
        pick = next((k for k in rest[name] if k not in taken), None)
        if pick is None:
            del rest[name]
            continue
        given[name] += 1
        taken.add(pick)
        out.append((pick, name))
    return out


def places_in(minutes: float, seconds: Sequence[float], otherwise: float) -> int:
    """How many images fit into a budget; seconds: measured per image, their median counts from 5 on."""
    each = float(np.median(seconds)) if len(seconds) >= 5 else otherwise
    return max(0, math.floor(minutes * 60 / max(each, 0.1)))
