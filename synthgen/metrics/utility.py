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

from synthgen.metrics.bounds import RESAMPLES, Interval, ratio, resample_weights, t_quantile

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

    def crossed(self, statistic: Callable[[Floats, Floats], Floats], level: float = 0.95) -> Crossed:
        """A statistic of (B, N) and (B, S) weights with its interval.

        The pigeonhole bootstrap's variance is never too small (Owen 2007, theorem 2), but its percentiles know
        nothing of few rows: deviations are widened so that each side's variance counts n/(n−1) times, and with
        Student's t of its own degrees of freedom in place of the normal's z (cautious after Cochran 1964,
        Biometrics 20:191). Fewer than 2 images: the interval is infinite.
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
        scale = (parts[0][0], parts[1][0] if S > 1 else math.nan)
        return Crossed(value, (value + widen * float(low), value + widen * float(high)), *scale)


def difference(a: Scores, b: Scores, draws: Resamples, level: float = 0.95) -> Crossed:
    """a − b, paired by seed and by image.

    Raises: ValueError when the two were not scored on the same number of seeds and images.
    """
    if a.num.shape != b.num.shape:
        raise ValueError(f"a paired comparison needs the same seeds and images, not {a.num.shape} and {b.num.shape}")
    return draws.crossed(lambda images, seeds: a.means(images, seeds) - b.means(images, seeds), level)


def mean(a: Scores, draws: Resamples, level: float = 0.95) -> Crossed:
    """An arm's metric, averaged over its seeds."""
    return draws.crossed(a.means, level)


@dataclass(frozen=True, slots=True)
class Needed:
    """What would settle a comparison: test images with the seeds there are, or seeds with the images there are."""

    images: int | None
    seeds: int | None


def needed(found: Crossed, room: float, images: int, seeds: int, level: float = 0.95) -> Needed:
    """How many test images, or else how many seeds, bring the half width down to `room`; None = no number does.

    Half width² = z² (v_images · N / N' + v_seeds · S / S'), the variances taken as they were estimated.
    """
    if room <= 0 or not math.isfinite(found.by_images):
        return Needed(None, None)
    v_s = 0.0 if math.isnan(found.by_seeds) else found.by_seeds
    allowed = (room / NormalDist().inv_cdf((1 + level) / 2)) ** 2
    for_images, for_seeds = allowed - v_s, allowed - found.by_images
    return Needed(max(images + 1, math.ceil(found.by_images * images / for_images)) if for_images > 0 else None,
                  max(seeds + 1, math.ceil(v_s * seeds / for_seeds)) if for_seeds > 0 else None)


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
    """How many real labelled images alone score as an arm does with `size` of them; ends may be infinite."""

    size: int
    images: float
    interval: Interval
    reach: float
    """Beyond this many the curve is not trusted: `images` past it says "more than that"."""


def real_equivalents(sizes: Sequence[int], real: Sequence[Scores], arm: Scores, size: int, draws: Resamples,
                     level: float = 0.95, reach: float = 4.0) -> Equivalent:
    """The number n' of real images with error_real(n') = the arm's error at `size`, by the power law through the
    arm `real` at all sizes; made anew in every resample, so that the interval holds the curve's own doubt.

    A resample in which more images do not help (b <= 0) gives infinity, or 0 where the arm is worse than all.
    reach: times the largest size. Metrics are shares where 1 is best.
    """
    def equal(images: Floats, seeds: Floats) -> Floats:
        errors = np.stack([1 - one.means(images, seeds) for one in real], 1)                  # (B, K)
        a, b = power_law(sizes, errors)
        ours = np.maximum(1 - arm.means(images, seeds), 1e-6)
        with np.errstate(over="ignore", divide="ignore"):
            solved = np.exp(np.clip(np.log(a / ours) / np.where(b > 0, b, np.nan), -50, 50))
        flat = np.where(ours < errors.min(1), np.inf, 0.0)
        return np.asarray(np.where(np.isnan(solved), flat, solved), np.float64)

    S, N = draws.seeds.shape[1], draws.images.shape[1]
    value = float(equal(np.ones((1, N)), np.ones((1, S)))[0])
    low, high = np.quantile(equal(draws.images, draws.seeds), ((1 - level) / 2, (1 + level) / 2), method="nearest")
    return Equivalent(size, value, (float(low), float(high)), reach * max(sizes))
