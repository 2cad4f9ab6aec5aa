"""What a network is shown: crops of seed and pool, each step's by the step's own seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from synthgen.neural.scene import Scene
from synthgen.seeds import rng_of, seed_of
from synthgen.store import without_labels
from synthgen.types import Context, Dataset, Image, Labels, Sample

POOL_PIXELS = 64 << 20  # pixels of the pool that are kept in memory; of a larger one, images at random
HALF = 0.5  # share of a batch that comes from the pool, where there is one


def from_pool(pool: Dataset, seed: int) -> list[Sample]:
    """Pool images to learn from: all, or as many at random as have POOL_PIXELS together. Without labels."""
    out, room = [], POOL_PIXELS
    for k in rng_of(seed_of(seed, "pool")).permutation(len(pool)):
        sample = pool[int(k)]
        room -= sample.image.shape[0] * sample.image.shape[1]
        if room < 0:
            break
        out.append(without_labels(sample))
    return out


def taken_for(pool: Sequence[Sample], context: Context) -> list[Sample]:
    """The pool with the image class that every labeler of the committee gives; without one where they differ.

    A generator that learns from such classes on the whole pool draws every class in all its variety (You et al.,
    "Diffusion models and semi-supervised learners benefit mutually with few labels", NeurIPS 2023, §3).
    """
    votes: list[list[int | None]] = []
    for number, member in enumerate(context.committee()):
        votes.append([found.image_class for found in member.labeler.label([s.image for s in pool], tta=False)])
        context.log("classes of the pool", number + 1, 0)
    out = []
    for sample, given in zip(pool, zip(*votes, strict=True) if votes else [()] * len(pool), strict=True):
        agreed = given[0] if given and len(set(given)) == 1 else None
        size = (int(sample.image.shape[0]), int(sample.image.shape[1]))
        out.append(sample if agreed is None else replace(sample, labels=Labels(size, image_class=agreed)))
    return out


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """clean: (B, colours, px, px) float32. condition: (B, C, px, px) float32, 0 where nothing is known:
    `Scene.condition`, or `Scene.fields` where crops show these. kind: (B,) int64 image classes, `classes` for
    unknown."""

    clean: NDArray[np.float32]
    condition: NDArray[np.float32]
    kind: NDArray[np.int64]


class Crops:
    """Crops of `px` × `px` px; of smaller images, continued by their mirror image, in which nothing is known."""

    def __init__(self, scene: Scene, pool: Sequence[Image], px: int, seed: int,
                 pool_kinds: Sequence[int | None] | None = None, fields: bool = False) -> None:
        """pool: images without masks, as `from_pool` picks them. pool_kinds: the image class that somebody takes each
        of them for, None for unknown; without: all unknown. fields: show what `Scene.fields` gives of labels."""
        self.scene, self.px, self.seed = scene, px, seed
        self.channels = 1 + scene.classes if fields else scene.channels
        of = scene.fields if fields else scene.condition
        self.labelled: list[tuple[NDArray[np.float32], NDArray[np.float32]]] = []
        self.kinds: list[int] = []
        for sample in scene.real:
            assert sample.labels is not None
            known = of(sample.labels, sample.labels.size)
            picture = scene.tones.encode(sample.image)
            self.labelled.append((self._grown(picture, "reflect"), self._grown(known, "known")))
            kind = sample.labels.image_class
            self.kinds.append(scene.classes if kind is None else kind)
        self.pool = list(pool)
        self.pool_kinds = [scene.classes if kind is None else kind for kind in pool_kinds or [None] * len(pool)]

    def batch(self, step: int, part: int, n: int, drop: float) -> Batch:
        """Part `part` of step `step`'s batch. drop: share of the labelled crops that are shown as if nothing were known
        of them, as guidance needs it (Ho & Salimans, "Classifier-free diffusion guidance", 2022, alg. 1)."""
        rng = rng_of(seed_of(self.seed, "batch", step, part))
        colours = self.scene.tones.colours
        clean = np.empty((n, colours, self.px, self.px), np.float32)
        shown = np.zeros((n, self.channels, self.px, self.px), np.float32)
        kinds = np.full(n, self.scene.classes, np.int64)
        from_pool = int(n * HALF + rng.random()) if self.pool else 0
        for row in range(n):
            if row < from_pool:
                k = int(rng.integers(len(self.pool)))
                image = self._grown(self.scene.tones.encode(self.pool[k]), "reflect")
                known, kind = None, self.pool_kinds[k]
            else:
                k = int(rng.integers(len(self.labelled)))
                image, known = self.labelled[k]
                kind = self.kinds[k]
            y, x = (int(rng.integers(image.shape[1 + a] - self.px + 1)) for a in (0, 1))
            turn = int(rng.integers(8)) if self.scene.any_angle else 0
            dropped = rng.random() < drop
            clean[row] = _turned(image[:, y : y + self.px, x : x + self.px], turn)
            if known is not None and not dropped:
                shown[row] = _turned(known[:, y : y + self.px, x : x + self.px], turn)
            kinds[row] = self.scene.classes if dropped else kind
        return Batch(clean, shown, kinds)

    def _grown(self, channels: NDArray[np.float32], how: str) -> NDArray[np.float32]:
        """At least px on both sides."""
        H, W = channels.shape[1:]
        room = ((0, 0), (0, max(self.px - H, 0)), (0, max(self.px - W, 0)))
        if not any(after for _, after in room):
            return channels
        return np.pad(channels, room, mode="symmetric") if how == "reflect" else np.pad(channels, room)


def _turned(channels: NDArray[np.float32], k: int) -> NDArray[np.float32]:
    """Symmetry k of the square (0…7) of (C, H, W)."""
    return np.rot90(channels[:, :, ::-1] if k >= 4 else channels, k % 4, (1, 2))
