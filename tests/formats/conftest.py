"""Small datasets to write and read back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from synthgen.formats import Format, Problem, Reading
from synthgen.geometry import decode, labels_from_masks
from synthgen.types import Sample

Shape = NDArray[np.bool_]
CLASSES = ("cell", "größe_細胞", "<script>alert(1)</script>")


def drawn(size: tuple[int, int], *boxes: tuple[int, int, int, int]) -> Shape:
    """(H, W) bool with the boxes (top, left, bottom, right) filled."""
    mask = np.zeros(size, bool)
    for top, left, bottom, right in boxes:
        mask[top:bottom, left:right] = True
    return mask


def _ring() -> Shape:
    mask = drawn((12, 17), (2, 3, 10, 14))
    mask[4:8, 6:11] = False
    return mask


def _disc() -> Shape:
    y, x = np.ogrid[:40, :31]
    return np.asarray((y - 20) ** 2 + (x - 14) ** 2 < 120)


SOLID: dict[str, list[Shape]] = {
    "nothing": [],
    "one pixel": [drawn((9, 7), (4, 3, 5, 4))],
    "one pixel in the last corner": [drawn((9, 7), (8, 6, 9, 7))],
    "a line": [drawn((9, 7), (2, 1, 3, 6))],
    "the full image": [np.ones((6, 11), bool)],
    "touching": [drawn((8, 13), (1, 1, 6, 5)), drawn((8, 13), (1, 5, 6, 9))],
    "at every border": [drawn((9, 14), (0, 3, 2, 6)), drawn((9, 14), (3, 0, 6, 2)),
                        drawn((9, 14), (7, 3, 9, 6)), drawn((9, 14), (3, 12, 6, 14))],
    "a disc": [_disc()],
    "an L": [drawn((14, 20), (2, 2, 12, 5), (9, 2, 12, 17))],
    "a one-pixel image": [np.ones((1, 1), bool)],
}  # fmt: skip
PIECED: dict[str, list[Shape]] = {
    "a ring": [_ring()],
    "two parts": [drawn((10, 16), (1, 1, 4, 5), (6, 9, 9, 14))],
    "corner to corner": [drawn((6, 6), (0, 0, 2, 2), (2, 2, 4, 4))],
}


@pytest.fixture
def sample() -> Callable[..., Sample]:
    """Makes a sample from masks, as a person would have labelled it."""

    def make(masks: Sequence[Shape], size: tuple[int, int] | None = None, sample_id: str = "000000",
             file: str = "", classes: Sequence[int] | None = None, **known: Any) -> Sample:
        size = size or ((masks[0].shape[0], masks[0].shape[1]) if masks else (9, 7))
        image = np.random.default_rng(len(masks)).integers(0, 256, (*size, 3), dtype=np.uint8)
        stack = np.stack(masks) if masks else np.zeros((0, *size), bool)
        labels = labels_from_masks(stack, [0] * len(masks) if classes is None else classes, reviewed="human")
        labels = replace(labels, **known)
        return Sample(sample_id, image, labels, meta={"file": file} if file else {})

    return make


@pytest.fixture
def read() -> Callable[..., tuple[list[Sample], list[Problem]]]:
    """Reads a folder: (samples, problems)."""

    def run(form: Format, path: Path, classes: Sequence[str] = CLASSES,
            **reading: Any) -> tuple[list[Sample], list[Problem]]:
        items = list(form.read(path, classes, Reading(**reading)))
        return [i for i in items if isinstance(i, Sample)], [i for i in items if isinstance(i, Problem)]

    return run


@pytest.fixture
def masks_of() -> Callable[[Sample], Shape]:
    """The masks (N, H, W) of a sample."""

    def get(one: Sample) -> Shape:
        assert one.labels is not None
        return decode(one.labels.masks or (), one.labels.size)

    return get


@pytest.fixture(params=[*SOLID, *PIECED])
def any_masks(request: pytest.FixtureRequest) -> list[Shape]:
    """Objects of every sort that has broken some converter."""
    return {**SOLID, **PIECED}[request.param]


@pytest.fixture(params=[*SOLID])
def solid_masks(request: pytest.FixtureRequest) -> list[Shape]:
    """Objects in one piece without a hole."""
    return SOLID[request.param]


@pytest.fixture
def class_names() -> tuple[str, ...]:
    """Class names that break what does not quote."""
    return CLASSES
