"""Images as the network sees them: a square window, or the whole image made square."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from synthgen.types import Boxes, Image, Size

SEEN = 0.3  # of a box that must be inside a window


def resized(image: Image, side: int) -> Image:
    """(side, side, 3): averaged where it shrinks, linear where it grows; the same in training and in use."""
    how = cv2.INTER_AREA if max(image.shape[:2]) > side else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (side, side), interpolation=how), np.uint8)


def window(
    image: Image, ids: NDArray[np.int32], side: int, rng: np.random.Generator, *, pad: bool = True
) -> tuple[Image, NDArray[np.int32]]:
    """A random window of at most side × side px; with `pad` exactly that, and the padding is ignored."""
    return cropped(image, ids, corner(ids, side, rng), side, pad=pad)


def corner(ids: NDArray[np.int32], side: int, rng: np.random.Generator) -> tuple[int, int]:
    """Top and left of a random window of side × side px, px."""
    H, W = ids.shape
    return int(rng.integers(0, max(H - side, 0) + 1)), int(rng.integers(0, max(W - side, 0) + 1))


def cropped(
    image: Image, ids: NDArray[np.int32], at: tuple[int, int], side: int, *, pad: bool
) -> tuple[Image, NDArray[np.int32]]:
    """The window at a corner."""
    top, left = at
    image, ids = image[top : top + side, left : left + side], ids[top : top + side, left : left + side]
    below, right = side - ids.shape[0], side - ids.shape[1]
    if pad and (below or right):
        image = cv2.copyMakeBorder(image, 0, below, 0, right, cv2.BORDER_CONSTANT).astype(np.uint8)
        ids = cv2.copyMakeBorder(ids, 0, below, 0, right, cv2.BORDER_CONSTANT, value=-1).astype(np.int32)
    return image, ids


def boxes_in(
    boxes: Boxes, at: tuple[int, int], size: Size, ids: NDArray[np.int32], left_of: NDArray[np.float64] | None = None
) -> tuple[Boxes, NDArray[np.int64], NDArray[np.float64]]:
    """Boxes inside a window of (height, width) px at a corner, their rows, and the share of each that is left. One of
    which less than SEEN is left is left out, and what shows of it becomes ignored in the window's `ids`: nobody would
    know what it is. left_of: (N,) what an earlier window left of each."""
    top, left = at
    moved = boxes - np.asarray([left, top, left, top], np.float32)
    inside = np.clip(moved, 0, [size[1], size[0], size[1], size[0]]).astype(np.float32)
    area, whole = ((b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1]) for b in (inside, moved))
    share = area / np.maximum(whole, 1e-6) * (1.0 if left_of is None else left_of)
    seen = (share >= SEEN) & (area > 0)
    rows, before = np.flatnonzero(seen), ids.copy()
    for x0, y0, x1, y1 in np.round(inside[~seen & (area > 0)]).astype(int):
        ids[y0:y1, x0:x1] = -1
    for x0, y0, x1, y1 in np.round(inside[rows]).astype(int):  # what is labelled inside an ignored region is known
        ids[y0:y1, x0:x1] = before[y0:y1, x0:x1]
    return inside[rows], rows, share[rows].astype(np.float64)
