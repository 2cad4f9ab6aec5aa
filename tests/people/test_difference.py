"""What a person changed."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthgen.errors import DataError
from synthgen.geometry import labels_from_masks
from synthgen.people.decisions import difference
from synthgen.types import Labels


def boxed(*boxes: tuple[int, int, int, int], classes: list[int] | None = None) -> Labels:
    masks = np.zeros((len(boxes), 20, 30), bool)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes, strict=True):
        mask[y0:y1, x0:x1] = True
    return labels_from_masks(masks, classes or [0] * len(boxes), reviewed="human")


def kinds(before: Labels | None, after: Labels) -> dict[str, int]:
    return dict(Counter(c.kind for c in difference(before, after)))


def test_nothing_before_and_nothing_after_is_no_change() -> None:
    nothing = Labels((20, 30), masks=())
    assert difference(nothing, nothing) == []
    assert kinds(nothing, replace(nothing, empty="confirmed", reviewed="human")) == {"confirmed-empty": 1}
    assert kinds(None, boxed((1, 1, 3, 3))) == {"added": 1}


def test_each_kind_of_change_is_told_apart() -> None:
    before = boxed((0, 0, 4, 4), (10, 0, 14, 4), (20, 0, 24, 4), (0, 10, 4, 14))
    after = boxed((10, 0, 15, 4), (0, 0, 4, 4), (20, 0, 24, 4), (20, 15, 24, 19), classes=[0, 0, 1, 0])
    changes = difference(before, after)
    assert [(c.kind, c.before, c.after) for c in changes] == [
        ("unchanged", 0, 1), ("moved", 1, 0), ("class", 2, 2), ("deleted", 3, None), ("added", None, 3),
    ]
    assert [c.iou for c in changes] == [1.0, 0.8, 1.0, None, None]


def test_one_pixel_of_a_mask_is_a_move_and_half_a_pixel_of_a_box_is_none() -> None:
    one, other = boxed((2, 2, 10, 10)), boxed((2, 2, 10, 10), (2, 10, 3, 11))
    merged = labels_from_masks((np.ones((1, 20, 30), bool)), [0])
    assert kinds(one, merged) == {"moved": 1}
    assert kinds(other, one) == {"unchanged": 1, "deleted": 1}
    box = replace(one, masks=None)
    assert kinds(box, replace(box, boxes=box.boxes + np.float32(0.5))) == {"unchanged": 1}
    assert kinds(box, replace(box, boxes=box.boxes + np.float32(0.6))) == {"moved": 1}
    assert kinds(one, box) == {"unchanged": 1}                     # masks on one side only: by boxes


def test_of_two_objects_on_one_place_the_class_decides() -> None:
    before = boxed((2, 2, 9, 9), (2, 2, 9, 9), classes=[0, 1])
    assert kinds(before, boxed((2, 2, 9, 9), (2, 2, 9, 9), classes=[1, 0])) == {"unchanged": 2}


def test_everything_deleted_and_confirmed_is_both() -> None:
    empty = Labels((20, 30), masks=(), reviewed="human", empty="confirmed")
    assert kinds(boxed((1, 1, 4, 4)), empty) == {"deleted": 1, "confirmed-empty": 1}


def test_the_class_of_an_image_is_compared() -> None:
    a, b = (Labels((20, 30), image_class=k) for k in (0, 1))
    assert kinds(a, a) == {}
    assert kinds(a, b) == {"image-class": 1}


def test_labels_of_another_size_are_refused() -> None:
    with pytest.raises(DataError, match="cannot be compared"):
        difference(Labels((2, 2)), Labels((2, 3)))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 5), st.integers(0, 5), st.integers(0, 2**32))
def test_every_instance_of_both_sides_is_named_once(n: int, m: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    sides = [labels_from_masks(rng.random((k, 7, 5)) < 0.4, rng.integers(0, 2, k).tolist()) for k in (n, m)]
    changes = difference(*sides)
    assert sorted(c.before for c in changes if c.before is not None) == list(range(n))
    assert sorted(c.after for c in changes if c.after is not None) == list(range(m))
    assert {c.kind for c in difference(sides[0], sides[0])} <= {"unchanged", "deleted", "added"}
