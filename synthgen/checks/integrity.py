"""Is every label sound? A census of the synthetic labels, not a sample: one defect is enough to refuse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from pydantic import Field
from pydantic.dataclasses import dataclass

from synthgen.checks import OPTIONS, labels_of, skipped
from synthgen.geometry import areas, rle_boxes
from synthgen.types import Evidence, Flag, Labels, Measurement, Rle, Size, Task

KINDS: dict[str, str] = {
    "readable": "the label cannot be read",
    "labelled": "there is no label of the kind that the task needs",
    "class": "a class is not in the recipe's list",
    "mask size": "a mask's run lengths do not fill its image exactly",
    "mask empty": "a mask holds no pixel",
    "box bounds": "a box is empty, not finite, or leaves the image",
    "box of mask": "a box is not its mask's tight box",
    "overlap": "two visible masks claim one pixel",
    "amodal": "a visible mask leaves its object's whole (amodal) mask",
    "visible": "a visible share is outside 0 to 1",
    "unique id": "an id stands twice",
}
"""Every defect that is looked for, in words."""


@dataclass(frozen=True, kw_only=True, config=OPTIONS)
class Integrity:
    """Every synthetic label is sound: present, in bounds, not empty, box = mask's box, class in the map."""

    EARLY: ClassVar[bool] = True  # needs no labeler: runs after generation too
    FLAGS: ClassVar[bool] = True  # judges single samples, and says which ones to take out

    max_share: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of samples that may have one kind of defect."""
    show: Annotated[int, Field(ge=0)] = 20
    """How many ids of defective samples to list per kind."""

    def __call__(self, evidence: Evidence, rng: np.random.Generator) -> Sequence[Measurement]:  # noqa: ARG002
        n = len(evidence.synthetic)
        if n == 0:
            return [skipped("integrity", "integrity", "there are no synthetic samples", hard=True)]
        bad: dict[str, list[str]] = {kind: [] for kind in KINDS}
        seen: set[str] = set()
        for sample_id, labels in labels_of(evidence.synthetic):
            kinds = {"readable"} if isinstance(labels, Exception) else defects(
                labels, len(evidence.classes), evidence.task)
            for kind in kinds | ({"unique id"} if sample_id in seen else set()):
                bad[kind].append(sample_id)
            seen.add(sample_id)
        return [self._measured(kind, ids, n) for kind, ids in bad.items()]

    def _measured(self, kind: str, ids: list[str], n: int) -> Measurement:
        share = len(ids) / n
        wrong = share > self.max_share
        some = f"{len(ids)} of {n} samples: {KINDS[kind]}"
        return Measurement(
            "integrity", kind, "fail" if wrong else "pass", share, "share of samples", n=(n, 0), hard=True,
            why=some if ids else f"none of {n} samples: {KINDS[kind]}",
            remedy="the generator that made these labels is at fault: mend it, or filter these samples out"
            if wrong else "", worst=tuple(ids[:self.show]),
            flagged=tuple(Flag(k, KINDS[kind], 1.0) for k in dict.fromkeys(ids)))


def defects(labels: Labels | None, n_classes: int, task: Task) -> set[str]:
    """The KINDS of defect in one image's labels."""
    if labels is None:
        return {"labelled"}
    found: set[str] = set()
    if task == "classify":
        if labels.image_class is None:
            found.add("labelled")
        elif not 0 <= labels.image_class < n_classes:
            found.add("class")
    if ((labels.classes < 0) | (labels.classes >= n_classes)).any():
        found.add("class")
    assert labels.visible is not None
    if ((labels.visible < 0) | (labels.visible > 1) | np.isinf(labels.visible)).any():    # nan is "unknown"
        found.add("visible")
    H, W = labels.size
    boxes = labels.boxes
    inside = (boxes[:, :2] >= 0).all(1) & (boxes[:, 2] <= W) & (boxes[:, 3] <= H)
    if not (np.isfinite(boxes).all(1) & inside & (boxes[:, 2:] > boxes[:, :2]).all(1)).all():
        found.add("box bounds")
    if labels.masks is None:
        return found | ({"labelled"} if task in ("instances", "segment") and len(labels) else set())
    # Broken run lengths must not reach pycocotools, whose C code trusts them.
    every = [*labels.masks, *(labels.amodal or ()), *([labels.ignore] if labels.ignore is not None else [])]
    if not all(fills(rle, labels.size) for rle in every):
        return found | {"mask size"}
    return found | _mask_defects(labels, labels.masks)


def _mask_defects(labels: Labels, masks: tuple[Rle, ...]) -> set[str]:
    found: set[str] = set()
    area = areas(masks, labels.size)
    if (area == 0).any():
        found.add("mask empty")
    if not np.allclose(labels.boxes, rle_boxes(masks, labels.size), rtol=0, atol=1e-3):
        found.add("box of mask")
    assert labels.states is not None
    visible = [m for m, state in zip(masks, labels.states, strict=True) if state != "ignored"]
    if int(areas(visible, labels.size).sum()) > _area_of_union(visible, labels.size):
        found.add("overlap")
    if labels.amodal is not None:
        both = [coco_mask.merge([{"size": list(labels.size), "counts": rle} for rle in pair], intersect=True)
                for pair in zip(masks, labels.amodal, strict=True)]
        if any(int(coco_mask.area(b)) < a for b, a in zip(both, area, strict=True)):
            found.add("amodal")
    return found


def _area_of_union(masks: Sequence[Rle], size: Size) -> int:
    if not masks:
        return 0
    return int(coco_mask.area(coco_mask.merge([{"size": list(size), "counts": rle} for rle in masks])))


def fills(rle: Rle, size: Size) -> bool:
    """Whether compressed run lengths are well-formed and cover H · W pixels exactly."""
    counts = run_lengths(rle)
    return counts is not None and bool((counts >= 0).all()) and int(counts.sum()) == size[0] * size[1]


def run_lengths(rle: Rle) -> NDArray[np.int64] | None:
    """(R,) int64 run lengths, zeros first; None for a string that is none.

    Source: `rleFrString` in COCO's maskApi.c: 5 bits per character, low first, bit 6 says that more follow,
    the last one's bit 5 is the sign; from the fourth run on it is the difference to the run two before.
    """
    code = np.frombuffer(rle.encode("utf-8"), np.uint8).astype(np.int64) - 48
    if not len(code) or (code < 0).any() or (code > 63).any() or code[-1] & 32:
        return None
    ends = np.flatnonzero((code & 32) == 0)
    starts = np.concatenate([[0], ends[:-1] + 1])
    place = np.arange(len(code)) - np.repeat(starts, ends - starts + 1)
    if place.max() > 8:                                            # 45 bits: no image has so many pixels
        return None
    runs = np.add.reduceat((code & 31) << (5 * place), starts)
    runs -= np.where(code[ends] & 16, np.int64(1) << (5 * (place[ends] + 1)), 0)
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])
    return np.asarray(runs, np.int64)
