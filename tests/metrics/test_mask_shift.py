"""Mask fit: exact on drawn edges, blind where masks ignore the image, and the signs of its offset."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from synthgen.geometry import encode, labels_from_masks
from synthgen.metrics.mask_shift import REACH, gradient, mask_fit, outline, shifts, signed_distance
from synthgen.types import Labels

stats = pytest.importorskip("scipy.stats")
RNG = np.random.default_rng


def disc(size, y, x, r):
    yy, xx = np.mgrid[:size, :size]
    return (yy - y) ** 2 + (xx - x) ** 2 <= r * r


def picture(mask, noise=4.0, seed=0):
    values = np.where(mask, 160.0, 70.0)[..., None] + RNG(seed).normal(0, noise, (*mask.shape, 3))
    return np.clip(values, 0, 255).astype(np.uint8)


def fit(image, *masks, **more):
    return mask_fit(image, labels_from_masks(np.stack(masks), [0] * len(masks)), **more)


def test_gradients_outlines_shifts_and_distances_by_hand():
    ramp = np.repeat(np.tile(np.arange(0, 60, 3, np.uint8), (20, 1))[..., None], 3, 2)
    assert gradient(ramp)[10, 10] == pytest.approx(3 * math.sqrt(3), rel=1e-4)
    assert gradient(np.full((9, 9, 3), 80, np.uint8)).max() == 0
    block = np.zeros((7, 7), bool)
    block[:4, 2:5] = True
    assert np.argwhere(outline(block)).tolist() == [
        [0, 2], [0, 4], [1, 2], [1, 4], [2, 2], [2, 4], [3, 2], [3, 3], [3, 4]]
    assert not outline(np.ones((5, 5), bool)).any()
    moves = shifts(3)
    assert len(moves) == 20
    assert {tuple(-m) for m in moves} == {tuple(m) for m in moves}
    assert np.hypot(*moves.T).min() == 2
    row = np.zeros((3, 9), bool)
    row[:, 3:] = True
    assert signed_distance(row)[1].tolist() == pytest.approx([2.5, 1.5, 0.5, -0.5, -1.5, -2.5, -3.5, -4.5, -5.5])


def test_a_mask_on_its_edges_has_the_smallest_p_and_no_offset():
    mask = disc(64, 30, 33, 14)
    found = fit(picture(mask), mask)
    assert found.p == 1 / (1 + len(shifts(REACH)))
    assert found.rank == 1
    assert found.contrast > 2
    assert found.offset == pytest.approx(0, abs=0.3)


@pytest.mark.parametrize("by", [-3, -2, 2, 3])
def test_grown_and_shrunk_masks_show_by_how_much(by):
    found = fit(picture(disc(80, 40, 40, 18)), disc(80, 40, 40, 18 + by))
    assert found.offset == pytest.approx(-by, abs=0.5)


@pytest.mark.parametrize("by", [(4, 0), (0, -5), (3, 3)])
def test_a_shifted_mask_is_told_from_one_in_place(by):
    mask = disc(80, 40, 40, 12)
    assert fit(picture(mask), np.roll(mask, by, (0, 1))).p > 0.05


@pytest.mark.slow
def test_the_p_is_valid_where_masks_ignore_the_image():
    rng = RNG(1)
    p = []
    for _ in range(400):
        smooth = cv2.GaussianBlur(rng.normal(0, 1, (64, 64, 3)), (0, 0), 2)
        image = np.clip(128 + 60 * smooth / smooth.std(), 0, 255).astype(np.uint8)
        p.append(fit(image, disc(64, *rng.uniform(16, 48, 2), rng.uniform(6, 14))).p)
    for level in (0.05, 0.2):
        rejected = int((np.array(p) <= level).sum())
        assert stats.binomtest(rejected, 400, level, alternative="greater").pvalue > 0.001, (level, rejected)


def test_nothing_to_measure_is_none_and_a_flat_image_follows_nothing():
    image = picture(disc(40, 20, 20, 8))
    assert mask_fit(image, Labels(size=(40, 40))) is None
    assert fit(image, np.ones((40, 40), bool)) is None
    assert fit(image, disc(40, 20, 20, 1)) is None
    assert fit(picture(disc(5, 2, 2, 1)), disc(5, 2, 2, 1)) is None
    boxes = Labels(size=(40, 40), classes=[0], boxes=[[2, 2, 9, 9]])
    assert mask_fit(image, boxes) is None
    flat = fit(np.full((40, 40, 3), 90, np.uint8), disc(40, 20, 20, 8))
    assert (flat.p, flat.rank) == (1.0, 0.5)
    assert math.isnan(flat.offset)


def test_what_is_ignored_counts_neither_as_an_object_nor_as_an_edge():
    mask, other = disc(90, 30, 30, 12), disc(90, 60, 64, 12)
    image = picture(mask | other)
    alone = fit(image, mask)
    both = labels_from_masks(np.stack([mask, np.roll(other, 6, 0)]), [0, 0])
    ignored = Labels(size=both.size, classes=both.classes, boxes=both.boxes, masks=both.masks,
                     states=("accepted", "ignored"))
    assert mask_fit(image, ignored) == alone
    hidden = labels_from_masks(mask[None], [0])
    hidden = Labels(size=hidden.size, classes=hidden.classes, boxes=hidden.boxes, masks=hidden.masks,
                    ignore=encode(np.ones((1, 90, 90), bool))[0])
    assert mask_fit(image, hidden) is None


def test_the_order_of_objects_and_a_mirror_change_nothing():
    masks = [disc(96, 30, 30, 12), disc(96, 60, 64, 14)]
    image = picture(masks[0] | masks[1])
    one, two = fit(image, *masks), fit(image, *masks[::-1])
    assert one == two
    mirrored = fit(np.ascontiguousarray(image[:, ::-1]), *(np.ascontiguousarray(m[:, ::-1]) for m in masks))
    assert mirrored.offset == pytest.approx(one.offset, abs=1e-3)
    assert mirrored.contrast == pytest.approx(one.contrast, rel=1e-3)
    assert mirrored.p == one.p
