"""What a picture must show, as channels."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from synthgen.geometry import encode, labels_from_ids
from synthgen.layouts.condition import channels, condition
from synthgen.types import Labels


def two_that_touch() -> Labels:
    ids = np.zeros((12, 20), np.int32)
    ids[3:9, 4:10], ids[3:9, 10:16] = 1, 2
    return labels_from_ids(ids, {1: 0, 2: 1})


def test_classes_are_one_hot_and_add_up_to_the_foreground() -> None:
    labels = two_that_touch()
    found = condition(labels, 2, 4.0)
    assert found.shape == (channels(2), 12, 20)
    assert found[1, 3:9, 4:10].all()
    assert found[2, 3:9, 10:16].all()
    assert found[1:3].sum() == 72


def test_contact_is_where_two_objects_share_a_side_and_nowhere_else() -> None:
    contact = condition(two_that_touch(), 2, 4.0)[3]
    expected = np.zeros((12, 20))
    expected[3:9, 9:11] = 1
    assert (contact == expected).all()


def test_distance_is_positive_inside_negative_outside_and_small_at_outlines_and_contacts() -> None:
    distance = condition(two_that_touch(), 2, 4.0)[4]
    inside = condition(two_that_touch(), 2, 4.0)[1:3].any(0)
    assert (distance[inside] > 0).all()
    assert (distance[~inside] < 0).all()
    assert abs(distance[5, 9]) < abs(distance[5, 6])


def test_ignored_pixels_say_nothing_in_any_channel() -> None:
    away = np.zeros((1, 12, 20), bool)
    away[0, :, :5] = True
    labels = two_that_touch()
    hidden = Labels(labels.size, labels.classes, labels.boxes, labels.masks, ignore=encode(away)[0])
    found = condition(hidden, 2, 4.0)
    assert not found[:, :, :5].any()
    assert (found[0, :, 5:] == 1).all()


def test_an_image_without_objects_is_known_to_be_ground() -> None:
    found = condition(Labels((7, 9)), 1, 4.0)
    assert (found[0] == 1).all()
    assert not found[1:3].any()
    assert (found[3] == -1).all()


@given(st.integers(0, 2**32 - 1), st.integers(0, 6), st.integers(1, 3))
def test_channels_stay_within_one_and_mirror_with_the_labels(seed: int, objects: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    ids = np.zeros((17, 23), np.int32)
    for k in range(objects):
        y, x = rng.integers(15), rng.integers(20)
        ids[y : y + rng.integers(1, 9), x : x + rng.integers(1, 9)] = k + 1
    kinds = {int(k): int(k) % classes for k in np.unique(ids) if k}
    found = condition(labels_from_ids(ids, kinds), classes, 3.0)
    assert np.abs(found).max() <= 1
    mirrored = condition(labels_from_ids(ids[:, ::-1], kinds), classes, 3.0)
    # The order of masks may differ, the channels may not.
    np.testing.assert_allclose(mirrored, found[:, :, ::-1], atol=2e-3)
