"""What a session writes down: the person's labels, their time, and nothing that they did not say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from synthgen.errors import DataError
from synthgen.geometry import encode, labels_from_masks
from synthgen.images import from_png
from synthgen.people.decisions import hash_labels
from synthgen.review.session import Session
from synthgen.review.shapes import from_wire, to_wire
from synthgen.store import labels_to_json
from synthgen.types import Labels, Sample, State

Open = Callable[..., Session]


def objects_of(session: Session, id_: str) -> list[Any]:
    return [{key: one[key] for key in ("class", "box", "runs")} for one in session.labels(id_)["objects"]]


class Ticking:
    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        return self.time


@given(arrays(np.bool_, st.tuples(st.integers(1, 3), st.integers(1, 7), st.integers(1, 7))))
def test_masks_come_back_over_the_wire_as_they_were(masks: np.ndarray) -> None:
    masks[1:] &= ~masks[0]
    masks[2:] &= ~masks[1 % len(masks)]
    masks = masks[masks.any((1, 2))]
    labels = labels_from_masks(masks, [0] * len(masks), reviewed="human")
    sent = [{key: one[key] for key in ("class", "box", "runs")} for one in to_wire(labels)]
    assert labels_to_json(from_wire(sent, labels.size, 1, "instances")) == labels_to_json(labels)


def test_a_box_larger_than_its_mask_gives_the_masks_own_box() -> None:
    labels = from_wire([{"class": 0, "box": [0, 0, 3, 2], "runs": [4, 1, 1]}], (4, 5), 1, "instances")
    assert labels.masks == encode(np.eye(20, dtype=bool)[6].reshape(1, 4, 5))
    assert labels.boxes.tolist() == [[1, 1, 2, 2]]


def test_the_whole_image_and_one_pixel_are_objects() -> None:
    for size in ((1, 1), (3, 4)):
        whole = [{"class": 0, "box": [0, 0, size[1], size[0]], "runs": [0, size[0] * size[1]]}]
        assert from_wire(whole, size, 1, "instances").truncated.tolist() == [True]  # type: ignore[union-attr]


def test_accepting_keeps_what_was_shown_and_makes_it_the_persons(open_session: Open) -> None:
    session = open_session(1)
    before = session.pool[0].labels
    session.labels(session.ids[0])
    session.decide(session.ids[0], {"action": "accept", "seconds": 0})
    (made,) = session.decisions.every()
    assert (made.action, made.by, made.tool, made.blind) == ("accept", "ada", "review", False)
    assert made.prelabel == hash_labels(before)
    assert before is not None
    assert made.labels.masks == before.masks
    assert made.labels.reviewed == "human"
    assert set(made.labels.states or ()) == {"accepted"}


def test_what_the_model_set_aside_is_not_shown_and_the_answer_is_for_the_whole_image(open_session: Open) -> None:
    session = open_session(1)
    sample = session.pool[0]
    assert sample.labels is not None
    states: tuple[State, ...] = ("ignored", *("to_review",) * (len(sample.labels) - 1))  # type: ignore[assignment]
    session = open_session(pool=[replace(sample, labels=replace(sample.labels, states=states))])
    assert len(session.labels(session.ids[0])["objects"]) == len(states) - 1
    session.decide(session.ids[0], {"action": "accept", "seconds": 0})
    (made,) = session.decisions.every()
    assert made.labels.ignore is None
    assert len(made.labels) == len(states) - 1


def test_a_redraw_that_changes_nothing_is_an_accept(open_session: Open) -> None:
    session = open_session(1)
    objects = objects_of(session, session.ids[0])
    session.decide(session.ids[0], {"action": "redraw", "seconds": 0, "objects": objects})
    assert [d.action for d in session.decisions.every()] == ["accept"]


def test_a_redraw_holds_what_was_drawn(open_session: Open) -> None:
    session = open_session(1)
    drawn = [{"class": 1, "box": [2, 3, 6, 5], "runs": [0, 8]}]
    session.decide(session.ids[0], {"action": "redraw", "seconds": 0, "objects": drawn})
    (made,) = session.decisions.every()
    assert made.action == "redraw"
    assert made.labels.classes.tolist() == [1]
    assert made.labels.boxes.tolist() == [[2, 3, 6, 5]]


def test_an_image_without_objects_must_be_said_to_be_empty(open_session: Open) -> None:
    session = open_session(1)
    with pytest.raises(DataError, match="say that the image is empty"):
        session.decide(session.ids[0], {"action": "redraw", "seconds": 0, "objects": []})
    session.decide(session.ids[0], {"action": "confirm-empty", "seconds": 0})
    (made,) = session.decisions.every()
    assert (made.action, len(made.labels), made.labels.empty) == ("confirm-empty", 0, "confirmed")


def test_accepting_an_empty_prelabel_confirms_that_there_is_nothing(open_session: Open) -> None:
    nothing = Sample("none", np.zeros((5, 6, 3), np.uint8), Labels((5, 6), masks=(), reviewed="model"))
    session = open_session(pool=[nothing])
    session.decide(session.ids[0], {"action": "accept", "seconds": 0})
    (made,) = session.decisions.every()
    assert (made.action, made.labels.empty) == ("confirm-empty", "confirmed")


def test_of_a_blind_image_nothing_is_told_and_it_cannot_be_accepted(open_session: Open) -> None:
    session = open_session(2, blind=(0,))
    told = session.labels(session.ids[0])
    assert (told["blind"], told["objects"], told["image_class"]) == (True, [], None)
    for action in ("accept", "reject", "redraw"):
        with pytest.raises(DataError, match="none was shown"):
            session.decide(session.ids[0], {"action": action, "seconds": 0, "objects": []})
    drawn = [{"class": 0, "box": [0, 0, 1, 1], "runs": [0, 1]}]
    with pytest.raises(DataError, match="whose pre-label is hidden"):
        session.decide(session.ids[1], {"action": "answer", "seconds": 0, "objects": drawn})
    session.decide(session.ids[0], {"action": "answer", "seconds": 0, "objects": drawn})
    (made,) = session.decisions.every()
    assert (made.action, made.blind, made.prelabel) == ("answer", True, "")


def test_classify_takes_a_class_and_nothing_else(open_session: Open) -> None:
    session = open_session(3, task="classify")
    one, two, three = session.ids
    assert session.labels(one)["image_class"] == 0
    for wrong in (2, -1, None, True, "0", 0.0):
        with pytest.raises(DataError, match="image_class"):
            session.decide(one, {"action": "redraw", "seconds": 0, "image_class": wrong})
    with pytest.raises(DataError, match="every image has a class"):
        session.decide(one, {"action": "confirm-empty", "seconds": 0})
    session.decide(one, {"action": "redraw", "seconds": 0, "image_class": 1})
    session.decide(two, {"action": "accept", "seconds": 0})
    session.decide(three, {"action": "redraw", "seconds": 0, "image_class": 0})
    assert [(d.action, d.labels.image_class) for d in session.decisions.every()] == [
        ("redraw", 1), ("accept", 1), ("accept", 0)]


def test_detect_takes_boxes(open_session: Open) -> None:
    session = open_session(1, task="detect")
    assert session.labels(session.ids[0])["objects"][0]["runs"] is None
    session.decide(session.ids[0], {"action": "redraw", "seconds": 0, "objects": [{"class": 1, "box": [0, 0, 80, 64]}]})
    (made,) = session.decisions.every()
    assert made.labels.masks is None
    assert made.labels.boxes.tolist() == [[0, 0, 80, 64]]
    assert made.labels.truncated is not None
    assert made.labels.truncated.tolist() == [True]


def test_reject_and_skip_say_nothing_about_labels(open_session: Open) -> None:
    session = open_session(2)
    session.decide(session.ids[0], {"action": "reject", "seconds": 0})
    session.decide(session.ids[1], {"action": "skip", "seconds": 0})
    rejected, skipped = session.decisions.every()
    assert (rejected.answered, skipped.answered) == (False, False)
    assert (session.decided, session.skipped) == (1, 1)
    assert set(session.decisions.latest()) == {rejected.image}


def test_undo_takes_back_decision_by_decision_and_nothing_of_another_session(open_session: Open) -> None:
    first = open_session(2)
    first.decide(first.ids[0], {"action": "accept", "seconds": 0})
    session = open_session(2)
    for id_ in session.ids:
        session.decide(id_, {"action": "reject", "seconds": 0})
    assert session.undo()["id"] == session.ids[1]
    assert session.undo()["id"] == session.ids[0]
    assert session.undo()["id"] is None
    assert [d.action for d in session.decisions.every()] == ["accept"]
    assert (session.decided, session.skipped) == (0, 0)


def test_after_undo_the_same_may_be_decided_otherwise_but_not_without(open_session: Open) -> None:
    session = open_session(1)
    session.decide(session.ids[0], {"action": "accept", "seconds": 0})
    with pytest.raises(DataError, match="take that back first"):
        session.decide(session.ids[0], {"action": "reject", "seconds": 0})
    session.undo()
    session.decide(session.ids[0], {"action": "reject", "seconds": 0})
    assert [d.action for d in session.decisions.every()] == ["reject"]


def test_nobody_can_have_spent_more_time_than_has_passed(open_session: Open) -> None:
    clock = Ticking()
    session = open_session(3, clock=clock)
    for id_ in session.ids:  # fetched ahead, all at once
        session.labels(id_)
    clock.time += 10
    session.decide(session.ids[0], {"action": "accept", "seconds": 1e6})
    clock.time += 5
    session.decide(session.ids[1], {"action": "accept", "seconds": 7})
    clock.time += 5
    session.decide(session.ids[2], {"action": "accept", "seconds": 2.5})
    assert [d.seconds for d in session.decisions.every()] == [10, 5, 2.5]


def test_the_time_of_a_decision_that_was_taken_back_is_not_lost(open_session: Open) -> None:
    clock = Ticking()
    session = open_session(1, clock=clock)
    session.labels(session.ids[0])
    clock.time += 10
    session.decide(session.ids[0], {"action": "accept", "seconds": 9})
    clock.time += 3
    assert session.undo()["seconds"] == 9
    clock.time += 4
    session.decide(session.ids[0], {"action": "reject", "seconds": 1000})
    assert [d.seconds for d in session.decisions.every()] == [13]


def test_progress_counts_and_estimates_what_is_left(open_session: Open) -> None:
    clock = Ticking()
    session = open_session(3, clock=clock)
    assert (session.about()["left"], session.about()["measured"]) == (3, False)
    clock.time += 30
    told = session.decide(session.ids[0], {"action": "accept", "seconds": 30})
    assert (told["decided"], told["left"], told["minutes_left"], told["measured"]) == (1, 2, 1.0, True)


def test_the_picture_is_the_samples_pixel_by_pixel(open_session: Open) -> None:
    session = open_session(1)
    assert np.array_equal(from_png(session.png(session.ids[0])), session.pool[0].image)
