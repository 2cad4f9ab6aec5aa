"""What a person changed: the labels before and after, instance by instance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from synthgen.errors import DataError
from synthgen.geometry import box_ious, rle_boxes, rle_ious
from synthgen.types import Labels

Kind = Literal["unchanged", "moved", "class", "added", "deleted", "confirmed-empty", "image-class"]
LEAST_IOU = 0.1  # below it, two shapes are two objects
SAME_BOX_PX = 0.5  # tools round corners to whole pixels


@dataclass(frozen=True, slots=True)
class Change:
    """One instance, or the image as a whole, before and after.

    kind: unchanged · moved (its boundary) · class (with or without its boundary) · added · deleted · confirmed-empty
    (somebody said that there is nothing) · image-class. before, after: index of the instance in the labels of that
    side, or the class of the image; None where there is none. iou: of the two shapes, in [0, 1], where there are two.
    """

    kind: Kind
    before: int | None = None
    after: int | None = None
    iou: float | None = None


def difference(before: Labels | None, after: Labels) -> list[Change]:
    """What is different, by instances before, then those added, then the image.

    Instances are paired so that the sum of their IoU is greatest (Kuhn–Munkres; of equals, those of one class), by
    masks where both sides have them, else by boxes; a pair below an IoU of 0.1 is one deleted and one added.
    A mask is unchanged when every pixel is; a box when no side moved by more than half a pixel, since tools round.

    Raises: DataError when the sizes differ.
    """
    if before is None:
        before = Labels(after.size, masks=())
    if before.size != after.size:
        raise DataError(f"labels of an image of {before.size} px cannot be compared with those of {after.size}")
    by_mask = before.masks is not None and after.masks is not None
    ious = _ious(before, after, by_mask)
    same_class = before.classes[:, None] == after.classes[None]
    rows, columns = linear_sum_assignment(ious + 1e-6 * same_class, maximize=True)
    partner = {int(i): int(j) for i, j in zip(rows, columns, strict=True) if ious[i, j] >= LEAST_IOU}
    changes = []
    for i in range(len(before)):
        j = partner.get(i)
        if j is None:
            changes.append(Change("deleted", i))
            continue
        iou = float(min(ious[i, j], 1.0))
        if before.classes[i] != after.classes[j]:
            changes.append(Change("class", i, j, iou))
        else:
            changes.append(Change("unchanged" if _same(before, i, after, j, by_mask) else "moved", i, j, iou))
    taken = set(partner.values())
    changes += [Change("added", None, j) for j in range(len(after)) if j not in taken]
    if before.image_class != after.image_class:
        changes.append(Change("image-class", before.image_class, after.image_class))
    if not len(after) and after.image_class is None and after.empty == "confirmed" != before.empty:
        changes.append(Change("confirmed-empty"))
    return changes


def _ious(before: Labels, after: Labels, by_mask: bool) -> NDArray[np.float64]:
    if by_mask:
        return rle_ious(before.masks or (), after.masks or (), after.size)
    return box_ious(_boxes(before), _boxes(after))


def _boxes(labels: Labels) -> NDArray[np.float32]:
    return labels.boxes if labels.masks is None else rle_boxes(labels.masks, labels.size)


def _same(before: Labels, i: int, after: Labels, j: int, by_mask: bool) -> bool:
    if by_mask and before.masks is not None and after.masks is not None:
        return before.masks[i] == after.masks[j]
    return bool((np.abs(_boxes(before)[i] - _boxes(after)[j]) <= SAME_BOX_PX).all())
