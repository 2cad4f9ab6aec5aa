"""The box head (task `detect`): what it is taught, how wrong it is, and what its outputs say.

After TTFNet (Liu, Zheng, Xu, Yang, Liu & Cai, AAAI 2020, "Training-Time-Friendly Network for Real-Time Object
Detection"): a heat-map of centres per class as in CenterNet (Zhou, Wang & Krähenbühl 2019), and at every pixel near a
centre, not only on it, the distances to the box's four sides.

Sides are (4, H, W) float32 px: how far the box goes from the middle of a pixel up, left, down and right.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from synthgen.geometry import Part
from synthgen.types import Boxes, Size
from synthgen_labeler.targets import focal_loss

SPREAD = 0.54 / 6  # sigma of a centre's Gaussian, of the box's side (TTFNet §3.3: alpha 0.54)
LEAST_SIGMA = 0.8  # px
MOST_SIGMA = 4.0  # px, of a centre: each object has a handful of pixels that are its centre, however large it is
GAIN, MOST_LOG = 4.0, 6.0  # of raw sides; sides lie within exp(±6), 400 times smaller or larger than usual
SIDES_WEIGHT = 5.0  # of the sides' loss beside the heat-map's (TTFNet §3.5)
MOST, AREA = 5000, 64  # peaks that are looked at: so many, or one for so many px of a large image
OVERLAP = 0.6  # IoU above which two boxes of one class are one object's

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class BoxTarget:
    """heat (K, H, W) float32 in [0, 1], 1 at centres; sides (4, H, W) float32 px; weight (H, W) float32, how much the
    sides matter there, summing to 1 over each box; valid (H, W) bool, where not finding anything says something."""

    heat: Floats
    sides: Floats
    weight: Floats
    valid: NDArray[np.bool_]


def box_target(boxes: Boxes, classes: NDArray[np.int64], n_classes: int, valid: NDArray[np.bool_]) -> BoxTarget:
    """Targets from (N, 4) boxes and their classes. Where boxes overlap, the smaller one's sides are taught."""
    H, W = valid.shape
    heat = np.zeros((n_classes, H, W), np.float32)
    sides = np.zeros((4, H, W), np.float32)
    weight = np.zeros((H, W), np.float32)
    extent = boxes[:, 2:] - boxes[:, :2]
    for k in np.argsort(-extent.prod(1), kind="stable"):
        (x0, y0, x1, y1), (w, h) = boxes[k].tolist(), extent[k].tolist()
        at, bell = _bell((y0 + h / 2, x0 + w / 2), (h, w), (H, W), MOST_SIGMA)
        if not bell.size:
            continue
        peak = bell / bell.max()  # a centre between two pixels has its peak on the nearer one
        heat[classes[k]][at] = np.maximum(heat[classes[k]][at], peak)
        at, bell = _bell((y0 + h / 2, x0 + w / 2), (h, w), (H, W), math.inf)
        py, px = np.mgrid[at] + 0.5
        inside = (py > y0) & (py < y1) & (px > x0) & (px < x1)
        here = np.s_[:, *at]
        sides[here] = np.where(inside, np.stack([py - y0, px - x0, y1 - py, x1 - px]), sides[here])
        share = np.where(inside, bell, 0)
        weight[at] = np.where(inside, share / max(float(share.sum()), 1e-6), weight[at])
    return BoxTarget(heat, sides, weight * valid, valid)


def _bell(
    middle: tuple[float, float], extent: tuple[float, float], size: Size, most: float
) -> tuple[Part, NDArray[np.float64]]:
    """The part of the image within 3 sigma of a middle (y, x), and the Gaussian there; sigma grows with the box."""
    parts, along = [], []
    for m, side, length in zip(middle, extent, size, strict=True):
        sigma = min(max(SPREAD * side, LEAST_SIGMA), most)
        first, last = max(math.floor(m - 3 * sigma), 0), min(math.ceil(m + 3 * sigma), length)
        parts.append(slice(first, max(first, last)))
        along.append(np.exp(-0.5 * ((np.arange(first, max(first, last)) + 0.5 - m) / sigma) ** 2))
    return (parts[0], parts[1]), along[0][:, None] * along[1][None]


def box_loss(out: Tensor, target: dict[str, Tensor], classes: int, scale: float) -> dict[str, Tensor]:
    """Losses of the head's outputs (B, K + 4, H, W): focal loss of the centres, generalised IoU of the boxes that the
    sides span (Rezatofighi et al., CVPR 2019, algorithm 1), each object alike."""
    heat = focal_loss(out[:, :classes], target["heat"], target["valid"].unsqueeze(1))
    weight = target["weight"]
    giou = giou_of_sides(sides_of(out[:, classes:], scale), target["sides"])
    return {"centre": heat, "sides": SIDES_WEIGHT * ((1 - giou) * weight).sum() / weight.sum().clamp(min=1e-6)}


def sides_of(raw: Tensor, scale: float) -> Tensor:
    """Raw outputs → sides, px, over 0: scale · exp(GAIN · raw), after FCOS (Tian, Shen, Chen & He, ICCV 2019, §3.2).

    scale: px, half a usual box. With the gain a step of the optimizer moves sides as far as it moves the heat-map,
    whose logits cross several units; without it boxes are still nearly square when the centres are found.
    """
    return scale * torch.exp((GAIN * raw).clamp(-MOST_LOG, MOST_LOG))


def giou_of_sides(a: Tensor, b: Tensor) -> Tensor:
    """(B, H, W) in (−1, 1]: generalised IoU of two boxes that hold the same pixel, from (B, 4, H, W) sides."""
    def area(sides: Tensor) -> Tensor:
        up, left, down, right = sides.unbind(1)
        return (up + down) * (left + right)

    both, hull = area(torch.minimum(a, b)), area(torch.maximum(a, b)).clamp(min=1e-6)
    union = (area(a) + area(b) - both).clamp(min=1e-6)
    return both / union - (hull - union) / hull


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """N boxes inside the image, the surest first. boxes: (N, 4) float32 px. classes: (N,) int64. heights: (N,) float64,
    of their centres' peaks, in [0, 1]. steady: (N,) float64 in [0, 1], the IoU of a box with itself, moved in on every
    side by as much as the views differ about a side: how sure it is where it is (localisation confidence from the
    variance of jittered views, as in Soft Teacher: Xu et al., ICCV 2021, §3.3)."""

    boxes: Boxes
    classes: NDArray[np.int64]
    heights: NDArray[np.float64]
    steady: NDArray[np.float64]

    @property
    def scores(self) -> NDArray[np.float64]:
        """(N,) raw scores in [0, 1]: how sure it is that there is something, and where."""
        return self.heights * self.steady

    def of(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> Found:
        """Those of the rows."""
        return Found(self.boxes[rows], self.classes[rows], self.heights[rows], self.steady[rows])


def found_boxes(
    heat: Floats, sides: Floats, spread: Floats, *, radius: int, threshold: float, min_area: float
) -> Found:
    """The boxes that a head's outputs say.

    heat: (K, H, W) in [0, 1]. spread: (H, W) px, how far several views differ about a side. radius: of the maximum
    filter, px. threshold: of a peak's height. Of boxes of one class that overlap by over OVERLAP the surest is kept.
    """
    K, H, W = heat.shape
    kernel = np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)
    places = [np.nonzero((one == cv2.dilate(one, kernel)) & (one > threshold)) for one in heat]
    classes = np.repeat(np.arange(K), [len(ys) for ys, _ in places])
    ys, xs = (np.concatenate([place[i] for place in places]).astype(np.int64) for i in (0, 1))
    up, left, down, right = sides[:, ys, xs].astype(np.float64)
    width, height, off = left + right, up + down, spread[ys, xs]
    steady = np.maximum(width - 2 * off, 0) * np.maximum(height - 2 * off, 0) / np.maximum(width * height, 1e-6)
    boxes = np.stack([xs + 0.5 - left, ys + 0.5 - up, xs + 0.5 + right, ys + 0.5 + down], 1)
    boxes = np.clip(boxes, 0, [W, H, W, H])
    found = Found(boxes, classes, heat[classes, ys, xs].astype(np.float64), steady)
    scores, extent = found.scores, boxes[:, 2:] - boxes[:, :2]
    order = np.argsort(-scores, kind="stable")
    order = order[(extent.prod(1) >= min_area)[order]][: max(MOST, H * W // AREA)]
    xywh = np.concatenate([boxes[:, :2], extent], 1)[order]
    kept = cv2.dnn.NMSBoxesBatched(xywh.tolist(), scores[order].tolist(), classes[order].tolist(), 0.0, OVERLAP)
    rows = order[np.sort(np.asarray(kept, np.int64).reshape(-1))]
    return replace(found.of(rows), boxes=boxes[rows].astype(np.float32))
