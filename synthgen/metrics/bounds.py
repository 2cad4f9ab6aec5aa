"""Intervals and corrections: bootstrap over images, exact binomial bounds, Holm, Benjamini–Hochberg.

Metrics of labels are ratios of sums over images (TP / (TP + FP + FN), 2·overlap / (pixels + pixels),
Σ error / images), so the bootstrap takes a numerator and a denominator per image and makes the ratio
anew in each resample; 0 / 0 is given by the caller (`empty`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

Interval = tuple[float, float]
Floats = NDArray[np.float64]

RESAMPLES = 4000
_CHUNK = 1 << 22                       # weights held at a time: 32 MB of float64


def resample_weights(n: int, resamples: int, rng: np.random.Generator) -> Iterator[Floats]:
    """Chunks (b, n) float64: how often each of n images stands in each bootstrap resample; rows sum to n."""
    step = max(1, _CHUNK // max(n, 1))
    for start in range(0, resamples, step):
        b = min(step, resamples - start)
        picks = rng.integers(n, size=(b, n)) + np.arange(b)[:, None] * n
        yield np.bincount(picks.ravel(), minlength=b * n).reshape(b, n).astype(np.float64)


def planned(n: int) -> str:
    """A number of images, or of anything, that somebody should plan for, n >= 0: two figures, rounded up, since an
    estimate of it knows no more."""
    step = 10 ** max(0, len(str(n)) - 2)
    return f"{-(-n // step) * step:,}"


def ratio(num: ArrayLike, den: ArrayLike, empty: float = 1.0) -> Floats:
    """num / den elementwise, `empty` where both are 0."""
    top, bottom = np.broadcast_arrays(np.asarray(num, np.float64), np.asarray(den, np.float64))
    out: Floats = np.divide(top, bottom, out=np.full(top.shape, empty), where=bottom != 0)
    return out


def tails(n: int, level: float = 0.95) -> Interval:
    """The two quantile levels of the expanded percentile interval for n images.

    Plain bootstrap percentiles are too narrow for small n by √((n−1)/n) and by z against t; the expanded
    ones take the quantiles at Φ(∓ t √(n/(n−1))).
    Source: Hesterberg 2015, "What Teachers Should Know About the Bootstrap", section 5.3.
    """
    if n < 2:
        return 0.0, 1.0
    low = NormalDist().cdf(-t_quantile((1 + level) / 2, n - 1) * math.sqrt(n / (n - 1)))
    return low, 1 - low


def ratio_interval(num: ArrayLike, den: ArrayLike, rng: np.random.Generator, *, level: float = 0.95,
                   resamples: int = RESAMPLES, empty: float = 1.0,
                   limits: Interval = (-math.inf, math.inf)) -> tuple[float, Interval]:
    """Σnum / Σden and its expanded percentile bootstrap interval over images.

    num, den: (N,) per image. limits: the interval that is given for N < 2, where nothing can be said.
    Source: Efron & Tibshirani 1993, chapter 13; Hesterberg 2015 for the expansion.
    """
    top, bottom = _ordered(num, den)
    n = len(top)
    value = float(ratio(top.sum(), bottom.sum(), empty))
    if n < 2:
        return value, limits
    drawn = [ratio(w @ top, w @ bottom, empty) for w in resample_weights(n, resamples, rng)]
    low, high = np.quantile(np.concatenate(drawn), tails(n, level))
    return value, (float(low), float(high))


def _ordered(*columns: ArrayLike) -> Floats:
    """(K, N): columns as rows, images in the order of their values, so that the files' changes no digit."""
    stack = np.array([np.asarray(column, np.float64) for column in columns])
    return np.asarray(stack[:, np.lexsort(stack)], np.float64)


def paired_difference(num_a: ArrayLike, den_a: ArrayLike, num_b: ArrayLike, den_b: ArrayLike,
                      rng: np.random.Generator, *, level: float = 0.95, resamples: int = RESAMPLES,
                      empty: float = 1.0, limits: Interval = (-math.inf, math.inf)) -> tuple[float, Interval]:
    """Σnum_a/Σden_a − Σnum_b/Σden_b, and its interval: both arms take the same images in each resample.

    Raises: ValueError when the arms were not scored on the same number of images.
    """
    sizes = [np.size(x) for x in (num_a, den_a, num_b, den_b)]
    n = sizes[0]
    if len(set(sizes)) > 1:
        raise ValueError(f"a paired comparison needs the same images in both arms, not {n} and {sizes[2]}")
    arms = _ordered(num_a, den_a, num_b, den_b)

    def difference(w: Floats) -> Floats:
        return ratio(w @ arms[0], w @ arms[1], empty) - ratio(w @ arms[2], w @ arms[3], empty)

    value = float(difference(np.ones((1, n)))[0])
    if n < 2:
        return value, limits
    drawn = [difference(w) for w in resample_weights(n, resamples, rng)]
    low, high = np.quantile(np.concatenate(drawn), tails(n, level))
    gaps = ratio(arms[0], arms[1], empty) - ratio(arms[2], arms[3], empty)
    more = t_quantile((1 + level) / 2, n - 1) * math.sqrt(one_image(gaps, *zip(arms[::2], arms[1::2], strict=True)))
    return value, (value - math.hypot(min(low - value, 0), more), value + math.hypot(max(high - value, 0), more))


def one_image(shown: Floats, *columns: tuple[Floats, Floats]) -> float:
    """The variance that one image in N + 2 brings, for metrics that are right or wrong image by image, and wherever all
    images show the same: there the resamples know nothing of what the next image could be. 0 for other metrics.

    shown: (N,) what the interval is of, image by image. columns: numerators and denominators of each arm. Two images
    are added, one for each way, as Agresti & Coull do for a share (1998, The American Statistician 52:119) and Agresti
    & Min for pairs (2005, Biometrics 61:515).
    """
    yes_or_no = all(bool(np.isin(num, (0, 1)).all() and (den == 1).all()) for num, den in columns)
    return 1 / (len(shown) + 2) ** 2 if yes_or_no or np.ptp(shown) == 0 else 0.0


def independent_difference(num_a: ArrayLike, den_a: ArrayLike, num_b: ArrayLike, den_b: ArrayLike,
                           rng: np.random.Generator, *, level: float = 0.95, resamples: int = RESAMPLES,
                           empty: float = 1.0) -> tuple[float, Interval]:
    """Σnum_a/Σden_a − Σnum_b/Σden_b of two sets of different images, and its interval: each set is resampled by itself,
    and the percentiles are expanded as for the smaller one (`tails`). Fewer than 2 images on a side: infinite."""
    sides = [_ordered(num_a, den_a), _ordered(num_b, den_b)]
    value = float(np.subtract(*(ratio(s[0].sum(), s[1].sum(), empty) for s in sides)))
    fewest = min(s.shape[1] for s in sides)
    if fewest < 2:
        return value, (-math.inf, math.inf)
    drawn = [np.concatenate([ratio(w @ s[0], w @ s[1], empty) for w in resample_weights(s.shape[1], resamples, rng)])
             for s in sides]
    low, high = np.quantile(drawn[0] - drawn[1], tails(fewest, level))
    doubt = sum(one_image(ratio(s[0], s[1], empty), (s[0], s[1])) for s in sides)
    more = t_quantile((1 + level) / 2, fewest - 1) * math.sqrt(doubt)
    return value, (value - math.hypot(min(low - value, 0), more), value + math.hypot(max(high - value, 0), more))


def clopper_pearson(k: int, n: int, level: float = 0.95) -> Interval:
    """Exact interval of a share k / n: never covers less than `level`. n = 0 gives (0, 1).

    Source: Clopper & Pearson 1934, Biometrika 26:404, by quantiles of the beta distribution. A one-sided
    bound at confidence c is the upper end at level 2c − 1.
    """
    from scipy.special import betaincinv  # here: `plan` imports this module, and scipy takes its time

    if not 0 <= k <= n:
        raise ValueError(f"k of n needs 0 <= k <= n, but k = {k} and n = {n}")
    tail = (1 - level) / 2
    low = 0.0 if k == 0 else float(betaincinv(k, n - k + 1, tail))
    high = 1.0 if k == n else float(betaincinv(k + 1, n - k, 1 - tail))
    return low, high


def t_quantile(p: float, df: int) -> float:
    """Quantile of Student's t."""
    from scipy.special import stdtrit

    return float(stdtrit(df, p))


def holm(p: ArrayLike) -> Floats:
    """(K,) adjusted p that hold for the whole family: reject where <= α.

    Source: Holm 1979, Scandinavian Journal of Statistics 6:65.
    """
    values = np.asarray(p, np.float64)
    order = np.argsort(values, kind="stable")
    out = np.empty(len(values))
    out[order] = np.minimum(1, np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1)))
    return out


def bh(p: ArrayLike) -> Floats:
    """(K,) adjusted p (q-values): reject where <= the false discovery rate.

    Source: Benjamini & Hochberg 1995, J. R. Stat. Soc. B 57:289.
    """
    values = np.asarray(p, np.float64)
    order = np.argsort(values, kind="stable")
    stepped = values[order] * len(values) / np.arange(1, len(values) + 1)
    out = np.empty(len(values))
    out[order] = np.minimum(1, np.minimum.accumulate(stepped[::-1])[::-1])
    return out
