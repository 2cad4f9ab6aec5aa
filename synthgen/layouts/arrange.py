"""Objects one by one into a frame: how many, where, against whom, in which depth order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from synthgen.layouts.distance import signed_distance
from synthgen.layouts.survey import ANGLES, Survey, axes_of, next_to, padded, radii
from synthgen.types import Layout, Mask, Placed, Size

ATTEMPTS = 24
FEWEST = 4  # px of an object that must show in the frame
ROOM = 2  # px kept free around an object that touches none
PRESSED = 0.6  # share of the objects put against another that share a line with it; the rest may cover a little
PRESS = 0.2  # share of an object that may be disputed when it is pressed against another
COVER = 0.06  # share of an object that may cover others otherwise
_AROUND = np.ones((2 * ROOM + 1,) * 2, np.uint8)


class Draw(Protocol):
    """Draws one object, without a place (top = left = 0); tone: grey value that its source should be near, 0…255."""

    def draw(self, rng: np.random.Generator, tone: float | None = None) -> Placed: ...


class Arrangement:
    """Counts as in the seed; places from the seed's own; some objects against another one on purpose.

    An object that finds no free place in ATTEMPTS tries is left out: the frame is full.
    """

    def __init__(self, seed: Survey, draw: Draw, density: tuple[float, float], touching: float) -> None:
        self.seed, self.draw, self.density, self.touching = seed, draw, density, touching
        areas = np.asarray([h * w for h, w in seed.sizes], float)
        self._per_pixel = seed.counts / areas
        self._truncated = seed.truncated
        H, W = np.asarray([seed.sizes[i.image] for i in seed.instances], float).T
        self._centres = np.asarray(
            [
                ((i.top + i.mask.shape[0] / 2) / h, (i.left + i.mask.shape[1] / 2) / w)
                for i, h, w in zip(seed.instances, H, W, strict=True)
            ]
        )

    def sample(self, rng: np.random.Generator, size: Size) -> Layout:
        """A layout of `size`."""
        return Layout(size, self.add(rng, size, np.zeros(size, bool)))

    def add(self, rng: np.random.Generator, size: Size, occupied: Mask, share: float = 1.0) -> tuple[Placed, ...]:
        """Objects, back to front, for a frame of which (H, W) `occupied` is taken; share scales their count."""
        mean = rng.choice(self._per_pixel) * size[0] * size[1] * rng.uniform(*self.density) * share
        count = int(mean + rng.random())
        # Whose each pixel is: −1 somebody's from before, 0 nobody's, k + 1 of object k.
        owner = -occupied.astype(np.int16)
        occupied = occupied.copy()
        wanted = int(count * self.touching + rng.random())  # objects that shall adjoin another one, in all
        adjoining: set[int] = set()
        placed: list[Placed] = []
        profiles: list[NDArray[np.float64]] = []  # of `placed`, taken when first asked for
        centres: list[tuple[float, float]] = []
        for number in range(count):
            against = bool(placed) and rng.random() < _need(wanted, len(adjoining), len(placed), count - number)
            press = against and rng.random() < PRESSED
            thing = self.draw.draw(rng, self._tone(rng, placed) if against else None)
            if against:
                profiles += [radii(p.mask) for p in placed[len(profiles) :]]
                centres += [_centre(p) for p in placed[len(centres) :]]
                spots = _beside(rng, np.asarray(centres), np.asarray(profiles), thing, deep=press)
                mask, room, share = thing.mask, 0, PRESS if press else COVER
            else:
                spots = self._places(rng, size, thing)
                mask = cv2.dilate(padded(thing.mask, ROOM).view(np.uint8), _AROUND).view(bool)
                room, share = ROOM, 0.0
            area = int(np.count_nonzero(mask))
            fewest = min(FEWEST, area if against else np.count_nonzero(thing.mask))
            best: tuple[float, int, int] | None = None
            for top, left in spots[_perhaps_free(occupied, thing.mask, spots, against)].tolist():
                if np.count_nonzero(_cut(occupied, thing.mask, top, left)) < fewest:
                    continue
                taken = _taken(occupied, mask, top - room, left - room) / area
                if taken <= share and (best is None or taken > best[0]):
                    best = (taken, top, left)
                    if not press:
                        break  # any free place will do; pressed, the longest line of contact is the hardest to see
            if best is not None:
                there = replace(thing, top=best[1], left=best[2])
                if press:
                    there = _press(there, placed, profiles)
                placed.append(there)
                adjoining |= _adjoined(owner, occupied, there, len(placed))
        order = rng.permutation(len(placed))
        return tuple(placed[i] for i in order)

    def _tone(self, rng: np.random.Generator, placed: Sequence[Placed]) -> float | None:
        """Mostly the brightness of some object placed: neighbours are lit alike, and an edge between equals is the
        hard one to see."""
        tones = [self.seed.instances[p.source].tone for p in placed if p.source is not None]
        return None if not tones or rng.random() < 0.3 else tones[rng.integers(len(tones))]

    def _places(self, rng: np.random.Generator, size: Size, thing: Placed) -> NDArray[np.int64]:
        """(ATTEMPTS, 2) tops and lefts like the seed's: a kernel density over centres, and as often across the border
        as there."""
        n = ATTEMPTS
        frame, own = np.asarray(size, float), np.asarray(thing.mask.shape, float)
        middle = self._centres[rng.integers(len(self._centres), size=n)] + rng.normal(0, 0.15, (n, 2))
        # Reflect at the frame, so that the density does not thin out towards its edges.
        middle = np.abs(1 - np.abs(1 - middle))
        spots = np.clip(middle * frame - own / 2, 0, np.maximum(frame - own, 0))
        across = rng.random(n) < self._truncated
        if across.any():
            axis, far, shown = rng.integers(2, size=n), rng.random(n) < 0.5, rng.uniform(0.03, 0.97, n)
            along = rng.random((n, 2)) * frame - own / 2
            k = np.arange(n)
            along[k, axis] = np.where(far, frame[axis] - own[axis] * shown, -own[axis] * (1 - shown))
            spots[across] = along[across]
        return np.asarray(np.rint(spots), np.int64)


def _centre(thing: Placed) -> tuple[float, float]:
    """Centroid y, x in the frame, px."""
    cy, cx, _, _ = axes_of(thing.mask)
    return thing.top + cy, thing.left + cx


def _press(thing: Placed, placed: list[Placed], profiles: list[NDArray[np.float64]]) -> Placed:
    """The object pressed against those it would cover: a pixel that two claim goes to the one in which it lies deeper,
    so that they share a line. Both get new outlines, and their sources are bent to them."""
    for k, other in enumerate(placed):
        y0, x0 = max(thing.top, other.top), max(thing.left, other.left)
        y1 = min(thing.top + thing.mask.shape[0], other.top + other.mask.shape[0])
        x1 = min(thing.left + thing.mask.shape[1], other.left + other.mask.shape[1])
        if y0 >= y1 or x0 >= x1:
            continue
        mine = np.s_[y0 - thing.top : y1 - thing.top, x0 - thing.left : x1 - thing.left]
        its = np.s_[y0 - other.top : y1 - other.top, x0 - other.left : x1 - other.left]
        both = thing.mask[mine] & other.mask[its]
        if not both.any():
            continue
        deeper = signed_distance(thing.mask)[mine] < signed_distance(other.mask)[its]
        own, rest = thing.mask.copy(), other.mask.copy()
        own[mine] &= ~(both & ~deeper)
        rest[its] &= ~(both & deeper)
        if own.any() and rest.any():
            thing, placed[k] = replace(thing, mask=own, affine=None), replace(other, mask=rest, affine=None)
            profiles[k] = radii(rest)
    return thing


def _perhaps_free(occupied: Mask, mask: Mask, spots: NDArray[np.int64], against: bool) -> NDArray[np.bool_]:
    """(ATTEMPTS,) which spots are worth a whole look: of 16 points of the object at most a few are taken there."""
    pixels = np.flatnonzero(mask)
    ys, xs = np.divmod(pixels[np.linspace(0, len(pixels) - 1, 16).astype(int)], mask.shape[1])
    y, x = spots[:, :1] + ys, spots[:, 1:] + xs  # (ATTEMPTS, 16)
    inside = (y >= 0) & (x >= 0) & (y < occupied.shape[0]) & (x < occupied.shape[1])
    taken = inside & occupied[np.where(inside, y, 0), np.where(inside, x, 0)]
    free: NDArray[np.bool_] = taken.sum(1) <= (4 if against else 0)
    return free


def _cut(occupied: Mask, mask: Mask, top: int, left: int) -> Mask:
    """What of a mask would lie in the frame; an empty array where nothing would."""
    H, W = occupied.shape
    inside: Mask = mask[max(-top, 0) : max(H - top, 0), max(-left, 0) : max(W - left, 0)]
    return inside


def _taken(occupied: Mask, mask: Mask, top: int, left: int) -> int:
    """Pixels of an object that would cover others."""
    inside = _cut(occupied, mask, top, left)
    y0, x0 = max(top, 0), max(left, 0)
    under = occupied[y0 : y0 + inside.shape[0], x0 : x0 + inside.shape[1]]
    return int(np.count_nonzero(inside & under))


def _need(wanted: int, adjoining: int, placed: int, left: int) -> float:
    """Probability of putting the next object against another one so that `wanted` adjoin in the end: one put against
    an object that stood free makes two adjoin."""
    gain = 1 + (placed - adjoining) / max(placed, 1)
    return min(1.0, max(0.0, (wanted - adjoining) / (left * gain)))


def _adjoined(owner: NDArray[np.int16], occupied: Mask, thing: Placed, number: int) -> set[int]:
    """Mark the object as the owner of its pixels; the numbers of those that adjoin by it, its own among them."""
    mask = _cut(occupied, thing.mask, thing.top, thing.left)
    top, left = max(thing.top, 0), max(thing.left, 0)
    y0, x0 = max(top - 1, 0), max(left - 1, 0)
    around = owner[y0 : top + mask.shape[0] + 1, x0 : left + mask.shape[1] + 1]
    own: Mask = np.zeros(around.shape, bool)
    own[top - y0 : top - y0 + mask.shape[0], left - x0 : left - x0 + mask.shape[1]] = mask
    beside = {k for k in set(around[next_to(own)].tolist()) if k > 0 and k != number}
    around[own] = number
    h, w = own.shape
    occupied[y0 : y0 + h, x0 : x0 + w] |= own
    return beside | {number} if beside else beside


def _beside(
    rng: np.random.Generator, centres: NDArray[np.float64], profiles: NDArray[np.float64], thing: Placed, deep: bool
) -> NDArray[np.int64]:
    """(ATTEMPTS, 2) tops and lefts that put the object against one of those placed (centroids (P, 2), radial profiles
    (P, ANGLES)), in a random direction, a pixel of gap or overlap; deep: two of overlap."""
    other, ray = rng.integers(len(centres), size=ATTEMPTS), rng.integers(ANGLES, size=ATTEMPTS)
    gap = rng.normal(-2.5 if deep else -0.5, 1.0, ATTEMPTS)
    distance = profiles[other, ray] + radii(thing.mask)[(ray + ANGLES // 2) % ANGLES] + gap
    angle = ray * (2 * np.pi / ANGLES)
    cy, cx, _, _ = axes_of(thing.mask)
    spots = centres[other] + distance[:, None] * np.stack([np.sin(angle), np.cos(angle)], 1) - (cy, cx)
    return np.asarray(np.rint(spots), np.int64)
