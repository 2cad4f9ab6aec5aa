"""Do an image and its label say the same? What labelers make of a label, in numbers that can be held against what they
make of real labels.

Of each pixel: how much its label surprises them (cross-entropy). Of each instance: how well they find it. Of the whole
image: how much more it surprises them than its classes do on real images. The bars are not chosen: `lower_bar` and
`upper_bar` take them from real images that the labelers did not see, so that of real ones at most a stated share would
be lost.

Source of the pixel rule: Yang et al. 2023, "FreeMask: Synthetic Images with Dense Annotations Make Stronger
Segmentation Models", NeurIPS, and `preprocess/filter.py` of its code: a synthetic pixel is left out when
its loss is over 1.25 times the mean loss of its class on real images. There the real images are 20 000 that the model
was trained on. Of ten images a model knows its own by heart, so that their losses say nothing of new ones; here they
are images that it did not see.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from synthgen.geometry import areas, box_ious, decode, id_map, rle_ious
from synthgen.types import Labels, Rle, Size, Task

Floats = NDArray[np.float64]

UNSURE = math.log(2)
"""Loss of a label that is held for as likely as not, nats. What is held for likelier is never disputed, however small
the mean loss on real images: labelers that are sure of all they see would else dispute what they merely hold for 99 %
likely."""
SURE = -math.log(0.99)
"""Loss below which mean losses are not told apart, nats."""
FEW = 5
"""Real values below which no bar is set."""
LEAST = 1e-6
"""Smallest probability that a loss is taken of, so that none is over 13.8 nats."""


@dataclass(frozen=True, slots=True)
class Bar:
    """How far real values go. at: the last value that is not beyond; nan = there is no bar. n: real values that it was
    taken from. share: of further real values at most this share is expected beyond it."""

    at: float
    n: int
    share: float


NO_BAR = Bar(math.nan, 0, 0.0)


def lower_bar(values: Sequence[float] | Floats, share: float) -> Bar:
    """The bar that a new real value falls below with a probability of at most `share`.

    It is the k-th smallest of n values, k = ⌊share · (n + 1)⌋: a new one that is exchangeable with them is as likely to
    take any of the n + 1 ranks (split conformal prediction: Lei et al. 2018, "Distribution-Free Predictive Inference
    for Regression", JASA 113:1094). Where so few values cannot promise so small a share it is the worst of them, and
    `share` says what that promises; below FEW there is no bar. Instances of one image are not independent of each
    other, so that for them the share holds on average over images.
    """
    known = np.sort(np.asarray(values, np.float64))
    n = len(known)
    if n < FEW:
        return Bar(math.nan, n, 0.0)
    k = max(1, math.floor(share * (n + 1) + 1e-9))
    return Bar(float(known[k - 1]), n, k / (n + 1))


def upper_bar(values: Sequence[float] | Floats, share: float) -> Bar:
    """The bar that a new real value rises above with a probability of at most `share`; see `lower_bar`."""
    bar = lower_bar(-np.asarray(values, np.float64), share)
    return Bar(-bar.at, bar.n, bar.share)


def class_bars(values: Mapping[int, Sequence[float]], share: float) -> dict[int, Bar]:
    """A lower bar for each class that has real values. With fewer than FEW of its own: that of all classes together, or
    its own lowest value where that is lower."""
    every = lower_bar([v for c in sorted(values) for v in values[c]], share)
    out = {}
    for c in sorted(values):
        if not len(values[c]):
            continue
        own = lower_bar(values[c], share)
        out[c] = own if own.n >= FEW else Bar(min(every.at, *values[c]) if every.at == every.at else math.nan,
                                              own.n, every.share)
    return out


def target_of(labels: Labels) -> NDArray[np.int64] | None:
    """(H, W) int64: −1 says nothing, 0 background, c + 1 class c; None where only boxes are known."""
    if labels.masks is None and len(labels):
        return None
    assert labels.states is not None
    known = np.where([state == "ignored" for state in labels.states], -1, labels.classes + 1)
    out = np.concatenate([np.zeros(1, np.int64), known.astype(np.int64)])[id_map(labels)]
    if labels.ignore is not None:
        out[decode([labels.ignore], labels.size)[0]] = -1
    return out


def cross_entropy(probs: NDArray[np.float32], target: NDArray[np.int64]) -> NDArray[np.float32]:
    """(H, W) float32 −ln p of each pixel's label, nats; 0 where the label says nothing.

    probs: (K + 1, H, W), background first. Raises: ValueError when the two are of different sizes.
    """
    if probs.shape[1:] != target.shape:
        raise ValueError(f"probabilities are for {probs.shape[1:]} px, the label for {target.shape}")
    p = np.take_along_axis(probs, target.clip(0)[None], 0)[0]
    return np.where(target < 0, 0, -np.log(p.clip(LEAST, 1))).astype(np.float32)


def entropy(probs: NDArray[np.float32]) -> float:
    """Mean entropy over the pixels, nats; probs: (K, …), summing to 1 along the first axis. How unsure a labeler is,
    whatever the label says (Askari-Hemmat et al. 2025, "Improving the Scaling Laws of Synthetic Data with Deliberate
    Practice", ICML)."""
    p = probs.clip(LEAST, 1)
    return float(-(p * np.log(p)).sum(0).mean(dtype=np.float64))


def class_sums(loss: NDArray[np.float32], target: NDArray[np.int64], n: int) -> tuple[Floats, NDArray[np.int64]]:
    """(n,) sum of the losses and (n,) number of the pixels of each label, background first."""
    known = target >= 0
    sums = np.bincount(target[known], weights=loss[known], minlength=n)
    return sums.astype(np.float64), np.bincount(target[known], minlength=n)


def disputed(loss: NDArray[np.float32], target: NDArray[np.int64], means: Floats,
             tolerance: float) -> NDArray[np.bool_]:
    """(H, W) bool: pixels whose label the labelers dispute: their loss is over `tolerance` times the mean of its class
    on real images, and over UNSURE.

    means: mean loss of each label, background first; nan = none is known, and nothing of that class is disputed.
    """
    bars = np.maximum(tolerance * means, UNSURE)
    return np.asarray((target >= 0) & (loss > np.where(np.isnan(bars), np.inf, bars)[target.clip(0)]), np.bool_)


def depths(away: NDArray[np.bool_]) -> Floats:
    """(R,) px: of each region of (H, W) pixels, those that share a side being one, how far its deepest pixel is from
    what is not of it; what lies beyond the image is not."""
    count, regions = cv2.connectedComponents(away.view(np.uint8), connectivity=4)
    out = np.zeros(count)
    np.maximum.at(out, regions[away], _depth(away)[away])
    return out[1:]


def deep(away: NDArray[np.bool_], rim: float) -> NDArray[np.bool_]:
    """(H, W) bool: what is left of regions without what is thin, opened by a disc of `rim` px (Serra 1982, "Image
    Analysis and Mathematical Morphology")."""
    core = _depth(away) > rim
    if not core.any():
        return np.zeros(away.shape, bool)
    return np.asarray(cv2.distanceTransform((~core).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE) <= rim)


def _depth(away: NDArray[np.bool_]) -> NDArray[np.float32]:
    around = np.pad(away, 1).view(np.uint8)
    return np.asarray(cv2.distanceTransform(around, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1], np.float32)


def expected(target: NDArray[np.int64], means: Floats) -> float:
    """The loss that the label's classes have on real images, each weighted by its area, nats: FreeMask's hardness of a
    mask (`preprocess/resample.py`). nan where the classes of no pixel are known."""
    at = means[target[target >= 0]]
    at = at[~np.isnan(at)]
    return float(at.mean()) if len(at) else math.nan


def surprise(loss: NDArray[np.float32], target: NDArray[np.int64], means: Floats) -> float:
    """The image's loss over the loss that its classes have on real images: 1 = as real images; 1 too where nothing is
    known. Means below SURE count as SURE."""
    known = target >= 0
    at = np.maximum(means, SURE)[target[known]]
    there = ~np.isnan(at)
    below = float(at[there].sum())
    return float(loss[known][there].sum(dtype=np.float64)) / below if below else 1.0


def found(pred: Labels, labels: Labels, task: Task) -> Floats:
    """(N,) float64 in [0, 1]: how well a labeler finds each instance of the labels.

    The best IoU with any prediction of its class, by masks where both sides have them, else by boxes; for `segment`,
    whose predictions are regions and no objects, the share of its pixels that predictions of its class cover.
    """
    assert pred.states is not None
    offered = np.asarray([state != "ignored" for state in pred.states], bool)
    classes = pred.classes[offered]
    if not len(labels) or not len(classes):
        return np.zeros(len(labels))
    by_masks = pred.masks is not None and labels.masks is not None
    theirs = [m for m, is_one in zip(pred.masks or (), offered, strict=True) if is_one] if by_masks else []
    if task == "segment" and by_masks:
        assert labels.masks is not None
        return _covered(theirs, classes, labels.masks, labels.classes, labels.size)
    boxes = pred.boxes[offered]
    ious = rle_ious(theirs, labels.masks or (), labels.size) if by_masks else box_ious(boxes, labels.boxes)
    return np.asarray(np.where(classes[:, None] == labels.classes[None], ious, 0).max(0), np.float64)


def _covered(theirs: Sequence[Rle], kinds: NDArray[np.int64], masks: Sequence[Rle], classes: NDArray[np.int64],
             size: Size) -> Floats:
    regions = {c: coco_mask.merge([{"size": list(size), "counts": m} for m, k in zip(theirs, kinds, strict=True)
                                   if k == c]) for c in set(kinds.tolist())}
    out = np.zeros(len(masks))
    for i, (rle, area) in enumerate(zip(masks, areas(masks, size), strict=True)):
        if (region := regions.get(int(classes[i]))) is not None and area:
            both = coco_mask.merge([{"size": list(size), "counts": rle}, region], intersect=True)
            out[i] = float(coco_mask.area(both)) / area
    return out
