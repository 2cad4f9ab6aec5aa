"""What is shown of the pool: of each image a weak view for the teacher and strong views of it for the student.

The views never look at a label. Batch t depends on the seed and on t alone, as the labelled one does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from synthgen.augment import STRONG_CLASSIFY, Augment
from synthgen.seeds import rng_of, seed_of
from synthgen.types import Dataset, Image, Json
from synthgen_labeler.reliable import Reliable
from synthgen_labeler.views import resized, window

PHOTOMETRIC: tuple[dict[str, Json], ...] = (
    {"type": "ColorJitter", "brightness": [0.5, 1.5], "contrast": [0.5, 1.5], "saturation": [0.5, 1.5],
     "hue": [-0.25, 0.25], "p": 0.8},
    {"type": "ToGray", "p": 0.2},
    {"type": "GaussianBlur", "blur_limit": 0, "sigma_limit": [0.1, 2.0], "p": 0.5},
)
"""The strong view of the dense tasks, as in UniMatch (Yang et al., CVPR 2023); CutMix comes on top."""
DISTORTED = STRONG_CLASSIFY[1:]
"""The strong view of `classify`, after RandAugment as in FixMatch (Sohn et al., NeurIPS 2020, §2.3); the weak view has
been mirrored already, or must not be."""
MIX_P, MIX_AREA, MIX_RATIO = 0.5, (0.02, 0.4), 0.3  # CutMix as UniMatch does it: how often, share of the image, sides
KEPT_PIXELS = 400 * 128 * 128 * 16


@dataclass(frozen=True, slots=True)
class PoolPlan:
    """From step `start` on each batch holds `images` unlabelled ones. side: of the views, px. views: strong ones of
    each image. all_from: step from which the whole pool is shown; before it, where that is later than `start`, the
    images that are reliable."""

    start: int
    images: int
    side: int
    dense: bool
    views: int
    seed: int
    all_from: int = 0


class Unlabelled:
    """Views of the pool's images. augment: how labelled images are shown; of it the weak view takes what moves pixels
    and leaves their colours, so that a mirror image comes up where the labelled ones are mirrored and not elsewhere."""

    def __init__(self, pool: Dataset, augment: Sequence[Mapping[str, Json]], plan: PoolPlan) -> None:
        self.pool, self.plan = pool, plan
        self.weak = Augment(spatial(augment))
        self.strong = Augment(PHOTOMETRIC if plan.dense else DISTORTED)
        self.reliable: Reliable | None = None  # which images come first, where plan.all_from asks for it
        self._kept: dict[int, Image] = {}
        self._pixels = 0

    def batch(self, step: int) -> dict[str, Tensor]:
        """Of n images: weak (n, 3, s, s) float32 in [0, 1], strong (V, n, 3, s, s); dense also valid (n, s, s) bool,
        where there is image, and mix (V, n, s, s) bool, the boxes of CutMix. Empty before the first step of the plan.
        """
        p = self.plan
        if step < p.start or not p.images or not len(self.pool):
            return {}
        weak, strong, valid, mix = [], [], [], []
        for slot, k in enumerate(self.picks(step)):
            image, seen = self._weak(self._image(k), seed_of(p.seed, "pool weak", step, slot))
            weak.append(image)
            valid.append(seen)
            for view in range(p.views):
                seed = seed_of(p.seed, "pool strong", step, slot, view)
                strong.append(self._strong(image, seed))
                mix.append(box(p.side, rng_of(seed_of(seed, "mix"))))
        n = len(weak)
        first = [x if p.dense else resized(x, p.side) for x in weak]
        stacked = np.stack([strong[i * p.views + v] for v in range(p.views) for i in range(n)])
        found = {"weak": _tensor(np.stack(first)),
                 "strong": _tensor(stacked).reshape(p.views, n, 3, p.side, p.side)}
        if p.dense:
            boxes = np.stack([mix[i * p.views + v] for v in range(p.views) for i in range(n)])
            found["valid"] = torch.from_numpy(np.stack(valid))
            found["mix"] = torch.from_numpy(boxes.reshape(p.views, n, p.side, p.side))
        return found

    def picks(self, step: int) -> list[int]:
        """The images of a step: the whole pool, or what is reliable of it, in random order, then in another, so that
        all are seen equally often."""
        p, n = self.plan, self.plan.images
        known = np.arange(len(self.pool))
        if self.reliable is not None and step < p.all_from:
            known = self.reliable.first()
        total, since = len(known), p.start if step < p.all_from else max(p.start, p.all_from)
        places = range((step - since) * n, (step - since + 1) * n)
        orders = {r: rng_of(seed_of(p.seed, "pool order", r)).permutation(total) for r in {i // total for i in places}}
        return [int(known[orders[i // total][i % total]]) for i in places]

    def still(self, picks: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """One view of each of n images, the same at every step: (n, 3, s, s) float32 in [0, 1], and (n, s, s) bool
        where there is image."""
        images, valid, side = [], [], self.plan.side
        for k in picks.tolist():
            image = self._image(k)
            ids = np.zeros(image.shape[:2], np.int32)
            if self.plan.dense:
                image, ids = window(image, ids, side, rng_of(seed_of(self.plan.seed, "pool still", k)))
            else:
                image, ids = resized(image, side), np.zeros((side, side), np.int32)
            images.append(image)
            valid.append(ids == 0)
        return _tensor(np.stack(images)), torch.from_numpy(np.stack(valid))

    def _weak(self, image: Image, seed: int) -> tuple[Image, NDArray[np.bool_]]:
        rng, side = rng_of(seed_of(seed, "window")), self.plan.side
        ids = np.zeros(image.shape[:2], np.int32)
        if not self.plan.dense:
            image, _ = self.weak(image, ids, seed)
            return image, np.zeros((0,), bool)
        image, ids = window(image, ids, 2 * side, rng, pad=False)
        image, ids = self.weak(image, ids, seed)
        image, ids = window(image, ids, side, rng)
        return image, ids == 0

    def _strong(self, image: Image, seed: int) -> Image:
        out, _ = self.strong(image, np.zeros(image.shape[:2], np.int32), seed)
        return out if self.plan.dense else resized(out, self.plan.side)

    def _image(self, k: int) -> Image:
        if k in self._kept:
            return self._kept[k]
        image = self.pool[k].image
        if self._pixels <= KEPT_PIXELS:
            self._kept[k] = image
            self._pixels += image.size
        return image


def spatial(augment: Sequence[Mapping[str, Json]]) -> list[Mapping[str, Json]]:
    """Of transforms those that move pixels: they neither change a colour nor hide anything."""
    import albumentations as A
    from albumentations.core.transforms_interface import DualTransform

    kinds = [(entry, getattr(A, str(entry.get("type")), None)) for entry in augment]
    return [entry for entry, kind in kinds if isinstance(kind, type) and issubclass(kind, DualTransform)
            and "Dropout" not in kind.__name__ and kind.__name__ != "Erasing"]


def box(side: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """(side, side) bool: a rectangle of MIX_AREA of the image, its sides as 0.3 to 1 / 0.3, or nothing (CutMix: Yun et
    al., ICCV 2019; frequency, area and sides as in UniMatch)."""
    found = np.zeros((side, side), bool)
    if rng.random() > MIX_P:
        return found
    while True:
        area = rng.uniform(*MIX_AREA) * side * side
        ratio = rng.uniform(MIX_RATIO, 1 / MIX_RATIO)
        height, width = int(np.sqrt(area * ratio)), int(np.sqrt(area / ratio))
        top, left = int(rng.integers(0, side)), int(rng.integers(0, side))
        if top + height <= side and left + width <= side:
            found[top : top + height, left : left + width] = True
            return found


def _tensor(images: NDArray[Any]) -> Tensor:
    """(N, s, s, 3) uint8 → (N, 3, s, s) float32 in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))).float().div(255)
