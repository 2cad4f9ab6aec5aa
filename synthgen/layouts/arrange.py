"""Objects one by one into a frame: how many, where, against whom, in which depth order."""

from __future__ import annotations

from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from synthgen.layouts.survey import ANGLES, Survey, axes_of, radii
from synthgen.types import Layout, Mask, Placed, Size

ATTEMPTS = 24


class Draw(Protocol):
    """Draws one object, without a place (top = left = 0)."""

    def draw(self, rng: np.random.Generator) -> Placed: ...


class Arrangement:
    """Counts as in the seed; places from the seed's own; some objects against another one on purpose.

    An object that finds no free place in ATTEMPTS tries is left out: the frame is full.
    """

    def __init__(self, seed: Survey, draw: Draw, density: tuple[float, float], touching: float) -> None:
        self.seed, self.draw, self.density, self.touching = seed, draw, density, touching
        areas = np.asarray([h * w for h, w in seed.sizes], float)
        self._per_pixel = seed.counts / areas
        H, W = np.asarray([seed.sizes[i.image] for i in seed.instances], float).T
        self._centres = np.asarray([((i.top + i.mask.shape[0] / 2) / h, (i.left + i.mask.shape[1] / 2) / w)
                                    for i, h, w in zip(seed.instances, H, W, strict=True)])

    def sample(self, rng: np.random.Generator, size: Size) -> Layout:
        """A layout of `size`."""
        return Layout(size, self.add(rng, size, np.zeros(size, bool)))

    def add(self, rng: np.random.Generator, size: Size, occupied: Mask, share: float = 1.0) -> tuple[Placed, ...]:
        """Objects, back to front, for a frame of which (H, W) `occupied` is taken; share scales their count."""
        mean = rng.choice(self._per_pixel) * size[0] * size[1] * rng.uniform(*self.density) * share
        count = int(mean + rng.random())
        occupied = occupied.copy()
        placed: list[Placed] = []
        profiles: list[NDArray[np.float64]] = []
        for _ in range(count):
            thing = self.draw.draw(rng)
            profile = radii(thing.mask)
            for _ in range(ATTEMPTS):
                against = placed and rng.random() < self.touching
                if against:
                    k = int(rng.integers(len(placed)))
                    spot = _beside(rng, placed[k], profiles[k], thing, profile)
                else:
                    spot = self._place(rng, size, thing)
                if self._fits(occupied, thing.mask, *spot, room=0 if against else 2):
                    there = Placed(thing.mask, *spot, thing.class_id, thing.source, thing.affine)
                    _mark(occupied, there)
                    placed.append(there)
                    profiles.append(profile)
                    break
        order = rng.permutation(len(placed))
        return tuple(placed[i] for i in order)

    def _place(self, rng: np.random.Generator, size: Size, thing: Placed) -> tuple[int, int]:
        """A place like the seed's: a kernel density over centres, and as often across the border as there."""
        H, W = size
        h, w = thing.mask.shape
        if rng.random() < self.seed.truncated:
            shown = rng.uniform(0.2, 0.9)
            side = int(rng.integers(4))
            along_y, along_x = int(rng.uniform(-h / 2, H - h / 2)), int(rng.uniform(-w / 2, W - w / 2))
            return ((along_y, -round(w * (1 - shown))), (along_y, W - round(w * shown)),
                    (-round(h * (1 - shown)), along_x), (H - round(h * shown), along_x))[side]
        cy, cx = self._centres[rng.integers(len(self._centres))] + rng.normal(0, 0.15, 2)
        # Reflect at the frame, so that the density does not thin out towards its edges.
        cy, cx = abs(1 - abs(1 - cy)), abs(1 - abs(1 - cx))
        return (round(np.clip(cy * H - h / 2, 0, max(H - h, 0))), round(np.clip(cx * W - w / 2, 0, max(W - w, 0))))

    @staticmethod
    def _fits(occupied: Mask, mask: Mask, top: int, left: int, room: int) -> bool:
        """Whether at least 4 px show in the frame and at most 6 % of the object would cover others."""
        H, W = occupied.shape
        h, w = mask.shape
        if room:
            mask = cv2.dilate(np.pad(mask, room).astype(np.uint8), np.ones((2 * room + 1,) * 2, np.uint8)) > 0
            top, left, h, w = top - room, left - room, h + 2 * room, w + 2 * room
        y0, y1, x0, x1 = max(top, 0), min(top + h, H), max(left, 0), min(left + w, W)
        if y0 >= y1 or x0 >= x1:
            return False
        inside = mask[y0 - top:y1 - top, x0 - left:x1 - left]
        taken = np.count_nonzero(inside & occupied[y0:y1, x0:x1])
        return bool(np.count_nonzero(inside) >= 4 and taken <= (0 if room else 0.06 * np.count_nonzero(mask)))


def _mark(occupied: Mask, thing: Placed) -> None:
    H, W = occupied.shape
    h, w = thing.mask.shape
    y0, y1, x0, x1 = max(thing.top, 0), min(thing.top + h, H), max(thing.left, 0), min(thing.left + w, W)
    if y0 < y1 and x0 < x1:
        occupied[y0:y1, x0:x1] |= thing.mask[y0 - thing.top:y1 - thing.top, x0 - thing.left:x1 - thing.left]


def _beside(rng: np.random.Generator, other: Placed, other_radii: NDArray[np.float64], thing: Placed,
            thing_radii: NDArray[np.float64]) -> tuple[int, int]:
    """Top and left that put the object against another one, in a random direction, a pixel of gap or overlap."""
    ray = int(rng.integers(ANGLES))
    angle = ray * 2 * np.pi / ANGLES
    distance = other_radii[ray] + thing_radii[(ray + ANGLES // 2) % ANGLES] + rng.normal(-0.5, 1.0)
    oy, ox, _, _ = axes_of(other.mask)
    ty, tx, _, _ = axes_of(thing.mask)
    return (round(other.top + oy + distance * np.sin(angle) - ty), round(other.left + ox + distance * np.cos(angle) - tx))
