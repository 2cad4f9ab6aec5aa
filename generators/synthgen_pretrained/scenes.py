"""What one sample shall be, before any pixel is drawn: what of a seed image is kept, what is painted anew, and labels.

Whatever the model paints is labelled by the layout that it was asked to paint; whatever is kept keeps its pixels and
its labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from synthgen.errors import DataError
from synthgen.geometry import decode, id_map, mask_box
from synthgen.layouts import Arrangement, LayoutModel, LayoutName, Survey, layout_model, survey
from synthgen.layouts.painted import Painted, labels_of, rasterised
from synthgen.types import Image, Labels, Mask, Placed, Sample, Size

Mode = Literal["inpaint-objects", "inpaint-background", "controlnet", "text", "image"]
OF_OBJECTS: tuple[Mode, ...] = ("inpaint-objects", "inpaint-background", "controlnet")
OF_IMAGES: tuple[Mode, ...] = ("text", "image")


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """One sample, to be drawn.

    labels: as they will be. painted: the objects, None for `classify`. base: (H, W, 3) the real image beneath, None
    where all is new. changed: (H, W) what the model must paint; None = all that is not kept. kept: (H, W) what it must
    not touch. shown: the class of each object that the prompt speaks of. parents: ids of the seed images behind it.
    """

    labels: Labels
    painted: Painted | None
    base: Image | None
    changed: Mask | None
    kept: Mask
    shown: tuple[int, ...]
    parents: tuple[str, ...]

    @property
    def size(self) -> Size:
        """(H, W), px."""
        return self.labels.size


@dataclass(frozen=True, slots=True)
class Wishes:
    """Which scenes are drawn: the options of these names."""

    layout: LayoutName
    density: tuple[float, float]
    touching: float | None
    repaint: float
    min_visible: float


class ObjectScenes:
    """Scenes with objects, from seed images with masks."""

    def __init__(self, real: Sequence[Sample], mode: Mode, wishes: Wishes) -> None:
        """Raises: DataError when no image has an instance with a mask, the layout needs more of them, or, for
        inpaint-background, none leaves room."""
        self.mode, self.wishes = mode, wishes
        # In the survey's order, so that its image k is the k-th of these.
        self.real = [s for s in real if s.labels is not None and s.labels.masks is not None]
        self.survey: Survey = survey(self.real)
        self._layouts: LayoutModel | None = None
        if mode != "inpaint-background":  # which asks for no layout but the seed's own
            self._layouts = layout_model(wishes.layout, self.survey, wishes.density, wishes.touching)
        self._per_pixel = self.survey.counts.sum() / sum(h * w for h, w in self.survey.sizes)
        with_objects = [k for k, n in enumerate(self.survey.counts) if n]
        self.grounds = [k for k in with_objects if (_kept_of(self.real[k]).ids == 0).any()]
        if mode == "inpaint-background" and not self.grounds:
            raise DataError("mode inpaint-background: in every seed image objects and ignored pixels cover everything, "
                            "so there is no background to paint; take mode inpaint-objects or controlnet")

    def draw(self, rng: np.random.Generator) -> Scene:
        """A scene of the mode."""
        if self._layouts is None:
            return self._around(rng)
        return self._new(rng, self._layouts) if self.mode == "controlnet" else self._inside(rng, self._layouts)

    def example(self, k: int) -> Scene:
        """Seed image k as it is, with what the model would have to paint in it: what a fine-tuning shows."""
        sample = self.real[k]
        painted = _kept_of(sample)
        outside = self.mode == "inpaint-background"
        inside = painted.ids > 0
        changed = (painted.ids == 0) if outside or not inside.any() else inside
        return self._scene(painted, sample, changed, ~changed, [sample.id])

    def _new(self, rng: np.random.Generator, layouts: LayoutModel) -> Scene:
        """A layout on an empty frame; nothing is kept."""
        k = int(rng.integers(len(self.real)))
        size = self.survey.sizes[k]
        painted = rasterised(layouts.sample(rng, size))
        parents = [self.real[k].id, *self._sources(painted)]
        return self._scene(painted, None, None, np.zeros(size, bool), parents)

    def _around(self, rng: np.random.Generator) -> Scene:
        """A seed image's own objects with their pixels; the model paints around them."""
        sample = self.real[self.grounds[int(rng.integers(len(self.grounds)))]]
        painted = _kept_of(sample)
        return self._scene(painted, sample, None, painted.ids != 0, [sample.id])

    def _inside(self, rng: np.random.Generator, layouts: LayoutModel) -> Scene:
        """A seed image's own objects, some of them or all painted anew, and new ones where there is room."""
        for k in rng.permutation(len(self.real)).tolist():
            sample = self.real[k]
            painted = _kept_of(sample)
            own = len(painted.classes)
            anew = np.flatnonzero(rng.random(own) < self.wishes.repaint)
            occupied = painted.ids != 0
            for thing in self._added(rng, layouts, occupied, own):
                painted.add(thing)
            if not len(anew) and len(painted.classes) == own:
                anew = np.arange(own)  # else the sample would be the seed image
            changed = np.isin(painted.ids, [*(anew + 1), *range(own + 1, len(painted.classes) + 1)])
            if changed.any():
                kept = (painted.ids != 0) & ~changed
                return self._scene(painted, sample, changed, kept, [sample.id, *self._sources(painted)])
        raise AssertionError("the survey knows an object, so one image has something to paint")

    def _added(self, rng: np.random.Generator, layouts: LayoutModel, occupied: Mask, own: int) -> tuple[Placed, ...]:
        """New objects beside `own` that stand there, so many that all together stay within the density wished for."""
        H, W = occupied.shape
        if not isinstance(layouts, Arrangement):
            return tuple(thing for thing in layouts.sample(rng, (H, W)).objects if not _overlaps(thing, occupied))
        wanted = self._per_pixel * H * W * self.wishes.density[1]
        return layouts.add(rng, (H, W), occupied, share=max(0.0, 1 - own / wanted))

    def _scene(self, painted: Painted, ground: Sample | None, changed: Mask | None, kept: Mask,
               parents: Sequence[str]) -> Scene:
        labels = labels_of(painted, self.wishes.min_visible)
        base = None if ground is None else ground.image
        return Scene(labels, painted, base, changed, kept, tuple(int(c) for c in labels.classes),
                     tuple(dict.fromkeys(parents)))

    def _sources(self, painted: Painted) -> list[str]:
        """Ids of the seed images whose objects lent their outlines."""
        return sorted({self.real[self.survey.instances[s].image].id for s in painted.sources if s >= 0})


class ClassScenes:
    """Whole images of a class, from seed images with one."""

    def __init__(self, real: Sequence[Sample], mode: Mode, classes: int) -> None:
        """Raises: DataError when not one image has a class."""
        self.mode = mode
        self.real = [s for s in real if s.labels is not None and s.labels.image_class is not None
                     and s.labels.image_state == "accepted"]
        if not self.real:
            raise DataError("not one seed image has a class, so there is nothing to start from; label some images")
        self.of: dict[int, list[Sample]] = {}
        for sample in self.real:
            assert sample.labels is not None
            assert sample.labels.image_class is not None
            self.of.setdefault(sample.labels.image_class, []).append(sample)
        # From text alone a class can be drawn that no seed image shows; from an image it cannot.
        self.classes = sorted(self.of) if mode == "image" else list(range(classes))

    def draw(self, rng: np.random.Generator) -> Scene:
        """A scene of any class, each as likely as another."""
        kind = self.classes[int(rng.integers(len(self.classes)))]
        samples = self.of.get(kind, self.real)
        return self._scene(samples[int(rng.integers(len(samples)))], kind)

    def example(self, k: int) -> Scene:
        """Seed image k as it is."""
        labels = self.real[k].labels
        assert labels is not None
        assert labels.image_class is not None
        return self._scene(self.real[k], labels.image_class)

    def _scene(self, sample: Sample, kind: int) -> Scene:
        assert sample.labels is not None
        size = sample.labels.size
        base = sample.image if self.mode == "image" else None
        return Scene(Labels(size=size, image_class=kind), None, base, None, np.zeros(size, bool), (kind,), (sample.id,))


def _kept_of(sample: Sample) -> Painted:
    """A seed image's own objects, each as far as it shows; what its labels ignore is −1."""
    labels = sample.labels
    assert labels is not None
    ids = id_map(labels)
    painted = Painted(np.zeros(labels.size, np.int32))
    if labels.ignore is not None:
        painted.ids[decode([labels.ignore], labels.size)[0]] = -1
    for number in np.unique(ids[ids > 0]).tolist():
        box = mask_box(ids == number)
        assert box is not None
        x0, y0, x1, y1 = box
        painted.add(Placed(ids[y0:y1, x0:x1] == number, y0, x0, int(labels.classes[number - 1])))
    return painted


def _overlaps(thing: Placed, occupied: Mask) -> bool:
    top, left = max(thing.top, 0), max(thing.left, 0)
    inside = thing.mask[top - thing.top :, left - thing.left :]
    under = occupied[top : top + inside.shape[0], left : left + inside.shape[1]]
    return bool((inside[: under.shape[0], : under.shape[1]] & under).any())
