"""Clusters of images that are named once each: what a name of a cluster is worth is its purity."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.vq import kmeans2

from synthgen.metrics.bounds import Interval, clopper_pearson
from synthgen.votes.classes import Floats

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Clustering:
    """N rows in C clusters. home: (N,) cluster of each row. centres: (C, D). typical: (C,) row nearest to each centre,
    which is the one to show to whoever names the cluster."""

    home: Ints
    centres: Floats
    typical: Ints


@dataclass(frozen=True, slots=True, eq=False)
class Named:
    """Names of C clusters. classes: (C,) class of each, −1 = nobody named it. labels: (N,) class of each row, −1 where
    its cluster has no name. votes: (C,) labelled members of each."""

    classes: Ints
    labels: Ints
    votes: Ints


def cluster(features: NDArray[np.floating], count: int, rng: np.random.Generator, *, tries: int = 5) -> Clustering:
    """k-means with k-means++ starts (Arthur & Vassilvitskii 2007); of `tries` runs the one with the least spread.

    features: (N, D). count: clusters, at most N; ones that lose all their members are left out.
    Raises: ValueError for no rows, or fewer than one cluster.
    """
    X = np.asarray(features, np.float64)
    if not len(X) or count < 1:
        raise ValueError("clustering needs rows, and at least one cluster")
    best: tuple[float, Ints] | None = None
    for _ in range(tries):
        starts = _spread_out(X, min(count, len(X)), rng)
        centres, home = kmeans2(X, starts, iter=50, minit="matrix", missing="warn") if len(starts) > 1 else (
            X.mean(0, keepdims=True), np.zeros(len(X), np.int64))
        loss = float(((X - centres[home]) ** 2).sum())
        if best is None or loss < best[0]:
            best = loss, np.unique(home, return_inverse=True)[1].reshape(-1).astype(np.int64)
    assert best is not None
    home = best[1]
    found = np.stack([X[home == c].mean(0) for c in range(home.max() + 1)])
    typical = [int(np.flatnonzero(home == c)[((X[home == c] - found[c]) ** 2).sum(1).argmin()])
               for c in range(len(found))]
    return Clustering(home, found, np.asarray(typical, np.int64))


def name(home: Ints, labels: NDArray[np.integer], n_classes: int) -> Named:
    """Each cluster takes the class that most of its labelled members have; the smaller index where two are level.

    home: (N,) cluster of each row. labels: (N,) int, −1 = unknown.
    """
    C = int(home.max()) + 1 if len(home) else 0
    counts = np.zeros((C, n_classes), np.int64)
    known = labels >= 0
    np.add.at(counts, (home[known], labels[known]), 1)
    classes = np.where(counts.any(1), counts.argmax(1), -1).astype(np.int64)
    return Named(classes, classes[home] if C else np.zeros(0, np.int64), counts.sum(1))


def purity(named: Ints, audit: NDArray[np.integer], truth: NDArray[np.integer],
           level: float = 0.95) -> tuple[float, Interval, int]:
    """Share of an audit's rows whose named class is right, its exact interval, and how many rows that is.

    named: (N,) class of each row, −1 = none. audit: rows drawn at random from all, never among those that named the
    clusters. truth: their classes. Rows without a name say nothing; without any the share is nan.
    Source: Clopper & Pearson 1934, exact binomial.
    """
    said = named[audit]
    n, right = int((said >= 0).sum()), int(((said == truth) & (said >= 0)).sum())
    return (right / n if n else float("nan")), (clopper_pearson(right, n, level) if n else (0.0, 1.0)), n


def _spread_out(X: Floats, count: int, rng: np.random.Generator) -> Floats:
    """(count, D) rows, each drawn with a chance that grows with the squared distance to those drawn before."""
    picks = [int(rng.integers(len(X)))]
    distance = ((X - X[picks[0]]) ** 2).sum(1)
    while len(picks) < count and distance.sum() > 0:
        picks.append(int(rng.choice(len(X), p=distance / distance.sum())))
        distance = np.minimum(distance, ((X - X[picks[-1]]) ** 2).sum(1))
    return X[picks]
