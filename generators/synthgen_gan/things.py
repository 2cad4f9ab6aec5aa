"""What single objects look like: nuclei of one picture differ in brightness, and one nucleus does not.

A painter that is told masks alone paints all objects alike for long: noise is a thing that it can do without. So each
object comes with a few numbers that say how it looks: of a real picture they are measured, and of a layout they are
those of an object of the seed, as in Wang et al., "High-resolution image synthesis and semantic manipulation with
conditional GANs" (CVPR 2018, section 3.4), where an encoder finds such numbers; here they are mean tone and its spread.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from synthgen.neural.scene import Scene

Floats = NDArray[np.float32]
NEAR = 1 / 3  # of the seed's objects of a class, by size, of which one lends its looks
JITTER = 0.3  # of what varies between objects, by which looks that were lent are changed
LEAST = 1e-2  # smallest spread of tones, in standard deviations of all pictures


def looks(colours: int) -> int:
    """How many numbers say how an object looks."""
    return colours + 1


class Looks:
    """The looks of the seed's objects, and of the ground behind them."""

    def __init__(self, scene: Scene) -> None:
        self.numbers = looks(scene.tones.colours)
        kinds: list[int] = []
        areas: list[float] = []
        rows: list[Floats] = []
        for sample in scene.real if scene.channels else ():
            assert sample.labels is not None
            given = scene.condition(sample.labels, sample.labels.size)
            measured, kind, area = _measured(given, scene.tones.encode(sample.image))
            there = np.asarray(area) > 0  # a picture may have no ground
            rows.append(measured[there])
            kinds += list(np.asarray(kind)[there])
            areas += list(np.asarray(area)[there])
        self.kinds, self.areas = np.asarray(kinds), np.log(np.asarray(areas))
        self.rows = np.concatenate(rows) if rows else np.zeros((0, self.numbers), np.float32)
        self.middle: dict[int, Floats] = {}
        self.spread: dict[int, Floats] = {}
        for kind in np.unique(self.kinds):
            here = self.rows[self.kinds == kind]
            self.middle[int(kind)] = here.mean(0)
            self.spread[int(kind)] = np.maximum(here.std(0), LEAST)

    def seen(self, condition: Floats, picture: Floats) -> Floats:
        """(C + numbers, H, W): a condition, and beside it the looks of what a picture (colours, H, W) shows, as
        multiples of what varies between objects of one class; the same all over an object, and all over the ground."""
        ids = things_of(condition)
        rows, kinds, _ = _measured(condition, picture)
        return np.concatenate([condition, self._scaled(rows, kinds).T[:, ids]])

    def lent(self, condition: Floats, rng: np.random.Generator) -> Floats:
        """The same, with looks of objects of the seed: of the same class, and about as large."""
        ids = things_of(condition)
        kinds, areas = _kinds(condition, ids)
        out = np.empty((len(kinds), self.numbers), np.float32)
        for k, (kind, area) in enumerate(zip(kinds, areas, strict=True)):
            of_kind = np.flatnonzero(self.kinds == kind)
            jitter = rng.normal(0, JITTER, self.numbers)
            if not len(of_kind):  # the seed shows none of this class
                out[k] = jitter
                continue
            nearest = of_kind[np.argsort(np.abs(self.areas[of_kind] - np.log(max(area, 1))), kind="stable")]
            pick = nearest[rng.integers(max(1, round(len(nearest) * NEAR)))]
            out[k] = self._scaled(self.rows[[pick]], [kind])[0] + jitter
        return np.concatenate([condition, out.T[:, ids]])

    def _scaled(self, rows: Floats, kinds: list[int]) -> Floats:
        none, one = np.zeros(self.numbers, np.float32), np.ones(self.numbers, np.float32)
        middle = np.asarray([self.middle.get(k, none) for k in kinds], np.float32)
        spread = np.asarray([self.spread.get(k, one) for k in kinds], np.float32)
        return np.asarray((rows - middle) / spread, np.float32)


def things_of(condition: Floats) -> NDArray[np.int32]:
    """(H, W) int32 of channels of `layouts.condition`: 0 ground, else the number of the object, told apart where
    contact runs between two of them."""
    inside, contact = np.asarray(condition[1:-2].any(0)), condition[-2] > 0.5
    core = inside & ~contact
    if not core.any():
        return np.asarray(inside, np.int32)
    # Each pixel takes the number of the nearest core, so that both sides of a contact belong to their own object.
    _, nearest = cv2.distanceTransformWithLabels((~core).view(np.uint8), cv2.DIST_L2, 5,
                                                 labelType=cv2.DIST_LABEL_CCOMP)
    return np.asarray(np.where(inside, nearest, 0), np.int32)


def _kinds(condition: Floats, ids: NDArray[np.int32]) -> tuple[list[int], list[float]]:
    """Class (0 ground, c + 1 class c) and area (px) of each number in 0 … ids.max(), without ignored pixels."""
    n = int(ids.max()) + 1
    areas = np.bincount(ids[condition[0] > 0.5], minlength=n)
    shares = [np.bincount(ids.ravel(), weights=channel.ravel(), minlength=n) for channel in condition[1:-2]]
    kinds = np.where(np.max(shares, 0) > 0, np.argmax(shares, 0) + 1, 0)
    kinds[0] = 0
    return [int(k) for k in kinds], [float(a) for a in areas]


def _measured(condition: Floats, picture: Floats) -> tuple[Floats, list[int], list[float]]:
    """(things, numbers) mean tones and the logarithm of the spread of the mean tone; with classes and areas. Ignored
    pixels, which may show anything, are not measured."""
    ids = things_of(condition)
    kinds, areas = _kinds(condition, ids)
    known = condition[0] > 0.5
    counted = np.maximum(np.bincount(ids[known], minlength=len(kinds)), 1)

    def mean(values: Floats) -> NDArray[np.float64]:
        return np.bincount(ids[known], weights=values[known], minlength=len(kinds)) / counted

    grey = picture.mean(0)
    variance = np.maximum(mean(grey**2) - mean(grey) ** 2, LEAST**2)
    rows = np.stack([*(mean(colour) for colour in picture), np.log(variance) / 2], 1)
    return np.asarray(rows, np.float32), kinds, areas
