"""Images as the network sees them: a square window, or the whole image made square."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from synthgen.types import Image


def resized(image: Image, side: int) -> Image:
    """(side, side, 3): averaged where it shrinks, linear where it grows; the same in training and in use."""
    how = cv2.INTER_AREA if max(image.shape[:2]) > side else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (side, side), interpolation=how), np.uint8)


def window(
    image: Image, ids: NDArray[np.int32], side: int, rng: np.random.Generator, *, pad: bool = True
) -> tuple[Image, NDArray[np.int32]]:
    """A random window of at most side × side px; with `pad` exactly that, and the padding is ignored."""
    H, W = ids.shape
    top, left = int(rng.integers(0, max(H - side, 0) + 1)), int(rng.integers(0, max(W - side, 0) + 1))
    image, ids = image[top : top + side, left : left + side], ids[top : top + side, left : left + side]
    below, right = side - ids.shape[0], side - ids.shape[1]
    if pad and (below or right):
        image = cv2.copyMakeBorder(image, 0, below, 0, right, cv2.BORDER_CONSTANT).astype(np.uint8)
        ids = cv2.copyMakeBorder(ids, 0, below, 0, right, cv2.BORDER_CONSTANT, value=-1).astype(np.int32)
    return image, ids
