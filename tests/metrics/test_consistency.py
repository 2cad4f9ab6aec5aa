"""What labelers make of a label: losses, bars from real values, and how often to show what passed."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from synthgen.geometry import encode, labels_from_ids, labels_from_masks
from synthgen.metrics.consistency import (
    FEW,
    UNSURE,
    class_bars,
    class_sums,
    cross_entropy,
    deep,
    depths,
    disputed,
    entropy,
    expected,
    found,
    lower_bar,
    surprise,
    target_of,
    upper_bar,
)
from synthgen.metrics.hardness import MOST, at_least, by_rank
from synthgen.seeds import rng_of
from synthgen.testing import tiny_real
from synthgen.types import Labels

SIZE = (12, 16)


def squares(*corners: tuple[int, int], classes: tuple[int, ...] = (), side: int = 4) -> Labels:
    """Squares with their top left corners at y, x; of class 0 unless said."""
    masks = np.zeros((len(corners), *SIZE), bool)
    for mask, (y, x) in zip(masks, corners, strict=True):
        mask[y : y + side, x : x + side] = True
    return labels_from_masks(masks, list(classes or (0,) * len(corners)))


def sure_of(labels: Labels, p: float = 0.9, classes: int = 2) -> np.ndarray:
    """Probabilities that hold the labels for `p` likely, and all else for equally likely."""
    target = target_of(labels)
    assert target is not None
    probs = np.full((classes + 1, *labels.size), (1 - p) / classes, np.float32)
    np.put_along_axis(probs, target.clip(0)[None], p, 0)
    return probs


# Bars


@given(st.integers(0, 2**32 - 1), st.integers(FEW, 120), st.floats(0.01, 0.5))
@settings(max_examples=40, deadline=None)
def test_of_new_values_no_larger_share_falls_below_the_bar_than_it_says(seed: int, n: int, share: float) -> None:
    values = rng_of(seed).normal(size=(400, n + 1))
    bars = [lower_bar(row[:-1], share) for row in values]
    lost = np.mean([row[-1] < bar.at for row, bar in zip(values, bars, strict=True)])
    assert bars[0].share <= max(share, 1 / (n + 1)) + 1e-9
    assert lost <= bars[0].share + 4 * math.sqrt(bars[0].share / 400)


def test_a_bar_from_few_values_is_the_worst_of_them_and_says_what_that_promises() -> None:
    bar = lower_bar([5.0, 3.0, 4.0, 9.0, 7.0], 0.05)
    assert (bar.at, bar.n, bar.share) == (3.0, 5, pytest.approx(1 / 6))
    assert upper_bar([5.0, 3.0, 4.0, 9.0, 7.0], 0.05).at == 9.0


def test_nineteen_values_are_the_fewest_that_promise_five_in_a_hundred() -> None:
    assert lower_bar(np.arange(18.0), 0.05).share > 0.05
    assert lower_bar(np.arange(19.0), 0.05).share == pytest.approx(0.05)


@pytest.mark.parametrize("n", range(FEW))
def test_below_five_values_there_is_no_bar_and_nothing_is_beyond_it(n: int) -> None:
    low, high = lower_bar(np.arange(float(n)), 0.1), upper_bar(np.arange(float(n)), 0.1)
    assert not low.at > -1e9
    assert not high.at < 1e9
    assert (low.n, low.share) == (n, 0.0)


def test_a_class_with_few_real_values_is_judged_by_all_classes_but_never_harder_than_its_own_worst() -> None:
    bars = class_bars({0: list(np.linspace(0.5, 1, 30)), 1: [0.2, 0.9], 2: [0.95], 3: []}, 0.05)
    assert bars[0].at == lower_bar(np.linspace(0.5, 1, 30), 0.05).at
    assert bars[1].at == 0.2
    assert bars[2].at <= 0.55
    assert 3 not in bars
    assert math.isnan(class_bars({0: [0.1, 0.2]}, 0.05)[0].at)


# Pixels


def test_a_target_knows_background_classes_and_what_says_nothing() -> None:
    corner = np.zeros((1, *SIZE), bool)
    corner[0, 0, :5] = True
    labels = replace(squares((2, 2), (6, 9), (6, 2), classes=(0, 1, 0)), ignore=encode(corner)[0],
                     states=("accepted", "accepted", "ignored"))
    target = target_of(labels)
    assert target is not None
    assert target[0, 0] == target[6, 2] == -1
    assert (target[2, 2], target[6, 9], target[11, 15]) == (1, 2, 0)


def test_boxes_alone_have_no_target_and_nothing_at_all_is_background() -> None:
    assert target_of(replace(squares((2, 2)), masks=None)) is None
    nothing = target_of(Labels(SIZE))
    assert nothing is not None
    assert (nothing == 0).all()
    one = target_of(labels_from_ids(np.ones((1, 1), np.int32), {1: 0}))
    assert one is not None
    assert one.tolist() == [[1]]


def test_the_loss_of_a_pixel_is_minus_the_logarithm_of_its_labels_probability() -> None:
    labels = replace(squares((2, 2)), ignore=encode(np.eye(*SIZE, dtype=bool)[None])[0])
    target = target_of(labels)
    assert target is not None
    loss = cross_entropy(sure_of(labels, 0.8), target)
    assert loss[target >= 0] == pytest.approx(-math.log(0.8))
    assert (loss[target < 0] == 0).all()
    assert cross_entropy(np.zeros((3, *SIZE), np.float32), target).max() < 14
    with pytest.raises(ValueError, match="probabilities are for"):
        cross_entropy(np.zeros((3, 5, 5), np.float32), target)


@given(st.integers(0, 2**32 - 1), st.floats(0.2, 3))
@settings(max_examples=40, deadline=None)
def test_a_pixel_whose_label_is_held_for_likely_is_never_disputed(seed: int, tolerance: float) -> None:
    rng = rng_of(seed)
    probs = rng.dirichlet(np.ones(3), SIZE).transpose(2, 0, 1).astype(np.float32)
    target = rng.integers(-1, 3, SIZE)
    means = rng.uniform(0, 1.5, 3)
    loss = cross_entropy(probs, target)
    away = disputed(loss, target, means, tolerance)
    assert not away[target < 0].any()
    assert not away[loss < UNSURE - 1e-6].any()
    for c in range(3):  # FreeMask's rule, but for that guard
        bar = max(tolerance * means[c], UNSURE)
        assert (away[target == c] == (loss[target == c] > bar)).all()


def test_nothing_is_disputed_of_a_class_that_no_real_image_shows() -> None:
    target = np.full(SIZE, 2)
    away = disputed(np.full(SIZE, 9.0, np.float32), target, np.asarray([0.1, 0.1, math.nan]), 1.25)
    assert not away.any()


def test_mean_losses_come_from_the_pixels_of_each_class() -> None:
    labels = squares((2, 2), classes=(1,))
    target = target_of(labels)
    assert target is not None
    loss = np.where(target == 2, 3, 1).astype(np.float32)
    sums, counts = class_sums(loss, target, 3)
    assert counts.tolist() == [12 * 16 - 16, 0, 16]
    assert sums.tolist() == [12 * 16 - 16, 0, 48]
    assert expected(target, np.asarray([1, math.nan, 3.0])) == pytest.approx((176 + 48) / 192)
    assert math.isnan(expected(target, np.full(3, math.nan)))


def test_an_image_that_surprises_as_real_ones_do_has_surprise_one() -> None:
    labels = squares((2, 2))
    target = target_of(labels)
    assert target is not None
    loss = np.where(target > 0, 0.6, 0.2).astype(np.float32)
    assert surprise(loss, target, np.asarray([0.2, 0.6])) == pytest.approx(1)
    assert surprise(3 * loss, target, np.asarray([0.2, 0.6])) == pytest.approx(3)
    assert surprise(loss, np.full_like(target, -1), np.asarray([0.2, 0.6])) == 1
    # Labelers that are sure of all real images do not make a hundredfold surprise of being a little less sure.
    assert surprise(np.full(SIZE, 0.01, np.float32), target, np.full(2, 1e-5)) == pytest.approx(1, abs=0.01)


def test_entropy_is_that_of_an_even_choice_at_most_and_knows_no_label() -> None:
    assert entropy(np.full((4, 3, 3), 0.25, np.float32)) == pytest.approx(math.log(4))
    assert entropy(np.asarray([1, 0, 0], np.float32)) == pytest.approx(0, abs=1e-4)


# Instances


def test_an_instance_is_found_as_well_as_the_best_prediction_of_its_class_covers_it() -> None:
    labels = squares((2, 2), (2, 10), classes=(0, 1))
    assert found(labels, labels, "instances").tolist() == [1, 1]
    shifted = squares((2, 4), (2, 10), classes=(0, 0))
    assert found(shifted, labels, "instances") == pytest.approx([8 / 24, 0])
    assert found(Labels(SIZE), labels, "instances").tolist() == [0, 0]
    assert found(labels, Labels(SIZE), "instances").shape == (0,)
    rejected = replace(labels, states=("ignored", "accepted"))
    assert found(rejected, labels, "instances").tolist() == [0, 1]


def test_without_masks_on_one_side_boxes_are_compared() -> None:
    labels = squares((2, 2), (2, 10))
    boxes = replace(labels, masks=None)
    assert found(boxes, labels, "detect").tolist() == found(labels, boxes, "instances").tolist() == [1, 1]


def test_a_region_is_found_by_the_share_of_it_that_its_class_covers() -> None:
    labels = squares((2, 2), (2, 10), classes=(0, 0))
    region = labels_from_masks(np.stack([target_of(squares((2, 4), (2, 10))) > 0]), [0])
    assert found(region, labels, "segment") == pytest.approx([0.5, 1])
    assert found(replace(region, classes=np.ones(1, int)), labels, "segment").tolist() == [0, 0]


@given(st.integers(0, 2**32 - 1), st.integers(0, 8))
@settings(max_examples=25, deadline=None)
def test_the_further_a_label_is_moved_the_less_it_is_found(seed: int, step: int) -> None:
    labels = tiny_real(1, seed=seed % 1000)[0].labels
    assert labels is not None
    ids = np.zeros(labels.size, np.int32)
    ids[20:36, 20 : 36] = 1
    there = labels_from_ids(ids, {1: 0})
    near, far = (labels_from_ids(np.roll(ids, d, 1), {1: 0}) for d in (step, step + 1))
    assert found(there, near, "instances")[0] > found(there, far, "instances")[0]


# How often to show what


def test_ranks_give_freemasks_numbers_of_images() -> None:
    n = 40
    theirs = np.asarray([min(1 + round((i + 1) / n * 20), 20) for i in range(n)], float)  # preprocess/resample.py
    order = rng_of(3).permutation(n)
    assert by_rank(order.astype(float)) == pytest.approx(theirs[order] / theirs.mean())


def test_equally_hard_samples_are_shown_equally_often_and_unknown_ones_as_the_mean() -> None:
    assert by_rank(np.full(7, 0.3)) == pytest.approx(np.ones(7))
    weights = by_rank(np.asarray([0.1, math.nan, 0.2]))
    assert weights[1] == 1
    assert weights[0] < weights[2]
    assert by_rank(np.full(2, math.nan)).tolist() == [1, 1]
    assert by_rank(np.zeros(0)).shape == (0,)


@given(st.lists(st.booleans(), max_size=60), st.floats(0, 0.99), st.integers(0, 2**32 - 1))
def test_hard_samples_get_at_least_their_share_and_the_sum_stays(flags: list[bool], share: float, seed: int) -> None:
    hard = np.asarray(flags, bool)
    before = rng_of(seed).uniform(0.5, 2, len(hard))
    after = at_least(before, hard, share)
    assert after.sum() == pytest.approx(before.sum())
    if not hard.any() or hard.all() or before[hard].sum() >= share * before.sum():
        assert (after == before).all()
    else:
        lifted = (after[hard] / before[hard]).mean() / (after[~hard] / before[~hard]).mean()
        assert lifted <= MOST * (1 + 1e-9)
        assert after[hard].sum() == pytest.approx(share * after.sum()) or lifted == pytest.approx(MOST)


def test_how_deep_a_region_is_follows_from_its_thickest_part_and_the_border_bounds_it() -> None:
    away = np.zeros((20, 30), bool)
    away[2:9, 3:10] = True                                                       # 7 × 7: its middle is 4 px inside
    away[15, 3:25] = True                                                        # a line
    away[0:3, 20:23] = True                                                      # 3 × 3 in a corner of the frame
    assert sorted(depths(away).tolist()) == [1, 2, 4]
    assert depths(np.zeros((4, 4), bool)).tolist() == []
    assert depths(np.ones((5, 5), bool)).tolist() == [3]


def test_what_is_thin_is_left_where_it_is_even_beside_what_is_thick() -> None:
    away = np.zeros((40, 40), bool)
    away[5:16, 5:16] = True                                                      # a blob …
    away[10, 16:35] = True                                                       # … with a tail
    left = deep(away, 1.5)
    assert not left[10, 18:].any()
    assert left[7:14, 7:14].all()
    assert not (left & ~away).any()
    assert not deep(away & (np.arange(40) > 20), 1.5).any()
    assert (deep(away, 0.0) == away).all()                                       # no rim: all of it
    assert not deep(np.zeros((3, 3), bool), 0.0).any()


@given(hnp.arrays(bool, (12, 12)), st.floats(0, 4))
def test_of_a_region_that_is_no_deeper_than_the_rim_nothing_goes(away: NDArray[np.bool_], rim: float) -> None:
    left = deep(away, rim)
    assert not (left & ~away).any()
    assert left.any() == bool(depths(away).max(initial=0) > rim)
