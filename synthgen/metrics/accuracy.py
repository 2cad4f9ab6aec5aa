"""How far labels are from the truth, image by image, as counts from which every metric is a ratio of sums.

`score_image` makes one record per image; `columns` turns records into numerators and denominators for the
bootstrap of `bounds`, whose unit is therefore the image.

What is left out: pixels in `truth.ignore` and instances that the truth marks ignored, always; and objects
under `min_area` px, on which people disagree too. A true object that is left out is no miss, and a prediction
matched to it is no error; a prediction under `min_area` that matches nothing is no error either. (COCO's rule
for objects out of its area range: a small prediction that does match a true object still counts as found.)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from synthgen.geometry import areas, box_ious, decode, encode, rle_ious, union
from synthgen.types import Labels, Rle, Size

Record = Mapping[str, Any]
Floats = NDArray[np.float64]
LEAST_AREA = 15.0  # px; smaller objects are left out


@dataclass(frozen=True, slots=True, eq=False)
class Matching:
    """Who found whom in one image. offered: (P,) rows of the predictions that are none of `ignored`. found: (P,) index
    of the true object that each of them found, or −1. counted: (P,) bool, a hit or an error. known, wanted: (T,) bool,
    true objects that are not ignored, and those of them that are not left out. pred_masks, true_masks: what they were
    matched by, without the pixels that say nothing; None where boxes were compared.
    """

    offered: NDArray[np.int64]
    found: NDArray[np.int64]
    counted: NDArray[np.bool_]
    known: NDArray[np.bool_]
    wanted: NDArray[np.bool_]
    pred_masks: list[Rle] | None
    true_masks: list[Rle] | None

    @property
    def missed(self) -> NDArray[np.bool_]:
        """(T,) bool: wanted, and found by none."""
        out = self.wanted.copy()
        out[self.found[self.found >= 0]] = False
        return out


def matching(pred: Labels, truth: Labels, min_area: float = LEAST_AREA, iou: float = 0.5) -> Matching:
    """Instances matched within their class by masks, or by boxes where either side has no masks."""
    assert pred.states is not None
    assert truth.states is not None
    offered = np.array([s != "ignored" for s in pred.states], bool)
    known = np.array([s != "ignored" for s in truth.states], bool)
    pred_masks = true_masks = None
    if pred.masks is not None and truth.masks is not None:
        pred_masks, true_masks = _outside_ignored(pred, truth, offered, known)
        pred_area, true_area = (areas(m, truth.size).astype(float) for m in (pred_masks, true_masks))
        overlaps = rle_ious(pred_masks, true_masks, truth.size)
    else:
        pred_area, true_area = (_box_areas(boxes, truth) for boxes in (pred.boxes[offered], truth.boxes))
        overlaps = box_ious(pred.boxes[offered], truth.boxes)
    overlaps = np.where(pred.classes[offered][:, None] == truth.classes[None], overlaps, 0)
    wanted = known & (true_area >= min_area)
    found, of_left_out = match(overlaps, wanted, iou)
    counted = (found >= 0) | ((pred_area >= min_area) & ~of_left_out)
    return Matching(np.flatnonzero(offered), found, counted, known, wanted, pred_masks, true_masks)


def score_image(pred: Labels, truth: Labels, min_area: float = LEAST_AREA, iou: float = 0.5) -> dict[str, Any]:
    """One image's record, plain JSON: instance counts, foreground pixels, image class.

    Instances are matched within their class by masks, or by boxes where either side has no masks. Predictions
    with state `ignored` are no predictions; `to_review` ones are. Keys: tp, fp, fn, n_pred, n_true (left-out
    objects in none of them; left_out: how many true ones those were);
    overlap, pred_px, true_px: px where the class agrees, pred's and truth's (None
    without masks); correct (None unless the truth has an image class; an ignored one is none); classes: tp,
    fp, fn and the px by class index as text.
    Raises: ValueError when the two are for images of different sizes.
    """
    if pred.size != truth.size:
        raise ValueError(f"the prediction is for an image of {pred.size}, the truth for one of {truth.size}")
    unknown_px = {"overlap": None, "pred_px": None, "true_px": None}
    record: dict[str, Any] = {"tp": 0, "fp": 0, "fn": 0, "n_pred": 0, "n_true": 0, **unknown_px,
                              "correct": None, "classes": {}}
    who = matching(pred, truth, min_area, iou)
    pred_classes, missed = pred.classes[who.offered], who.missed
    for c in sorted({*pred_classes.tolist(), *truth.classes.tolist()}):
        p, t = pred_classes == c, truth.classes == c
        row: dict[str, Any] = {"tp": int((p & (who.found >= 0)).sum()), "fn": int((t & missed).sum()),
                               "fp": int((p & who.counted & (who.found < 0)).sum()), **unknown_px}
        if who.pred_masks is not None and who.true_masks is not None:
            row |= _pixels([m for m, k in zip(who.pred_masks, p, strict=True) if k],
                           [m for m, k in zip(who.true_masks, t, strict=True) if k], truth.size)
        record["classes"][str(c)] = row
    rows = record["classes"].values()
    pixels = ("overlap", "pred_px", "true_px") if who.pred_masks is not None else ()
    record |= {key: sum(row[key] for row in rows) for key in ("tp", "fp", "fn", *pixels)}
    record |= {"n_pred": int(who.counted.sum()), "n_true": int(who.wanted.sum()),
               "left_out": int((who.known & ~who.wanted).sum())}
    if truth.image_class is not None and truth.image_state != "ignored":
        record["correct"] = int(pred.image_class == truth.image_class and pred.image_state != "ignored")
    return record


def match(overlaps: Floats, wanted: NDArray[np.bool_],
          iou: float = 0.5) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """(P,) index of the wanted truth that each prediction found, or −1; (P,) whether it found a left-out one.

    overlaps: (P, T) IoU, 0 where classes differ. Greedy by falling IoU, wanted truths first, each at most
    once; a left-out truth may take several. Above IoU 0.5 disjoint masks can match in one way only (Kirillov
    et al. 2019, "Panoptic Segmentation", section 4.1), so greedy equals the optimal assignment there.
    """
    found = np.full(len(overlaps), -1, np.int64)
    taken = np.zeros(overlaps.shape[1], bool)
    pairs = np.argwhere(overlaps * wanted[None] >= iou)
    for p, t in pairs[np.argsort(-overlaps[tuple(pairs.T)], kind="stable")]:
        if found[p] < 0 and not taken[t]:
            found[p], taken[t] = t, True
    of_left_out = (overlaps * ~wanted[None] >= iou).any(1)
    return found, np.asarray((found < 0) & of_left_out, np.bool_)


def _outside_ignored(pred: Labels, truth: Labels, offered: NDArray[np.bool_],
                     known: NDArray[np.bool_]) -> tuple[list[Rle], list[Rle]]:
    """Masks of the offered predictions and of all truths, without the pixels that say nothing."""
    assert pred.masks is not None
    assert truth.masks is not None
    pred_masks = [m for m, k in zip(pred.masks, offered, strict=True) if k]
    unknown = [m for m, k in zip(truth.masks, known, strict=True) if not k]
    unknown += [truth.ignore] if truth.ignore is not None else []
    if not unknown:
        return pred_masks, list(truth.masks)
    (rest,) = encode(~union(unknown, truth.size)[None])
    return ([_merge([m, rest], truth.size, True) for m in pred_masks],
            [_merge([m, rest], truth.size, True) for m in truth.masks])


def _merge(masks: Sequence[Rle], size: Size, intersect: bool) -> Rle:
    merged = coco_mask.merge([{"size": list(size), "counts": m} for m in masks], intersect=intersect)
    return str(merged["counts"], "ascii")


def _pixels(pred: Sequence[Rle], true: Sequence[Rle], size: Size) -> dict[str, int]:
    """px of the union of pred, of the union of true, and of what they share."""
    unions = [[_merge(side, size, False)] if side else [] for side in (pred, true)]
    shared = [_merge([unions[0][0], unions[1][0]], size, True)] if all(unions) else []
    overlap, pred_px, true_px = (int(areas(m, size).sum()) for m in (shared, *unions))
    return {"overlap": overlap, "pred_px": pred_px, "true_px": true_px}


def _box_areas(boxes: NDArray[np.float32], truth: Labels) -> Floats:
    """(N,) px; 0 for a box that lies mostly on ignored pixels, so that it is left out as too small."""
    area: Floats = (boxes[:, 2:] - boxes[:, :2]).clip(0).prod(1).astype(np.float64)
    if truth.ignore is not None and len(boxes):
        ignored = decode([truth.ignore], truth.size)[0]
        for k, (x0, y0, x1, y1) in enumerate(np.round(boxes).astype(int).clip(0)):
            inside = ignored[y0:y1, x0:x1]
            if inside.size and inside.mean() > 0.5:
                area[k] = 0
    return area


METRICS: dict[str, Callable[[Record], tuple[float, float] | None]] = {
    "ap50": lambda r: (r["tp"], r["tp"] + r["fp"] + r["fn"]),
    "precision": lambda r: (r["tp"], r["tp"] + r["fp"]),
    "recall": lambda r: (r["tp"], r["tp"] + r["fn"]),
    "dice": lambda r: None if r["overlap"] is None else (2 * r["overlap"], r["pred_px"] + r["true_px"]),
    "dice_per_image": lambda r: None if r["overlap"] is None else (
        2 * r["overlap"] / (r["pred_px"] + r["true_px"]) if r["pred_px"] + r["true_px"] else 1, 1),
    "count_error": lambda r: (abs(r["n_pred"] - r["n_true"]), 1),
    "count_bias": lambda r: (r["n_pred"] - r["n_true"], 1),
    "accuracy": lambda r: None if r["correct"] is None else (r["correct"], 1),
}
"""A record's share in numerator and denominator; None where it says nothing."""


def columns(records: Sequence[Record], metric: str) -> tuple[Floats, Floats] | None:
    """(N,) numerators and (N,) denominators of a metric, whose value is Σ / Σ; None when no record knows it.

    ap50 is TP / (TP + FP + FN) at IoU 0.5 (Caicedo et al. 2019, Nature Methods 16:1247; StarDist's
    "accuracy"), not COCO's area under a curve. dice is over the pixels of all images, and class by class
    where there are several; dice_per_image is the mean over images. count_error is the mean |n_pred −
    n_true|, count_bias the signed mean.
    """
    pairs = [METRICS[metric](r) for r in records]
    if all(pair is None for pair in pairs):
        return None
    both = np.array([(0, 0) if pair is None else pair for pair in pairs], np.float64).reshape(-1, 2)
    if not both[:, 1].any() and any(r.get("left_out") for r in records):
        return None                # all there was to find is too small to count: nothing was measured
    return both[:, 0], both[:, 1]


def value_of(records: Sequence[Record], metric: str) -> float:
    """A metric over all images; nothing to find and nothing found is 1; nan when no record knows it."""
    pair = columns(records, metric)
    if pair is None:
        return float("nan")
    num, den = pair[0].sum(), pair[1].sum()
    return float(num / den) if den else 1.0


def ap50_stardist(records: Sequence[Record]) -> float:
    """TP / (TP + FP + FN) at IoU 0.5, pooled over images."""
    return value_of(records, "ap50")


def dice(records: Sequence[Record], pooled: bool = True) -> float:
    """Foreground Dice: over the pixels of all images, or the mean of the images' own."""
    return value_of(records, "dice" if pooled else "dice_per_image")


def count_error(records: Sequence[Record], signed: bool = False) -> float:
    """Mean of |n_pred − n_true| per image, or of n_pred − n_true."""
    return value_of(records, "count_bias" if signed else "count_error")


def accuracy(records: Sequence[Record]) -> float:
    """Share of images whose class is right; a labeler that gives none is wrong."""
    return value_of(records, "accuracy")


def coco_map(preds: Sequence[Labels], truths: Sequence[Labels], n_classes: int,
             kind: Literal["segm", "bbox"] = "segm") -> dict[str, float]:
    """COCO's AP by faster-coco-eval: {"map", "map50", "map75"}, nan where the truth is empty.

    COCO's own protocol: no smallest area; ignored truths and ignored pixels are crowd regions. Needs scores
    that rank the predictions.
    """
    from faster_coco_eval import COCO, COCOeval_faster

    images, true_rows, pred_rows = [], [], []
    for k, (pred, truth) in enumerate(zip(preds, truths, strict=True)):
        images.append({"id": k + 1, "height": truth.size[0], "width": truth.size[1]})
        true_rows += _coco_rows(truth, k + 1, kind)
        if truth.ignore is not None and kind == "segm":
            true_rows += [_coco_row(truth.size, k + 1, c, truth.ignore, None) | {"iscrowd": 1}
                          for c in range(n_classes)]
        pred_rows += [row for row in _coco_rows(pred, k + 1, kind) if not row["iscrowd"]]
    for number, row in enumerate(true_rows, 1):
        row["id"] = number
    gold = COCO({"images": images, "annotations": true_rows, "categories": [
        {"id": c + 1, "name": str(c)} for c in range(n_classes)]})
    run = COCOeval_faster(gold, gold.loadRes(pred_rows), kind, print_function=lambda *_: None)
    run.run()
    stats = [float(s) for s in run.stats[:3]]
    return dict(zip(("map", "map50", "map75"), (s if s >= 0 else float("nan") for s in stats), strict=True))


def _coco_rows(labels: Labels, image_id: int, kind: str) -> list[dict[str, Any]]:
    assert labels.scores is not None
    assert labels.states is not None
    masks: Sequence[Rle | None] = labels.masks or [None] * len(labels)
    rows = []
    for k, (mask, state) in enumerate(zip(masks, labels.states, strict=True)):
        row = _coco_row(labels.size, image_id, int(labels.classes[k]), mask if kind == "segm" else None,
                        labels.boxes[k].tolist())
        rows.append(row | {"score": float(labels.scores[k]), "iscrowd": int(state == "ignored")})
    return rows


def _coco_row(size: Size, image_id: int, c: int, mask: Rle | None, box: list[float] | None) -> dict[str, Any]:
    row: dict[str, Any] = {"image_id": image_id, "category_id": c + 1}
    if mask is not None:
        rle = {"size": list(size), "counts": mask}
        return row | {"segmentation": rle, "area": float(coco_mask.area(rle)),
                      "bbox": coco_mask.toBbox(rle).tolist()}
    x0, y0, x1, y1 = box or [0.0, 0.0, 0.0, 0.0]
    return row | {"bbox": [x0, y0, x1 - x0, y1 - y0], "area": (x1 - x0) * (y1 - y0)}
