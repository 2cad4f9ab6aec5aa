"""One line of a YOLO label file."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synthgen.errors import DataError
from synthgen.formats.gather import Box
from synthgen.types import Size

SLACK = 0.5                             # px over the frame that pass for rounding


@dataclass(frozen=True, slots=True)
class Line:
    """class_id: index in data.yaml. outline: (V, 2) whole pixels x y, or None for a box line. box: px."""

    class_id: int
    outline: NDArray[np.int64] | None
    box: Box
    score: float
    clipped: bool


def parse_line(text: str, size: Size) -> Line:
    """The object that a line describes.

    Five numbers are a class and a box (centre, size), a sixth its score; seven and more an outline, after
    which an odd one out is again a score.
    Raises: DataError with what is wrong, for a line that describes none.
    """
    numbers = _numbers(text)
    class_id, score = numbers[0], 1.0
    if not class_id.is_integer() or class_id < 0:
        raise DataError(f"the class {class_id:g} is no whole number from 0")
    values = numbers[1:]
    if len(values) == 5 or (len(values) > 6 and len(values) % 2):
        score = values.pop()
        if not 0 <= score <= 1:
            raise DataError(f"the score {score:g} is not between 0 and 1, or a coordinate is missing")
    if max(map(abs, values)) > 2:
        raise DataError(
            f"coordinates must be shares of the image, from 0 to 1; there is {max(values, key=abs):g}"
        )
    H, W = size
    if len(values) == 4:
        x, y, w, h = values
        if w <= 0 or h <= 0:
            raise DataError(f"the box is {w:g} × {h:g} of the image, without area")
        raw = np.array([(x - w / 2) * W, (y - h / 2) * H, (x + w / 2) * W, (y + h / 2) * H])
        outline = None
    else:
        points = np.asarray(values, np.float64).reshape(-1, 2) * (W, H)
        raw = np.concatenate([points.min(0), points.max(0)])
        # Cut off, not rounded: what every reader of this format does.
        outline = np.clip(np.floor(points), 0, (W - 1, H - 1)).astype(np.int64)
    x0, y0, x1, y1 = (float(v) for v in np.clip(raw, 0, [W, H, W, H]))
    if x1 < x0 or y1 < y0 or (outline is None and (x1 <= x0 or y1 <= y0)) or _outside(raw, size):
        raise DataError("it stands outside the image")
    if outline is not None:
        # Its box is that of the pixels that it paints.
        (x0, y0), (x1, y1) = outline.min(0).tolist(), (outline.max(0) + 1).tolist()
    over = max(-raw[0], -raw[1], raw[2] - W, raw[3] - H)
    return Line(int(class_id), outline, (x0, y0, x1, y1), score, bool(over > SLACK))


def _outside(raw: NDArray[np.float64], size: Size) -> bool:
    return bool(raw[0] > size[1] or raw[1] > size[0] or raw[2] < 0 or raw[3] < 0)


def _numbers(text: str) -> list[float]:
    words = text.split()
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        raise DataError(f"{text.strip()[:40]!r} holds something that is no number") from None
    if not all(map(math.isfinite, numbers)):
        raise DataError("a number is not finite")
    if len(numbers) < 5:
        raise DataError(f"a line needs a class and four numbers, or a class and three points; this one has "
                        f"{len(numbers)} numbers")
    return numbers
