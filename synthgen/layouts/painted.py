"""A layout as pixels: who owns which one, and the labels that follow. Every generator's labels come from here."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from synthgen.geometry import encode_crop, mask_box, touches_border
from synthgen.types import Labels, Layout, Mask, Placed, Rle, Size


@dataclass(slots=True, eq=False)
class Painted:
    """Objects painted one over the other, from back to front.

    ids: (H, W) int32, 0 background, k + 1 the k-th object painted, −1 ignored. classes: of each object.
    areas: px of each whole object, outside the frame included. amodal: (crop, top, left) inside the frame.
    sources: the bank instance of each object, −1 for none.
    """

    ids: NDArray[np.int32]
    classes: list[int] = field(default_factory=list)
    areas: list[int] = field(default_factory=list)
    amodal: list[tuple[Mask, int, int]] = field(default_factory=list)
    sources: list[int] = field(default_factory=list)

    @property
    def size(self) -> Size:
        """(H, W), px."""
        return int(self.ids.shape[0]), int(self.ids.shape[1])

    def add(self, thing: Placed) -> bool:
        """Paint one object over the others; one wholly outside the frame paints nothing and gets no number: False."""
        H, W = self.ids.shape
        h, w = thing.mask.shape
        y0, y1, x0, x1 = max(thing.top, 0), min(thing.top + h, H), max(thing.left, 0), min(thing.left + w, W)
        shown = thing.mask[max(y0 - thing.top, 0) : max(y1 - thing.top, 0),
                           max(x0 - thing.left, 0) : max(x1 - thing.left, 0)]
        if not shown.any():
            return False
        self.ids[y0:y1, x0:x1][shown] = len(self.classes) + 1
        self.classes.append(thing.class_id)
        self.areas.append(int(np.count_nonzero(thing.mask)))
        x, y, w, h = cv2.boundingRect(shown.view(np.uint8))
        self.amodal.append((shown[y : y + h, x : x + w].copy(), y0 + y, x0 + x))
        self.sources.append(-1 if thing.source is None else thing.source)
        return True


def rasterised(layout: Layout) -> Painted:
    """A layout, painted on an empty frame."""
    painted = Painted(np.zeros(layout.size, np.int32))
    for thing in layout.objects:
        painted.add(thing)
    return painted


def labels_of(painted: Painted, min_visible: float) -> Labels:
    """Labels of what was painted: visible masks by who owns a pixel, whole masks inside the frame, the visible share
    of each object. Objects of whose part in the frame less than `min_visible` shows are left out, and what shows of
    them is ignored."""
    size = painted.size
    n = len(painted.classes)
    seen = np.asarray(
        [
            np.count_nonzero(painted.ids[top : top + crop.shape[0], left : left + crop.shape[1]] == k + 1)
            for k, (crop, top, left) in enumerate(painted.amodal)
        ],
        np.int64,
    )
    visible = seen / np.maximum(painted.areas, 1)
    # What the frame cuts off hides nothing: people label a sliver at the border, so only other objects count here.
    framed = np.asarray([np.count_nonzero(crop) for crop, _, _ in painted.amodal], np.int64)
    keep = [k for k in range(n) if seen[k] > 0 and seen[k] >= min_visible * framed[k]]
    masks: list[Rle] = []
    amodal: list[Rle] = []
    boxes = np.zeros((len(keep), 4), np.float32)
    for row, k in enumerate(keep):
        crop, top, left = painted.amodal[k]
        h, w = crop.shape
        shown: Mask = painted.ids[top : top + h, left : left + w] == k + 1
        box = mask_box(shown)
        assert box is not None
        x0, y0, x1, y1 = box
        boxes[row] = (left + x0, top + y0, left + x1, top + y1)
        masks.append(encode_crop(shown[y0:y1, x0:x1], top + y0, left + x0, size))
        amodal.append(masks[-1] if seen[k] == framed[k] else encode_crop(crop, top, left, size))
    dropped = [k + 1 for k in range(n) if k not in set(keep) and seen[k] > 0]
    away = np.isin(painted.ids, [-1, *dropped]) if dropped or (painted.ids < 0).any() else None
    ignore = None if away is None else encode_crop(away, 0, 0, size)
    return Labels(
        size=size,
        classes=np.asarray([painted.classes[k] for k in keep], np.int64),
        boxes=boxes,
        masks=tuple(masks),
        amodal=tuple(amodal),
        visible=visible[keep].astype(np.float32),
        truncated=touches_border(boxes, size),
        ignore=ignore,
        empty="unknown" if keep else "confirmed",
    )
