"""Labels as smooth fields that a network can draw, and back: one signed distance per class.

Signed distances of masks beside the picture's channels are what Zhang et al. denoise in "DiffAtlas: GenAI-fying atlas
segmentation via image-mask diffusion" (MICCAI 2025). There every class is one region; here objects of one class may
touch, so a ditch is dug between them: pixels that adjoin another object of their class lie as low as the farthest
ground, which no pixel beside an object does by its distance alone. A lower ditch is one that a network's error of
squares sees; filling it gives the objects back, pixel by pixel.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from synthgen.geometry import decode, id_map
from synthgen.layouts.arrange import FEWEST
from synthgen.layouts.condition import reach_of
from synthgen.layouts.survey import Survey
from synthgen.types import Labels, Layout, Mask, Placed

DITCH = -1  # level of the pixels that adjoin another object of their class: the lowest there is
BELOW = -1.0  # px: beside an object, what lies lower is ditch; ground lies at −0.5
SADDLE = 0.75  # level: parts that hang together by less than this are several objects
WIDE = 2  # px: how far a ditch is filled from either side
_CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))


def scale_of(seed: Survey) -> float:
    """The distance that a field shows as 1, px: half the median equivalent radius of the objects, at least 2."""
    return max(2.0, reach_of(seed) / 2)


def fields(labels: Labels, classes: int, scale: float) -> NDArray[np.float32]:
    """(1 + classes, H, W) float32 in [−1, 1] of labels with masks.

    known: 1 where the labels say something, 0 in ignored pixels, in which all other channels are 0 too. Then per class
    the distance to the outline of the pixel's own object, positive inside, half a pixel on either side of it, over
    `scale` px and clipped to −1…1; DITCH on pixels that share a side with another object of the class, from which
    distances inside are taken too. The frame is no outline: an object that it cuts goes on behind it.
    """
    ids = id_map(labels)
    known = np.ones(labels.size, bool) if labels.ignore is None else ~decode([labels.ignore], labels.size)[0]
    out = np.full((1 + classes, *labels.size), -1, np.float32)
    out[0] = known
    table = np.concatenate([[-1], labels.classes])
    for c in range(classes):
        inside = (table[ids] == c) & (ids > 0)
        if inside.any():
            out[1 + c] = _of_class(np.where(inside, ids, 0), scale)
    out[:, ~known] = 0
    return out


def layout_of(values: NDArray[np.float32], scale: float) -> Layout:
    """The objects that (classes, H, W) fields show: the inverse of `fields`, for any numbers.

    A pixel belongs to the class whose field is highest there, if that is above 0. What hangs together by sides is an
    object, but for saddles, and takes of the ditch between it and others what lies nearest to it, WIDE px at most. Lost
    are parts of fewer than FEWEST px, as in layouts of other models, and objects that are nothing but ditch, which are
    at most 2 px wide between others; an object in several parts, or with a waist of less than 2·SADDLE·scale + 1 px
    (half of that where the frame cuts it), comes back as several.
    """
    from scipy.ndimage import find_objects

    size = (int(values.shape[1]), int(values.shape[2]))
    owner = np.where(values.max(0) > 0, values.argmax(0), -1)
    taken = owner >= 0
    objects: list[Placed] = []
    for c, field in enumerate(values * np.float32(scale)):
        whole = _filled(_parted(owner == c, field > SADDLE * scale), (field < BELOW) & ~taken)
        for k, place in enumerate(find_objects(whole), 1):
            if place is None:
                continue
            mask = np.ascontiguousarray(whole[place] == k)
            if np.count_nonzero(mask) >= FEWEST:
                objects.append(Placed(mask, place[0].start, place[1].start, c))
        taken |= whole > 0
    return Layout(size, tuple(objects))


def _parted(core: Mask, high: Mask) -> NDArray[np.int32]:
    """Numbered objects: what hangs together by sides, but for saddles.

    Where a network left a ditch open, the field still dips: high parts that hang together by lower ones alone are
    several objects, and the lower pixels go to the part from which fewest steps lead there.
    """
    _, parts = cv2.connectedComponents(core.view(np.uint8), connectivity=4)
    count, deep, stats, _ = cv2.connectedComponentsWithStats((core & high).view(np.uint8), connectivity=4)
    deep[np.isin(deep, np.flatnonzero(stats[:, cv2.CC_STAT_AREA] < FEWEST))] = 0
    marks = np.where(np.isin(parts, parts[deep > 0]), deep, np.where(core, parts + count, 0))
    return _grown(marks, core, core.size)


def _of_class(ids: NDArray[np.int32], scale: float) -> NDArray[np.float32]:
    """Signed distance to the outlines of the objects of one class, over `scale` px, with its ditches."""
    inside = ids > 0
    # A pixel beside another object's: the largest and the smallest number around it differ, ground aside.
    numbers = ids.astype(np.float32)
    lowest = cv2.erode(np.where(inside, numbers, np.float32(ids.max() + 1)), _CROSS)
    ditch = inside & (cv2.dilate(numbers, _CROSS) != lowest)
    deep, far = _to_nearest(inside & ~ditch), _to_nearest(~inside)
    level = np.clip(np.where(inside, deep - 0.5, 0.5 - far) / scale, -1, 1)
    return np.asarray(np.where(ditch, DITCH, level), np.float32)


def _to_nearest(where: Mask) -> NDArray[np.float32]:
    """Distance of each set pixel to the nearest one that is not, px; past the frame all goes on as at its edge."""
    grown = np.pad(where.view(np.uint8), 1, mode="edge")
    return np.asarray(cv2.distanceTransform(grown, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1], np.float32)


def _filled(parts: NDArray[np.int32], ditch: Mask) -> NDArray[np.int32]:
    """Numbered parts, grown into the ditch beside them.

    What is as low as a ditch and has one part near it alone is none: a network's fields fall steeply here and there.
    """
    window, numbers = np.ones((2 * WIDE + 1,) * 2, np.uint8), parts.astype(np.float32)
    lowest = cv2.erode(np.where(parts > 0, numbers, np.float32(parts.max() + 1)), window)
    return _grown(parts, ditch & (cv2.dilate(numbers, window) > lowest), WIDE)


def _grown(parts: NDArray[np.int32], room: Mask, steps: int) -> NDArray[np.int32]:
    """Numbered parts, grown by sides into free room; the higher number takes what two reach at once."""
    grown = parts.astype(np.float32)
    for _ in range(steps):
        free = (grown == 0) & room
        if not free.any():
            break
        before, grown = grown, np.where(free, cv2.dilate(grown, _CROSS), grown)
        if (before == grown).all():
            break
    return grown.astype(np.int32)
