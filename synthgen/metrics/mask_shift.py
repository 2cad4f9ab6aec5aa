"""Do masks follow their image? The gradient along a mask's outline against the same outline moved, or grown.

An outline that was drawn for the image stands on its edges: moved by a few pixels in any direction it meets less
gradient, grown or shrunk it meets less too. Neither test needs a model, a class that was seen before, or a
perfect reference: what real masks score is measured the same way.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from synthgen.geometry import cropped, decode
from synthgen.types import Image, Labels, Mask

Floats = NDArray[np.float64]
NEAREST = 1.5                            # px; nearer shifts stand on the same edge
REACH = 8                                # px; the farthest shift
WIDEST = 5                               # px that an outline is grown and shrunk by, at most
FEWEST_PIXELS = 16                       # of an outline, or of a ring, below which its mean says nothing
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class MaskFit:
    """How the outlines of one image's masks fit it.

    contrast: mean gradient along the outlines over its mean along shifted ones, ≥ 0; 1 = no better than shifted.
    p: share of the shifts, the true place counted in, whose outlines meet at least as much gradient.
    rank: 1 − the share of shifts that meet more (ties half), in [0, 1]; 0.5 where masks ignore the image.
    offset: px from the outlines to the strongest ring of gradient around them; below 0 = the edge lies inside,
    so that the masks are too large; nan where no ring but the outlines' own can be measured.
    """

    contrast: float
    p: float
    rank: float
    offset: float


def gradient(image: Image) -> Floats:
    """(H, W) float64 ≥ 0: the gradient's length over the three channels, grey levels per px, at a scale of 1 px.

    Source: Scharr's 3 × 3 kernel after a Gaussian; the channels' squares add (Di Zenzo 1986, CVGIP 33:116).
    """
    smooth = cv2.GaussianBlur(image.astype(np.float32), (0, 0), 1, borderType=cv2.BORDER_REFLECT)
    across, down = (np.asarray(cv2.Scharr(smooth, cv2.CV_32F, *axes, scale=1 / 32, borderType=cv2.BORDER_REFLECT),
                               np.float64).reshape(image.shape) for axes in ((1, 0), (0, 1)))
    length = np.sqrt((across * across + down * down).sum(2))
    # A flat image must be flat: float32 leaves 1e-5, in which shifts could be ranked.
    return np.asarray(np.where(length > 1e-3, length, 0), np.float64)


def outline(mask: Mask) -> Mask:
    """(H, W) bool: the mask's pixels with a neighbour by a side outside it; the image's border is no outline."""
    edge = np.zeros_like(mask)
    edge[1:] |= mask[1:] & ~mask[:-1]
    edge[:-1] |= mask[:-1] & ~mask[1:]
    edge[:, 1:] |= mask[:, 1:] & ~mask[:, :-1]
    edge[:, :-1] |= mask[:, :-1] & ~mask[:, 1:]
    return edge


def mask_fit(image: Image, labels: Labels, reach: int = REACH) -> MaskFit | None:
    """How an image's masks fit it; None where there is nothing to measure: no mask, or none with an outline.

    labels: with masks that are sound; what is marked ignored is left out. reach: px, the farthest shift, ≥ 3.
    The outlines of all objects are moved together, to each of the whole-pixel shifts of 1.5 to `reach` px; pixels
    that leave the image are left out of the mean. Where masks ignore the image, its place is one among the
    shifts, so p is at most uniform (cautious: the window's middle is seldom extreme).
    """
    assert labels.states is not None
    kept = [m for m, state in zip(labels.masks or (), labels.states, strict=False) if state != "ignored"]
    edge, union = np.zeros(labels.size, bool), np.zeros(labels.size, bool)
    for rle in kept:
        part, mask = cropped(rle, labels.size, room=1)
        edge[part] |= outline(mask)
        union[part] |= mask
    known = ~decode([labels.ignore], labels.size)[0] if labels.ignore is not None else np.ones(labels.size, bool)
    edge &= known
    if np.count_nonzero(edge) < FEWEST_PIXELS:
        return None
    steep = gradient(image)
    here = float(steep[edge].mean())
    moved = _shifted(steep, edge, reach)
    if not len(moved):
        return None
    # A constant image has no edge anywhere: every shift ties with the true place, and p is 1.
    higher = moved >= here * (1 - 1e-9)
    ties = higher & (moved <= here * (1 + 1e-9))
    rank = 1 - float(higher.sum() - ties.sum() / 2) / len(moved)
    return MaskFit(here / max(float(moved.mean()), 1e-9), float((1 + higher.sum()) / (1 + len(moved))), rank,
                   _offset(steep, union, known))


def shifts(reach: int) -> NDArray[np.int64]:
    """(S, 2) int64 whole-pixel shifts (down, right) of NEAREST to `reach` px."""
    down, right = (axis.ravel() for axis in np.mgrid[-reach:reach + 1, -reach:reach + 1])
    length = np.hypot(down, right)
    near = (length >= NEAREST) & (length <= reach)
    return np.stack([down[near], right[near]], 1).astype(np.int64)


def _shifted(steep: Floats, edge: Mask, reach: int) -> Floats:
    """(S,) mean gradients along the moved outlines; shifts that leave too few pixels inside are left out."""
    H, W = edge.shape
    place = np.argwhere(edge)                                                              # (P, 2)
    out: list[Floats] = []
    moves = shifts(reach)
    step = max(1, _CHUNK // len(place))
    for start in range(0, len(moves), step):
        y, x = np.moveaxis(place[None] + moves[start:start + step, None], -1, 0)           # (s, P) each
        inside = (y >= 0) & (y < H) & (x >= 0) & (x < W)
        count = inside.sum(1)
        total = np.where(inside, steep[y.clip(0, H - 1), x.clip(0, W - 1)], 0).sum(1)
        enough = count >= max(FEWEST_PIXELS, len(place) // 2)
        out.append(total[enough] / count[enough])
    return np.concatenate([np.zeros(0), *out])


def signed_distance(mask: Mask) -> Floats:
    """(H, W) float64 px from the mask's outline: −0.5 on its outermost pixels, +0.5 on the first outside."""
    inside = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    outside = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(np.where(mask, 0.5 - inside, outside - 0.5), np.float64)


def _offset(steep: Floats, union: Mask, known: Mask) -> float:
    """The signed distance, px, at which rings around the masks meet the steepest gradient; nan without rings.

    The rings are 1 px wide and meet at the outline; the peak is placed between them by the parabola through the
    highest and its neighbours.
    """
    if union.all() or not union.any():
        return math.nan
    ring = np.floor(signed_distance(union)).astype(np.int64) + WIDEST
    use = known & (ring >= 0) & (ring < 2 * WIDEST)
    count = np.bincount(ring[use], minlength=2 * WIDEST)
    total = np.bincount(ring[use], steep[use], 2 * WIDEST)
    mean = np.where(count >= FEWEST_PIXELS, total / np.maximum(count, 1), -math.inf)
    if np.isfinite(mean).sum() < 2 or mean.max() <= 0:
        return math.nan
    best = int(mean.argmax())
    centre = best - WIDEST + 0.5
    if 0 < best < 2 * WIDEST - 1 and np.isfinite(mean[best - 1:best + 2]).all():
        low, top, high = mean[best - 1:best + 2]
        bend = low - 2 * top + high
        return centre + (float((low - high) / (2 * bend)) if bend < 0 else 0.0)
    return centre
