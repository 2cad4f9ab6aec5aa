"""The seed's own objects, mirrored, turned and scaled a little."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from synthgen.layouts.survey import Survey
from synthgen.types import Mask, Placed

SCALE_SD = 0.08  # of the logarithm of size


class Resample:
    """Draws an instance of the seed; half of the time only mirrored and turned by right angles, which copies
    pixels exactly, else turned and scaled freely. Where the seed has a preferred axis, turns stay below 10°."""

    def __init__(self, seed: Survey) -> None:
        self.sources, self.any_angle = seed.sources, seed.any_angle
        self._square: dict[tuple[int, float, bool], tuple[Mask, NDArray[np.float64]]] = {}  # at most 8 of each source

    def draw(self, rng: np.random.Generator, tone: float | None = None) -> Placed:
        """One object, at no place yet; of four sources the one nearest to `tone` when it is given."""
        few = [self.sources[i] for i in rng.integers(len(self.sources), size=1 if tone is None else 4)]
        source = few[0] if tone is None else min(few, key=lambda i: abs(i.tone - tone))
        if rng.random() < 0.5:
            turn = 90.0 * int(rng.integers(4)) if self.any_angle else 0.0
            key = (source.index, turn, bool(rng.random() < 0.5))
            if key not in self._square:
                self._square[key] = transformed(source.mask, turn, 1.0, key[2])
            mask, affine = self._square[key]
        else:
            turn = float(rng.uniform(0, 360) if self.any_angle else rng.normal(0, 4))
            scale = float(np.exp(rng.normal(0, SCALE_SD)))
            mask, affine = transformed(source.mask, turn, scale, bool(rng.random() < 0.5))
        return Placed(mask, 0, 0, source.class_id, source.index, affine)


def transformed(mask: Mask, turn: float, scale: float, mirror: bool) -> tuple[Mask, NDArray[np.float64]]:
    """The mask mirrored (left-right), turned (degrees) and scaled, cropped to its box, and the backward affine
    (2, 3) that takes its pixel (x, y) to the pixel of the mask given. An object never vanishes: at least 1 px."""
    h, w = mask.shape
    c, s = np.cos(np.deg2rad(turn)), np.sin(np.deg2rad(turn))
    forward = scale * np.asarray([[c, -s], [s, c]]) @ np.diag([-1.0 if mirror else 1.0, 1.0])
    corners = np.asarray([[-0.5, -0.5], [w - 0.5, -0.5], [-0.5, h - 0.5], [w - 0.5, h - 0.5]]) @ forward.T
    low = np.floor(corners.min(0) + 0.5 + 1e-6)
    width, height = (int(n) for n in np.maximum(np.ceil(corners.max(0) + 0.5 - 1e-6) - low, 1))
    back = forward.T / scale**2     # the inverse of a turn, a mirror and a scale
    affine = np.concatenate([back, (back @ low)[:, None]], axis=1)  # source = back · (p + low)
    soft = cv2.warpAffine(
        mask.astype(np.float32), affine, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    )
    new = soft >= 0.5
    if not new.any():
        new[np.unravel_index(int(soft.argmax()), soft.shape)] = True
    x, y, w, h = cv2.boundingRect(new.view(np.uint8))
    affine[:, 2] += affine[:, :2] @ [x, y]
    return np.ascontiguousarray(new[y : y + h, x : x + w]), affine
