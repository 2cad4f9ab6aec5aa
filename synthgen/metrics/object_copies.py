"""Are synthetic objects nearer to the seed's than real objects of different images are to each other?

A generator may copy objects and arrange them anew, which no look at whole images sees. Named copying, not privacy.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from synthgen.geometry import cropped, touches_border
from synthgen.layouts.survey import axes_of
from synthgen.metrics.bounds import ratio_interval
from synthgen.metrics.copying import SIDE, nearest, symmetries
from synthgen.types import Image, Labels, Mask, Sample

Floats = NDArray[np.float64]
SMALLEST = 8  # px of the longer side, below which all objects look alike
OUTLINE = 3.0  # how much a pixel of another shape weighs, in sd of the texture
NEAR = 0.05  # of real objects are as near to another image's as what is called near
MOST = 2000  # objects of a side that are compared
SAME = 1e-9  # how much two sums of the same squares may differ, relatively
FEWEST = 20  # seed objects that the bar needs
FEWEST_IMAGES = 3  # seed images: without one of them there must be two to be near to


@dataclass(frozen=True, slots=True, eq=False)
class Objects:
    """N objects: rows (N, 4 · SIDE²) their `_thumb`s, image (N,) which of `images` images each is in."""

    rows: NDArray[np.float32]
    image: NDArray[np.int64]
    images: int


@dataclass(frozen=True, slots=True, eq=False)
class Nearness:
    """value: share of synthetic objects that are near to a seed object, nearer than all but NEAR of the seed's objects
    are to those of other images; interval: 95 %, over synthetic images; chance: 95 % of the shares that the bar, known
    from so few objects, may stand for. near: (m,) of each synthetic object, in how many of the comparisons."""

    value: float
    interval: tuple[float, float]
    chance: tuple[float, float]
    near: Floats


def cut_objects(samples: Iterable[Sample], most: int = MOST) -> Objects:
    """The whole objects of at least SMALLEST px of each sample; of more than `most` an even part."""
    rows: list[NDArray[np.float32]] = []
    of: list[int] = []
    count = 0
    for count, sample in enumerate(samples, 1):
        found = _objects(sample.image, sample.labels) if sample.labels is not None else []
        rows += found
        of += [count - 1] * len(found)
    picks = np.unique(np.linspace(0, len(of) - 1, min(len(of), most)).astype(np.int64))
    return Objects(np.array([rows[k] for k in picks], np.float32).reshape(-1, SIDE * SIDE * 4),
                   np.asarray(of, np.int64)[picks], count)


def _objects(image: Image, labels: Labels) -> list[NDArray[np.float32]]:
    out = []
    H, W = labels.size
    sides = (labels.boxes[:, 2:] - labels.boxes[:, :2]).max(1, initial=0)
    for k in np.flatnonzero(~touches_border(labels.boxes, labels.size) & (sides >= SMALLEST)):
        if labels.masks is not None:
            part, inside = cropped(labels.masks[k], labels.size)
            out.append(_thumb(image[part], inside, axes_of(inside)[2]))
        else:
            x0, y0 = np.maximum(np.floor(labels.boxes[k, :2]), 0).astype(int)
            x1, y1 = np.minimum(np.ceil(labels.boxes[k, 2:]), [W, H]).astype(int)
            out.append(_thumb(image[y0:y1, x0:x1], np.ones((y1 - y0, x1 - x0), bool), 0.0))
    return out


def _thumb(crop: Image, inside: Mask, angle: float) -> NDArray[np.float32]:
    """(4 · SIDE²,) float32: the object with its long axis turned flat, on SIDE × SIDE: three colours, mean 0 and sd 1
    inside it and 0 outside, and its shape, ± OUTLINE / 2. Neighbours, background, size and brightness tell nothing."""
    ys, xs = np.nonzero(inside)
    cy, cx = ys.mean(), xs.mean()
    colours = crop.astype(np.float32) - crop[inside].mean(0, dtype=np.float32)
    colours[~inside] = 0
    # The square that holds the turned object: its reach along either axis from the centroid.
    along = np.abs((xs - cx) * np.cos(angle) + (ys - cy) * np.sin(angle)).max()
    across = np.abs((ys - cy) * np.cos(angle) - (xs - cx) * np.sin(angle)).max()
    side = 2 * int(np.ceil(max(along, across) + 0.5))
    turn = cv2.getRotationMatrix2D((float(cx), float(cy)), float(np.degrees(angle)), 1.0)
    turn[:, 2] += (side - 1) / 2 - np.array([cx, cy])
    layers = [cv2.resize(cv2.warpAffine(layer, turn, (side, side)), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
              for layer in (colours, inside.astype(np.float32))]
    shape = layers[1][..., None]
    texture = layers[0] / max(float(layers[0][layers[1] > 0.5].std()) if (layers[1] > 0.5).any() else 0.0, 1.0) * shape
    return np.concatenate([texture, OUTLINE * (shape - 0.5)], 2).reshape(-1).astype(np.float32)


def nearness(synthetic: Objects, seed: Objects, rng: np.random.Generator) -> Nearness:
    """How many synthetic objects are as near to seed objects as hardly a real one is to those of other images.

    Distances are between thumbnails along the long axis, over flips and quarter turns. The bar is the NEAR quantile of
    the distances of the seed's objects to the nearest of another image. So that synthetic objects have as many to be
    near to, each is compared once without each of the N seed images, and counts as the share of the comparisons in
    which it is near; a copy is in all but one. Without copies the expected value is the share of all real objects that
    are below the bar. Were the n distances independent, that would be drawn from Beta(k, n + 1 − k) for the k-th
    smallest (order statistics: David & Nagaraja 2003, §2.5); but the nearest objects are each other's nearest, and give
    one distance twice. Of k that are m different ones, each counts for k / m: Beta(m, n·m / k + 1 − m).
    rng: for the interval.
    Raises: ValueError for fewer than FEWEST seed objects or FEWEST_IMAGES seed images with objects.
    """
    there = np.unique(seed.image)
    if len(seed.rows) < FEWEST or len(there) < FEWEST_IMAGES:
        raise ValueError(f"{FEWEST} seed objects in {FEWEST_IMAGES} images are needed, not {len(seed.rows)} in "
                         f"{len(there)}")
    own = [np.flatnonzero(seed.image == i) for i in there]
    looks = [symmetries(seed.rows[rows]) for rows in own]
    to = np.stack([nearest(synthetic.rows, look)[0] for look in looks], 1)                           # (m, N)
    among = np.stack([nearest(seed.rows, look)[0] for look in looks], 1)                             # (n, N)
    for i, rows in enumerate(own):
        among[rows, i] = np.inf
    real = np.sort(among.min(1))
    # The k smallest, and what is equal to the last of them but for rounding.
    k = int((real <= real[max(1, int(NEAR * len(real))) - 1] * (1 + SAME)).sum())
    bar, different = real[k - 1], 1 + int((np.diff(real[:k]) > SAME * real[1:k]).sum())
    first, second = np.partition(to, 1, axis=1)[:, :2].T
    N = len(there)
    near = np.where(second <= bar, 1.0, np.where(first <= bar, (N - 1) / N, 0.0))
    top, bottom = (np.bincount(synthetic.image, weights, synthetic.images) for weights in (near, None))
    value, (low, high) = ratio_interval(top, bottom, rng, empty=0.0, limits=(0.0, 1.0))
    return Nearness(value, (max(0.0, low), min(1.0, high)), _beta(different, len(real) * different / k), near)


def _beta(k: int, n: float) -> tuple[float, float]:
    """The middle 95 % of Beta(k, n + 1 − k)."""
    from scipy.special import betaincinv

    return float(betaincinv(k, n + 1 - k, 0.025)), float(betaincinv(k, n + 1 - k, 0.975))
