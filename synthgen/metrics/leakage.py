"""Can the source of an image be read from its class, or its class from traces that tell nothing in real images?

Where synthetic images are added to the classes that were rare, a network learns the pair (class, synthetic)
instead of the class: Qraitem et al. 2023, "From Fake to Real" (arXiv 2308.04553); Agyakari Raja Babu et al. 2024,
"Synthetic Simplicity" (arXiv 2407.21674). Both questions are asked of images, never of objects.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synthgen.metrics.bounds import tails
from synthgen.metrics.two_sample import RidgeLoo, auc, auc_interval, standardise

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
_TIE = 1e-12

FEWEST, FEWEST_OF_EACH = 20, 5           # images a side, and of those with and without a class, to read it from traces
DRAWS = 20                               # matched subsets over which an AUC is averaged


@dataclass(frozen=True, slots=True, eq=False)
class Attribute:
    """Something that each image shows one of `levels` values of; codes: (N,) int64 in 0 … levels − 1."""

    name: str
    codes: NDArray[np.int64]
    levels: int


@dataclass(frozen=True, slots=True)
class Association:
    """How far the source tells an attribute: the largest bias-corrected Cramér's V over the attributes.

    v: in [0, 1]; 0 = not at all. interval: 95 % for the largest, all attributes at once. p: by permuting the
    sources of images, of the largest. null: the middle 95 % of those permutations. at: its attribute. by_attribute:
    (name, v) of all, largest first.
    """

    v: float
    interval: tuple[float, float]
    null: tuple[float, float]
    p: float
    at: str
    by_attribute: tuple[tuple[str, float], ...]


def cramers_v(counts: NDArray[np.number], real_share: float | None = None) -> Floats:
    """(…,) bias-corrected Cramér's V of (…, 2, K) tables of source × level; 0 = independent, 1 = the source tells all.

    real_share: what the first row weighs, since one image of a small source may be shown as often as ten of a
    large one; None = as many as were counted, which is Bergsma's estimator itself. With weights π the squared
    contingency is π₁π₂ Σ_k (p₁ₖ − p₂ₖ)² / p̄ₖ, whose bias under independence is that of
    1 / (π₁π₂ (1/n₁ + 1/n₂)) images counted plainly; that number takes the place of n.
    Source: Bergsma 2013, "A bias-correction for Cramér's V and Tschuprow's T", J. Korean Stat. Soc. 42:323,
    equations 3 to 5.
    """
    return np.sqrt(np.clip(_excess(np.asarray(counts, np.float64), real_share), 0, 1))


def _excess(counts: Floats, real_share: float | None, times: float = 1.0) -> Floats:
    """(…,) V² before it is cut off at 0 and 1, its bias taken off `times` times."""
    n = counts.sum(-1)                                                                     # (…, 2)
    weight = n / n.sum(-1, keepdims=True) if real_share is None else np.broadcast_to(
        np.array([real_share, 1 - real_share]), n.shape)
    p = counts / n[..., None]
    mean = (weight[..., None] * p).sum(-2)                                                 # (…, K)
    both = weight.prod(-1)
    gap = (p[..., 0, :] - p[..., 1, :]) ** 2
    squared = both * np.divide(gap, mean, out=np.zeros_like(gap), where=mean > 0).sum(-1)
    K = counts.shape[-1]
    dof = np.maximum(1 / (both * (1 / n).sum(-1)) - 1, 1)                                  # Bergsma's n − 1
    room = np.minimum(1 - 1 / dof, K - 1 - (K - 1) ** 2 / dof)
    # Tables with more levels than images leave no room at all: whatever is there then counts in full.
    out: Floats = (squared - times * (K - 1) / dof) / np.maximum(room, 1 / (dof + 1))
    return out


def association(attributes: Sequence[Attribute], n_real: int, rng: np.random.Generator,
                real_share: float | None = 0.5, permutations: int = 999, resamples: int = 999) -> Association:
    """The association of source and attributes; the first `n_real` images are real.

    The interval: images are resampled within their source, as if each source had one more image that is spread
    evenly over the levels (without it a level never seen would be certain never to occur), the bias of both
    the sample and the resample taken off. Bonferroni over the attributes, since the largest is asked for.
    Raises: ValueError for no attribute or no image on a side.
    """
    N = len(attributes[0].codes) if attributes else 0
    if not 0 < n_real < N:
        raise ValueError(f"association needs an attribute, and images of both sources, not {n_real} and {N - n_real}")
    real = np.arange(N) < n_real
    # Images in the order of their values, so that the order of files changes no digit.
    order = np.lexsort([a.codes for a in attributes])
    hot = [np.eye(a.levels)[a.codes[order]] for a in attributes]                           # (N, K) each
    real = real[order]
    drawn = rng.permuted(np.tile(np.arange(N) < n_real, (permutations, 1)), axis=1).astype(np.float64)
    values, ends, permuted = [], [], []
    low_tail, _ = tails(min(n_real, N - n_real), 1 - 0.05 / len(attributes))
    for one in hot:
        seen = one.sum(0)
        counts = np.stack([one[real].sum(0), one[~real].sum(0)])                           # (2, K)
        value = float(_excess(counts, real_share))
        from_real = drawn @ one
        permuted.append(_excess(np.stack([from_real, seen - from_real], 1), real_share))
        resampled = np.stack([rng.multinomial(int(row.sum()), (row + 1 / len(row)) / (row.sum() + 1), resamples)
                              for row in counts], 1).astype(np.float64)
        # Where levels are hardly met twice, how biased a resample is is itself unknown: the far end keeps its bias.
        times = 2.0 if counts.sum(1).min() >= 2 * len(seen) else 0.0
        near = np.quantile(_excess(resampled, real_share, 2.0), low_tail)
        far = np.quantile(_excess(resampled, real_share, times), 1 - low_tail)
        values.append(value)
        ends.append((min(near, value), max(far, value)))
    v = np.sqrt(np.clip(values, 0, 1))
    null = np.max(permuted, 0)
    low, high = np.sqrt(np.clip(np.max(ends, 0), 0, 1)).tolist()
    middle = np.sqrt(np.clip(np.quantile(null, (0.025, 0.975)), 0, 1)).tolist()
    ranked = sorted(zip((a.name for a in attributes), v.tolist(), strict=True), key=lambda x: -x[1])
    return Association(float(v.max()), (low, high), (middle[0], middle[1]),
                       float((1 + (null >= max(values) - _TIE).sum()) / (1 + permutations)), ranked[0][0],
                       tuple(ranked))


@dataclass(frozen=True, slots=True)
class Gain:
    """How much better a class is read from features among synthetic images than among real ones.

    synthetic, real: AUC of class against rest, leave-one-out, from as many images of each kind on both sides.
    interval: of their difference. n: (with, without) the class on each side.
    """

    synthetic: float
    real: float
    interval: tuple[float, float]
    n: tuple[int, int]

    @property
    def value(self) -> float:
        """The difference of the two AUCs."""
        return self.synthetic - self.real


def readable(of_class: Bools) -> bool:
    """Whether (N,) images are enough, with and without a class, to ask whether it can be read from them."""
    with_it = int(of_class.sum())
    return len(of_class) >= FEWEST and min(with_it, len(of_class) - with_it) >= FEWEST_OF_EACH


def class_gain(synthetic: NDArray[np.floating], has: Bools, real: NDArray[np.floating], real_has: Bools,
               rng: np.random.Generator, level: float = 0.95) -> Gain:
    """How much better a linear probe reads a class from synthetic images' features than from real ones'.

    synthetic, real: (n, D) and (m, D) features; has, real_has: (n,) and (m,) whether the image has the class.
    A probe learns more from more images, so the larger side is judged by random subsets as large as the smaller
    one, with and without the class alike, and their AUC is averaged. The interval combines those of the two AUCs
    (each for one subset, hence cautious) by the square root of sums of squared distances.
    Source: Newcombe 1998, Statistics in Medicine 17:873, method 10; the AUC's interval: `two_sample.auc_interval`.
    Raises: ValueError where a side is too small (`readable`).
    """
    if not readable(has) or not readable(real_has):
        raise ValueError(f"reading a class needs {FEWEST} images a side, {FEWEST_OF_EACH} with and without it")
    counts = (min(int(has.sum()), int(real_has.sum())), min(int((~has).sum()), int((~real_has).sum())))
    found = []
    for rows, mine in ((synthetic, has), (real, real_has)):
        x = np.asarray(rows, np.float64)
        # Rows in the order of their values, so that the order of files changes no digit.
        order = np.lexsort([mine, *x.T])
        value, inflation = _matched(x[order], mine[order], counts, rng)
        found.append((value, *auc_interval(value, *counts, level, inflation)))
    (a, a_low, a_high), (b, b_low, b_high) = found
    low = a - b - math.hypot(a - a_low, b_high - b)
    high = a - b + math.hypot(a_high - a, b - b_low)
    return Gain(a, b, (max(low, -1.0), min(high, 1.0)), counts)


def _matched(x: Floats, has: Bools, counts: tuple[int, int], rng: np.random.Generator) -> tuple[float, float]:
    """The mean AUC over subsets with `counts` rows with and without the class; how much wider than Mann–Whitney's."""
    values, inflation = [], 1.0
    whole = (int(has.sum()), int((~has).sum())) == counts
    for draw in range(1 if whole else DRAWS):
        rows = np.concatenate([rng.choice(np.flatnonzero(part), k, replace=False)
                               for part, k in zip((has, ~has), counts, strict=True)])
        y = np.arange(len(rows)) < counts[0]
        probe = RidgeLoo(standardise(x[rows]))
        scores = probe.scores((y - y.mean())[:, None])[:, 0]
        values.append(auc(scores[y], scores[~y]))
        if draw == 0:
            permuted = rng.permuted(np.tile(y, (99, 1)), axis=1)
            columns = probe.scores((permuted - y.mean()).T)
            null = [auc(s[w], s[~w]) for s, w in zip(columns.T, permuted, strict=True)]
            n, m = counts
            inflation = max(1.0, float(np.std(null)) / math.sqrt((n + m + 1) / (12 * n * m)))
    return float(np.mean(values)), inflation
