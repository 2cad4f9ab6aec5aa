"""Objects on the wire: a box, and inside it row-major run lengths, beginning with the zeros."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from synthgen.errors import DataError
from synthgen.geometry import encode_crop, rle_boxes, touches_border
from synthgen.rle import unpack
from synthgen.types import Json, Labels, Rle, Size, Task

MOST_OBJECTS = 65_534  # the page keeps ids in 16 bits


def to_wire(labels: Labels) -> list[Json]:
    """The instances: {"class", "box": [x0, y0, x1, y1], "runs" | None, "score", "state"}.

    Of an instance with a mask the box is the mask's own in whole pixels, max exclusive.
    """
    assert labels.scores is not None
    assert labels.states is not None
    found: list[Json] = []
    boxes = labels.boxes if labels.masks is None else rle_boxes(labels.masks, labels.size)
    for k, box in enumerate(boxes.tolist()):
        runs = None
        if labels.masks is not None:
            x0, y0, x1, y1 = box = [int(v) for v in box]
            runs = _runs(_crop(labels.masks[k], (x0, y0, x1, y1), labels.size[0]))
        found.append({"class": int(labels.classes[k]), "box": box, "runs": runs,
                      "score": round(float(labels.scores[k]), 4), "state": labels.states[k]})
    return found


def _crop(rle: Rle, box: tuple[int, int, int, int], height: int) -> NDArray[np.bool_]:
    """The box's part of a mask that lies in it; only its columns are unpacked, however large the image is."""
    x0, y0, x1, y1 = box
    edges = np.cumsum(unpack(rle)).clip(x0 * height, x1 * height)
    lengths = np.diff(edges, prepend=x0 * height, append=x1 * height)
    columns = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)
    # What follows the last run is background, also where the runs end with the object.
    columns[int(edges[-1]) - x0 * height :] = False
    return np.ascontiguousarray(columns.reshape(x1 - x0, height).T[y0:y1])


def _runs(crop: NDArray[np.bool_]) -> list[int]:
    flat = crop.reshape(-1)
    edges = np.flatnonzero(np.diff(flat, prepend=False, append=False))
    lengths = np.diff(edges, prepend=0, append=flat.size) if not flat.size or not flat[-1] else np.diff(
        edges, prepend=0)
    return [int(n) for n in lengths]


def from_wire(objects: Json, size: Size, classes: int, task: Task) -> Labels:
    """Labels of a person, from what the page says. For task `detect` objects are boxes, else masks that do not overlap.

    Raises: DataError that names the object and what is wrong with it.
    """
    if not isinstance(objects, list) or len(objects) > MOST_OBJECTS:
        raise DataError(f"objects must be a list of at most {MOST_OBJECTS}")
    kinds = [_class(one, k, classes) for k, one in enumerate(objects)]
    if task == "detect":
        boxes = np.array([_box(one, k, size, whole=False) for k, one in enumerate(objects)], np.float32).reshape(-1, 4)
        masks: tuple[Rle, ...] | None = None
    else:
        taken = np.zeros(size, bool)
        masks = tuple(_mask(one, k, size, taken) for k, one in enumerate(objects))
        boxes = rle_boxes(masks, size)
    return Labels(size, np.asarray(kinds, np.int64), boxes, masks, truncated=touches_border(boxes, size),
                  reviewed="human", empty="unknown" if kinds else "confirmed")


def image_class_of(value: Json, classes: int) -> int:
    """A class of the whole image. Raises: DataError when there is no such class."""
    if type(value) is not int or not 0 <= value < classes:
        raise DataError(f"image_class must be a whole number from 0 to {classes - 1}, not {value!r:.40}")
    return value


def _class(one: Json, k: int, classes: int) -> int:
    if not isinstance(one, dict) or set(one) - {"class", "box", "runs"}:
        raise DataError(f"object {k} must be {{class, box, runs}}")
    value = one.get("class")
    if type(value) is not int or not 0 <= value < classes:
        raise DataError(f"object {k}: its class must be a whole number from 0 to {classes - 1}, not {value!r:.40}")
    return value


def _box(one: Json, k: int, size: Size, *, whole: bool) -> Sequence[float]:
    box = one.get("box")
    number = (int,) if whole else (int, float)
    if not isinstance(box, list) or len(box) != 4 or not all(type(v) in number and math.isfinite(v) for v in box):
        raise DataError(f"object {k}: its box must be four {'whole ' if whole else ''}numbers x0 y0 x1 y1")
    x0, y0, x1, y1 = box
    if not (0 <= x0 < x1 <= size[1] and 0 <= y0 < y1 <= size[0]):
        raise DataError(f"object {k}: its box {box} is empty or leaves the image of {size[1]} × {size[0]} px")
    return box


def _mask(one: Json, k: int, size: Size, taken: NDArray[np.bool_]) -> Rle:
    x0, y0, x1, y1 = (int(v) for v in _box(one, k, size, whole=True))
    runs, area = one.get("runs"), (x1 - x0) * (y1 - y0)
    if not isinstance(runs, list) or not 0 < len(runs) <= area + 1 or not all(type(r) is int for r in runs):
        raise DataError(f"object {k}: its runs must be a list of whole numbers, at most one more than its box has "
                        "pixels")
    if min(runs) < 0 or max(runs) > area or 0 in runs[1:] or sum(runs) != area:
        raise DataError(f"object {k}: its run lengths must be above 0, but for the first, and add up to the {area} px "
                        "of its box")
    if len(runs) < 2:
        raise DataError(f"object {k}: it has no pixel")
    crop = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(y1 - y0, x1 - x0)
    there = taken[y0:y1, x0:x1]
    if (there & crop).any():
        raise DataError(f"object {k}: it overlaps an object before it")
    there |= crop
    return encode_crop(crop, y0, x0, size)
