"""Labels drawn over images, for people: the report's pictures and the preview's sheet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from synthgen.geometry import cropped, decode
from synthgen.types import Boxes, Image, Labels, Mask, Rle, Size

Colour = tuple[int, int, int]
Pen = Literal["solid", "thick", "dashed", "faint"]

CLASSES: tuple[Colour, ...] = (
    (38, 222, 160), (88, 178, 255), (255, 116, 196), (206, 236, 76), (176, 148, 255), (255, 132, 82),
    (70, 226, 236), (255, 158, 158), (150, 220, 120), (120, 140, 255), (236, 128, 255), (226, 196, 150))
"""Colour of class k, in turn; all of them readable on dark and on light images."""
REVIEW: Colour = (255, 196, 0)
"""What waits for a person, and what was missed; no class has it."""
WRONG: Colour = (255, 64, 92)
FAINT: Colour = (170, 176, 186)


def class_colour(k: int) -> Colour:
    """The colour of a class."""
    return CLASSES[k % len(CLASSES)]


def css(colour: Colour) -> str:
    """The colour as style sheets write it."""
    return "#{:02x}{:02x}{:02x}".format(*colour)


@dataclass(frozen=True, slots=True)
class Stretch:
    """How grey levels are shown: low … high (0–255) as black to white, bent by gamma; the same for every channel."""

    low: float = 0.0
    high: float = 255.0
    gamma: float = 1.0

    @property
    def changes(self) -> bool:
        """Whether it does anything."""
        return self != Stretch()

    def __call__(self, image: Image) -> Image:
        if not self.changes:
            return image
        levels = np.clip((np.arange(256) - self.low) / max(self.high - self.low, 1e-6), 0, 1) ** self.gamma
        return np.asarray(np.rint(levels * 255).astype(np.uint8)[image], np.uint8)


def stretch_for(images: Iterable[Image]) -> Stretch:
    """The stretch that makes images visible; none where they already use most of the range, as photographs do.

    Ends: percentiles 0.5 and 99.7 over all images. Where the median is still dark, gamma lifts it, at most to 0.6.
    """
    counts = np.zeros(256, np.int64)
    for image in images:
        # Images weigh alike, whatever their size.
        counts += np.rint(np.bincount(image.reshape(-1), minlength=256) * (1e6 / max(image.size, 1))).astype(np.int64)
    if not counts.sum():
        return Stretch()
    below = np.cumsum(counts) / counts.sum()
    low, median, high = (float(np.searchsorted(below, q)) for q in (0.005, 0.5, 0.997))
    if (high - low > 200 and median > 50) or high <= low:
        return Stretch()
    middle = (median - low) / (high - low)
    gamma = 1.0 if middle >= 0.2 or middle <= 0 else max(0.6, float(np.log(0.2) / np.log(middle)))
    return Stretch(low, high, round(gamma, 2))


def fit_to(image: Image, longest: int) -> tuple[Image, float]:
    """The image with its longer side at `longest` px, and the factor; up to 64 px, enlarged by a whole number."""
    h, w = image.shape[:2]
    factor = longest / max(h, w)
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    if max(h, w) <= 64 and factor >= 2:
        # So few pixels that each of them counts, and is shown as one.
        factor, how = float(int(factor)), cv2.INTER_NEAREST
    size = (max(1, round(w * factor)), max(1, round(h * factor)))
    return np.asarray(cv2.resize(image, size, interpolation=how), np.uint8), factor


def outlines(masks: Sequence[Rle], size: Size, factor: float) -> Iterator[list[NDArray[np.int32]]]:
    """Contours of each mask, (V, 2) x y px in the picture that is `factor` times the image; one mask held at a time."""
    for rle in masks:
        (rows, columns), mask = cropped(rle, size)
        yield _contours(mask, rows.start, columns.start, factor) if mask.any() else []


def _contours(mask: Mask, top: int, left: int, factor: float) -> list[NDArray[np.int32]]:
    # Only the object's own crop is scaled, with a rim so that its contour closes.
    crop = np.pad(mask.astype(np.float32), 2)
    h, w = crop.shape
    size = (max(1, round(w * factor)), max(1, round(h * factor)))
    scaled = cv2.resize(crop, size, interpolation=cv2.INTER_LINEAR if factor > 1 else cv2.INTER_AREA)
    found, _ = cv2.findContours((scaled > 0.45).astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    shift = np.round(np.array([left - 2, top - 2]) * factor).astype(np.int32)
    return [c[:, 0].astype(np.int32) + shift for c in found]


def rectangles(boxes: Boxes, factor: float) -> list[list[NDArray[np.int32]]]:
    """Boxes as contours, like `outlines`."""
    out = []
    for x0, y0, x1, y1 in np.round(boxes * factor).astype(int).tolist():
        corners = [(x0, y0), (x1 - 1, y0), (x1 - 1, y1 - 1), (x0, y1 - 1), (x0, y0)]
        sides = [np.linspace(a, b, max(abs(b[0] - a[0]), abs(b[1] - a[1]), 1), endpoint=False)
                 for a, b in pairwise(corners)]
        out.append([np.concatenate(sides).round().astype(np.int32)])
    return out


def contours_of(labels: Labels, factor: float, boxes: bool = False) -> list[list[NDArray[np.int32]]]:
    """Contours of each instance: its mask's, or its box's where no mask is known or boxes are asked for."""
    if labels.masks is None or boxes:
        return rectangles(labels.boxes, factor)
    return list(outlines(labels.masks, labels.size, factor))


def trace(picture: Image, contours: Sequence[NDArray[np.int32]], colour: Colour, pen: Pen = "solid") -> None:
    """Draw contours into a picture, in place, over a dark rim that keeps them visible on bright ground."""
    width = {"solid": 2, "thick": 3, "dashed": 2, "faint": 1}[pen]
    for points in contours:
        pieces = _dashes(points) if pen == "dashed" else [points]
        closed = pen != "dashed"
        if pen != "faint":
            cv2.polylines(picture, pieces, closed, (8, 10, 14), width + 1, cv2.LINE_AA)
        cv2.polylines(picture, pieces, closed, colour, width, cv2.LINE_AA)


def _dashes(points: NDArray[np.int32], on: int = 6, off: int = 5) -> list[NDArray[np.int32]]:
    # Contours have a point per pixel, so that counting points measures length.
    return [points[k:k + on] for k in range(0, len(points), on + off)] if len(points) > on + off else [points]


def veil(picture: Image, ignore: Rle | None, size: Size) -> None:
    """Hatch the pixels that say nothing, in place."""
    if ignore is None:
        return
    h, w = picture.shape[:2]
    away = cv2.resize(decode([ignore], size)[0].astype(np.uint8), (w, h), interpolation=cv2.INTER_NEAREST) > 0
    rows, columns = np.indices((h, w))
    stripes = away & ((rows + columns) % 7 < 2)
    picture[stripes] = (picture[stripes] * 0.3 + np.array(FAINT) * 0.7).astype(np.uint8)


def draw(picture: Image, labels: Labels, factor: float, *, boxes: bool = False) -> Image:
    """A copy of the picture with its labels: a colour per class, dashed amber where a person is to look, faint grey
    where ignored; ignored pixels are hatched."""
    out = picture.copy()
    veil(out, labels.ignore, labels.size)
    assert labels.states is not None
    shapes = contours_of(labels, factor, boxes)
    # What a person is to look at is drawn last, so that it is on top.
    ranks = {"ignored": 0, "accepted": 1, "to_review": 2}
    for k, state in sorted(enumerate(labels.states), key=lambda pair: ranks[pair[1]]):
        if state == "accepted":
            trace(out, shapes[k], class_colour(int(labels.classes[k])))
        else:
            trace(
                out, shapes[k], REVIEW if state == "to_review" else FAINT, "dashed" if state == "to_review" else "faint"
            )
    return out


def sheet(pictures: Sequence[Image], columns: int, cell: int, gap: int = 4, ground: Colour = (24, 27, 33)) -> Image:
    """Pictures side by side in square cells, row by row; each is shrunk into its cell if need be, and centred."""
    rows = -(-len(pictures) // columns)
    columns = min(columns, max(len(pictures), 1))
    out = np.full((rows * (cell + gap) - gap if rows else 1, columns * (cell + gap) - gap, 3), ground, np.uint8)
    for k, picture in enumerate(pictures):
        fitted, _ = fit_to(picture, cell)
        h, w = fitted.shape[:2]
        top = k // columns * (cell + gap) + (cell - h) // 2
        left = k % columns * (cell + gap) + (cell - w) // 2
        out[top:top + h, left:left + w] = fitted
    return out
