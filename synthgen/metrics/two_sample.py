"""Do two sets of images come from one distribution? A linear probe's AUC and the kernel distance MMD².

Both are judged against permutations of the labels, valid at any n; neither is judged against a magic number.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
_TIE = 1e-12                             # rounding must not decide whether a permutation ties with the data
_CHUNK = 1 << 22


@dataclass(frozen=True, slots=True, eq=False)
class Probe:
    """How well a linear probe tells a from b.

    auc: leave-one-out; 0.5 = not at all, 1 = always, well below 0.5 = near-copies across the two sets (never
    folded). interval: 95 %. null: the middle 95 % under permuted labels. p: one-sided, for auc above chance.
    detectable: the smallest AUC that these many images show with 80 % power. scores: (n + m,) leave-one-out
    scores, a's first; high = looks like a.
    """

    auc: float
    interval: tuple[float, float]
    null: tuple[float, float]
    p: float
    detectable: float
    scores: Floats


def auc(high: ArrayLike, low: ArrayLike) -> float:
    """P(high > low) + P(tie) / 2: the Mann–Whitney form of the area under the ROC curve."""
    a, b = np.asarray(high, np.float64), np.sort(np.asarray(low, np.float64))
    below = np.searchsorted(b, a, "left") + np.searchsorted(b, a, "right")
    return float(below.sum() / (2 * len(a) * len(b)))


def standardise(x: NDArray[np.floating]) -> Floats:
    """(N, D) float64, each column with mean 0 and sd 1; a constant column becomes 0."""
    centred = x - np.mean(x, 0, dtype=np.float64)
    sd = centred.std(0)
    flat = sd <= 1e-9 * (1 + np.abs(x).max(0, initial=0))
    return np.asarray(np.where(flat, 0, centred / np.where(flat, 1, sd)), np.float64)


class RidgeLoo:
    """Leave-one-out scores of ridge regression on (N, D) features, for any number of label columns at once.

    H = X (XᵀX + λI)⁻¹ Xᵀ = K (K + λI)⁻¹, score_i = ((H y)_i − h_ii y_i) / (1 − h_ii): exactly what a refit
    without row i would say of it. The smaller of D × D and N × N is solved. There is no intercept: features
    and labels are centred once, since an intercept that is refitted ranks each left-out row against its own
    class. λ = `ridge` × trace(K) / N, the mean squared norm of a row: with standardised columns that is
    `ridge` × D, weak when N ≫ D and as strong as the data when D > N.
    Source: Hastie, Tibshirani & Friedman, Elements of Statistical Learning, equation 7.64.
    """

    def __init__(self, x: Floats, ridge: float = 1.0) -> None:
        n, d = x.shape
        penalty = ridge * max(float((x * x).sum()) / max(n, 1), 1e-12)
        if d <= n:
            self.factors = [x, np.linalg.solve(x.T @ x + penalty * np.eye(d), x.T)]          # (N, D) (D, N)
            self.h = np.einsum("nd,dn->n", *self.factors)
        else:
            kernel = x @ x.T
            self.factors = [np.linalg.solve(kernel + penalty * np.eye(n), kernel).T]         # (N, N) = H
            self.h = np.diag(self.factors[0]).copy()

    def scores(self, y: Floats) -> Floats:
        """(N, B) scores for (N, B) centred labels."""
        fitted = y
        for factor in reversed(self.factors):
            fitted = factor @ fitted
        out: Floats = (fitted - self.h[:, None] * y) / (1 - self.h[:, None])
        return out


def probe_auc(a: NDArray[np.floating], b: NDArray[np.floating], rng: np.random.Generator,
              permutations: int = 999) -> Probe:
    """The classifier two-sample test with a linear probe: AUC of leave-one-out ridge scores, a against b.

    a, b: (n, D) and (m, D) features. The permutation p is exact: everything before the labels (columns'
    means and sds, λ, H) looks at the two sets together. Images are taken as independent given their source.
    Source: Lopez-Paz & Oquab 2017 (ICLR, "Revisiting classifier two-sample tests"); AUC for accuracy.
    Raises: ValueError for fewer than 2 rows on a side, unequal D, or values that are not finite.
    """
    n, m = len(a), len(b)
    if min(n, m) < 2 or a.shape[1:] != b.shape[1:]:
        raise ValueError(f"the probe needs at least 2 rows on each side and equal columns, not {a.shape} and "
                         f"{b.shape}")
    both = np.concatenate([a, b]).astype(np.float64)
    if not np.isfinite(both).all():
        raise ValueError("features hold values that are not finite")
    # Rows in the order of their values, so that the order of files changes no digit.
    order = np.lexsort(both.T)
    probe = RidgeLoo(standardise(both[order]))
    is_a = order < n
    ordered = probe.scores((is_a - is_a.mean())[:, None])[:, 0]
    value = auc(ordered[is_a], ordered[~is_a])
    scores = np.empty(n + m)
    scores[order] = ordered
    drawn = []
    for permuted in _permuted(is_a, permutations, rng):                                      # (B, N) bool
        columns = probe.scores((permuted - is_a.mean()).T)
        drawn += [auc(s[w], s[~w]) for s, w in zip(columns.T, permuted, strict=True)]
    null = np.array(drawn)
    # Scores of one fit share its training rows, so their AUC varies more than Mann–Whitney's; by how much,
    # the permutations tell.
    inflation = max(1.0, float(null.std()) / _null_se(n, m)) if permutations > 1 else 1.0
    return Probe(value, auc_interval(value, n, m, inflation=inflation),
                 _middle(null), _p(null, value), smallest_detectable_auc(n, m, inflation=inflation), scores)


def _permuted(is_a: NDArray[np.bool_], permutations: int,
              rng: np.random.Generator) -> Iterator[NDArray[np.bool_]]:
    step = max(1, _CHUNK // len(is_a))
    for start in range(0, permutations, step):
        yield rng.permuted(np.tile(is_a, (min(step, permutations - start), 1)), axis=1)


def _p(null: Floats, value: float) -> float:
    """One-sided permutation p with the data counted in: never 0. Source: Phipson & Smyth 2010, equation 2."""
    return float((1 + (null >= value - _TIE).sum()) / (1 + len(null)))


def _middle(null: Floats) -> tuple[float, float]:
    low, high = np.quantile(null, (0.025, 0.975)) if len(null) else (math.nan, math.nan)
    return float(low), float(high)


def _null_se(n: int, m: int) -> float:
    """The standard error of an AUC when nothing differs: Mann–Whitney's U / nm."""
    return math.sqrt((n + m + 1) / (12 * n * m))


def auc_interval(value: float, n: int, m: int, level: float = 0.95,
                 inflation: float = 1.0) -> tuple[float, float]:
    """Interval of an AUC from n and m scores: the values whose own standard error reaches `value`.

    Unlike DeLong's it does not collapse at AUC = 1 nor lean on a variance taken from 8 images. `inflation`
    widens the standard error (see `probe_auc`).
    Source: Newcombe 2006, Statistics in Medicine 25:559, method 5.
    """
    z, half = NormalDist().inv_cdf((1 + level) / 2) * inflation, (n + m) / 2 - 1

    def inside(theta: float) -> bool:
        shape = (1 - theta) / (2 - theta) + theta / (1 + theta)
        return (value - theta) ** 2 <= z * z * theta * (1 - theta) * (1 + half * shape) / (n * m)

    ends = []
    for far in (0.0, 1.0):
        near, out = value, far
        for _ in range(60):
            middle = (near + out) / 2
            near, out = (middle, out) if inside(middle) else (near, middle)
        ends.append((near + out) / 2)
    return ends[0], ends[1]


def smallest_detectable_auc(n: int, m: int, power: float = 0.8, alpha: float = 0.05,
                            inflation: float = 1.0) -> float:
    """The AUC that a one-sided test at `alpha` finds with `power`, at most 1.

    0.5 + (z₁₋α + z_power) · √((n + m + 1) / 12nm), the standard error of Mann–Whitney's U under the null.
    """
    z = NormalDist().inv_cdf(1 - alpha) + NormalDist().inv_cdf(power)
    return min(1.0, 0.5 + z * inflation * _null_se(n, m))


def by_content(x: NDArray[np.floating]) -> NDArray[np.int64]:
    """(N,) the order of the rows by their bytes: the same rows in any order give the same sequence."""
    rows = np.ascontiguousarray(x)
    return np.array(sorted(range(len(rows)), key=lambda k: rows[k].tobytes()), np.int64)


BANDWIDTHS = 5
"""How many bandwidths `mmd2_u` aggregates; the middle one, the median distance, gives its value."""
CAP = 1500
"""Images per side that `mmd2_u` looks at: of more, that many are drawn."""
SHIFT = math.sqrt(2) * NormalDist().inv_cdf(0.65)
"""A shift by 0.54 sd: it gives a probe that knows its direction an AUC of 0.65."""


@dataclass(frozen=True, slots=True)
class Mmd:
    """Unbiased MMD² (may be below 0) at the median bandwidth, the middle 95 % of its permutations, one-sided p.

    p: of the maximum over BANDWIDTHS. scale: the bandwidth, in medians, that told the sets apart most. detectable: the
    smallest MMD² that these many images show with 80 % power, about. shifted: the MMD² that a shift of all images by
    `SHIFT` standard deviations along their widest direction would make. n: images per side that were looked at.
    """

    value: float
    null: tuple[float, float]
    p: float
    scale: float
    detectable: float
    shifted: float
    n: tuple[int, int]


def mmd2_u(a: NDArray[np.floating], b: NDArray[np.floating], rng: np.random.Generator,
           permutations: int = 999, bandwidth: float | None = None) -> Mmd:
    """Unbiased MMD² with Gaussian kernels on standardised features, and its permutation p over five bandwidths.

    a, b: (n, D) and (m, D) features. bandwidth: a single one to use, in standard deviations; None = BANDWIDTHS, from
    half the 5 % point of the distances over their median to twice the 95 % point. Which of these sees a difference is
    not known beforehand, so all are tested at once: with T_k the MMD² at bandwidth k and s_k its root mean square over
    the permutations and the data together, the statistic is max_k T_k / s_k. Bandwidths and s_k look at the two sets
    together and treat the data as one more permutation, so p = (1 + #{permuted >= observed}) / (1 + permutations) is
    exact at any n, with no correction for five tests.
    Beyond CAP images a side, CAP are drawn by `rng`. O((n + m)²) memory: 72 MB per matrix at the cap.
    Source: Gretton et al. 2012, JMLR 13:723, equation 3, for MMD²; Schrab et al. 2023 (MMDAgg, arXiv 2110.15073),
    Algorithm 1, for aggregating bandwidths. It is not MMDAgg's own rule (quantiles per bandwidth, at a level corrected
    by a second set of permutations), which has no p, but the studentised maximum, as in Westfall & Young 1993; the
    range of bandwidths is that of Biggs, Schrab & Gretton 2023 (MMD-FUSE, arXiv 2306.08777).
    Raises: ValueError for fewer than 2 rows on a side, unequal D, or values that are not finite.
    """
    if min(len(a), len(b)) < 2 or a.shape[1:] != b.shape[1:]:
        raise ValueError(f"MMD² needs at least 2 rows on each side and equal columns, not {a.shape} and {b.shape}")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("features hold values that are not finite")
    a, b = (_drawn(side, rng) for side in (a, b))
    n, m = len(a), len(b)
    both = np.concatenate([a, b])
    order = by_content(both)
    x, is_a = standardise(both[order]), order < n
    squares = (x * x).sum(1)
    distance = x @ x.T
    distance *= -2
    distance += squares[:, None]
    distance += squares
    np.maximum(distance, 0, out=distance)
    np.fill_diagonal(distance, 0)
    scales = _bandwidths(distance) if bandwidth is None else [bandwidth]
    sides = np.concatenate([is_a[None], *_permuted(is_a, permutations, rng)])                # the data first
    drawn = np.array([mmd2_of(np.exp(distance / (-2 * s * s)), sides) for s in scales])      # (K, 1 + B)
    spread = np.sqrt((drawn * drawn).mean(1))
    flat = spread <= _TIE                                                                    # all rows are equal
    z = np.where(flat[:, None], 0, drawn / np.where(flat, 1, spread)[:, None])
    most = z.max(0)
    p = float((1 + (most[1:] >= most[0] - 1e-9).sum()) / (1 + permutations))
    middle = len(scales) // 2
    value, null = float(drawn[middle, 0]), drawn[middle, 1:]
    detectable = math.inf
    if permutations > 1:
        detectable = float(np.quantile(null, 0.95)) + NormalDist().inv_cdf(0.8) * float(null.std())
    return Mmd(value, _middle(null), p, scales[int(z[:, 0].argmax())] / scales[middle], detectable,
               _planted(x, distance, scales[middle]), (n, m))


def _drawn(rows: NDArray[np.floating], rng: np.random.Generator) -> NDArray[np.floating]:
    """CAP rows at most. Drawn at random: evenly spaced in any order of contents they would no longer be exchangeable
    with those of a set of another size."""
    if len(rows) <= CAP:
        return rows
    return rows[by_content(rows)[np.sort(rng.choice(len(rows), CAP, replace=False))]]


def _bandwidths(squared: Floats) -> list[float]:
    """BANDWIDTHS of them, from half the 5 % point of the distances that are not 0 to twice their 95 % point."""
    upper = squared[np.triu_indices(len(squared), 1)]
    upper = upper[upper > 0]
    if not len(upper):
        return [1.0] * BANDWIDTHS
    low, median, high = np.sqrt(np.quantile(upper, (0.05, 0.5, 0.95))) * (0.5, 1, 2)
    return [float(s) for s in (low, math.sqrt(low * median), median, math.sqrt(median * high), high)]


def mmd2_of(kernel: Floats, sides: NDArray[np.bool_]) -> Floats:
    """(B,) unbiased MMD² of an (N, N) symmetric kernel for B ways to say which rows are a's, (B, N) bool.

    Every row of `sides` holds the same number of a's, at least 2, and leaves at least 2.
    """
    n = int(sides[0].sum())
    m = sides.shape[1] - n
    own, total = np.diag(kernel), float(kernel.sum() - np.trace(kernel))
    in_a = sides.astype(np.float64)
    rows = in_a @ kernel
    mine = in_a @ own
    aa, a_all = (rows * in_a).sum(1) - mine, rows.sum(1) - mine
    ab = a_all - aa
    bb = total - aa - 2 * ab
    return np.asarray(aa / (n * (n - 1)) + bb / (m * (m - 1)) - 2 * ab / (n * m), np.float64)


def _planted(x: Floats, distance: Floats, scale: float) -> float:
    """MMD² between x and x shifted by SHIFT sd along its widest direction, by pairs of different rows."""
    _, vectors = np.linalg.eigh(x.T @ x)
    along = x @ vectors[:, -1]
    step = SHIFT * float(along.std())
    # |x_i − (x_j + step·v)|² = |x_i − x_j|² − 2 step (along_i − along_j) + step²
    moved = distance - 2 * step * (along[:, None] - along) + step * step
    gap = np.exp(distance / (-2 * scale * scale)) - np.exp(np.maximum(moved, 0) / (-2 * scale * scale))
    np.fill_diagonal(gap, 0)
    return float(2 * gap.sum() / (len(x) * (len(x) - 1)))
