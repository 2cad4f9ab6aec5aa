"""Do the labels of two sets of images differ: in class, count, size, aspect, place, touching, co-occurrence?

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
from numpy.typing import ArrayLike, NDArray

from synthgen.geometry import areas, cropped, touches_border
from synthgen.metrics.bounds import resample_weights, t_quantile
from synthgen.types import Labels

Floats = NDArray[np.float64]
GRID = 256                               # steps of a distribution function; finer than the samples resolve
PAIRED = 20                              # classes, those that most images show, whose pairs are compared
_TIE = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class Attributes:
    """What is measured of one image's labels; n objects, those marked ignored left out.

    class_objects, class_pixels: (C,) objects and px per class. size: (n,) √area, px. aspect: (n,) ln(width /
    height). x, y: (n,) box centre as a share of width and height. border: (n,) whether it touches the border.
    touching: (n,) whether its mask overlaps another's or shares a pixel's side with it; None where not measured.
    """

    class_objects: Floats
    class_pixels: Floats
    size: Floats
    aspect: Floats
    x: Floats
    y: Floats
    border: NDArray[np.bool_]
    touching: NDArray[np.bool_] | None
    image_class: int | None


def attributes(labels: Labels, n_classes: int, boxes_only: bool = False, touching: bool = False) -> Attributes:
    """The attributes of one image's labels; areas are the boxes' without masks, and with `boxes_only`.

    touching: whether to decode the masks, which must be sound, and see which of them touch.
    """
    assert labels.states is not None
    keep = np.array([s != "ignored" for s in labels.states], bool)
    boxes = labels.boxes[keep].astype(np.float64)
    extent = np.maximum(boxes[:, 2:] - boxes[:, :2], 1e-6)                            # (n, 2) width, height
    area = extent.prod(1)
    met = None if len(boxes) or not touching else np.zeros(0, bool)
    if labels.masks is not None and not boxes_only:
        area = areas(labels.masks, labels.size)[keep].astype(np.float64)
        met = _touching(labels, keep) if touching else None
    classes = labels.classes[keep].clip(0, n_classes - 1)
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2 / (labels.size[1], labels.size[0])
    return Attributes(np.bincount(classes, minlength=n_classes).astype(np.float64),
                      np.bincount(classes, area, n_classes).astype(np.float64), np.sqrt(area),
                      np.log(extent[:, 0] / extent[:, 1]), centre[:, 0], centre[:, 1],
                      touches_border(labels.boxes[keep], labels.size), met,
                      None if labels.image_state == "ignored" else labels.image_class)


def _touching(labels: Labels, keep: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(n,) bool: which of the kept masks overlap or adjoin (by a pixel's side) another kept one."""
    assert labels.masks is not None
    ids = np.zeros(labels.size, np.int64)
    met = np.zeros(int(keep.sum()) + 1, bool)
    for k, mask in enumerate(np.flatnonzero(keep), start=1):
        part, inside = cropped(labels.masks[mask], labels.size)
        here = ids[part]
        under = np.unique(here[inside])
        met[under] = True
        met[k] = under.any()
        # What lay below is met already, so painting over it hides no touch of a third mask.
        here[inside] = k
    for one, two in ((ids[1:], ids[:-1]), (ids[:, 1:], ids[:, :-1])):
        side = (one != two) & (one > 0) & (two > 0)
        met[one[side]] = met[two[side]] = True
    return met[1:]


@dataclass(frozen=True, slots=True, eq=False)
class Profile:
    """One attribute of two sets of images: what its distance is computed from.

    distance = Σ_g widths_g · |Σ_a sums_g / Σ_a totals − Σ_b sums_g / Σ_b totals|, or, with `groups`, the largest
    of these sums over each group's columns: a norm again, so test and interval hold for all groups at once.
    sums: (N, G) per image, a's n images first. totals: (N,) what they are shares of. widths: (G,).
    unit: "sd of the reference" or "share". means: of a and of b, in the attribute's unit `of`, for people.
    groups: K names of groups of G / K columns each, in their order.
    """

    name: str
    unit: str
    of: str
    n: int
    sums: Floats
    totals: Floats
    widths: Floats
    means: tuple[float, float]
    groups: tuple[str, ...] = ()


def profiles(a: Sequence[Attributes], b: Sequence[Attributes], task: str = "instances",
             n_classes: int = 0) -> list[Profile]:
    """What a and the reference b can be compared by in a task; classes only where there are two.

    n_classes: the least number of classes to speak of in `classify`, whether or not an image shows them.
    """
    n, both = len(a), [*a, *b]
    if task == "classify":
        classes = max(n_classes, 1 + max((r.image_class for r in both if r.image_class is not None), default=0))
        hot = np.array([[r.image_class == c for c in range(classes)] for r in both], np.float64)
        return [_shares("class", "images of each class", hot, hot.sum(1), n)] if classes > 1 else []
    out = []
    per_class = np.array([r.class_pixels if task == "segment" else r.class_objects for r in both])
    if per_class.ndim == 2 and per_class.shape[1] > 1:
        of = "pixels" if task == "segment" else "objects"
        out.append(_shares("class", of, per_class, per_class.sum(1), n))
    ones = [np.ones(1) * len(r.size) for r in both]
    out.append(distribution("count", "objects per image", ones, n))
    for name, of, values in (("size", "px", [r.size for r in both]),
                             ("aspect", "ln(w/h)", [r.aspect for r in both]),
                             ("place x", "of the width", [r.x for r in both]),
                             ("place y", "of the height", [r.y for r in both])):
        out.append(distribution(name, of, values, n))
    touching = np.array([[r.border.sum()] for r in both], np.float64).reshape(-1, 1)
    out.append(_shares("border", "objects that touch the border", touching,
                       np.array([float(len(r.border)) for r in both]), n))
    met = [r.touching for r in both if r.touching is not None]
    if len(met) == len(both):
        out.append(_shares("touching", "objects that touch another", np.array([[float(t.sum())] for t in met]),
                           np.array([float(len(t)) for t in met]), n))
    pairs = _pairs(np.array([r.class_objects > 0 for r in both]), n)
    return [*out, pairs] if pairs is not None else out


def _pairs(shown: NDArray[np.bool_], n: int) -> Profile | None:
    """Which classes images show together; shown: (N, C). None with fewer than two classes anywhere.

    Per pair of classes the shares of images that show both, one, the other, neither; the distance is the largest
    total variation over the pairs. It moves with the classes' own shares of images too.
    Source: the pairwise presence of Wang et al. 2022, "REVISE" (IJCV 130:1790).
    """
    images = shown.sum(0)
    # The two sets together choose the classes, so a permutation would choose the same.
    top = np.sort(np.argsort(-images, kind="stable")[:PAIRED])
    top = top[images[top] > 0]
    if len(top) < 2:
        return None
    pairs = [(i, j) for k, i in enumerate(top) for j in top[k + 1:]]
    first, second = (shown[:, [pair[side] for pair in pairs]] for side in (0, 1))            # (N, P) each
    cells = np.stack([first & second, first & ~second, ~first & second, ~first & ~second], 2)
    return Profile("co-occurrence", "share", "images that show both classes", n,
                   cells.reshape(len(shown), -1).astype(np.float64), np.ones(len(shown)),
                   np.full(4 * len(pairs), 0.5), (math.nan, math.nan), tuple(f"{i}+{j}" for i, j in pairs))


def _shares(name: str, of: str, sums: Floats, totals: Floats, n: int) -> Profile:
    # Total variation is half the L1 distance; a single share has no complement to halve for.
    widths = np.full(sums.shape[1], 0.5 if sums.shape[1] > 1 else 1.0)
    one = sums[:, 0] if sums.shape[1] == 1 else np.zeros(len(sums))
    return Profile(name, "share", of, n, sums, totals, widths, _means(one, totals, n))


def distribution(name: str, of: str, values: Sequence[Floats], n: int, grid: int = GRID,
                 floor: float = 0.0) -> Profile:
    """Wasserstein-1 = ∫ |F_a − F_b|, in sd of the reference (of both where the reference is constant).

    values: N images' values, a's n images first. grid: steps of the distribution function, at most.
    floor: the least sd to divide by, in the values' unit: what is too small to matter stays small.
    """
    counts = np.array([len(v) for v in values], np.float64)
    flat = np.concatenate([*values, np.zeros(0)])
    image = np.repeat(np.arange(len(values)), counts.astype(int))
    edges = np.unique(flat)
    if len(edges) > grid:          # values are rounded up to the next of `grid` quantiles, in both sets alike
        edges = np.unique(np.quantile(flat, np.linspace(0, 1, grid + 1), method="higher"))
    G = max(len(edges), 1)
    cells = np.bincount(image * G + np.searchsorted(edges, flat), minlength=len(values) * G)
    below = np.cumsum(cells.reshape(-1, G), 1).astype(np.float64)
    reference = flat[image >= n]
    sd = reference.std() if len(reference) else 0.0
    sd = sd if sd > 0 else (flat.std() if len(flat) and flat.std() > 0 else 1.0)
    widths = np.append(np.diff(edges), np.zeros(1))[:G] / max(sd, floor)
    total = np.bincount(image, flat, len(values)).astype(np.float64)
    return Profile(name, "sd of the reference", of, n, below, counts, widths, _means(total, counts, n))


def difference_of_means(name: str, unit: str, of: str, values: ArrayLike, n: int) -> Profile:
    """|mean of a − mean of b| of one value per image; values: (N,), a's n images first."""
    column = np.asarray(values, np.float64)
    ones = np.ones(len(column))
    return Profile(name, unit, of, n, column[:, None], ones, np.ones(1), _means(column, ones, n))


def largest_of(name: str, parts: Sequence[Profile]) -> Profile:
    """The largest of several distances over the same images and objects, as one profile with a group for each.

    Raises: ValueError when the parts do not share their images and totals.
    """
    one = parts[0]
    if any(p.n != one.n or not np.array_equal(p.totals, one.totals) for p in parts):
        raise ValueError("only profiles of the same images and objects have a largest distance")
    G = max(len(p.widths) for p in parts)
    sums = np.concatenate([np.pad(p.sums, ((0, 0), (0, G - len(p.widths)))) for p in parts], 1)
    widths = np.concatenate([np.pad(p.widths, (0, G - len(p.widths))) for p in parts])
    return Profile(name, one.unit, one.of, one.n, sums, one.totals, widths, (math.nan, math.nan),
                   tuple(p.name for p in parts))


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
    at: the group with the largest distance, where the profile has groups.
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
    at: str = ""


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
                           profile.means, at)

    at = ""

    if not (profile.totals[:n].sum() and profile.totals[n:].sum()):
        return result(math.nan, (math.nan, math.nan), (math.nan, math.nan), math.nan, math.nan)
    of_a, of_b, of_all = slice(None, n), slice(n, None), slice(None)
    mean_a, mean_b = _average(profile, np.ones((1, n)), of_a), _average(profile, np.ones((1, m)), of_b)
    effect = float(_norms(profile, mean_a - mean_b)[0])
    if profile.groups:
        at = profile.groups[int(_by_group(profile, mean_a - mean_b)[0].argmax())]
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
    spread = float(np.nanstd(_norms(profile, drawn_a - drawn_b)))
    detectable = _quantile(gap, 0.95, "higher") + NormalDist().inv_cdf(0.8) * spread
    return result(effect, (max(0.0, effect - r), min(most, effect + r)), null, p, detectable)


def prior_test(profile: Profile, prior: ArrayLike, rng: np.random.Generator,
               resamples: int = 999) -> DriftResult:
    """The total variation of a's class shares from shares that were declared, by images of a alone.

    profile: of "class", its first n images are a's. prior: (C,) shares that sum to 1. A declared share has no
    sampling error and nothing to permute: the null is the bootstrap of a's deviations from its own shares,
    both widened by Student's t, the interval effect ± r as in `permutation_test`. p is approximate: of true
    priors 5 to 7 % are rejected at 0.05 with 10 to 40 images of clustered objects, 9 % with 6.
    Source: Efron & Tibshirani 1993, section 16.4 (a test by resampling under the null).
    """
    target = np.asarray(prior, np.float64)
    n = profile.n
    of_a, nan = slice(None, n), math.nan

    def result(effect: float, interval: tuple[float, float], null: tuple[float, float], p: float,
               detectable: float) -> DriftResult:
        return DriftResult(profile.name, profile.unit, profile.of, effect, interval, null, p, detectable,
                           (profile.means[0], nan))

    if not profile.totals[:n].sum():
        return result(nan, (nan, nan), (nan, nan), nan, nan)
    mean = _average(profile, np.ones((1, n)), of_a)
    effect = float(_norms(profile, mean - target)[0])
    if n < 2:
        return result(effect, (0.0, math.inf), (0.0, math.inf), 1.0, math.inf)
    drawn = _average(profile, np.concatenate(list(resample_weights(n, resamples, rng))), of_a)
    few = t_quantile(0.975, n - 1) / NormalDist().inv_cdf(0.975)
    gap = _distance(profile, (drawn - mean) * math.sqrt(n / (n - 1))) * few
    p = float((1 + (gap >= effect - _TIE).sum()) / (1 + resamples))
    r = _quantile(gap, 0.95, "higher")
    spread = float(np.nanstd(_norms(profile, drawn - target)))
    return result(effect, (max(0.0, effect - r), min(1.0, effect + r)),
                  (_quantile(gap, 0.025, "lower"), _quantile(gap, 0.975, "higher")), p,
                  _quantile(gap, 0.95, "higher") + NormalDist().inv_cdf(0.8) * spread)


def _by_group(profile: Profile, differences: Floats) -> Floats:
    """(B, K) L1 norms of (B, G) differences within each group."""
    weighted = np.abs(differences) * profile.widths
    return np.asarray(weighted.reshape(len(weighted), len(profile.groups), -1).sum(2), np.float64)


def _norms(profile: Profile, differences: Floats) -> Floats:
    """(B,) L1 norms of (B, G) differences, the largest over groups; nan where a side held no object."""
    if profile.groups:
        return np.asarray(_by_group(profile, differences).max(1), np.float64)
    return np.asarray(np.abs(differences) @ profile.widths, np.float64)


def _distance(profile: Profile, differences: Floats) -> Floats:
    """(B,) norms of (B, G) differences; infinite where a side held no object, which proves nothing."""
    norms = _norms(profile, differences)
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
            task: str = "instances", permutations: int = 999, prior: ArrayLike | None = None) -> list[DriftResult]:
    """Every attribute of a against the reference b; the p are raw: correct them with `bounds.holm`.

    prior: (C,) shares that a's classes are compared with instead of b's.
    Raises: ValueError when a side has no images.
    """
    if not a or not b:
        raise ValueError(f"drift needs images on both sides, not {len(a)} and {len(b)}")
    # Images in the order of their contents, so that the order of files changes no digit.
    a, b = (sorted(side, key=_contents) for side in (a, b))
    least = 0 if prior is None else np.size(prior)
    return [prior_test(profile, prior, rng) if profile.name == "class" and prior is not None
            else permutation_test(profile, rng, permutations) for profile in profiles(a, b, task, least)]


def _contents(image: Attributes) -> bytes:
    arrays = (image.class_objects, image.class_pixels, image.size, image.aspect, image.x, image.y,
              image.border, np.zeros(0) if image.touching is None else image.touching)
    return b"".join(a.tobytes() for a in arrays) + str(image.image_class).encode()
