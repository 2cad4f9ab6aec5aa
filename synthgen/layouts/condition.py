"""What a picture must show, as channels that a network can be given beside its input."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from synthgen.geometry import decode, id_map
from synthgen.layouts.survey import Survey
from synthgen.types import Labels

EXTRA = 3  # channels beside those of the classes: known, contact, distance
_CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))


def channels(classes: int) -> int:
    """How many channels `condition` gives."""
    return classes + EXTRA


def reach_of(seed: Survey) -> float:
    """The scale of the distance channel, px: the median equivalent radius of the objects, at least 2."""
    return max(2.0, float(np.sqrt(np.median([i.area for i in seed.instances]) / np.pi)))


def condition(labels: Labels, classes: int, reach: float) -> NDArray[np.float32]:
    """(classes + 3, H, W) float32 in [−1, 1] of labels with masks.

    known: 1 where the labels say something, 0 in ignored pixels, in which all other channels are 0 too, so that an
    image without labels is one whose every pixel is ignored. Then one channel per class, 1 inside its objects (one-hot,
    as in Konz et al., "Anatomically-controllable medical image generation with segmentation-guided diffusion models",
    MICCAI 2024). contact: 1 on pixels of an object that share a side with another one, without which objects that touch
    would be one. distance: to the outline of the pixel's own object, positive inside, over `reach` px, bent by tanh.
    """
    H, W = labels.size
    out = np.zeros((channels(classes), H, W), np.float32)
    ids = id_map(labels)
    known = np.ones((H, W), bool) if labels.ignore is None else ~decode([labels.ignore], labels.size)[0]
    inside = ids > 0
    out[0] = known
    table = np.concatenate([[0], labels.classes + 1])
    kind = table[ids]
    for c in range(classes):
        out[1 + c] = kind == c + 1
    # A pixel beside another object's: the largest and the smallest number around it differ, background aside.
    numbers = ids.astype(np.float32)
    highest = cv2.dilate(numbers, _CROSS)
    lowest = cv2.erode(np.where(inside, numbers, np.float32(len(labels) + 1)), _CROSS)
    contact = inside & (highest != lowest)
    out[classes + 1] = contact
    if inside.any():
        # Own outlines, those between touching objects among them.
        core = (inside & ~contact).view(np.uint8)
        deep = cv2.distanceTransform(np.pad(core, 1, mode="edge"), cv2.DIST_L2, 5)[1:-1, 1:-1]
        far = cv2.distanceTransform(np.pad((~inside).view(np.uint8), 1, mode="edge"), cv2.DIST_L2, 5)[1:-1, 1:-1]
        signed = np.where(inside, np.maximum(deep, 0.5), 0.5 - far)
        out[classes + 2] = np.tanh(signed / reach)
    else:
        out[classes + 2] = -1
    out[:, ~known] = 0
    return out
