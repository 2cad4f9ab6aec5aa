"""Eroded masks: counted to the pixel, and the promise about their pixels holds."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from synthgen.geometry import encode, labels_from_masks
from synthgen.metrics.core import MARGINS, core_pixels, smallest_margin
from synthgen.types import Labels

SIZE = (40, 40)


def square(x: int, y: int, side: int, label: int = 0) -> Labels:
    mask = np.zeros((1, *SIZE), bool)
    mask[0, y : y + side, x : x + side] = True
    return labels_from_masks(mask, [label])


def test_no_object_and_one_pixel_have_next_to_no_core() -> None:
    every, wrong = core_pixels(Labels(SIZE, masks=()), square(3, 3, 5))
    assert not every.any()
    assert not wrong.any()
    every, wrong = core_pixels(square(9, 9, 1), Labels(SIZE, masks=()))
    assert every.tolist() == wrong.tolist() == [1] + [0] * MARGINS


def test_the_core_of_a_square_loses_a_frame_per_pixel_and_the_image_s_edge_is_no_border() -> None:
    assert core_pixels(square(10, 10, 9))[0].tolist() == [81, 49, 25, 9, 1] + [0] * (MARGINS - 4)
    assert core_pixels(square(0, 0, 9))[0][:3].tolist() == [81, 64, 49]
    assert set(core_pixels(square(0, 0, 40))[0].tolist()) == {1600}


def test_wrong_is_what_the_truth_does_not_label_so() -> None:
    every, wrong = core_pixels(square(10, 10, 10), square(12, 10, 10))
    assert (every[0], wrong[0]) == (100, 20)
    assert wrong[1] == 8  # one column of the two is gone, and its two ends
    assert wrong[2] == 0
    assert core_pixels(square(10, 10, 9), square(10, 10, 9, label=1))[1][0] == 81


def test_objects_that_touch_have_no_border_between_them_and_those_not_accepted_are_none() -> None:
    both = np.zeros((2, *SIZE), bool)
    both[0, 5:14, 5:14], both[1, 5:14, 14:23] = True, True
    assert core_pixels(labels_from_masks(both, [0, 0]))[0][1] == 7 * 16
    assert core_pixels(labels_from_masks(both, [0, 1]))[0][1] == 2 * 49
    one = replace(labels_from_masks(both, [0, 0]), states=("accepted", "ignored"))
    assert core_pixels(one)[0][0] == 81


def test_pixels_of_which_the_truth_says_nothing_are_left_out() -> None:
    nothing = np.zeros((1, *SIZE), bool)
    nothing[0, :, :15] = True
    truth = replace(Labels(SIZE, masks=()), ignore=encode(nothing)[0])
    every, wrong = core_pixels(square(10, 10, 10), truth)
    assert every[0] == wrong[0] == 50
    left = replace(square(10, 10, 10), states=("ignored",))
    assert core_pixels(square(10, 10, 10), left)[0][0] == 0


def test_boxes_alone_and_another_size_are_refused() -> None:
    boxes = Labels(SIZE, classes=[0], boxes=[[0, 0, 4, 4]])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="boxes alone"):
        core_pixels(boxes)
    with pytest.raises(ValueError, match="an image of"):
        core_pixels(square(1, 1, 3), Labels((8, 8), masks=()))


def blobs(count: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """(N, M) px in each core, and its share of wrong ones: discs that are labelled some pixels too large and too
    far off, some of them where nothing is, and some images with nothing at all."""
    rng = np.random.default_rng(seed)
    pixels, share = np.zeros((count, MARGINS + 1), np.int64), np.zeros((count, MARGINS + 1))

    def disc(x: float, y: float, r: float) -> Labels:
        mask = cv2.circle(np.zeros(SIZE, np.uint8), (round(x), round(y)), round(r), 1, -1)
        return labels_from_masks(mask[None].astype(bool), [0])

    for k in range(count):
        x, y, r = rng.uniform(12, 28), rng.uniform(12, 28), rng.uniform(5, 11)
        mine = disc(x + rng.normal() * 0.8, y + rng.normal() * 0.8, r + rng.exponential(1))
        truth = disc(x, y, r) if rng.random() > 0.01 else Labels(SIZE, masks=())
        every, wrong = core_pixels(mine if rng.random() > 0.05 else Labels(SIZE, masks=()), truth)
        pixels[k], share[k] = every, wrong / np.maximum(every, 1)
    return pixels, share


@pytest.mark.slow
@pytest.mark.parametrize("n", [60, 120])
def test_the_promise_about_core_pixels_is_broken_in_no_more_than_its_share_of_audits(n: int) -> None:
    pixels, share = blobs(400, 3)
    truth = [share[pixels[:, m] > 0, m].mean() for m in range(6)]
    rng, broken, margins = np.random.default_rng(4), 0, []
    for _ in range(80):
        audit = rng.permutation(400)[:n]
        passed = [t for t in smallest_margin(pixels, audit, share[audit], 0.08, 0.9) if t.passed]
        if passed:
            margins.append(passed[-1].margin)
            broken += truth[passed[-1].margin] > 0.08
    assert truth[2] > 0.08 > truth[3]  # smaller margins do not keep it, the second by next to nothing
    assert broken <= 0.1 * 80
    assert margins.count(3) > (10 if n == 60 else 30)


def test_masks_without_error_need_no_margin_and_wholly_wrong_ones_find_none() -> None:
    core = np.ones((300, 4), int)
    right = smallest_margin(core, np.arange(100), np.zeros((100, 4)), 0.05, 0.9)
    assert [(t.margin, t.passed) for t in right] == [(3, True), (2, True), (1, True), (0, True)]
    wrong = smallest_margin(core, np.arange(100), np.ones((100, 4)), 0.05, 0.9)
    assert [(t.margin, t.passed) for t in wrong] == [(3, False)]


def test_the_sequence_starts_where_enough_audited_images_have_a_core_and_nowhere_without() -> None:
    core = np.ones((300, 4), int)
    core[:, 3] = (np.arange(300) % 50 == 0) * 40
    assert [t.margin for t in smallest_margin(core, np.arange(100), np.zeros((100, 4)), 0.05, 0.9)] == [2, 1, 0]
    assert smallest_margin(np.zeros((300, 4), int), np.arange(100), np.zeros((100, 4)), 0.05, 0.9) == ()
    assert smallest_margin(core, np.arange(5), np.zeros((5, 4)), 0.05, 0.9) == ()
    assert smallest_margin(core, np.arange(0), np.zeros((0, 4)), 0.05, 0.9) == ()


def test_a_margin_that_is_worse_than_smaller_ones_ends_the_sequence() -> None:
    core, share = np.ones((300, 3), int), np.zeros((100, 3))
    share[:, 1] = 0.5
    assert [(t.margin, t.passed) for t in smallest_margin(core, np.arange(100), share, 0.05, 0.9)] == [
        (2, True), (1, False)]


def test_a_margin_that_leaves_few_pixels_is_not_tried() -> None:
    core = np.full((300, 3), 100)
    core[:, 2] = 24
    assert [t.margin for t in smallest_margin(core, np.arange(100), np.zeros((100, 3)), 0.05, 0.9)] == [1, 0]
