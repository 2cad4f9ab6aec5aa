"""Class masks taken apart: a label may be all that an image shows of a class, and layouts are made of single things.

Bent or moved as one object, things that lie apart would take the ground between them along.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import cv2
import numpy as np

from synthgen.geometry import areas, cropped, encode_crop, rle_boxes, set_aside, touches_border
from synthgen.rle import merge
from synthgen.types import Labels, Rle, Sample, Task

SPECK = 4  # px of a part, below which it is ignored


def hold_regions(real: Iterable[Sample], task: Task) -> bool:
    """Whether labels are class masks: task segment, no image with two labels of one class, and one of several parts."""
    if task != "segment":
        return False
    several = False
    for sample in real:
        labels = sample.labels
        if labels is None or labels.masks is None:
            continue
        if len(set(labels.classes.tolist())) < len(labels):
            return False
        several = several or any(len(parts_of(rle, labels)) > 1 for rle in labels.masks)
    return several


def parts_of(rle: Rle, labels: Labels) -> list[Rle]:
    """The parts of a mask, pixels that share a side being of one."""
    place, mask = cropped(rle, labels.size)
    count, parts = cv2.connectedComponents(mask.view(np.uint8), connectivity=4)
    top, left = place[0].start, place[1].start
    return [encode_crop(parts == k, top, left, labels.size) for k in range(1, count)]


def parted(sample: Sample) -> Sample:
    """The sample with a label for each part of its masks; what is no larger than a speck is ignored."""
    labels = sample.labels
    if labels is None or labels.masks is None or not len(labels):
        return sample
    found = [(k, part) for k, rle in enumerate(labels.masks) for part in parts_of(rle, labels)]
    rows, masks = np.asarray([k for k, _ in found], np.int64), tuple(part for _, part in found)
    assert labels.states is not None
    boxes = rle_boxes(masks, labels.size)
    apart = Labels(labels.size, labels.classes[rows], boxes, masks, truncated=touches_border(boxes, labels.size),
                   states=tuple(labels.states[k] for k in rows), ignore=labels.ignore, reviewed=labels.reviewed)
    return replace(sample, labels=set_aside(apart, areas(masks, labels.size) < SPECK))


def one_of_each(labels: Labels) -> Labels:
    """The labels with one mask for all that is of a class, whose visible share is that of all its pixels."""
    if labels.masks is None or not len(labels):
        return labels
    assert labels.visible is not None
    kinds = sorted(set(labels.classes.tolist()))
    rows = [np.flatnonzero(labels.classes == kind).tolist() for kind in kinds]

    def together(masks: tuple[Rle, ...]) -> tuple[Rle, ...]:
        return tuple(one for mine in rows if (one := merge([masks[k] for k in mine], labels.size)) is not None)

    seen = areas(labels.masks, labels.size).astype(np.float64)
    whole = seen / np.maximum(labels.visible, 1e-6)
    visible = np.asarray([seen[mine].sum() / whole[mine].sum() for mine in rows], np.float32)
    masks = together(labels.masks)
    boxes = rle_boxes(masks, labels.size)
    return Labels(labels.size, np.asarray(kinds, np.int64), boxes, masks,
                  amodal=None if labels.amodal is None else together(labels.amodal), visible=visible,
                  truncated=touches_border(boxes, labels.size), ignore=labels.ignore, reviewed=labels.reviewed,
                  empty=labels.empty)
