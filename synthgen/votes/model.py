"""The label model of a task: fitted to what all functions said of all images, then asked image by image.

What an image adds to the fit is small and adds up (`Tally`), so that a pool of any size is read twice and held never.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from synthgen.geometry import encode, encode_crop, id_map, rle_boxes, touches_border
from synthgen.types import Json, Labels, Mask, Rle, Size, Task
from synthgen.votes.classes import Floats, fit, majority, patterns, posterior_of
from synthgen.votes.instances import (
    Window,
    clusters,
    crop_of,
    explained,
    fused_box,
    fused_mask,
    majority_mask,
)
from synthgen.votes.pixels import rates

Combine = Literal["dawid-skene", "majority"]
Found = Sequence[Labels | None]  # what each function says of one image; None = it abstains


@dataclass(frozen=True, slots=True, eq=False)
class LabelModel:
    """A fitted label model of F functions.

    items: what is voted on: images (`classify`, K classes), pixels (`segment`) or objects, the last two with
    K + 1 classes, 0 = background or nothing there. prior: (K',), confusion: (F, K', K'). mask_prior, sensitivity,
    specificity: of pixels around matched objects. facts: what was learned of each function, plain JSON.
    """

    task: Task
    combine: Combine
    names: tuple[str, ...]
    prior: Floats
    confusion: Floats
    mask_prior: float
    sensitivity: Floats
    specificity: Floats
    facts: Mapping[str, Json]

    def to_json(self) -> Json:
        """The model as plain JSON; `from_json` reads it."""
        return {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in asdict(self).items()}

    @staticmethod
    def from_json(value: Mapping[str, Json]) -> LabelModel:
        """The model that `to_json` wrote."""
        arrays = ("prior", "confusion", "sensitivity", "specificity")
        read: dict[str, Any] = {k: np.array(v, np.float64) if k in arrays else v for k, v in value.items()}
        return LabelModel(**{**read, "names": tuple(value["names"])})

    def labels(self, found: Found, size: Size) -> Labels:
        """The labels of one image of (H, W) px: the likeliest class or objects, with their posterior as scores.

        Of objects, those that the model holds for likelier absent than there are kept with their low scores.
        """
        if self.task == "classify":
            return self._image_class(found, size)
        return self._pixels(found, size) if self.task == "segment" else self._instances(found, size)

    def _posterior(self, votes: NDArray[np.int64]) -> Floats:
        if self.combine == "majority":
            return majority(votes, len(self.prior)).posterior
        return posterior_of(votes, self.prior, self.confusion)

    def _image_class(self, found: Found, size: Size) -> Labels:
        (p,) = self._posterior(class_votes(found))
        return Labels(size, image_class=int(p.argmax()), image_score=round(float(p.max()), 6), reviewed="model")

    def _pixels(self, found: Found, size: Size) -> Labels:
        votes = pixel_votes(found, size)
        rows, which, _ = patterns(votes, len(self.prior))
        p = self._posterior(rows)[which]  # (P, K + 1)
        top = p.argmax(1)
        classes = [int(k) for k in np.unique(top) if k]
        masks = np.stack([(top == k).reshape(size) for k in classes]) if classes else np.zeros((0, *size), bool)
        scores = [float(p[top == k, k].mean()) for k in classes]
        return _labels(size, [k - 1 for k in classes], encode(masks), None, scores)

    def _instances(self, found: Found, size: Size) -> Labels:
        seen = clusters(found)
        p = self._posterior(seen.votes)
        scores = 1 - p[:, 0]
        ones = self.combine == "majority"
        weights = np.array([1.0 if ones else self.facts[name]["precision"] or 0.0 for name in self.names])
        boxes = np.array([fused_box(found, members, weights) for members in seen.members]).reshape(-1, 4)
        crops = [None if self.task == "detect" else crop_of(found, members) for members in seen.members]
        outlined = self.task != "detect" and (not crops or any(crop is not None for crop in crops))
        masks: list[Mask | None] = []
        windows: list[Window] = []
        for box, crop in zip(boxes, crops, strict=True):
            # Beside masks an object that nobody drew is its box.
            window, mask = ((0, 0, 0, 0), None) if not outlined else _filled(box, size) if crop is None else (
                crop[0], self._mask(crop[1]))
            windows.append(window)
            masks.append(mask)
        done, masks = explained(masks, windows, boxes, scores)
        stay = np.flatnonzero(~done)
        rles = [encode_crop(mask, windows[k][0], windows[k][2], size) for k in stay if (mask := masks[k]) is not None]
        return _labels(size, p[stay, 1:].argmax(1).tolist(), rles if outlined else None, boxes[stay], scores[stay])

    def _mask(self, votes: NDArray[np.int8]) -> NDArray[np.bool_]:
        """The fused mask; of the members as they are where the model leaves nothing of them."""
        if self.combine == "majority":
            return majority_mask(votes)
        mask = fused_mask(votes, self.mask_prior, self.sensitivity, self.specificity)
        return mask if mask.any() else majority_mask(votes)


class Tally:
    """What the images seen so far add to the fit of a label model."""

    def __init__(self, task: Task, n_classes: int, names: Sequence[str]) -> None:
        self.task, self.names = task, tuple(names)
        self.n_classes = n_classes if task == "classify" else n_classes + 1
        self.images = 0
        self.spoke = np.zeros(len(self.names), np.int64)
        self.rows: Counter[tuple[int, ...]] = Counter()
        self.masks: Counter[tuple[int, ...]] = Counter()

    def add(self, found: Found, size: Size) -> None:
        """Count what the functions say of one image of (H, W) px."""
        self.images += 1
        self.spoke += [labels is not None for labels in found]
        if self.task == "classify":
            self._count(self.rows, class_votes(found), self.n_classes)
        elif self.task == "segment":
            self._count(self.rows, pixel_votes(found, size), self.n_classes)
        else:
            seen = clusters(found)
            self._count(self.rows, seen.votes, self.n_classes)
            for members in seen.members[(seen.members >= 0).sum(1) > 1]:
                # Where one function alone drew a mask nothing is to be learned of how masks differ.
                crop = crop_of(found, members)
                if crop is not None and (crop[1][:, 0, 0] >= 0).sum() > 1:
                    self._count(self.masks, crop[1].reshape(len(found), -1).T, 2)

    def _count(self, counter: Counter[tuple[int, ...]], votes: NDArray[np.integer], n_classes: int) -> None:
        rows, _, weights = patterns(votes, n_classes)
        for row, weight in zip(rows.tolist(), weights, strict=True):
            counter[tuple(row)] += int(weight)

    def fitted(self, combine: Combine = "dawid-skene") -> LabelModel:
        """The label model of all that was counted."""
        F = len(self.names)
        rows, weights = _table(self.rows, F)
        mask_rows, mask_weights = _table(self.masks, F)
        model = fit(rows, weights, self.n_classes, unseen=0 if self.task in ("instances", "detect") else None)
        prior, sensitivity, specificity = rates(mask_rows, mask_weights)
        posterior = (posterior_of(rows, model.prior, model.confusion) if combine == "dawid-skene"
                     else majority(rows, self.n_classes).posterior)
        facts = {name: self._facts(f, rows, weights, posterior) for f, name in enumerate(self.names)}
        return LabelModel(self.task, combine, self.names, model.prior, model.confusion, prior, sensitivity,
                          specificity, facts)

    def _facts(self, f: int, rows: NDArray[np.int64], weights: Floats, posterior: Floats) -> Json:
        """What is learned of one function: of its votes for a class (precision), of what there is (recall), of both
        (accuracy), each an expectation under the posterior; null where there is nothing to say it of."""
        mine, first = rows[:, f], 0 if self.task == "classify" else 1
        said, voted = mine >= 0, mine >= first
        right = np.where(said, posterior[np.arange(len(rows)), np.maximum(mine, 0)], 0.0) * weights
        against = said[:, None] & (rows >= 0) & (rows != mine[:, None])
        there = (posterior[:, first:].sum(1) * weights)[said].sum()
        return {
            "coverage": _ratio(self.spoke[f], self.images),
            "votes": int(weights[voted].sum()),
            "accuracy": _ratio(right[said].sum(), weights[said].sum()),
            "precision": _ratio(right[voted].sum(), weights[voted].sum()),
            "recall": None if self.task == "classify" else _ratio(right[voted].sum(), there),
            "conflicts": _ratio(weights[against.any(1)].sum(), weights[said].sum()),
        }


def class_votes(found: Found) -> NDArray[np.int64]:
    """(1, F) int64: the class that each function gives the image, −1 where it gives none."""
    given = [None if labels is None or labels.image_state == "ignored" else labels.image_class for labels in found]
    return np.array([[-1 if c is None else c for c in given]], np.int64)


def pixel_votes(found: Found, size: Size) -> NDArray[np.int64]:
    """(H·W, F) int64: 0 background, k + 1 class k; −1 where a function abstains or gives no masks."""
    votes = np.full((size[0] * size[1], len(found)), -1, np.int64)
    for f, labels in enumerate(found):
        if labels is not None and (labels.masks is not None or not len(labels)):
            votes[:, f] = np.concatenate([[0], labels.classes + 1])[id_map(labels).reshape(-1)]
    return votes


def fitted(images: Iterable[tuple[Found, Size]], task: Task, n_classes: int, names: Sequence[str],
           combine: Combine = "dawid-skene") -> LabelModel:
    """The label model of images, each with what the functions say of it and its size."""
    tally = Tally(task, n_classes, names)
    for found, size in images:
        tally.add(found, size)
    return tally.fitted(combine)


def _table(counter: Counter[tuple[int, ...]], F: int) -> tuple[NDArray[np.int64], Floats]:
    rows = sorted(counter)  # so that the order of images changes no digit
    return np.array(rows, np.int64).reshape(-1, F), np.array([counter[r] for r in rows], np.float64)


def _ratio(a: float, b: float) -> float | None:
    return round(float(a) / float(b), 6) if b else None


def _labels(size: Size, classes: list[int], rles: Sequence[Rle] | None, boxes: NDArray[np.float32] | None,
            scores: Sequence[float] | Floats) -> Labels:
    if rles is not None:
        boxes = rle_boxes(rles, size)
    assert boxes is not None
    return Labels(size, np.asarray(classes, np.int64), boxes, None if rles is None else tuple(rles),
                  scores=np.asarray(np.round(scores, 6), np.float32), truncated=touches_border(boxes, size),
                  reviewed="model")


def _filled(box: NDArray[np.float32], size: Size) -> tuple[Window, Mask]:
    """A box's window inside the image and a mask that fills it; one pixel at least."""
    x0, y0, x1, y1 = np.round(box).astype(int)
    y0, x0 = min(max(y0, 0), size[0] - 1), min(max(x0, 0), size[1] - 1)
    window = (int(y0), int(min(max(y1, y0 + 1), size[0])), int(x0), int(min(max(x1, x0 + 1), size[1])))
    return window, np.ones((window[1] - window[0], window[3] - window[2]), bool)
