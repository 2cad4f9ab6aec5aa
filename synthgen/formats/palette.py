"""Palette PNGs with the colours of Pascal VOC: they look like pictures and hold indices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
from numpy.typing import NDArray


def palette() -> NDArray[np.uint8]:
    """(256, 3) uint8 RGB: colour k has the bits of k, three at a time, in its channels from the highest bit down."""
    colours = np.zeros((256, 3), np.uint8)
    for k in range(256):
        for bit in range(8):
            for channel in range(3):
                colours[k, channel] |= ((k >> (3 * bit + channel)) & 1) << (7 - bit)
    return colours


def write_palette(path: Path, ids: NDArray[np.uint8]) -> None:
    """Write (H, W) uint8 indices as an 8-bit palette PNG."""
    image = PIL.Image.fromarray(ids).convert("L")
    image.putpalette(palette().reshape(-1).tolist())
    image.save(path, "PNG")
