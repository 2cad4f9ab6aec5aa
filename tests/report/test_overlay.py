"""What is drawn over images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from synthgen.geometry import labels_from_masks
from synthgen.metrics.accuracy import score_image
from synthgen.overlay import REVIEW, Stretch, class_colour, draw, fit_to, sheet, stretch_for
from synthgen.report.pictures import compare
from synthgen.types import Labels


def square(top: int, left: int, side: int = 10, size: tuple[int, int] = (40, 60)) -> np.ndarray:
    mask = np.zeros(size, bool)
    mask[top:top + side, left:left + side] = True
    return mask


def near(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    close: np.ndarray = np.abs(picture.astype(int) - np.array(colour)).sum(2) < 60
    return close


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (28, 28), (128, 96), (2000, 1500)])
def test_every_size_of_image_is_fitted_and_keeps_its_shape(size: tuple[int, int]) -> None:
    shown, factor = fit_to(np.full((*size, 3), 7, np.uint8), 120)
    assert max(shown.shape[:2]) <= 120
    assert shown.shape[:2] == tuple(max(1, round(s * factor)) for s in size)


@pytest.mark.parametrize(
    "mask", [np.zeros((40, 60), bool), np.ones((40, 60), bool), square(0, 0, 1), square(39, 59, 1)]
)
def test_an_empty_a_full_and_a_one_pixel_mask_can_be_drawn(mask: np.ndarray) -> None:
    image = np.zeros((40, 60, 3), np.uint8)
    base, factor = fit_to(image, 200)
    labels = labels_from_masks(mask[None], [0])
    assert draw(base, labels, factor).shape == base.shape
    assert draw(base, labels, factor, boxes=True).shape == base.shape
    assert not base.any()                                # the picture itself is left alone


def test_an_outline_runs_round_its_object_in_the_colour_of_its_class() -> None:
    base, factor = fit_to(np.zeros((40, 60, 3), np.uint8), 240)
    drawn = near(draw(base, labels_from_masks(square(10, 20)[None], [1]), factor), class_colour(1))
    rows, columns = np.nonzero(drawn)
    assert abs(rows.min() - 40) <= 3
    assert abs(rows.max() - 80) <= 3
    assert abs(columns.min() - 80) <= 3
    assert abs(columns.max() - 120) <= 3
    assert not drawn[50:70, 90:110].any()                # outlines hide nothing inside


def test_what_a_person_should_look_at_is_dashed_amber() -> None:
    base, factor = fit_to(np.zeros((40, 60, 3), np.uint8), 240)
    labels = labels_from_masks(np.stack([square(10, 5), square(10, 30)]), [0, 0])
    drawn = draw(base, replace(labels, states=("accepted", "to_review")), factor)
    amber = near(drawn, REVIEW)
    assert not amber[:, :100].any()
    assert amber[:, 110:].any()
    assert near(drawn, class_colour(0))[:, :100].sum() > 1.2 * amber.sum()


def test_photographs_are_shown_as_they_are_and_dim_images_are_stretched() -> None:
    rng = np.random.default_rng(0)
    photograph = rng.integers(0, 256, (50, 50, 3)).astype(np.uint8)
    assert not stretch_for([photograph]).changes
    assert not stretch_for([]).changes
    assert not stretch_for([np.full((5, 5, 3), 9, np.uint8)]).changes
    dim = rng.integers(3, 40, (50, 50, 3)).astype(np.uint8)
    stretch = stretch_for([dim])
    assert stretch(dim).max() == 255
    assert stretch(dim).min() == 0
    assert np.array_equal(Stretch()(dim), dim)


def test_labels_are_told_apart_as_found_made_up_and_missed() -> None:
    base, factor = fit_to(np.zeros((40, 60, 3), np.uint8), 240)
    truth = labels_from_masks(np.stack([square(2, 2), square(2, 20), square(2, 40)]), [0, 0, 1])
    mine = labels_from_masks(np.stack([square(3, 2), square(25, 20), square(2, 40)]), [0, 0, 0])
    _, said = compare(base, truth, mine, factor)
    assert said == "1 of 3 found, 2 made up, 2 missed"
    assert compare(base, truth, mine, factor, by_pixels=True)[1] == "Dice 0.30"
    nothing = Labels((40, 60))
    assert compare(base, nothing, nothing, factor)[1] == "0 of 0 found, 0 made up, 0 missed"
    boxes_only = replace(mine, masks=None)
    assert compare(base, truth, boxes_only, factor)[1] == said


def test_the_caption_counts_what_the_score_counts() -> None:
    base, factor = fit_to(np.zeros((40, 60, 3), np.uint8), 240)
    speck = np.zeros((40, 60), bool)
    speck[30:33, 50:53] = True
    truth = labels_from_masks(np.stack([square(2, 2), square(2, 20), speck]), [0, 0, 0])
    mine = labels_from_masks(np.stack([square(3, 2), np.roll(speck, -20, 1)]), [0, 0])
    record = score_image(mine, truth)
    assert (record["tp"], record["fp"], record["fn"], record["left_out"]) == (1, 0, 1, 1)
    assert compare(base, truth, mine, factor)[1] == "1 of 2 found, 0 made up, 1 missed; 1 under 15 px is not scored"


def test_a_sheet_holds_pictures_of_different_sizes() -> None:
    pictures = [np.full(shape, 200, np.uint8) for shape in ((10, 20, 3), (90, 30, 3), (5, 5, 3))]
    assert sheet(pictures, 2, 40, 4).shape == (84, 84, 3)
    assert sheet(pictures[:1], 5, 40, 4).shape == (40, 40, 3)
    assert sheet([], 5, 40, 4).size
