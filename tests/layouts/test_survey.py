"""The survey tells what the seed's objects are like, whatever the seed is like."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from synthgen.errors import DataError
from synthgen.layouts import survey
from synthgen.layouts.survey import axes_of, padded, radii, solidity
from synthgen.testing import tiny_real
from synthgen.types import Labels, Sample

Make = Callable[..., Sample]


def box(size: tuple[int, int], top: int, left: int, bottom: int, right: int) -> np.ndarray:
    mask = np.zeros(size, bool)
    mask[top:bottom, left:right] = True
    return mask


def test_a_seed_without_one_mask_is_refused(seed_of_masks: Make) -> None:
    boxes = Sample("b", np.zeros((9, 9, 3), np.uint8), Labels((9, 9), np.zeros(1), np.asarray([[1, 1, 4, 4]])))
    for real in ([], [replace(tiny_real(1)[0], labels=None)], [seed_of_masks([])], [boxes]):
        with pytest.raises(DataError, match="no instance with a mask"):
            survey(real)


def test_images_without_objects_count_as_images_and_unlabelled_ones_do_not(seed_of_masks: Make) -> None:
    full, empty = seed_of_masks([box((40, 50), 5, 5, 15, 15)]), seed_of_masks([])
    seed = survey([empty, replace(full, labels=None), full, empty])
    assert seed.counts.tolist() == [0, 1, 0]
    assert len(seed.sizes) == len(seed.labels) == 3
    assert [i.image for i in seed.instances] == [1]


def test_an_object_of_one_pixel_has_a_width_and_no_preferred_axis(seed_of_masks: Make) -> None:
    (one,) = survey([seed_of_masks([box((40, 50), 7, 9, 8, 10)])]).instances
    assert (one.mask.shape, one.top, one.left, one.area, one.complete, one.touches) == ((1, 1), 7, 9, 1, True, False)
    assert one.aspect == pytest.approx(1)


def test_an_object_that_fills_the_image_is_there_and_is_not_complete(seed_of_masks: Make) -> None:
    seed = survey([seed_of_masks([np.ones((12, 17), bool)], size=(12, 17))])
    (one,) = seed.instances
    assert (one.area, one.complete, one.top, one.left) == (12 * 17, False, 0, 0)
    assert seed.truncated == 1.0
    assert seed.sources == (one,)


def test_pixels_are_taken_from_complete_objects_and_from_cut_ones_only_where_a_class_has_no_other(
    seed_of_masks: Make,
) -> None:
    size = (40, 50)
    masks = [box(size, 10, 10, 18, 18), box(size, 0, 30, 6, 40), box(size, 30, 0, 38, 7)]
    seed = survey([seed_of_masks(masks, classes=[0, 0, 1])])
    assert [(i.class_id, i.complete) for i in seed.instances] == [(0, True), (0, False), (1, False)]
    assert [i.index for i in seed.sources] == [0, 2]
    assert seed.truncated == pytest.approx(2 / 3)


def test_an_object_that_is_partly_hidden_is_not_complete(seed_of_masks: Make) -> None:
    size = (40, 50)
    sample = seed_of_masks([box(size, 5, 5, 15, 15), box(size, 20, 20, 30, 30), box(size, 5, 30, 15, 40)])
    labels = replace(sample.labels, visible=np.asarray([0.94, 0.96, np.nan], np.float32))
    assert [i.complete for i in survey([replace(sample, labels=labels)]).instances] == [False, True, True]


def test_objects_touch_up_to_two_pixels_apart(seed_of_masks: Make) -> None:
    size = (40, 50)
    for gap, touches in ((0, True), (1, True), (2, False), (3, False)):
        masks = [box(size, 10, 10, 20, 20), box(size, 10, 20 + gap, 20, 30 + gap)]
        assert [i.touches for i in survey([seed_of_masks(masks)]).instances] == [touches] * 2, gap


def test_an_object_wholly_under_another_is_left_out(seed_of_masks: Make) -> None:
    same = box((40, 50), 5, 5, 9, 9)
    seed = survey([seed_of_masks([same, same, box((40, 50), 20, 20, 30, 30)])])
    assert [i.index for i in seed.instances] == [0, 1]


def test_objects_may_be_turned_freely_only_where_they_lie_in_all_directions(
    ellipses: Callable[..., list[Sample]],
) -> None:
    assert survey(ellipses(np.linspace(0, 180, 12, endpoint=False))).any_angle
    assert not survey(ellipses([85, 90, 95, 88] * 3)).any_angle
    assert not survey(ellipses([-4, 0, 176, 2] * 3)).any_angle, "0° and 180° are the same direction"
    assert not survey(ellipses(np.linspace(0, 180, 5, endpoint=False))).any_angle, "few say nothing"
    assert not survey(ellipses([0] * 12, a=6, b=6)).any_angle, "round ones say nothing"


@pytest.mark.parametrize(("turn", "wanted"), [(0, 0), (30, 30), (90, 90), (135, 135)])
def test_the_long_axis_is_where_it_was_drawn(turn: float, wanted: float, ellipses: Callable[..., list[Sample]]) -> None:
    (one,) = survey(ellipses([turn], a=12, b=5)).instances
    assert np.rad2deg(one.angle) == pytest.approx(wanted, abs=3)
    assert one.aspect == pytest.approx(12 / 5, rel=0.1)


def test_the_centre_and_the_axes_are_those_of_numpy() -> None:
    rng = np.random.default_rng(0)
    for _ in range(30):
        mask = rng.random((int(rng.integers(1, 9)), int(rng.integers(1, 9)))) < 0.6
        mask[0, 0] = True
        ys, xs = np.nonzero(mask)
        cy, cx, angle, aspect = axes_of(mask)
        assert (cy, cx) == (pytest.approx(ys.mean()), pytest.approx(xs.mean()))
        assert 0 <= angle < np.pi + 1e-12
        assert aspect >= 1 - 1e-9
        values = np.linalg.eigvalsh(np.cov(np.stack([xs, ys]), bias=True) + np.eye(2) / 12)
        assert aspect == pytest.approx(np.sqrt(values[1] / values[0]), rel=1e-6)


def test_the_radii_of_a_disc_are_its_radius_and_never_nothing(ellipses: Callable[..., list[Sample]]) -> None:
    (disc,) = survey(ellipses([0], a=10, b=10)).instances
    assert radii(disc.mask) == pytest.approx(10.5, abs=1)
    assert (radii(np.ones((1, 1), bool)) >= 0.5).all()


def test_solidity_is_one_for_what_is_convex_and_less_for_an_l() -> None:
    corner = np.ones((12, 12), bool)
    corner[4:, 4:] = False
    assert solidity(np.ones((5, 9), bool)) == pytest.approx(1)
    assert solidity(np.ones((1, 1), bool)) == pytest.approx(1)
    assert solidity(corner) < 0.85


def test_padding_puts_nothing_around() -> None:
    out = padded(np.ones((2, 3), bool), 2)
    assert out.shape == (6, 7)
    assert out.sum() == 6
    assert out[2:4, 2:5].all()
