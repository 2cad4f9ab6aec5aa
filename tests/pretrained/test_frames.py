"""Sizes, masks and conditions between an image and the size at which the model works."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthgen.seeds import rng_of
from synthgen_pretrained.frames import (
    Frame,
    back_to,
    cells,
    colours_of,
    condition_image,
    frame_of,
    resized,
    share_inside,
    share_outside,
)


@pytest.mark.parametrize(("size", "work"), [((1, 1), (512, 512)), ((37, 211), (88, 512)), ((1, 900), (8, 512)),
                                            ((512, 512), (512, 512)), ((1080, 1920), (288, 512))])
def test_the_longer_side_is_as_asked_and_both_are_multiples(size: tuple[int, int], work: tuple[int, int]) -> None:
    assert frame_of(size, 512, 8, 8).work == work


@given(st.integers(1, 60), st.integers(1, 60), st.sampled_from([(16, 8), (32, 8), (48, 2), (128, 16)]),
       st.integers(0, 2**20))
def test_every_pixel_of_a_region_lies_in_a_cell_that_is_painted(
        H: int, W: int, how: tuple[int, int], seed: int) -> None:
    side, cell = how
    frame = frame_of((H, W), side, max(8, cell), cell)
    region = rng_of(seed).random((H, W)) < 0.05
    found = cells(region, frame)
    assert found.shape == frame.work
    blocks = found.reshape(frame.work[0] // cell, cell, frame.work[1] // cell, cell)
    assert (blocks.all((1, 3)) == blocks.any((1, 3))).all()  # whole cells
    # Any point of a pixel, taken to the model's size, falls into a painted cell.
    for y, x in np.argwhere(region):
        for part in (0.001, 0.5, 0.999):
            at = int((y + part) / H * frame.work[0]), int((x + part) / W * frame.work[1])
            assert found[at]
    # And no cell is painted for nothing.
    assert found.any() == region.any()


def test_an_object_of_one_pixel_is_not_lost_in_a_large_image() -> None:
    region = np.zeros((2048, 2048), bool)
    region[1001, 777] = True
    frame = Frame((2048, 2048), (512, 512), 8)
    found = cells(region, frame)
    assert found.sum() == 64
    # Pipelines shrink the mask to the latents by taking every eighth pixel.
    assert found[::8, ::8].sum() == 1


def test_beside_an_outline_pixels_are_half_of_each_and_what_is_kept_is_never_touched() -> None:
    painted, kept = np.zeros((9, 30), bool), np.zeros((9, 30), bool)
    painted[:, 10:15], kept[:, 15] = True, True
    share = share_inside(painted, kept)
    assert share.dtype == np.float32
    assert (share[:, 10:15] == 1).all()
    assert share[4, 7:10] == pytest.approx([0, 0, 0.5])
    assert (share[:, 15:] == 0).all()
    outside = share_outside(kept)
    assert (outside[:, 15] == 0).all()
    assert outside[4, 16:19] == pytest.approx([0.5, 1, 1])


def test_nothing_painted_is_no_share_and_nothing_kept_is_all_of_it() -> None:
    none = np.zeros((3, 4), bool)
    assert not share_inside(none, none).any()
    assert (share_outside(none) == 1).all()


def test_objects_that_touch_are_one_area_but_two_outlines() -> None:
    ids = np.zeros((16, 16), np.int32)
    ids[4:12, 2:8], ids[4:12, 8:14] = 1, 2
    areas = condition_image(ids, [0, 0], [(9, 8, 7)], "segmentation", (16, 16))
    assert (areas[4:12, 2:14] == (9, 8, 7)).all()
    assert areas.sum() == 8 * 12 * 24
    lines = condition_image(ids, [0, 0], [(9, 8, 7)], "edges", (16, 16))
    assert set(np.unique(lines)) == {0, 255}
    assert (lines[5:11, 7:9] == 255).all()
    assert (lines[6:10, 4:6] == 0).all()
    assert (lines[ids == 0] == 0).all()


@pytest.mark.parametrize("kind", ["segmentation", "edges"])
def test_an_empty_layout_and_ignored_pixels_are_black(kind: str) -> None:
    for value in (0, -1):
        assert not condition_image(np.full((5, 7), value, np.int32), [], [], kind, (16, 8)).any()


def test_colours_are_those_told_and_else_pascal_vocs() -> None:
    names = ["aeroplane", "bicycle", "bird", "boat"]
    assert colours_of(names, {}) == [(128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128)]
    assert colours_of(names, {"bird": (1, 2, 3)})[2] == (1, 2, 3)
    assert len(set(colours_of([str(k) for k in range(255)], {}))) == 255


def test_an_image_at_its_own_size_is_not_touched() -> None:
    image = rng_of(0).integers(0, 256, (9, 11, 3), np.uint8)
    assert resized(image, (9, 11)) is image
    assert back_to((image / 255).astype(np.float32), (9, 11)) == pytest.approx(image, abs=1e-3)
    assert resized(image, (16, 24)).shape == (16, 24, 3)
    assert back_to(np.ones((8, 8, 3), np.float32), (3, 50)) == pytest.approx(255)
