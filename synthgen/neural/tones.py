"""Between a picture's grey values and the numbers that the network works on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synthgen.types import Image

DIM = 0.5  # of the range: pictures whose bright parts stay below are dim


@dataclass(frozen=True, slots=True)
class Tones:
    """(value / 255)^exponent, less its mean, over its standard deviation, in one or three colours.

    An exponent of one half for dim pictures: the noise of counted photons has the same size everywhere after a square
    root (Anscombe 1948), and dim objects stand out from the ground.
    """

    colours: int
    exponent: float
    mean: float
    sd: float

    def encode(self, image: Image) -> NDArray[np.float32]:
        """(colours, H, W) float32 of (H, W, 3) uint8."""
        picked = image[..., : self.colours].transpose(2, 0, 1).astype(np.float32) / 255
        return np.asarray((picked**self.exponent - self.mean) / self.sd, np.float32)

    def decode(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """(H, W, 3) float32 in 0…255 of (colours, H, W)."""
        share = np.clip(values * self.sd + self.mean, 0, 1) ** np.float32(1 / self.exponent)
        pixels = np.ascontiguousarray((share * 255).transpose(1, 2, 0), np.float32)
        return np.repeat(pixels, 3, 2) if self.colours == 1 else pixels


def tones_of(images: Sequence[Image]) -> Tones:
    """The tones that suit some images; grey where not one of them shows a colour."""
    grey = all((i[..., 0] == i[..., 1]).all() and (i[..., 0] == i[..., 2]).all() for i in images)
    share = np.concatenate([i[..., : 1 if grey else 3].ravel()[:: max(1, i.size // 20_000)] for i in images]) / 255
    exponent = 0.5 if np.quantile(share, 0.95) < DIM else 1.0
    values = share**exponent
    return Tones(1 if grey else 3, exponent, float(values.mean()), max(float(values.std()), 1e-3))
