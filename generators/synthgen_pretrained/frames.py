"""Between the size of an image and the size that the model works at: masks, conditions, and how both meet again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from synthgen.types import Image, Mask, Size

Condition = Literal["segmentation", "edges"]
Colour = tuple[int, int, int]
SEAM = 2.0  # px from what was painted at which it has ended: the pixels beside an outline are half of each


@dataclass(frozen=True, slots=True)
class Frame:
    """The size of an image (H, W), the size at which the model draws it (h, w), and the side of a latent cell, px of
    the latter: the smallest thing that the model can be asked to repaint."""

    size: Size
    work: Size
    cell: int


def frame_of(size: Size, side: int, multiple: int, cell: int) -> Frame:
    """The frame in which an image's longer side is `side` px and both are multiples of `multiple`, at least one."""
    scale = side / max(size)
    height, width = (max(round(n * scale / multiple), 1) * multiple for n in size)
    return Frame(size, (height, width), cell)


def resized(image: Image, size: Size) -> Image:
    """(H, W, 3) uint8 at another size: averaged where it shrinks, cubic where it grows."""
    if image.shape[:2] == size:
        return image
    shrinks = size[0] * size[1] < image.shape[0] * image.shape[1]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, (size[1], size[0]), interpolation=how), np.uint8)


def back_to(pixels: NDArray[np.float32], size: Size) -> NDArray[np.float32]:
    """(h, w, 3) in [0, 1] as the model drew it → (H, W, 3) float32 in 0…255."""
    if pixels.shape[:2] != size:
        shrinks = size[0] * size[1] < pixels.shape[0] * pixels.shape[1]
        how = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
        pixels = cv2.resize(pixels, (size[1], size[0]), interpolation=how)
    return np.clip(np.asarray(pixels, np.float32) * 255, 0, 255)


def cells(region: Mask, frame: Frame) -> Mask:
    """(h, w) bool: every latent cell that a region of the image touches, whole.

    Pipelines shrink a mask to the latents by taking every n-th pixel, so an object smaller than a cell would be lost,
    and labelled where nothing was painted.
    """
    H, W = region.shape
    rows, columns = frame.work[0] // frame.cell, frame.work[1] // frame.cell
    y, x = np.arange(rows), np.arange(columns)
    top, bottom, left, right = y * H // rows, -(-(y + 1) * H // rows), x * W // columns, -(-(x + 1) * W // columns)
    # A summed-area table (Crow 1984) tells how much of the region lies under each cell.
    total = np.pad(region.cumsum(0, dtype=np.int64).cumsum(1), ((1, 0), (1, 0)))
    under = total[bottom][:, right] - total[top][:, right] - total[bottom][:, left] + total[top][:, left]
    touched = under > 0
    return np.kron(touched, np.ones((frame.cell, frame.cell), bool))


def share_inside(painted: Mask, kept: Mask) -> NDArray[np.float32]:
    """(H, W) float32 in [0, 1], the model's share of each pixel: 1 where `painted`, falling to 0 within SEAM px of it,
    and 0 where `kept`.

    A wider seam would show more of an object than its label covers, since the model fills the cells that it is given.
    """
    if not painted.any():
        return np.zeros(painted.shape, np.float32)
    return np.where(painted, 1, np.clip(1 - _far_from(painted) / SEAM, 0, 1) * ~kept).astype(np.float32)


def share_outside(kept: Mask) -> NDArray[np.float32]:
    """(H, W) float32 in [0, 1], the model's share of each pixel: 0 where `kept`, rising to 1 within SEAM px of it."""
    if not kept.any():
        return np.ones(kept.shape, np.float32)
    return np.where(kept, 0, np.clip(_far_from(kept) / SEAM, 0, 1)).astype(np.float32)


def _far_from(region: Mask) -> NDArray[np.float32]:
    return np.asarray(cv2.distanceTransform((~region).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE), np.float32)


def condition_image(ids: NDArray[np.int32], classes: Sequence[int], colours: Sequence[Colour], kind: Condition,
                    work: Size) -> Image:
    """(h, w, 3) uint8, what a ControlNet is shown.

    ids: (H, W), k + 1 where the k-th object shows. classes: of each object. segmentation: each pixel in its class's
    colour, background black. edges: white lines of one pixel along the inner outline of every object, so that two that
    touch are told apart.
    """
    small = cv2.resize(ids.astype(np.float32), (work[1], work[0]), interpolation=cv2.INTER_NEAREST).astype(np.int32)
    if kind == "segmentation":
        table = np.zeros((len(classes) + 1, 3), np.uint8)
        table[1:] = np.asarray(colours, np.uint8).reshape(-1, 3)[np.asarray(classes, int)]
        return np.asarray(table[np.maximum(small, 0)], np.uint8)
    around = np.pad(small, 1, mode="edge")
    inner = np.zeros(work, bool)
    for y, x in ((0, 1), (2, 1), (1, 0), (1, 2)):
        inner |= around[y : y + work[0], x : x + work[1]] != small
    return np.repeat(np.where(inner & (small > 0), 255, 0).astype(np.uint8)[..., None], 3, axis=2)


def colours_of(names: Sequence[str], told: dict[str, Colour]) -> list[Colour]:
    """A colour per class: the one told, else that of its place in Pascal VOC's palette (Everingham et al. 2010), in
    which the bits of a number are dealt out to red, green and blue, from the highest down."""
    return [told.get(name) or _voc(k + 1) for k, name in enumerate(names)]


def _voc(number: int) -> Colour:
    channels = [0, 0, 0]
    for bit in range(8):
        for c in range(3):
            channels[c] |= (number >> (3 * bit + c) & 1) << (7 - bit)
    return channels[0], channels[1], channels[2]
