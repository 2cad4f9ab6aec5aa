"""Do the labels of two sets of images differ: in class, count, size, aspect, place?

Objects of one image are alike, so it is images that are permuted and resampled, never objects (pooled boxes
reject over a quarter of true nulls at a nominal 5 %). Each attribute becomes one row of sums per image, and
the statistic an L1 distance between ratios of sums: Wasserstein-1 between distribution functions, total
variation between shares. A permutation or resample is then one matrix product.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from synthgen.geometry import areas, touches_border
from synthgen.metrics.bounds import resample_weights, t_quantile
from synthgen.types import Labels

Floats = NDArray[np.float64]
GRID = 256                               # steps of a distribution function; finer than the samples resolve
_TIE = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class Attributes:
    """What is measured of one image's labels; n objects, those marked ignored left out.

    class_objects, class_pixels: (C,) objects and px per class. size: (n,) √area, px. aspect: (n,) ln(width /
    height). x, y: (n,) box centre as a share of width and height. border: (n,) whether it touches the border.
    """

    class_objects: Floats
    class_pixels: Floats
    size: Floats
    aspect: Floats
    x: Floats
    y: Floats
    border: NDArray[np.bool_]
    image_class: int | None


def attributes(labels: Labels, n_classes: int, boxes_only: bool = False) -> Attributes:
    """The attributes of one image's labels; areas are the boxes' without masks, and with `boxes_only`."""
    assert labels.states is not None
    keep = np.array([s != "ignored" for s in labels.states], bool)
    boxes = labels.boxes[keep].astype(np.float64)
    extent = np.maximum(boxes[:, 2:] - boxes[:, :2], 1e-6)                            # (n, 2) width, height
    area = extent.prod(1)
    if labels.masks is not None and not boxes_only:
        area = areas(labels.masks, labels.size)[keep].astype(np.float64)
    classes = labels.classes[keep].clip(0, n_classes - 1)
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2 / (labels.size[1], labels.size[0])
    return Attributes(np.bincount(classes, minlength=n_classes).astype(np.float64),
                      np.bincount(classes, area, n_classes).astype(np.float64), np.sqrt(area),
                      np.log(extent[:, 0] / extent[:, 1]), centre[:, 0], centre[:, 1],
                      touches_border(labels.boxes[keep], labels.size),
                      None if labels.image_state == "ignored" else labels.image_class)


@dataclass(frozen=True, slots=True, eq=False)
class Profile:
    """One attribute of two sets of images: what its distance is computed from.

    distance = Σ_g widths_g · |Σ_a sums_g / Σ_a totals − Σ_b sums_g / Σ_b totals|.
    sums: (N, G) per image, a's n images first. totals: (N,) what they are shares of. widths: (G,).
    unit: "sd of the reference" or "share". means: of a and of b, in the attribute's unit `of`, for people.
    """

    name: str
    unit: str
    of: str
    n: int
    sums: Floats
    totals: Floats
    widths: Floats
    means: tuple[float, float]


def profiles(a: Sequence[Attributes], b: Sequence[Attributes], task: str = "instances") -> list[Profile]:
    """What a and the reference b can be compared by in a task; classes only where there are two."""
    n, both = len(a), [*a, *b]
    if task == "classify":
        classes = 1 + max((r.image_class for r in both if r.image_class is not None), default=0)
        hot = np.array([[r.image_class == c for c in range(classes)] for r in both], np.float64)
        return [_shares("class", "images of each class", hot, hot.sum(1), n)] if classes > 1 else []
    out = []
    per_class = np.array([r.class_pixels if task == "segment" else r.class_objects for r in both])
    if per_class.ndim == 2 and per_class.shape[1] > 1:
        of = "pixels" if task == "segment" else "objects"
        out.append(_shares("class", of, per_class, per_class.sum(1), n))
    ones = [np.ones(1) * len(r.size) for r in both]
    out.append(_distribution("count", "objects per image", ones, n))
    for name, of, values in (("size", "px", [r.size for r in both]),
                             ("aspect", "ln(w/h)", [r.aspect for r in both]),
                             ("place x", "of the width", [r.x for r in both]),
                             ("place y", "of the height", [r.y for r in both])):
        out.append(_distribution(name, of, values, n))
    touching = np.array([[r.border.sum()] for r in both], np.float64).reshape(-1, 1)
    out.append(_shares("border", "objects that touch the border", touching,
                       np.array([float(len(r.border)) for r in both]), n))
    return out


def _shares(name: str, of: str, sums: Floats, totals: Floats, n: int) -> Profile:
    # Total variation is half the L1 distance; a single share has no complement to halve for.
    widths = np.full(sums.shape[1], 0.5 if sums.shape[1] > 1 else 1.0)
    one = sums[:, 0] if sums.shape[1] == 1 else np.zeros(len(sums))
    return Profile(name, "share", of, n, sums, totals, widths, _means(one, totals, n))


def _distribution(name: str, of: str, values: Sequence[Floats], n: int) -> Profile:
    """Wasserstein-1 = ∫ |F_a − F_b|, in sd of the reference (of both where the reference is constant)."""
    counts = np.array([len(v) for v in values], np.float64)
    flat = np.concatenate([*values, np.zeros(0)])
    image = np.repeat(np.arange(len(values)), counts.astype(int))
    edges = np.unique(flat)
    if len(edges) > GRID:          # values are rounded up to the next of GRID quantiles, in both sets alike
        edges = np.unique(np.quantile(flat, np.linspace(0, 1, GRID + 1), method="higher"))
    G = max(len(edges), 1)
    cells = np.bincount(image * G + np.searchsorted(edges, flat), minlength=len(values) * G)
    below = np.cumsum(cells.reshape(-1, G), 1).astype(np.float64)
    reference = flat[image >= n]
    sd = reference.std() if len(reference) else 0.0
    sd = sd if sd > 0 else (flat.std() if len(flat) and flat.std() > 0 else 1.0)
    widths = np.append(np.diff(edges), np.zeros(1))[:G] / sd
    total = np.bincount(image, flat, len(values)).astype(np.float64)
    return Profile(name, "sd of the reference", of, n, below, counts, widths, _means(total, counts, n))


def _means(sums: Floats, totals: Floats, n: int) -> tuple[float, float]:
    def share(part: slice) -> float:
        return float(sums[part].sum() / totals[part].sum()) if totals[part].sum() else math.nan

    return share(slice(None, n)), share(slice(n, None))


@dataclass(frozen=True, slots=True)
class DriftResult:
    """How far a is from the reference b in one attribute.

    effect: Wasserstein-1 in sd of the reference, or total variation as a share; never below 0, and above it
    even between two halves of one set: compare it with `null`. interval: 95 %, both ends at once. null:
    middle 95 % under permuted images. p: for any difference. detectable: the effect that these many images
    show with 80 % power, roughly. means: of a and b in the unit `of`. All nan where a side has no objects.
    """

    name: str
    unit: str
    of: str
    effect: float
    interval: tuple[float, float]
    null: tuple[float, float]
    p: float
    detectable: float
    means: tuple[float, float]


def permutation_test(profile: Profile, rng: np.random.Generator, permutations: int = 999,
                     resamples: int = 999) -> DriftResult:
    """The attribute's effect with its permutation p over images and its bootstrap interval over images.

    The interval: with D(F) = F_a − F_b, |‖D̂‖ − ‖D‖| ≤ ‖D̂ − D‖ by the triangle inequality, and the bootstrap
    gives the 95 % point r of the right side (Giné & Zinn 1990), so effect ± r covers at least 95 %
    (cautiously). Plain percentiles would not do: a distance is biased upwards, the more so in resamples.
    Resamples of few images vary too little: deviations are scaled by √(n/(n−1)) per side, and r by Student's
    t over the normal's z for the smaller side. The reference's sd is taken as measured.
    p: (1 + #{permuted >= observed}) / (1 + B), Phipson & Smyth 2010; exact when images are exchangeable.
    """
    n, N = profile.n, len(profile.sums)
    m = N - n

    def result(effect: float, interval: tuple[float, float], null: tuple[float, float], p: float,
               detectable: float) -> DriftResult:
        return DriftResult(profile.name, profile.unit, profile.of, effect, interval, null, p, detectable,
                           profile.means)

    if not (profile.totals[:n].sum() and profile.totals[n:].sum()):
        return result(math.nan, (math.nan, math.nan), (math.nan, math.nan), math.nan, math.nan)
    of_a, of_b, of_all = slice(None, n), slice(n, None), slice(None)
    mean_a, mean_b = _average(profile, np.ones((1, n)), of_a), _average(profile, np.ones((1, m)), of_b)
    effect = float(np.abs(mean_a - mean_b)[0] @ profile.widths)
    in_a = rng.permuted(np.tile(np.arange(N) < n, (permutations, 1)), axis=1).astype(np.float64)
    gap = _distance(profile, _average(profile, in_a, of_all) - _average(profile, 1 - in_a, of_all))
    p = float((1 + (gap >= effect - _TIE).sum()) / (1 + permutations))
    null = _quantile(gap, 0.025, "lower"), _quantile(gap, 0.975, "higher")
    if n < 2 or m < 2:
        return result(effect, (0.0, math.inf), null, p, math.inf)
    drawn_a = _average(profile, np.concatenate(list(resample_weights(n, resamples, rng))), of_a)
    drawn_b = _average(profile, np.concatenate(list(resample_weights(m, resamples, rng))), of_b)
    deviation = (drawn_a - mean_a) * math.sqrt(n / (n - 1)) - (drawn_b - mean_b) * math.sqrt(m / (m - 1))
    few = t_quantile(0.975, min(n, m) - 1) / NormalDist().inv_cdf(0.975)
    r = few * _quantile(_distance(profile, deviation), 0.95, "higher")
    most = 1.0 if profile.unit == "share" else math.inf
    spread = float(np.nanstd(np.abs(drawn_a - drawn_b) @ profile.widths))
    detectable = _quantile(gap, 0.95, "higher") + NormalDist().inv_cdf(0.8) * spread
    return result(effect, (max(0.0, effect - r), min(most, effect + r)), null, p, detectable)


def _distance(profile: Profile, differences: Floats) -> Floats:
    """(B,) L1 norms of (B, G) differences; infinite where a side held no object, which proves nothing."""
    norms = np.abs(differences) @ profile.widths
    return np.asarray(np.where(np.isnan(norms), np.inf, norms), np.float64)


def _quantile(values: Floats, level: float, method: Literal["lower", "higher"]) -> float:
    """A quantile that is one of the values, since between a finite and an infinite one there is none."""
    return float(np.quantile(values, level, method=method))


def _average(profile: Profile, weights: Floats, part: slice) -> Floats:
    """(B, G) ratios of weighted sums of a part's images; nan where the weights hold no object."""
    total = weights @ profile.totals[part]
    held = np.where(total > 0, total, np.nan)
    return np.asarray((weights @ profile.sums[part]) / held[:, None], np.float64)


def compare(a: Sequence[Attributes], b: Sequence[Attributes], rng: np.random.Generator,
            task: str = "instances", permutations: int = 999) -> list[DriftResult]:
    """Every attribute of a against the reference b; the p are raw: correct them with `bounds.holm`.

    Raises: ValueError when a side has no images.
    """
    if not a or not b:
        raise ValueError(f"drift needs images on both sides, not {len(a)} and {len(b)}")
    # Images in the order of their contents, so that the order of files changes no digit.
    a, b = (sorted(side, key=_contents) for side in (a, b))
    return [permutation_test(profile, rng, permutations) for profile in profiles(a, b, task)]


def _contents(image: Attributes) -> bytes:
    arrays = (image.class_objects, image.class_pixels, image.size, image.aspect, image.x, image.y,
              image.border)
    return b"".join(a.tobytes() for a in arrays) + str(image.image_class).encode()
