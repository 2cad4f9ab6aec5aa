"""Seeds drawn by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
import pytest

from synthgen.geometry import labels_from_masks
from synthgen.types import Sample


def ellipse(size: tuple[int, int], cy: float, cx: float, a: float, b: float, degrees: float = 0) -> Any:
    """(H, W) bool: half axes a (along x before turning) and b."""
    blank = np.zeros(size, np.uint8)
    centre, axes = (round(cx * 16), round(cy * 16)), (round(a * 16), round(b * 16))
    return cv2.ellipse(blank, centre, axes, degrees, 0, 360, 1, -1, cv2.LINE_8, 4) > 0


@pytest.fixture
def seed_of_masks() -> Callable[..., Sample]:
    """A grey sample with masks of size, classes 0 unless said."""

    def make(masks: Sequence[Any], size: tuple[int, int] = (40, 50), classes: Sequence[int] | None = None) -> Sample:
        stack = np.stack(masks) if len(masks) else np.zeros((0, *size), bool)
        image = np.full((*size, 3), 90, np.uint8)
        for k, mask in enumerate(stack):
            image[mask] = 120 + 10 * (k % 10)
        return Sample("hand", image, labels_from_masks(stack, classes or [0] * len(stack), reviewed="human"))

    return make


@pytest.fixture
def ellipses() -> Callable[..., list[Sample]]:
    """Images with one ellipse each, of given half axes, turned by given angles."""

    def make(angles: Sequence[float], a: float = 9, b: float = 4, size: tuple[int, int] = (40, 50)) -> list[Sample]:
        out = []
        for k, angle in enumerate(angles):
            mask = ellipse(size, size[0] / 2, size[1] / 2, a, b, angle)[None]
            out.append(
                Sample(str(k), np.full((*size, 3), 90, np.uint8), labels_from_masks(mask, [0], reviewed="human"))
            )
        return out

    return make
