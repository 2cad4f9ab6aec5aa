"""Does the trace that gives synthetic images away depend on the class? Heterogeneity of an effect over classes.

A trace that all synthetic images share teaches a labeler nothing about classes. One that only some classes carry (a
watermark, one generator's noise, another codec) can be learned in place of the class, and real images lack it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synthgen.metrics.two_sample import RidgeLoo, standardise

Floats = NDArray[np.float64]
FEWEST_OF_EACH = 5
"""Images of a class that a side needs for it to be asked about."""
_TIE = 1e-12


@dataclass(frozen=True, slots=True)
class Heterogeneity:
    """By how much the source effect differs between classes.

    tau: sd over classes of the difference between synthetic and real source scores, in sd of one class's scores (0 =
    every class is given away alike). interval: Q-profile. null: middle 95 % of tau under permuted classes. p:
    one-sided. by_class: (class, difference) by falling difference.
    """

    tau: float
    interval: tuple[float, float]
    null: tuple[float, float]
    p: float
    by_class: tuple[tuple[int, float], ...]


def classes_asked(classes: NDArray[np.int64], real_classes: NDArray[np.int64]) -> list[int]:
    """The classes that both sides show often enough."""
    both = set(classes.tolist()) & set(real_classes.tolist())
    return [c for c in sorted(both) if min((classes == c).sum(), (real_classes == c).sum()) >= FEWEST_OF_EACH]


def source_heterogeneity(synthetic: NDArray[np.floating], classes: NDArray[np.int64], real: NDArray[np.floating],
                         real_classes: NDArray[np.int64], rng: np.random.Generator, permutations: int = 999,
                         level: float = 0.95) -> Heterogeneity:
    """τ over classes of (synthetic − real) leave-one-out source scores.

    synthetic, real: (n, D) and (m, D) features; classes, real_classes: (n,) and (m,). A ridge probe tells synthetic
    from real images; each class is a study of that effect, and whether the studies agree is Cochran's Q (1954,
    Biometrics 10:101). τ² after DerSimonian & Laird (1986, Controlled Clinical Trials 7:177), its interval by Q-profile
    (Viechtbauer 2007, Statistics in Medicine 26:37). p: Q against classes permuted within each source, which is exact
    where neither source's features depend on the class and cautious where they do, since then permuting adds scatter.
    Raises: ValueError for fewer than 2 classes with FEWEST_OF_EACH images on both sides.
    """
    asked = classes_asked(classes, real_classes)
    if len(asked) < 2:
        raise ValueError(f"at least 2 classes with {FEWEST_OF_EACH} images a side are needed, not {len(asked)}")
    x = np.concatenate([synthetic, real]).astype(np.float64)
    labels, made = np.concatenate([classes, real_classes]), np.arange(len(x)) < len(synthetic)
    # Rows in the order of their values, so that the order of files changes no digit.
    order = np.lexsort([labels, made, *x.T])
    x, labels, made = x[order], labels[order], made[order]
    scores = RidgeLoo(standardise(x)).scores((made - made.mean())[:, None])[:, 0]
    # Scores of the two sources are centred and scaled together; only their differences are used.
    z, v = _effects(scores, labels, made, asked)
    observed = _q(z, v)
    null_q, null_tau = [], []
    for _ in range(permutations):
        permuted = labels.copy()
        for side in (made, ~made):
            permuted[side] = rng.permutation(labels[side])
        zp, vp = _effects(scores, permuted, made, asked)
        null_q.append(_q(zp, vp))
        null_tau.append(_tau(zp, vp))
    p = float((1 + (np.array(null_q) >= observed - _TIE).sum()) / (1 + permutations))
    low, high = np.quantile(null_tau, (0.025, 0.975)) if null_tau else (np.nan, np.nan)
    ranked = sorted(zip(asked, z.tolist(), strict=True), key=lambda pair: -pair[1])
    return Heterogeneity(_tau(z, v), _q_profile(z, v, level), (float(low), float(high)), p, tuple(ranked))


def _effects(scores: Floats, labels: NDArray[np.int64], made: NDArray[np.bool_],
             asked: list[int]) -> tuple[Floats, Floats]:
    """(K,) standardised differences of mean scores per class, and (K,) their variances."""
    means, counts, left, freedom = [], [], 0.0, 0
    for c in asked:
        pair = [scores[(labels == c) & side] for side in (made, ~made)]
        means.append(pair[0].mean() - pair[1].mean())
        counts.append([len(part) for part in pair])
        left += sum(float(((part - part.mean()) ** 2).sum()) for part in pair)
        freedom += sum(len(part) - 1 for part in pair)
    sd = max(np.sqrt(left / freedom), 1e-12)
    n = np.array(counts, np.float64)
    return np.array(means) / sd, (1 / n).sum(1)


def _q(z: Floats, v: Floats, tau2: float = 0.0) -> float:
    w = 1 / (v + tau2)
    return float((w * (z - (w * z).sum() / w.sum()) ** 2).sum())


def _tau(z: Floats, v: Floats) -> float:
    w = 1 / v
    return float(np.sqrt(max(0.0, (_q(z, v) - (len(z) - 1)) / (w.sum() - (w**2).sum() / w.sum()))))


def _q_profile(z: Floats, v: Floats, level: float) -> tuple[float, float]:
    """The values of τ whose Q(τ²) lies between the quantiles of χ² with K − 1 degrees of freedom."""
    from scipy.special import chdtri

    ends = []
    for tail in ((1 - level) / 2, (1 + level) / 2):
        wanted = float(chdtri(len(z) - 1, tail))             # the upper-tail quantile
        low, high = 0.0, 1.0
        if _q(z, v) <= wanted:
            ends.append(0.0)
            continue
        while _q(z, v, high) > wanted:
            high *= 4
        for _ in range(80):
            middle = (low + high) / 2
            low, high = (middle, high) if _q(z, v, middle) > wanted else (low, middle)
        ends.append(float(np.sqrt(high)))
    return ends[0], ends[1]
