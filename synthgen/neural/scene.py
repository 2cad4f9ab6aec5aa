"""What a generator is asked to draw, and how numbers that a network gave become a sample."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from synthgen.errors import DataError
from synthgen.geometry import only_accepted
from synthgen.layouts import LayoutModel, LayoutName, layout_model, survey
from synthgen.layouts.condition import channels, condition, reach_of
from synthgen.layouts.fields import fields, layout_of, scale_of
from synthgen.layouts.painted import labels_of, rasterised
from synthgen.layouts.regions import hold_regions, one_of_each, parted
from synthgen.neural.tones import Tones, tones_of
from synthgen.noise import NoiseModel, noise_model, restore_noise
from synthgen.seeds import rng_of, seed_of
from synthgen.store import Stored, write_all
from synthgen.types import Dataset, Image, Labels, Sample, Size, Task

FILE = "scene.json"
SATURATED = 0.97  # of the range, above which a sensor shows no noise
LOOKED_AT = 256  # images that tones are chosen by


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """What one sample must show.

    labels: its labels. condition: (C, H, W) float32, the channels of `layouts.condition`; C = 0 for classify.
    layout: which layout model drew it, "" for classify. parents: ids of the seed images behind it.
    """

    labels: Labels
    condition: NDArray[np.float32]
    layout: str
    parents: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Wishes:
    """Which layouts are drawn. layouts: models, one of them at random per sample; a name that is none of `LayoutName`
    stands for one that is taught later (`Scene.teach`). density: range of object counts relative to the seed's.
    touching: share of objects put against another, None = as in the seed. min_visible: of an object of which less shows
    the pixels are ignored. size: (H, W) of the images, None = as in the seed."""

    layouts: tuple[str, ...] = ("shape", "warp")
    density: tuple[float, float] = (0.7, 1.3)
    touching: float | None = None
    min_visible: float = 0.15
    size: Size | None = None


class Scene:
    """The seed as a source of layouts, tones and noise."""

    def __init__(self, real: Dataset, pool: Dataset, task: Task, classes: int, wishes: Wishes) -> None:
        """Raises: DataError when the seed has nothing to draw layouts from, or no labelled class."""
        accepted = [s if s.labels is None else dataclasses.replace(s, labels=only_accepted(s.labels)) for s in real]
        self.real = [s for s in accepted if s.labels is not None and
                     (s.labels.image_class is not None if task == "classify" else s.labels.masks is not None)]
        if not self.real:
            what = "a class" if task == "classify" else "masks"
            raise DataError(f"not one seed image has {what}, so there is nothing to learn from: label some first")
        self._prepare(task, classes, wishes, tones_of(_some(self.real, pool)))

    def _prepare(self, task: Task, classes: int, wishes: Wishes, tones: Tones) -> None:
        self.task, self.classes, self.wishes, self.tones = task, classes, wishes, tones
        self.noise: NoiseModel = noise_model(self.real)
        self.sizes = [(int(s.image.shape[0]), int(s.image.shape[1])) for s in self.real]
        self._models: dict[str, LayoutModel] = {}
        self.reach, self.scale, self.any_angle, self.regions = 0.0, 0.0, False, False
        if task != "classify":
            self.regions = hold_regions(self.real, task)
            seed = survey([parted(s) for s in self.real] if self.regions else self.real)
            self.reach, self.scale, self.any_angle = reach_of(seed), scale_of(seed), seed.any_angle
            self._models = {name: layout_model(cast(LayoutName, name), seed, wishes.density, wishes.touching)
                            for name in wishes.layouts if name in get_args(LayoutName)}
            return
        held = sorted({int(s.labels.image_class) for s in self.real
                       if s.labels is not None and s.labels.image_class is not None})
        self.held = held

    @property
    def channels(self) -> int:
        """Channels of the condition."""
        return 0 if self.task == "classify" else channels(self.classes)

    def condition(self, labels: Labels | None, size: Size) -> NDArray[np.float32]:
        """(C, H, W) channels of labels; all 0 for None: nothing is known."""
        if labels is None or not self.channels:
            return np.zeros((self.channels, *size), np.float32)
        return condition(labels, self.classes, self.reach)

    def fields(self, labels: Labels, size: Size) -> NDArray[np.float32]:
        """(1 + classes, H, W) of `layouts.fields`: where the labels say something, and a signed distance per class."""
        assert labels.size == size
        return fields(labels, self.classes, self.scale)

    def shown_by(self, values: NDArray[np.float32]) -> Labels:
        """The labels that a network's (classes, H, W) fields show."""
        labels = labels_of(rasterised(layout_of(values, self.scale)), self.wishes.min_visible)
        return one_of_each(labels) if self.regions else labels

    def teach(self, name: str, model: LayoutModel) -> None:
        """From now on a model that learned its layouts stands behind a name among those wished for."""
        self._models[name] = model

    def size_of(self, seed: int) -> Size:
        """(H, W) of a seed's sample, px: as wished, or of one of the seed's images."""
        return self.wishes.size or self.sizes[int(rng_of(seed_of(seed, "size")).integers(len(self.sizes)))]

    def draw(self, seed: int) -> Drawn:
        """What the sample of a seed must show. Seeds that differ only in their low 8 bits share it.

        classify: classes in equal shares, of those that the seed holds.
        """
        rng = rng_of(seed_of(seed >> 8, "scene"))
        size = self.wishes.size or self.sizes[int(rng.integers(len(self.sizes)))]
        if self.task == "classify":
            kind = self.held[int(rng.integers(len(self.held)))]
            parents = tuple(s.id for s in self.real if s.labels is not None and s.labels.image_class == kind)
            return Drawn(Labels(size=size, image_class=kind), np.zeros((0, *size), np.float32), "", parents)
        name = self.wishes.layouts[int(rng.integers(len(self.wishes.layouts)))]
        labels = labels_of(rasterised(self._models[name].sample(rng, size)), self.wishes.min_visible)
        labels = one_of_each(labels) if self.regions else labels
        return Drawn(labels, self.condition(labels, size), name, tuple(s.id for s in self.real))

    def picture(self, values: NDArray[np.float32], seed: int, noise: bool) -> Image:
        """(H, W, 3) uint8 of a network's (colours, H, W); noise: with the sensor's grain put back where it lacks, since
        networks of this size draw the picture and leave the grain away."""
        pixels = self.tones.decode(values)
        if noise:
            lacking = pixels[..., 1] < SATURATED * 255
            pixels = restore_noise(pixels, lacking, self.noise, rng_of(seed_of(seed, "noise")))
        return np.asarray(cv2.convertScaleAbs(np.maximum(pixels, 0)), np.uint8)  # rounds, and stops at 255

    def save(self, folder: Path) -> None:
        """The seed and what was measured; everything else follows from them and the options."""
        write_all(folder / "seed", self.real)
        about = {"task": self.task, "classes": self.classes, "tones": dataclasses.asdict(self.tones)}
        (folder / FILE).write_text(json.dumps(about, indent=1) + "\n")


def load_scene(folder: Path, wishes: Wishes) -> Scene:
    """What `Scene.save` wrote, with wishes of now."""
    about = json.loads((folder / FILE).read_text())
    scene = Scene.__new__(Scene)
    scene.real = list(Stored(folder / "seed"))
    scene._prepare(about["task"], about["classes"], wishes, Tones(**about["tones"]))
    return scene


def _some(real: Sequence[Sample], pool: Dataset) -> list[Image]:
    images = [sample.image for sample in real[:LOOKED_AT]]
    step = max(1, len(pool) // LOOKED_AT)
    return images + [pool[k].image for k in range(0, len(pool), step)][:LOOKED_AT]
