"""Ranking of suspicious labels: planted errors come first, and what is right or says nothing does not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from synthgen.geometry import encode, labels_from_masks
from synthgen.metrics.label_errors import IGNORE, SUSPICIOUS, class_quality, pixel_quality, ranked, suspects
from synthgen.types import Labels, Task

SIZE = (40, 60)


def discs(*centres: tuple[int, int], classes: tuple[int, ...] | None = None, scores: float = 0.9) -> Labels:
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    masks = np.array([(rows - y) ** 2 + (columns - x) ** 2 <= 36 for y, x in centres], bool).reshape(-1, *SIZE)
    labels = labels_from_masks(masks, list(classes or (0,) * len(centres)))
    return replace(labels, scores=np.full(len(labels), scores, np.float32))


def boxes_only(labels: Labels) -> Labels:
    return replace(labels, masks=None, amodal=None)


RIGHT = discs((10, 10), (10, 30), (30, 10), (30, 45))


@pytest.mark.parametrize("task", ["instances", "detect"])
@pytest.mark.parametrize(("given", "kind", "at"), [
    (discs((10, 10), (10, 30), (30, 10)), "overlooked", None),
    (discs((10, 10), (10, 30), (30, 10), (30, 45), classes=(0, 1, 0, 0)), "swapped", 1),
    (discs((10, 10), (10, 30), (35, 15), (30, 45)), "badly placed", 2),
    (discs((10, 10), (10, 30), (30, 10), (30, 45), (20, 52)), "made up", 4),
])  # fmt: skip
def test_a_planted_error_is_the_most_suspicious_label(task: Task, given: Labels, kind: str, at: int | None) -> None:
    found = RIGHT
    probs = np.stack([np.full(SIZE, 0.9), np.full(SIZE, 0.1), np.zeros(SIZE)]).astype(np.float32)
    if task == "detect":
        given, found = boxes_only(given), boxes_only(found)
    rows = ranked(suspects("a", given, found, probs, task))
    assert (rows[0]["kind"], rows[0]["object"]) == (kind, at)
    assert rows[0]["score"] < SUSPICIOUS
    assert all(row["score"] > 0.8 for row in rows[1:])
    assert (rows[0]["given"] is None) == (kind == "overlooked")
    assert (rows[0]["suggested"] is None) == (kind == "made up")


def test_what_is_proposed_is_the_labelers_own_object() -> None:
    row = ranked(suspects("a", discs((10, 10), (10, 30), (30, 10)), RIGHT, None, "instances"))[0]
    assert RIGHT.masks is not None
    assert row["suggested"] == {"class": 0, "box": RIGHT.boxes[3].tolist(), "mask": RIGHT.masks[3]}


def test_right_labels_are_not_suspicious() -> None:
    rows = suspects("a", RIGHT, RIGHT, None, "instances")
    assert [row["score"] for row in rows] == [1.0] * 4


def test_no_objects_on_either_side_give_no_row() -> None:
    nothing = discs()
    assert suspects("a", nothing, nothing, None, "instances") == []
    assert suspects("a", boxes_only(nothing), boxes_only(nothing), None, "detect") == []


def test_an_object_that_was_not_found_is_suspicious_only_if_the_labeler_says_how_sure_it_is() -> None:
    rows = suspects("a", RIGHT, discs(), None, "instances")
    assert {(row["kind"], row["score"]) for row in rows} == {("made up", 0.5)}


def test_set_aside_objects_and_ignored_pixels_are_not_judged() -> None:
    given = replace(RIGHT, states=("ignored",) * 4)
    assert suspects("a", given, RIGHT, None, "instances") == []
    (everywhere,) = encode(np.ones((1, *SIZE), bool))
    empty = replace(discs(), ignore=everywhere)
    assert suspects("a", empty, RIGHT, None, "instances") == []
    assert suspects("a", boxes_only(empty), boxes_only(RIGHT), None, "detect") == []


def test_a_missed_object_that_touches_its_neighbour_is_found() -> None:
    given, found = discs((20, 20)), discs((20, 20), (20, 31))
    row = ranked(suspects("a", given, found, None, "instances"))[0]
    assert row["kind"] == "overlooked"
    assert row["score"] < SUSPICIOUS


def test_the_more_the_labeler_is_sure_the_more_it_is_suspicious() -> None:
    scores = [suspects("a", discs(), discs((20, 20), scores=s), None, "instances")[0]["score"] for s in (0.2, 0.5, 0.9)]
    assert scores == pytest.approx([0.8, 0.5, 0.1])


def test_pixels_that_say_nothing_do_not_reach_cleanlab() -> None:
    target = np.array([[0, 1, IGNORE], [1, 0, IGNORE]])
    probs = np.stack([1.0 - (target == 1), 1.0 * (target == 1)]).astype(np.float32)
    assert pixel_quality(target, probs) == pytest.approx(1)
    target[0, 0] = 1
    assert pixel_quality(target, probs) < 0.01
    assert pixel_quality(np.full((2, 3), IGNORE), probs) == 1.0


@pytest.mark.parametrize(("given", "kind", "classes"), [
    (discs((10, 10)), "overlooked", (None, 0)),
    (discs((10, 10), (10, 30), (30, 10)), "made up", (0, None)),
    (discs((10, 10), (10, 30), classes=(0, 1)), "swapped", (1, 0)),
])  # fmt: skip
def test_pixels_say_which_class_was_meant(given: Labels, kind: str, classes: tuple[int | None, int | None]) -> None:
    from synthgen.metrics.consistency import target_of

    truth = target_of(discs((10, 10), (10, 30)))
    assert truth is not None
    probs = np.stack([(truth == k) * 0.9 + 0.05 * (truth != k) for k in range(3)]).astype(np.float32)
    (row,) = suspects("a", given, discs((10, 10), (10, 30)), probs, "segment")
    assert row["kind"] == kind
    assert (row["given"]["class"], row["suggested"]["class"]) == classes
    assert row["score"] < SUSPICIOUS


def test_a_wrong_class_of_an_image_is_suspicious_and_the_likeliest_is_proposed() -> None:
    given = Labels((4, 4), image_class=2)
    probs = np.array([0.7, 0.2, 0.1], np.float32)
    (row,) = suspects("a", given, Labels((4, 4), image_class=0, image_score=0.7), probs, "classify")
    assert row["score"] == pytest.approx(0.1, abs=1e-6)
    assert (row["kind"], row["given"], row["suggested"]) == ("class", {"class": 2}, {"class": 0})
    found = Labels((4, 4), image_class=0, image_score=0.7)
    (told,) = suspects("a", given, found, None, "classify")
    assert told["score"] == pytest.approx(0.15)
    (same,) = suspects("a", replace(given, image_class=0), found, None, "classify")
    assert same["score"] == pytest.approx(0.7)
    assert class_quality(np.zeros(0, np.int64), np.zeros((0, 3))).shape == (0,)


def test_images_without_a_class_are_not_judged() -> None:
    assert suspects("a", Labels((4, 4)), Labels((4, 4), image_class=0), None, "classify") == []


def test_the_order_does_not_depend_on_the_order_of_the_images() -> None:
    rows = suspects("b", RIGHT, discs(), None, "instances") + suspects("a", RIGHT, discs(), None, "instances")
    assert ranked(rows) == ranked(rows[::-1])
    assert [r["id"] for r in ranked(rows)] == ["a"] * 4 + ["b"] * 4


def test_an_image_without_objects_is_judged_by_its_pixels_too() -> None:
    probs = np.stack([np.full(SIZE, 0.9), np.full(SIZE, 0.1)]).astype(np.float32)
    (row,) = suspects("a", Labels(SIZE), Labels(SIZE), probs, "segment")
    assert row["score"] == pytest.approx(0.9)
    assert row["suggested"] is None


def test_where_an_object_is_does_not_depend_on_how_sure_the_labeler_is() -> None:
    moved, sure, unsure = discs((13, 13)), discs((10, 10), scores=0.9), discs((10, 10), scores=0.2)
    rows = [suspects("a", moved, found, None, "instances") for found in (sure, unsure)]
    assert [len(r) for r in rows] == [1, 1]
    assert rows[0][0]["score"] == rows[1][0]["score"] < SUSPICIOUS


def test_objects_that_nobody_labelled_and_labels_that_are_there_take_turns() -> None:
    missed = suspects("a", discs(), discs((10, 10), (10, 30), scores=0.6), None, "instances")
    moved = suspects("b", discs((13, 13), (13, 33)), discs((10, 10), (10, 30)), None, "instances")
    order = [row["kind"] for row in ranked([*missed, *moved])]
    assert order in (["overlooked", "badly placed"] * 2, ["badly placed", "overlooked"] * 2)
    assert ranked([]) == []
    assert [row["kind"] for row in ranked(missed)] == ["overlooked"] * 2
