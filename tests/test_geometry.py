"""Masks, run lengths, polygons and boxes say the same."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from synthgen.geometry import (
    areas,
    box_ious,
    decode,
    encode,
    encode_crop,
    id_map,
    labels_from_ids,
    labels_from_masks,
    mask_box,
    mask_from_polygons,
    polygons_from_mask,
    rle_boxes,
    rle_ious,
    touches_border,
    union,
)
from synthgen.rle import pixels

Masks = NDArray[np.bool_]


@st.composite
def masks(draw: st.DrawFn, most: int = 14) -> Masks:
    """(H, W) bool of any size from 1 × 1, from empty to full."""
    H, W = draw(st.integers(1, most)), draw(st.integers(1, most))
    share = draw(st.sampled_from([0.0, 0.05, 0.3, 0.5, 0.9, 1.0]))
    return np.random.default_rng(draw(st.integers(0, 2**32))).random((H, W)) < share


@st.composite
def crops(draw: st.DrawFn) -> tuple[Masks, int, int, tuple[int, int]]:
    """A crop with its place inside an image; often as high as the image, often at its border."""
    crop = draw(masks())
    above, below, left, right = (draw(st.sampled_from([0, 0, 1, 3])) for _ in range(4))
    return crop, above, left, (crop.shape[0] + above + below, crop.shape[1] + left + right)


@given(masks())
def test_run_lengths_give_the_mask_back(mask: Masks) -> None:
    assert np.array_equal(decode(encode(mask[None]), (mask.shape[0], mask.shape[1]))[0], mask)


@settings(max_examples=300)
@given(crops())
def test_a_crop_encodes_to_the_same_string_as_the_full_frame(
    given_crop: tuple[Masks, int, int, tuple[int, int]],
) -> None:
    crop, top, left, size = given_crop
    frame = np.zeros(size, bool)
    frame[top : top + crop.shape[0], left : left + crop.shape[1]] = crop
    assert encode_crop(crop, top, left, size) == encode(frame[None])[0]


@pytest.mark.parametrize(
    ("top", "left", "h", "w"),
    [(0, 0, 1, 1), (4, 6, 1, 1), (0, 3, 5, 1), (0, 0, 5, 7), (0, 2, 5, 3), (2, 0, 1, 7)],
    ids=["first pixel", "last pixel", "full column", "full frame", "full height", "full row"],
)
def test_crops_at_the_edges_encode_like_the_full_frame(top: int, left: int, h: int, w: int) -> None:
    frame = np.zeros((5, 7), bool)
    frame[top : top + h, left : left + w] = True
    assert encode_crop(np.ones((h, w), bool), top, left, (5, 7)) == encode(frame[None])[0]


@settings(max_examples=300)
@given(masks())
def test_polygons_that_claim_to_be_exact_are(mask: Masks) -> None:
    polygons, exact = polygons_from_mask(mask)
    if exact and mask.any():
        assert mask_from_polygons(polygons, (mask.shape[0], mask.shape[1])) == encode(mask[None])[0]


def test_a_hole_is_not_claimed_to_be_exact() -> None:
    ring = np.ones((5, 5), bool)
    ring[2, 2] = False
    assert not polygons_from_mask(ring)[1]


def test_a_rectangle_has_four_corners() -> None:
    mask = np.zeros((9, 9), bool)
    mask[2:5, 3:8] = True
    (polygon,), exact = polygons_from_mask(mask)
    assert exact
    assert sorted(map(tuple, polygon.tolist())) == [(3, 2), (3, 5), (8, 2), (8, 5)]


@given(masks())
def test_boxes_of_run_lengths_are_those_of_the_mask(mask: Masks) -> None:
    size = (mask.shape[0], mask.shape[1])
    (box,) = rle_boxes(encode(mask[None]), size)
    assert tuple(box) == (mask_box(mask) or (0, 0, 0, 0))
    assert areas(encode(mask[None]), size)[0] == mask.sum()


@given(masks(), st.integers(0, 2**32))
def test_iou_of_run_lengths_is_that_of_the_pixels(mask: Masks, seed: int) -> None:
    other = np.random.default_rng(seed).random(mask.shape) < 0.5
    union = (mask | other).sum()
    found = rle_ious(encode(mask[None]), encode(other[None]), (mask.shape[0], mask.shape[1]))[0, 0]
    assert found == pytest.approx((mask & other).sum() / union if union else 0)


def test_box_iou_of_apart_touching_equal_and_empty_boxes() -> None:
    a = np.array([[0, 0, 2, 2]], np.float32)
    b = np.array([[5, 5, 6, 6], [2, 0, 4, 2], [0, 0, 2, 2], [1, 0, 3, 2], [1, 1, 1, 1]], np.float32)
    assert box_ious(a, b)[0].tolist() == pytest.approx([0, 0, 1, 1 / 3, 0])


def test_nothing_is_handled_everywhere() -> None:
    assert encode(np.zeros((0, 4, 5), bool)) == ()
    assert decode((), (4, 5)).shape == (0, 4, 5)
    assert rle_boxes((), (4, 5)).shape == (0, 4)
    assert areas((), (4, 5)).shape == (0,)
    assert rle_ious((), encode(np.ones((1, 4, 5), bool)), (4, 5)).shape == (0, 1)
    assert polygons_from_mask(np.zeros((4, 5), bool)) == ([], True)
    assert mask_box(np.zeros((4, 5), bool)) is None


def test_border_is_reached_on_each_side() -> None:
    boxes = np.array([[0, 2, 3, 3], [2, 0, 3, 3], [2, 2, 8, 3], [2, 2, 3, 6], [1, 1, 7, 5]], np.float32)
    assert touches_border(boxes, (6, 8)).tolist() == [True, True, True, True, False]


def test_id_map_and_labels_are_inverse_where_nothing_overlaps() -> None:
    ids = np.array([[1, 1, 0, 2], [0, 0, 0, 2], [3, 0, 7, 0]])
    labels = labels_from_ids(ids, {1: 0, 2: 1, 3: 0})
    assert labels.classes.tolist() == [0, 1, 0]
    assert id_map(labels).tolist() == [[1, 1, 0, 2], [0, 0, 0, 2], [3, 0, 0, 0]]


def test_of_two_that_overlap_the_smaller_is_on_top() -> None:
    masks = np.zeros((2, 4, 4), bool)
    masks[0, 1, 1], masks[1] = True, True
    assert id_map(labels_from_masks(masks, [0, 0]))[1, 1] == 1


def test_a_reviewed_image_without_instances_is_confirmed_empty() -> None:
    assert labels_from_masks(np.zeros((0, 3, 3), bool), [], reviewed="human").empty == "confirmed"
    assert labels_from_masks(np.zeros((0, 3, 3), bool), []).empty == "unknown"


@pytest.mark.parametrize("n", [255, 256, 700])
def test_hundreds_of_objects_are_as_good_as_one(n: int) -> None:
    ids = np.zeros((64, 90), np.int32)
    places = np.argwhere(np.ones((32, 45), bool))[:n] * 2
    ids[places[:, 0], places[:, 1]] = np.arange(1, n + 1)
    labels = labels_from_ids(ids, dict.fromkeys(range(1, n + 1), 0))
    assert len(labels) == n
    assert areas(labels.masks or (), labels.size).tolist() == [1] * n
    assert np.array_equal(id_map(labels), ids)
    assert np.array_equal(union(labels.masks or (), labels.size), ids > 0)


@given(masks())
def test_the_pixels_of_run_lengths_are_the_masks(mask: Masks) -> None:
    x, y = np.divmod(pixels(encode(mask[None])[0]), mask.shape[0])
    again = np.zeros_like(mask)
    again[y, x] = True
    assert np.array_equal(again, mask)
    assert len(y) == mask.sum()
