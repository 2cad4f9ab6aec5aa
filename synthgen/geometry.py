"""Masks ↔ run lengths ↔ polygons ↔ boxes: pure functions, exact, maxima exclusive.

Run lengths are COCO's: column by column, beginning with the zeros, compressed by pycocotools.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from synthgen.rle import pixels, regions
from synthgen.types import Boxes, Labels, Mask, Reviewed, Rle, Size

Part: TypeAlias = tuple[slice, slice]  # rows and columns


def encode(masks: NDArray[np.bool_]) -> tuple[Rle, ...]:
    """(N, H, W) bool → N run-length strings."""
    if len(masks) == 0:
        return ()
    stack = np.asfortranarray(np.moveaxis(masks, 0, -1).astype(np.uint8))     # (H, W, N)
    return tuple(str(rle["counts"], "ascii") for rle in coco_mask.encode(stack))


def decode(rles: Sequence[Rle], size: Size) -> NDArray[np.bool_]:
    """N run-length strings → (N, H, W) bool."""
    if not rles:
        return np.zeros((0, *size), bool)
    stack = coco_mask.decode([{"size": list(size), "counts": rle} for rle in rles])   # (H, W, N)
    return np.ascontiguousarray(np.moveaxis(stack, -1, 0).astype(bool))


def encode_crop(crop: Mask, top: int, left: int, size: Size) -> Rle:
    """The run lengths of a crop (h, w) that stands wholly inside an image of `size`.

    The same string as `encode` of the full frame, at the cost of the crop alone.
    """
    h, w = crop.shape
    H, W = size
    # Runs start and end where a column, padded with a zero at both ends, changes.
    columns = np.zeros((w, h + 2), np.int8)
    columns[:, 1:-1] = crop.T
    column, row = np.nonzero(np.diff(columns, axis=1))
    edges = (column + left).astype(np.int64) * H + row + top                  # start, end, start, end, …
    # A run that ends at a column's foot goes on at the head of the next.
    inner = edges[1:-1].reshape(-1, 2) if len(edges) else edges.reshape(0, 2)
    keep = np.repeat(inner[:, 0] != inner[:, 1], 2)
    edges = np.concatenate([edges[:1], edges[1:-1][keep], edges[-1:]]) if len(edges) else edges
    counts = np.diff(np.concatenate([[0], edges, [H * W]]))
    if counts[-1] == 0:
        counts = counts[:-1]
    rle = coco_mask.frPyObjects({"size": [H, W], "counts": counts.tolist()}, H, W)
    return str(rle["counts"], "ascii")


def areas(rles: Sequence[Rle], size: Size) -> NDArray[np.int64]:
    """(N,) int64 px."""
    if not rles:
        return np.zeros(0, np.int64)
    every = [{"size": list(size), "counts": rle} for rle in rles]
    # pycocotools 2.0.11 keeps the number of masks that `area` is given in 8 bits, and fails with 256 of them.
    parts = [coco_mask.area(every[i : i + 255]) for i in range(0, len(every), 255)]
    return np.concatenate([np.zeros(0), *parts]).astype(np.int64)


def rle_boxes(rles: Sequence[Rle], size: Size) -> Boxes:
    """(N, 4) float32 tight boxes; an empty mask gives 0 0 0 0."""
    if not rles:
        return np.zeros((0, 4), np.float32)
    xywh = np.asarray(coco_mask.toBbox([{"size": list(size), "counts": rle} for rle in rles]))
    boxes = np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1).astype(np.float32)
    boxes[areas(rles, size) == 0] = 0
    return boxes


def mask_box(mask: Mask) -> tuple[int, int, int, int] | None:
    """x0 y0 x1 y1 of the set pixels, max exclusive; None for an empty mask."""
    if not mask.any():
        return None
    x, y, w, h = cv2.boundingRect(mask.view(np.uint8))
    return x, y, x + w, y + h


def touches_border(boxes: Boxes, size: Size) -> NDArray[np.bool_]:
    """(N,) bool: which boxes reach the image border."""
    H, W = size
    edge: NDArray[np.bool_] = (
        (boxes[:, 0] <= 0) | (boxes[:, 1] <= 0) | (boxes[:, 2] >= W) | (boxes[:, 3] >= H)
    )
    return edge


def rle_ious(a: Sequence[Rle], b: Sequence[Rle], size: Size) -> NDArray[np.float64]:
    """(len(a), len(b)) float64 intersection over union of masks."""
    if not a or not b:
        return np.zeros((len(a), len(b)))
    as_dicts = [[{"size": list(size), "counts": rle} for rle in rles] for rles in (a, b)]
    return np.asarray(coco_mask.iou(as_dicts[0], as_dicts[1], [0] * len(b)), np.float64)


def box_ious(a: Boxes, b: Boxes) -> NDArray[np.float64]:
    """(len(a), len(b)) float64 intersection over union of boxes."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    inter = np.clip(high - low, 0, None).prod(-1).astype(np.float64)
    area_a, area_b = ((x[:, 2:] - x[:, :2]).clip(0).prod(-1).astype(np.float64) for x in (a, b))
    union = area_a[:, None] + area_b[None] - inter
    ious: NDArray[np.float64] = np.divide(inter, union, out=np.zeros_like(inter), where=union > 0)
    return ious


def labels_from_ids(ids: NDArray[np.integer], classes: dict[int, int], *, reviewed: Reviewed = "none") -> Labels:
    """Labels from an (H, W) map of instance ids; `classes` gives the class of each id, 0 is background.

    Instances that reach the border are marked truncated. Ids without a class are left out.
    """
    found = [(i, rle) for i, rle in regions(ids) if i in classes]
    size = (int(ids.shape[0]), int(ids.shape[1]))
    return _labels(tuple(rle for _, rle in found), [classes[i] for i, _ in found], size, reviewed)


def labels_from_masks(masks: NDArray[np.bool_], classes: Sequence[int], *, reviewed: Reviewed = "none") -> Labels:
    """Labels from (N, H, W) masks and N classes: boxes are the masks' own, border objects are truncated."""
    return _labels(encode(masks), classes, (int(masks.shape[1]), int(masks.shape[2])), reviewed)


def _labels(rles: tuple[Rle, ...], classes: Sequence[int], size: Size, reviewed: Reviewed) -> Labels:
    boxes = rle_boxes(rles, size)
    return Labels(size=size, classes=np.asarray(classes, np.int64), boxes=boxes, masks=rles,
                  truncated=touches_border(boxes, size), reviewed=reviewed,
                  empty="confirmed" if reviewed == "human" and not rles else "unknown")


def set_aside(labels: Labels, which: NDArray[np.bool_]) -> Labels:
    """The labels without the (N,) instances named; their pixels (or their boxes') are ignored instead."""
    assert labels.scores is not None
    assert labels.visible is not None
    assert labels.truncated is not None
    assert labels.states is not None
    if not which.any():
        return labels
    away = np.zeros(labels.size, bool)
    if labels.masks is not None:
        away |= union([m for m, w in zip(labels.masks, which, strict=True) if w], labels.size)
    else:
        for x0, y0, x1, y1 in labels.boxes[which]:
            away[max(int(y0), 0) : int(np.ceil(y1)), max(int(x0), 0) : int(np.ceil(x1))] = True
    if labels.ignore is not None:
        away |= decode([labels.ignore], labels.size)[0]
    stay = np.flatnonzero(~which)
    if labels.masks is not None and len(stay):
        away &= ~union([labels.masks[k] for k in stay], labels.size)              # what stays is known
    return replace(
        labels,
        classes=labels.classes[stay],
        boxes=labels.boxes[stay],
        masks=None if labels.masks is None else tuple(labels.masks[k] for k in stay),
        amodal=None if labels.amodal is None else tuple(labels.amodal[k] for k in stay),
        scores=labels.scores[stay],
        visible=labels.visible[stay],
        truncated=labels.truncated[stay],
        states=tuple(labels.states[k] for k in stay),
        ignore=encode(away[None])[0] if away.any() else None,
    )


def only_accepted(labels: Labels) -> Labels:
    """The labels whose doubtful and rejected instances became ignored pixels."""
    assert labels.states is not None
    return set_aside(labels, np.asarray([state != "accepted" for state in labels.states], bool))


def id_map(labels: Labels) -> NDArray[np.int32]:
    """(H, W) int32: 0 background, k + 1 for instance k; where masks overlap the smaller one is on top."""
    H, W = labels.size
    columns = np.zeros(H * W, np.int32)                                           # column by column, as run lengths go
    if labels.masks is not None:
        for k in np.argsort(-areas(labels.masks, labels.size), kind="stable"):
            columns[pixels(labels.masks[k])] = k + 1
    return np.ascontiguousarray(columns.reshape(W, H).T)


def cropped(rle: Rle, size: Size, room: int = 0) -> tuple[Part, Mask]:
    """The part of an image around a mask, with `room` px on every side where the image has them, and the mask in it.

    For an empty mask the part is empty. It costs as much as the object, and not as the image.
    """
    H, W = size
    xs, ys = np.divmod(pixels(rle), H)
    if not len(xs):
        return np.s_[0:0, 0:0], np.zeros((0, 0), bool)
    top, left = max(int(ys.min()) - room, 0), max(int(xs.min()) - room, 0)
    bottom, right = min(int(ys.max()) + 1 + room, H), min(int(xs.max()) + 1 + room, W)
    mask = np.zeros((bottom - top, right - left), bool)
    mask[ys - top, xs - left] = True
    return np.s_[top:bottom, left:right], mask


def union(rles: Sequence[Rle], size: Size) -> Mask:
    """(H, W) bool: the pixels of any of the masks, at the cost of their pixels and one image."""
    H, W = size
    columns = np.zeros(H * W, bool)
    for rle in rles:
        columns[pixels(rle)] = True
    return np.ascontiguousarray(columns.reshape(W, H).T)


def polygons_from_mask(mask: Mask) -> tuple[list[NDArray[np.int64]], bool]:
    """Outlines along pixel corners, and whether they say everything (no holes).

    Each polygon is (V, 2) int64 x y; filled by the even-odd rule on pixel centres it gives the mask back.
    The contour of the mask enlarged twice runs through pixel quarters; rounding it outwards gives corners.
    """
    if not mask.any():
        return [], True
    double = np.kron(mask.astype(np.uint8), np.ones((2, 2), np.uint8))
    contours, hierarchy = cv2.findContours(double, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    outer, holes = [], False
    for contour, (_, _, _, parent) in zip(contours, hierarchy[0], strict=True):
        if parent >= 0:
            holes = True
            continue
        points = contour[:, 0].astype(np.int64)
        outer.append((points + points % 2) // 2)
    return outer, not holes


def mask_from_polygons(polygons: Sequence[NDArray[np.floating] | NDArray[np.integer]], size: Size) -> Rle:
    """The union of polygons (V, 2) x y in pixel-corner coordinates, as COCO rasterises it."""
    H, W = size
    flat = [np.asarray(p, np.float64).reshape(-1).tolist() for p in polygons]
    return str(coco_mask.merge(coco_mask.frPyObjects(flat, H, W))["counts"], "ascii")
