"""What a training arm is worth: differences over seeds and test images at once, and how many real images they equal.

Every arm is trained once per seed and scored on the same test images, so scores stand in a table of seeds × images
whose rows and columns are both samples of something larger. Whoever resamples only one of them is too sure.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from synthgen.metrics.bounds import RESAMPLES, Interval, one_image, ratio, resample_weights, t_quantile

Floats = NDArray[np.float64]
Curve = Callable[[Floats], Floats]
FEWEST_SEEDS = 3
"""Trainings per arm below which their scatter is not known well enough to decide anything."""


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """One arm's scores: num, den (S, N) float64 for S seeds and N test images; a metric is Σ num / Σ den."""

    num: Floats
    den: Floats

    def __post_init__(self) -> None:
        if self.num.shape != self.den.shape or self.num.ndim != 2:
            raise ValueError(f"scores are (seeds, images) twice, not {self.num.shape} and {self.den.shape}")

    def each(self) -> Floats:
        """(S, N) the metric of each seed and image by itself."""
        return ratio(self.num, self.den)

    def means(self, images: Floats, seeds: Floats) -> Floats:
        """(B,) the metric, averaged over seeds, for (B, N) weights of images and (B, S) weights of seeds."""
        each = ratio(images @ self.num.T, images @ self.den.T)                                # (B, S)
        return np.asarray((each * seeds).sum(1) / seeds.sum(1), np.float64)


@dataclass(frozen=True, slots=True)
class Crossed:
    """A value from seeds × images. interval: at the level asked for. by_images, by_seeds: the variances that each
    contributes; by_seeds is nan for one seed, and the interval then knows nothing of training."""

    value: float
    interval: Interval
    by_images: float
    by_seeds: float


@dataclass(frozen=True, slots=True, eq=False)
class Resamples:
    """Weights of bootstrap resamples, the same for every arm, so that arms stay paired by seed and by image.

    images (B, N), seeds (B, S): how often each stands in resample b.
    """

    images: Floats
    seeds: Floats

    @classmethod
    def draw(cls, seeds: int, images: int, rng: np.random.Generator, resamples: int = RESAMPLES) -> Resamples:
        """Rows and columns drawn independently: the pigeonhole bootstrap (Owen 2007, Ann. Appl. Stat. 1:386)."""
        resamples = max(400, min(resamples, 20_000_000 // max(images, 1)))
        return cls(np.concatenate(list(resample_weights(images, resamples, rng))),
                   np.concatenate(list(resample_weights(seeds, resamples, rng))))

    def crossed(self, statistic: Callable[[Floats, Floats], Floats], level: float = 0.95,
                doubt: float = 0.0) -> Crossed:
        """A statistic of (B, N) and (B, S) weights with its interval.

        The pigeonhole bootstrap's variance is never too small (Owen 2007, theorem 2), but its percentiles know
        nothing of few rows: deviations are widened so that each side's variance counts n/(n−1) times, and with
        Student's t of its own degrees of freedom in place of the normal's z (cautious after Cochran 1964,
        Biometrics 20:191). doubt: variance that the images have beside what they show, see `one_image`. Fewer than 2
        images: the interval is infinite.
        """
        N, S = self.images.shape[1], self.seeds.shape[1]
        one_n, one_s = np.ones((1, N)), np.ones((1, S))
        value = float(statistic(one_n, one_s)[0])
        by_images = float(np.var(statistic(self.images, np.broadcast_to(one_s, self.seeds.shape))))
        by_seeds = math.nan
        if S > 1:
            by_seeds = float(np.var(statistic(np.broadcast_to(one_n, self.images.shape), self.seeds)))
        if N < 2:
            return Crossed(value, (-math.inf, math.inf), math.nan, by_seeds)
        tail = (1 + level) / 2
        parts = [(by_images * N / (N - 1), N - 1)] + ([(by_seeds * S / (S - 1), S - 1)] if S > 1 else [])
        plain = by_images + (by_seeds if S > 1 else 0)
        wanted = sum(v * t_quantile(tail, df) ** 2 for v, df in parts)
        widen = math.sqrt(wanted / plain) / NormalDist().inv_cdf(tail) if plain > 0 else 1.0
        drawn = statistic(self.images, self.seeds if S > 1 else np.broadcast_to(one_s, self.seeds.shape)) - value
        low, high = np.quantile(drawn, ((1 - level) / 2, (1 + level) / 2))
        more = math.sqrt(doubt) * t_quantile(tail, N - 1)
        interval = (value - math.hypot(widen * min(float(low), 0.0), more),
                    value + math.hypot(widen * max(float(high), 0.0), more))
        return Crossed(value, interval, parts[0][0] + doubt, parts[1][0] if S > 1 else math.nan)


def difference(a: Scores, b: Scores, draws: Resamples, level: float = 0.95) -> Crossed:
    """a − b, paired by seed and by image.

    Raises: ValueError when the two were not scored on the same number of seeds and images.
    """
    if a.num.shape != b.num.shape:
        raise ValueError(f"a paired comparison needs the same seeds and images, not {a.num.shape} and {b.num.shape}")
    gaps = (a.each() - b.each()).mean(0)
    return draws.crossed(lambda images, seeds: a.means(images, seeds) - b.means(images, seeds), level,
                         one_image(gaps, (a.num, a.den), (b.num, b.den)))


def mean(a: Scores, draws: Resamples, level: float = 0.95) -> Crossed:
    """An arm's metric, averaged over its seeds."""
    return draws.crossed(a.means, level, one_image(a.each().mean(0), (a.num, a.den)))


@dataclass(frozen=True, slots=True)
class Needed:
    """What would settle a comparison: test images with the seeds there are, or seeds with the images there are."""

    images: int | None
    seeds: int | None


def needed(found: Crossed, room: float, images: int, seeds: int, level: float = 0.95) -> Needed:
    """How many test images, or else how many seeds, bring the half width down to `room`; None = no number up to a
    million images or a thousand seeds does.

    Half width² = t²(N'−1) v_images · N / N' + t²(S'−1) v_seeds · S / S', the widths of `Resamples.crossed`, the
    variances taken as they were estimated. The side that is not asked about stays as it is.
    """
    if room <= 0 or not math.isfinite(found.by_images):
        return Needed(None, None)
    tail = (1 + level) / 2
    v_s = 0.0 if math.isnan(found.by_seeds) else found.by_seeds

    def smallest(v: float, n: int, rest: float, most: int) -> int | None:
        def fits(m: int) -> bool:
            return bool(t_quantile(tail, m - 1) ** 2 * v * n / m + rest <= room**2)

        low, high = max(n, 2), most
        if not fits(high):
            return None
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if fits(middle) else (middle, high)
        return high

    by_seeds = t_quantile(tail, seeds - 1) ** 2 * v_s if seeds > 1 else 0.0
    by_images = t_quantile(tail, images - 1) ** 2 * found.by_images if images > 1 else math.inf
    return Needed(smallest(found.by_images, images, by_seeds, 10**6), smallest(v_s, seeds, by_images, 1000))


def power_law(sizes: ArrayLike, errors: Floats) -> tuple[Floats, Floats]:
    """(B,) a and (B,) b of error = a · n⁻ᵇ, by least squares on logarithms, for (B, K) errors at K >= 2 sizes.

    Source: Hestness et al. 2017, "Deep learning scaling is predictable, empirically" (arXiv 1712.00409), equation 1
    without its constant, which few sizes cannot fix.
    Raises: ValueError for fewer than 2 different sizes.
    """
    n = np.log(np.asarray(sizes, np.float64))
    if len(np.unique(n)) < 2:
        raise ValueError("a power law needs at least two different sizes")
    logs = np.log(np.maximum(errors, 1e-6))
    centred = n - n.mean()
    slope = (logs - logs.mean(1, keepdims=True)) @ centred / (centred @ centred)
    return np.exp(logs.mean(1) - slope * n.mean()), -slope


@dataclass(frozen=True, slots=True)
class Equivalent:
    """How many real labelled images alone score as an arm does with `size` of them."""

    size: int
    images: float
    interval: Interval
    reach: float
    """Beyond this many the curve is not trusted: `images` past it says "more than that"."""


def real_equivalents(sizes: Sequence[int], real: Sequence[Scores], arm: Scores, size: int, draws: Resamples,
                     level: float = 0.95, reach: float = 4.0) -> Equivalent:
    """The number n' of real images with error_real(n') = the arm's error at `size`, by the power law through the
    arm `real` at all sizes; made anew in every resample, so that the interval holds the curve's own doubt, and widened
    as every other one (`Resamples.crossed`, on the logarithm of n').

    reach: times the largest size; what lies beyond, or where more images do not help (b <= 0) and the arm is better
    than all, counts as ten times that, and as a tenth of the smallest where it is worse than all.
    """
    least, most = math.log(min(sizes) / 10), math.log(10 * reach * max(sizes))

    def equal(images: Floats, seeds: Floats) -> Floats:
        errors = np.stack([1 - one.means(images, seeds) for one in real], 1)                  # (B, K)
        a, b = power_law(sizes, errors)
        ours = np.maximum(1 - arm.means(images, seeds), 1e-6)
        with np.errstate(divide="ignore", invalid="ignore"):
            solved = np.log(a / ours) / np.where(b > 0, b, np.nan)
        flat = np.where(ours < errors.min(1), most, least)
        return np.asarray(np.clip(np.where(np.isnan(solved), flat, solved), least, most), np.float64)

    found = draws.crossed(equal, level)
    low, high = (math.exp(min(max(end, least), most)) for end in found.interval)
    return Equivalent(size, math.exp(found.value), (low, high), reach * max(sizes))
