"""Batches: batch t depends on the seed and on t alone, so that a resumed training sees what it would have seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from synthgen.augment import Augment
from synthgen.geometry import decode, id_map, only_accepted
from synthgen.seeds import rng_of, seed_of
from synthgen.types import Boxes, Image, Mixture, Sample, Size
from synthgen_labeler.boxes import box_target
from synthgen_labeler.targets import target_of
from synthgen_labeler.unlabelled import Unlabelled
from synthgen_labeler.views import boxes_in, corner, cropped, resized, window

CACHE_PIXELS = 400 * 128 * 128 * 16  # decoded samples kept in memory, in pixels


@dataclass(frozen=True, slots=True)
class Plan:
    """How batches are made: steps, batch size, crop side (px), whether targets are dense, the root seed, and whether
    the dense ones are boxes; classes: K."""

    steps: int
    batch: int
    crop: int
    dense: bool
    seed: int
    boxes: bool = False
    classes: int = 0


class Batches(IterableDataset[dict[str, Tensor]]):
    """The batches from step `start()` on."""

    def __init__(
        self, mixture: Mixture, augment: Augment, plan: Plan, start: Callable[[], int], pool: Unlabelled | None = None
    ) -> None:
        self.mixture, self.augment, self.plan, self.start, self.pool = mixture, augment, plan, start, pool
        self._kept: dict[int, tuple[Any, ...]] = {}
        self._pixels = 0

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        for step in range(self.start(), self.plan.steps):
            yield self.batch(step)

    def batch(self, step: int) -> dict[str, Tensor]:
        """Batch `step`: image (B, 3, crop, crop) float32 in [0, 1], and its targets; beside them the pool's views."""
        p = self.plan
        picks = self.mixture.draw(step / p.steps, p.batch, rng_of(seed_of(p.seed, "draw", step)))
        items = [self._item(int(k), seed_of(p.seed, "augment", step, slot)) for slot, k in enumerate(picks)]
        labelled = {key: torch.from_numpy(np.stack([item[key] for item in items])) for key in items[0]}
        return labelled | (self.pool.batch(step) if self.pool is not None else {})

    def _item(self, k: int, seed: int) -> dict[str, NDArray[Any]]:
        if self.plan.boxes:
            return self._boxes_item(k, seed)
        image, ids, classes, image_class = self._known(k)
        rng = rng_of(seed)
        if self.plan.dense:
            # Augment a little more than the crop, so that rotations find pixels beyond it.
            image, ids = window(image, ids, 2 * self.plan.crop, rng, pad=False)
            image, ids = self.augment(image, ids, seed)
            image, ids = window(image, ids, self.plan.crop, rng)
        else:
            ids = np.zeros(image.shape[:2], np.int32)
            image, _ = self.augment(image, ids, seed)
            image = resized(image, self.plan.crop)
        pixels = _pixels(image)
        if not self.plan.dense:
            return {"image": pixels, "class": np.asarray(image_class, np.int64)}
        target = target_of(ids, classes)
        return {
            "image": pixels,
            "classes": target.classes,
            "centre": target.centre,
            "offset": target.offset,
            "edge": target.edge,
        }

    def _boxes_item(self, k: int, seed: int) -> dict[str, NDArray[Any]]:
        image, ids, boxes, classes = self._known(k)
        rng, side = rng_of(seed), self.plan.crop
        at = corner(ids, 2 * side, rng)
        image, ids = cropped(image, ids, at, 2 * side, pad=False)
        ids = ids.copy()  # boxes_in writes into it
        boxes, rows, share = boxes_in(boxes, at, _size(ids), ids)
        image, ids, boxes, kept = self.augment.with_boxes(image, ids, boxes, seed)
        rows, share = rows[kept], share[kept]
        at = corner(ids, side, rng)
        image, ids = cropped(image, ids, at, side, pad=True)
        boxes, kept, _ = boxes_in(boxes, at, _size(ids), ids, share)
        target = box_target(boxes, classes[rows[kept]], self.plan.classes, ids >= 0)
        return {"image": _pixels(image), "heat": target.heat, "sides": target.sides, "weight": target.weight,
                "valid": target.valid}

    def _known(self, k: int) -> tuple[Any, ...]:
        """What `boxes_of` or `truth_of` says of sample k, kept while there is room."""
        if k not in self._kept:
            sample = self.mixture.samples[k]
            known: tuple[Any, ...] = boxes_of(sample) if self.plan.boxes else truth_of(sample)
            if self._pixels > CACHE_PIXELS:
                return known
            self._kept[k] = known
            self._pixels += known[0].size
        return self._kept[k]


def truth_of(sample: Sample) -> tuple[Image, NDArray[np.int32], NDArray[np.int64], int]:
    """Image, ids (−1 ignored), the classes of the instances, and the image's class (−1 = none).

    Of a synthetic image ignored pixels say nothing under a mask either: there the filter disputes a part of it.
    What a person labelled inside an ignored region is known.
    """
    labels = sample.labels
    assert labels is not None, f"{sample.id} has no labels to train on"
    ids = id_map(labels)
    if labels.states is not None:
        for k, state in enumerate(labels.states):
            if state != "accepted":
                ids[ids == k + 1] = -1
    if labels.ignore is not None:
        away = decode([labels.ignore], labels.size)[0]
        ids[away if sample.origin.kind == "synthetic" else away & (ids == 0)] = -1
    return sample.image, ids, labels.classes, -1 if labels.image_class is None else labels.image_class


def boxes_of(sample: Sample) -> tuple[Image, NDArray[np.int32], Boxes, NDArray[np.int64]]:
    """Image, ids (−1 ignored, else 0), and the (N, 4) boxes and classes of what was accepted; other boxes are ignored,
    each inside its box."""
    labels = sample.labels
    assert labels is not None, f"{sample.id} has no labels to train on"
    ids = np.zeros(labels.size, np.int32)
    labels = only_accepted(labels)
    if labels.ignore is not None:
        ids[decode([labels.ignore], labels.size)[0]] = -1
        if sample.origin.kind != "synthetic":  # there the filter disputes a part of an object
            for x0, y0, x1, y1 in np.round(labels.boxes).astype(int):
                ids[max(y0, 0) : y1, max(x0, 0) : x1] = 0  # what is labelled inside an ignored region is known
    return sample.image, ids, labels.boxes, labels.classes


def _pixels(image: Image) -> NDArray[np.float32]:
    """(H, W, 3) uint8 → (3, H, W) float32 in [0, 1]."""
    return np.asarray(np.ascontiguousarray(image.transpose(2, 0, 1)).astype(np.float32) / 255, np.float32)


def _size(ids: NDArray[np.int32]) -> Size:
    return int(ids.shape[0]), int(ids.shape[1])


class Data(pl.LightningDataModule):
    """The training batches as Lightning wants them."""

    def __init__(self, mixture: Mixture, augment: Augment, plan: Plan, pool: Unlabelled | None = None) -> None:
        super().__init__()
        self.mixture, self.augment, self.plan, self.pool = mixture, augment, plan, pool

    def train_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """One epoch is the whole training; on resume it begins at the step that was reached."""
        trainer = self.trainer
        batches = Batches(self.mixture, self.augment, self.plan, lambda: trainer.global_step if trainer else 0,
                          self.pool)
        return DataLoader(batches, batch_size=None)
