"""Outlines for objects of which only boxes are known, so that they can be cut out."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from synthgen.geometry import encode_crop, mask_box
from synthgen.types import Image, Labels, Mask, Rle, Sample

AROUND = 0.4  # of a box's side: how much of the picture around it tells what the background is
ROUNDS = 4  # of GrabCut
FULL, FITTING = (0.2, 0.95), 0.5  # share of the box that an outline takes; IoU of its own box with the given one


def outlined(sample: Sample) -> Sample:
    """The sample with a mask in each box whose own box is exactly the given one, in whole pixels.

    GrabCut (Rother, Kolmogorov & Blake, SIGGRAPH 2004), as in "Simple Does It" (Khoreva et al., CVPR 2017, §4.1),
    stretched to the box; the ellipse inside the box where that finds next to nothing, or everything, or only a corner.
    """
    labels = sample.labels
    if labels is None or labels.masks is not None or not len(labels):
        return sample
    masks = tuple(_mask(sample.image, box, labels) for box in np.round(labels.boxes).astype(int))
    return replace(sample, labels=replace(labels, masks=masks))


def _mask(image: Image, box: np.ndarray[tuple[int], np.dtype[np.int64]], labels: Labels) -> Rle:
    H, W = labels.size
    x0, y0, x1, y1 = (int(v) for v in box)
    x0, y0 = min(max(x0, 0), W - 1), min(max(y0, 0), H - 1)
    x1, y1 = min(max(x1, x0 + 1), W), min(max(y1, y0 + 1), H)
    found = _grabbed(image, (x0, y0, x1, y1))
    return encode_crop(found if found is not None else _ellipse(y1 - y0, x1 - x0), y0, x0, labels.size)


def _grabbed(image: Image, box: tuple[int, int, int, int]) -> Mask | None:
    """(h, w) bool inside the box; None where GrabCut finds nothing that fits it."""
    x0, y0, x1, y1 = box
    h, w = y1 - y0, x1 - x0
    if min(h, w) < 4:
        return None
    H, W = image.shape[:2]
    dy, dx = max(4, round(AROUND * h)), max(4, round(AROUND * w))
    top, left = max(y0 - dy, 0), max(x0 - dx, 0)
    crop = np.ascontiguousarray(image[top : min(y1 + dy, H), left : min(x1 + dx, W)])
    mask = np.full(crop.shape[:2], cv2.GC_BGD, np.uint8)
    mask[y0 - top : y1 - top, x0 - left : x1 - left] = cv2.GC_PR_FGD
    if (mask == cv2.GC_PR_FGD).all():
        return None  # nothing tells what the background looks like
    cv2.setRNGSeed(0)  # its mixtures begin at random
    try:
        cv2.grabCut(crop, mask, None, np.zeros((1, 65)), np.zeros((1, 65)), ROUNDS, cv2.GC_INIT_WITH_MASK)
    except cv2.error:  # too few different colours for a mixture
        return None
    own = np.isin(mask, (cv2.GC_FGD, cv2.GC_PR_FGD))[y0 - top : y1 - top, x0 - left : x1 - left]
    count, parts, stats, _ = cv2.connectedComponentsWithStats(own.astype(np.uint8), connectivity=4)
    if count < 2:
        return None
    k = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    px, py, pw, ph, area = (int(v) for v in stats[k])
    if not FULL[0] <= area / (h * w) <= FULL[1] or pw * ph < FITTING * h * w:
        return None
    part = (parts[py : py + ph, px : px + pw] == k).astype(np.uint8)
    contours, _ = cv2.findContours(part, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    part = np.asarray(cv2.drawContours(np.zeros_like(part), contours, -1, 1, cv2.FILLED), np.uint8)
    return np.asarray(cv2.resize(part, (w, h), interpolation=cv2.INTER_NEAREST), bool)


def _ellipse(h: int, w: int) -> Mask:
    ys, xs = (np.arange(h) + 0.5) / h * 2 - 1, (np.arange(w) + 0.5) / w * 2 - 1
    inside = (ys[:, None] ** 2 + xs[None] ** 2 <= 1.0).astype(np.uint8)
    found = mask_box(inside.astype(bool))
    if found is None:
        return np.ones((h, w), bool)
    x0, y0, x1, y1 = found  # in a very flat box the ellipse's tips fall between pixels
    return np.asarray(cv2.resize(inside[y0:y1, x0:x1], (w, h), interpolation=cv2.INTER_NEAREST), bool)
