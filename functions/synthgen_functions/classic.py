"""Rules on pixels: a threshold, a range of colours, a template."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pydantic.dataclasses import dataclass

from synthgen.errors import DataError
from synthgen.geometry import box_ious, labels_from_ids
from synthgen.images import read_image
from synthgen.types import Context, Image, Labels, Mask
from synthgen_functions.options import OPTIONS, class_index

LEVELS = 64  # of the distance map that the watershed floods one after the other
Unit = Annotated[float, Field(ge=0, le=1)]


@dataclass(kw_only=True, config=OPTIONS)
class Otsu:
    """Bright (or dark) blobs by Otsu's threshold, touching ones cut apart by a watershed on their distance map."""

    TASKS: ClassVar[tuple[str, ...]] = ("instances", "segment", "detect")

    polarity: Literal["bright", "dark"] = "bright"
    """What objects are against their ground."""
    smoothing: Annotated[float, Field(ge=0, le=50)] = 1.0
    """Sigma of a Gaussian blur before the threshold, px; 0 = none."""
    min_area: Annotated[int, Field(ge=1)] = 15
    """Smaller objects are left out, px."""
    apart: Annotated[float, Field(ge=1, le=500)] = 5.0
    """Objects whose centres are closer than this are one, px."""
    class_name: str | None = None
    """Class of what it finds; null = the recipe's first."""

    def __post_init__(self) -> None:
        self._class = 0

    def prepare(self, context: Context) -> None:
        """Raises: DataError when the recipe has no such class."""
        self._class = class_index(self.class_name, context, "otsu")

    def __call__(self, image: Image) -> Labels:
        """Masks of the blobs; none of an image of one grey value (Otsu 1979; flooding: Vincent & Soille 1991)."""
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        if self.smoothing:
            grey = cv2.GaussianBlur(grey, (0, 0), self.smoothing)
        if grey.max() == grey.min():
            return labels_from_ids(np.zeros(grey.shape, np.int32), {}, reviewed="model")
        kind = cv2.THRESH_BINARY if self.polarity == "bright" else cv2.THRESH_BINARY_INV
        _, inside = cv2.threshold(grey, 0, 1, kind | cv2.THRESH_OTSU)
        return _instances(split(inside.astype(bool), self.apart), self.min_area, self._class)


@dataclass(kw_only=True, config=OPTIONS)
class Colour:
    """Connected regions whose hue, saturation and value lie in ranges."""

    TASKS: ClassVar[tuple[str, ...]] = ("instances", "segment", "detect")

    hue: tuple[Annotated[float, Field(ge=0, le=360)], Annotated[float, Field(ge=0, le=360)]] = (0.0, 360.0)
    """From and to, degrees: 0 red, 120 green, 240 blue; [330, 30] goes through red."""
    saturation: tuple[Unit, Unit] = (0.0, 1.0)
    """From and to: 0 grey, 1 pure."""
    value: tuple[Unit, Unit] = (0.0, 1.0)
    """From and to: 0 black, 1 as bright as can be."""
    min_area: Annotated[int, Field(ge=1)] = 15
    """Smaller regions are left out, px."""
    class_name: str | None = None
    """Class of what it finds; null = the recipe's first."""

    def __post_init__(self) -> None:
        self._class = 0

    def prepare(self, context: Context) -> None:
        """Raises: DataError when the recipe has no such class."""
        self._class = class_index(self.class_name, context, "colour")

    def __call__(self, image: Image) -> Labels:
        """Masks of the regions, 8-connected."""
        hsv = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2HSV)  # degrees, [0, 1], [0, 1]
        h, s, v = (hsv[..., k] for k in range(3))
        low, high = self.hue
        inside = (h >= low) & (h <= high) if low <= high else (h >= low) | (h <= high)
        for channel, (least, most) in ((s, self.saturation), (v, self.value)):
            inside &= (channel >= least) & (channel <= most)
        _, ids = cv2.connectedComponents(inside.astype(np.uint8), connectivity=8)
        return _instances(ids, self.min_area, self._class)


@dataclass(kw_only=True, config=OPTIONS)
class Template:
    """Places that look like a small picture: boxes by normalised cross-correlation."""

    TASKS: ClassVar[tuple[str, ...]] = ("instances", "detect")

    file: Path
    """The picture of one object, cut out tightly."""
    threshold: Annotated[float, Field(gt=0, le=1)] = 0.6
    """Correlation from which on a place counts; it is the box's score too."""
    overlap: Annotated[float, Field(ge=0, lt=1)] = 0.3
    """Of boxes with a larger IoU the best is kept."""
    class_name: str | None = None
    """Class of what it finds; null = the recipe's first."""

    def __post_init__(self) -> None:
        self._class = 0
        self._crop: NDArray[np.uint8] | None = None

    def prepare(self, context: Context) -> None:
        """Raises: DataError when the recipe has no such class."""
        self._class = class_index(self.class_name, context, "template")

    def __call__(self, image: Image) -> Labels | None:
        """Boxes of the crop's size with the correlation as score (Lewis 1995); None of images smaller than the crop.

        Raises: DataError when the file is no image.
        """
        if self._crop is None:
            crop = cv2.cvtColor(read_image(self.file), cv2.COLOR_RGB2GRAY)
            if crop.max() == crop.min():
                raise DataError(f"{self.file}: a picture of one grey value correlates with nothing; give another")
            self._crop = crop
        grey, (h, w) = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), self._crop.shape
        if grey.shape[0] < h or grey.shape[1] < w:
            return None
        found = np.nan_to_num(cv2.matchTemplate(grey, self._crop, cv2.TM_CCOEFF_NORMED), posinf=0, neginf=0)
        peak = (found >= self.threshold) & (found == cv2.dilate(found, np.ones((3, 3), np.uint8)))
        y, x = np.nonzero(peak)
        scores = found[y, x].clip(0, 1)
        boxes = np.stack([x, y, x + w, y + h], 1).astype(np.float32)
        order = np.argsort(-scores, kind="stable")
        ious = box_ious(boxes, boxes)
        kept: list[int] = []
        for k in order:
            if all(ious[k, j] <= self.overlap for j in kept):
                kept.append(int(k))
        size = (image.shape[0], image.shape[1])
        return Labels(size, np.full(len(kept), self._class, np.int64), boxes[kept], scores=scores[kept],
                      reviewed="model")


def split(inside: Mask, apart: float) -> NDArray[np.int32]:
    """(H, W) int32 ids of the objects of a mask, touching ones cut where they are thinnest; 0 outside.

    Centres are the highest points of the distance to the ground within `apart` px of them; from them the watershed
    floods the negative distance.
    """
    distance = cv2.distanceTransform(np.pad(inside, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
    smooth = cv2.GaussianBlur(distance, (0, 0), 1.0)
    side = 2 * int(apart) + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    _, centres = cv2.connectedComponents(((smooth == cv2.dilate(smooth, disc)) & inside).astype(np.uint8))
    _, parts = cv2.connectedComponents(inside.astype(np.uint8))
    # Every connected part keeps at least its own highest point.
    for part in np.setdiff1d(np.unique(parts[inside]), np.unique(parts[centres > 0])):
        where = np.flatnonzero(parts == part)
        centres.flat[where[distance.flat[where].argmax()]] = centres.max() + 1
    # Flooding by levels; OpenCV's own watershed goes by the steps between neighbours, which are all alike here.
    ids, grow = centres.astype(np.float32), np.ones((3, 3), np.uint8)
    for level in np.linspace(float(smooth.max()), 0, LEVELS):
        open_ = inside & (smooth >= level) if level > 0 else inside
        while (reached := open_ & (ids == 0) & (cv2.dilate(ids, grow) > 0)).any():
            ids[reached] = cv2.dilate(ids, grow)[reached]
    return np.asarray(ids, np.int32)


def _instances(ids: NDArray[np.int32], min_area: int, class_id: int) -> Labels:
    sizes = np.bincount(ids.ravel())
    return labels_from_ids(ids, {k: class_id for k in range(1, len(sizes)) if sizes[k] >= min_area}, reviewed="model")
