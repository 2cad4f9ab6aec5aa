"""Orders over a pool: each strategy prefers what its name says, and shares are kept wherever the queue is left."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthgen.metrics.queue import by_value, expected_change, places_in, random, shared, typical


@pytest.mark.parametrize("n", [0, 1, 7])
def test_a_random_order_holds_each_image_once(n: int) -> None:
    assert sorted(random(n, np.random.default_rng(1))) == list(range(n))


def test_the_largest_value_comes_first_and_classes_take_turns() -> None:
    assert by_value([0.1, 0.9, 0.5]).tolist() == [1, 2, 0]
    assert by_value([0.9, 0.8, 0.7, 0.1], [0, 0, 0, 1]).tolist() == [0, 3, 1, 2]
    assert by_value([]).tolist() == []


def test_typical_takes_one_of_each_cluster_before_a_second_of_any_and_shuns_what_is_labelled() -> None:
    rng = np.random.default_rng(2)
    centres = np.array([[0, 0], [10, 0], [0, 10], [10, 10]])
    x = np.concatenate([c + 0.3 * rng.standard_normal((12, 2)) for c in centres])
    labelled = centres[:1] + 0.1
    order = typical(x, labelled, 3, np.random.default_rng(3))
    assert sorted(order) == list(range(48))
    assert sorted(k // 12 for k in order[:3]) == [1, 2, 3]
    outlier = np.concatenate([x, [[5, 5]]])
    first = typical(outlier, labelled, 3, np.random.default_rng(3))[:3]
    assert 48 not in first


@pytest.mark.parametrize("n", [0, 1, 3])
def test_typical_of_few_images_is_an_order_of_them(n: int) -> None:
    order = typical(np.zeros((n, 2)), np.zeros((1, 2)), 2, np.random.default_rng(0))
    assert sorted(order) == list(range(n))


def test_expected_change_is_none_for_the_certain_and_most_for_the_undecided() -> None:
    sure, torn = np.array([1.0, 0.0]), np.array([0.5, 0.5])
    assert expected_change(sure) == pytest.approx(0)
    assert expected_change(torn) == pytest.approx(np.sqrt(0.5))
    pixels = np.stack([np.full((4, 4), 0.5), np.full((4, 4), 0.5)])
    assert expected_change(pixels) == pytest.approx(expected_change(torn))


@given(st.integers(0, 30), st.integers(0, 40))
def test_shares_are_kept_at_every_length_and_nobody_stands_twice(n: int, places: int) -> None:
    orders = {"typical": np.arange(n), "uncertainty": np.arange(n)[::-1].copy()}
    got = shared(orders, {"typical": 0.75, "uncertainty": 0.25}, places, but=[0])  # type: ignore[arg-type]
    ids = [k for k, _ in got]
    assert len(set(ids)) == len(ids) == min(places, max(0, n - 1))
    assert 0 not in ids
    for k in range(1, len(got) + 1):
        assert abs(Counter(name for _, name in got[:k])["typical"] - 0.75 * k) <= 1


def test_places_follow_from_measured_seconds_once_there_are_five() -> None:
    assert places_in(10, [], 30) == 20
    assert places_in(10, [60] * 4, 30) == 20
    assert places_in(10, [60] * 5, 30) == 10
