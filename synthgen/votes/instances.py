"""Objects that several functions found in one image → clusters, one object of each function at most, fused into one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synthgen.geometry import box_ious, decode, rle_boxes, rle_ious
from synthgen.types import Boxes, Labels, Mask
from synthgen.votes.classes import Floats
from synthgen.votes.pixels import probabilities

IOU = 0.3  # from here on two functions mean the same object: two masks that both match it at 0.5 may share less
Window = tuple[int, int, int, int]  # y0 y1 x0 x1, px, maxima exclusive


@dataclass(frozen=True, slots=True, eq=False)
class Clusters:
    """The objects of one image. members: (C, F) int64, which instance of each function, or −1. votes: (C, F) int64,
    0 = the function does not see it, k + 1 = it calls it class k, −1 = the function said nothing of the image."""

    members: NDArray[np.int64]
    votes: NDArray[np.int64]


def clusters(found: Sequence[Labels | None], iou: float = IOU) -> Clusters:
    """Match the instances of F functions over one image, whatever their classes.

    Pairs of instances of different functions with an IoU of at least `iou` are joined by falling IoU, as long as no
    function would stand twice in a cluster. IoU of masks where both sides have masks, of boxes else. The order of
    clusters is that of their first members.
    """
    F = len(found)
    counts = [0 if labels is None else len(labels) for labels in found]
    start = np.concatenate([[0], np.cumsum(counts)]).astype(int)
    home = list(range(start[-1]))  # which cluster each instance stands in
    inside: dict[int, dict[int, int]] = {}  # cluster → function → instance
    for f in range(F):
        for k in range(counts[f]):
            inside[int(start[f]) + k] = {f: k}
    pairs = [(-float(overlap[i, j]), int(start[f]) + int(i), int(start[g]) + int(j))
             for f in range(F) for g in range(f + 1, F) if counts[f] and counts[g]
             for overlap in [_overlaps(found[f], found[g])] for i, j in np.argwhere(overlap >= iou)]
    for _, a, b in sorted(pairs):
        one, two = home[a], home[b]
        if one != two and not inside[one].keys() & inside[two].keys():
            keep, drop = min(one, two), max(one, two)
            inside[keep] |= inside.pop(drop)
            home = [keep if h == drop else h for h in home]
    members = np.full((len(inside), F), -1, np.int64)
    votes = np.tile([-1 if labels is None else 0 for labels in found], (len(inside), 1)).astype(np.int64)
    for row, (_, cluster) in enumerate(sorted(inside.items())):
        for f, k in cluster.items():
            labels = found[f]
            assert labels is not None
            members[row, f], votes[row, f] = k, int(labels.classes[k]) + 1
    return Clusters(members, votes.reshape(len(inside), F))


def _overlaps(a: Labels | None, b: Labels | None) -> Floats:
    assert a is not None
    assert b is not None
    if a.masks is not None and b.masks is not None:
        return rle_ious(a.masks, b.masks, a.size)
    return box_ious(boxes_of(a), boxes_of(b))


def boxes_of(labels: Labels) -> Boxes:
    """(N, 4) float32 boxes, tight ones where there are masks."""
    return labels.boxes if labels.masks is None else rle_boxes(labels.masks, labels.size)


def crop_of(found: Sequence[Labels | None], members: NDArray[np.int64]) -> tuple[Window, NDArray[np.int8]] | None:
    """A window around a cluster's masks, one pixel wider, and each function's votes in it (F, h, w) int8; −1 of
    functions without a mask in the cluster. None where no member has a mask."""
    F, boxes, rles = len(found), [], {}
    for f in range(F):
        labels = found[f]
        if members[f] >= 0 and labels is not None and labels.masks is not None:
            rles[f] = labels.masks[members[f]]
            size = labels.size
            boxes.append(rle_boxes([rles[f]], size)[0])
    if not rles:
        return None
    low, high = np.min(boxes, 0)[:2].astype(int) - 1, np.max(boxes, 0)[2:].astype(int) + 1
    x0, y0 = (max(int(v), 0) for v in low)
    window = (y0, min(int(high[1]), size[0]), x0, min(int(high[0]), size[1]))
    votes = np.full((F, window[1] - y0, window[3] - x0), -1, np.int8)
    masks = decode(list(rles.values()), size)[:, y0 : window[1], x0 : window[3]]
    for f, mask in zip(rles, masks, strict=True):
        votes[f] = mask
    return window, votes


def fused_mask(votes: NDArray[np.int8], prior: float, sensitivity: Floats, specificity: Floats) -> Mask:
    """(h, w) bool: the pixels that STAPLE holds for likelier than not. votes: (F, h, w), as `crop_of` gives them."""
    rows = votes.reshape(len(votes), -1).T
    return (probabilities(rows, prior, sensitivity, specificity) > 0.5).reshape(votes.shape[1:])


def majority_mask(votes: NDArray[np.int8]) -> Mask:
    """(h, w) bool: the pixels that at least half of those mark who have a mask here."""
    mask: Mask = (votes == 1).sum(0) * 2 >= np.maximum((votes >= 0).sum(0), 1)
    return mask


def fused_box(found: Sequence[Labels | None], members: NDArray[np.int64], weights: Floats) -> NDArray[np.float32]:
    """(4,) float32 mean of the members' boxes, each weighed by its function's weight times its score.

    weights: (F,). Source: Solovyev, Wang & Gabruseva 2021, "Weighted boxes fusion", equations 1 and 2.
    """
    boxes, shares = [], []
    for f, k in enumerate(members):
        labels = found[f]
        if k >= 0 and labels is not None:
            assert labels.scores is not None
            boxes.append(boxes_of(labels)[k].astype(np.float64))
            shares.append(max(float(weights[f]) * float(labels.scores[k]), 1e-6))
    return np.average(boxes, axis=0, weights=shares).astype(np.float32)


def explained(masks: Sequence[Mask | None], windows: Sequence[Window], boxes: Boxes, scores: Floats,
              share: float = 0.5) -> tuple[NDArray[np.bool_], list[Mask | None]]:
    """(N,) bool which objects are told already by ones with higher scores, and the masks without what those took.

    Functions that see two objects where another sees one leave clusters that lie over each other; pixels go to the
    higher score. An object is explained when it keeps less than `share` of its pixels; of two boxes without masks
    when their IoU is above `share`. masks: each in its window.
    """
    n = len(masks)
    done, out = np.zeros(n, bool), list(masks)
    ious = box_ious(boxes, boxes)
    order = np.argsort(-scores, kind="stable")
    for place, k in enumerate(order):
        mask = out[k]
        before = [j for j in order[:place] if not done[j]]
        if mask is None:
            done[k] = any(ious[k, j] > share for j in before)
            continue
        left, (y0, y1, x0, x1) = mask.copy(), windows[k]
        for j in before:
            other, (v0, v1, u0, u1) = out[j], windows[j]
            top, bottom, west, east = max(y0, v0), min(y1, v1), max(x0, u0), min(x1, u1)
            if other is not None and top < bottom and west < east:
                left[top - y0 : bottom - y0, west - x0 : east - x0] &= ~other[top - v0 : bottom - v0,
                                                                               west - u0 : east - u0]
        done[k] = left.sum() < share * mask.sum() or not left.any()
        out[k] = left
    return done, out
