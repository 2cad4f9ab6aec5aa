"""Dense outputs → instances: peaks of the centre map collect the pixels whose offsets point at them."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

CELL = 64  # px


@dataclass(frozen=True, slots=True)
class Group:
    """ids (H, W) int32: 0 background, k + 1 instance k; classes (N,) int64; raw scores (N,) float64 in [0, 1]."""

    ids: NDArray[np.int32]
    classes: NDArray[np.int64]
    scores: NDArray[np.float64]


def group(
    probs: NDArray[np.float32],
    centre: NDArray[np.float32],
    offset: NDArray[np.float32],
    *,
    radius: int = 3,
    threshold: float = 0.2,
    min_area: int = 12,
) -> Group:
    """Bottom-up instances after Panoptic-DeepLab (Cheng et al. 2020, §3.3).

    probs: (K + 1, H, W) class probabilities, background first. centre: (H, W) in [0, 1]. offset: (2, H, W) px.
    radius: of the maximum filter, px. An instance's raw score is the geometric mean of its centre's height and
    its pixels' mean probability of its class.
    """
    H, W = centre.shape
    inside = probs[0] < 0.5
    top = cv2.dilate(centre, np.ones((2 * radius + 1, 2 * radius + 1), np.uint8))
    ys, xs = np.nonzero((centre == top) & (centre > threshold))
    ids = np.zeros((H, W), np.int32)
    if not len(ys) or not inside.any():
        return Group(ids, np.zeros(0, np.int64), np.zeros(0))
    py, px = np.nonzero(inside)
    vy, vx = py + offset[0, py, px], px + offset[1, py, px]  # where each pixel points
    nearest = _nearest(vy, vx, ys, xs)
    ids[py, px] = nearest + 1
    # Each instance keeps its largest connected part: strays were other objects' pixels.
    kept = np.zeros((H, W), np.int32)
    classes: list[int] = []
    scores: list[float] = []
    # Pixels sorted by their centre: each instance is one run of them.
    order = np.argsort(nearest, kind="stable")
    present, first = np.unique(nearest[order], return_index=True)
    tops, lefts = np.minimum.reduceat(py[order], first), np.minimum.reduceat(px[order], first)
    bottoms, rights = np.maximum.reduceat(py[order], first) + 1, np.maximum.reduceat(px[order], first) + 1
    for k, y0, x0, y1, x1 in zip(present, tops, lefts, bottoms, rights, strict=True):
        crop = (ids[y0:y1, x0:x1] == k + 1).astype(np.uint8)
        count, parts, stats, _ = cv2.connectedComponentsWithStats(crop, connectivity=4)
        if count > 2:
            crop = (parts == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())).astype(np.uint8)
        crop = _filled(crop)
        where = (crop > 0) & (kept[y0:y1, x0:x1] == 0)
        area = int(where.sum())
        if area < min_area:
            continue
        means = probs[:, y0:y1, x0:x1][:, where].mean(1)
        kept[y0:y1, x0:x1][where] = len(classes) + 1
        classes.append(int(means[1:].argmax()))
        scores.append(float(np.sqrt(centre[ys[k], xs[k]] * means[1:].max())))
    return Group(kept, np.asarray(classes, np.int64), np.asarray(scores, np.float64))


def _filled(crop: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The mask with its holes filled: an offset map has no say in an object's middle."""
    contours, _ = cv2.findContours(crop, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return np.asarray(cv2.drawContours(np.zeros_like(crop), contours, -1, 1, cv2.FILLED), np.uint8)


def _nearest(
    vy: NDArray[np.float64], vx: NDArray[np.float64], ys: NDArray[np.int64], xs: NDArray[np.int64]
) -> NDArray[np.int64]:
    """(P,) index of the centre nearest to each of P points.

    Points are taken in squares of CELL px; only centres that can be nearest to some point of a square are compared, so
    that the work grows with the image and not with its square.
    """
    out = np.empty(len(vy), np.int64)
    cell = (np.floor(vy / CELL).astype(np.int64) << 32) + np.floor(vx / CELL).astype(np.int64)
    order = np.argsort(cell, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(cell[order]) != 0])
    for part in np.split(order, starts[1:]):
        y, x = vy[part], vx[part]
        my, mx = (y.min() + y.max()) / 2, (x.min() + x.max()) / 2
        reach = np.hypot(y.max() - my, x.max() - mx)
        far = np.hypot(ys - my, xs - mx)
        near = np.flatnonzero(far <= far.min() + 2 * reach + 1e-6)      # by the triangle inequality none else can be
        out[part] = near[((y[:, None] - ys[near]) ** 2 + (x[:, None] - xs[near]) ** 2).argmin(1)]
    return out
