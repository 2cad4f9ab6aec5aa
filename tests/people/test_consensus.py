"""Consensus: majorities, ties, agreement and the annotators' own quality, on answers whose truth is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from synthgen.geometry import decode, labels_from_masks
from synthgen.people.consensus import BY, alpha, consensus, fuse, fused_decision, of_datasets, of_decisions
from synthgen.people.decisions import Decision, Decisions
from synthgen.types import Labels, Sample

SIZE = (20, 30)


def drawn(*boxes: tuple[int, int, int, int], classes: tuple[int, ...] | None = None) -> Labels:
    masks = np.zeros((len(boxes), *SIZE), bool)
    for k, (x0, y0, x1, y1) in enumerate(boxes):
        masks[k, y0:y1, x0:x1] = True
    labels = labels_from_masks(masks, list(classes or (0,) * len(boxes)), reviewed="human")
    return replace(labels, empty="unknown" if boxes else "confirmed")


def named(c: int) -> Labels:
    return Labels((4, 4), image_class=c, reviewed="human")


A, B = (2, 2, 10, 10), (15, 5, 25, 15)


def test_an_object_that_most_drew_is_kept_and_one_that_few_drew_is_not() -> None:
    fused = fuse([drawn(A, B), drawn(A), drawn(A)])
    assert fused.boxes.tolist() == [list(A)]
    assert fused.states == ("accepted",)
    assert fused.reviewed == "human"


def test_half_of_the_people_is_a_tie_that_somebody_must_look_at() -> None:
    fused = fuse([drawn(A, B), drawn(A)])
    assert fused.states == ("accepted", "to_review")
    classes = fuse([drawn(A, classes=(0,)), drawn(A, classes=(1,))])
    assert classes.states == ("to_review",)
    assert consensus({"h": {"ann": drawn(A, B), "bob": drawn(A)}}).doubtful("h")


def test_pixels_go_by_the_majority_of_those_who_drew() -> None:
    fused = fuse([drawn((2, 2, 10, 10)), drawn((3, 2, 10, 10)), drawn((3, 2, 11, 10))])
    assert fused.masks is not None
    mask = decode(fused.masks, SIZE)[0]
    assert np.array_equal(mask, decode(drawn((3, 2, 10, 10)).masks or (), SIZE)[0])


def test_touching_objects_stay_two_whatever_the_order_of_the_people() -> None:
    left, right = (2, 2, 10, 10), (10, 2, 18, 10)
    people = [drawn(left, right), drawn(right, left), drawn((3, 2, 10, 10), right)]
    found = [sorted(fuse([people[k] for k in order]).boxes.tolist()) for order in ((0, 1, 2), (2, 0, 1), (1, 2, 0))]
    assert found == [[list(left), list(right)]] * 3


def test_boxes_alone_are_fused_by_their_median() -> None:
    boxes = [replace(drawn(b), masks=None) for b in ((2, 2, 10, 10), (3, 2, 10, 10), (3, 2, 11, 10))]
    fused = fuse(boxes)
    assert fused.masks is None
    assert fused.boxes.tolist() == [[3, 2, 10, 10]]


def test_nothing_drawn_by_anybody_is_confirmed_empty() -> None:
    fused = fuse([drawn(), drawn()])
    assert (len(fused), fused.empty) == (0, "confirmed")
    found = consensus({"h": {"ann": drawn(), "bob": drawn()}})
    assert found.agreement == {}
    assert found.quality["ann"].value == 1.0


def test_one_annotator_is_no_agreement() -> None:
    found = consensus({"h": {"ann": drawn(A)}})
    assert found.fused["h"].states == ("accepted",)
    assert (found.agreement, found.quality["ann"].value) == ({}, None)
    assert consensus({}).fused == {}


def test_the_one_who_errs_has_the_lowest_quality() -> None:
    good, bad = drawn(A, B), drawn((11, 16, 14, 19))
    found = consensus({k: {"ann": good, "bob": good, "cas": bad} for k in "abc"})
    assert found.quality["cas"].value == 0
    assert found.quality["ann"].value == found.quality["bob"].value == pytest.approx(0.8)
    assert found.agreement[0].n == 9
    assert found.agreement[0].value == pytest.approx(1 / 3)


def test_alpha_is_krippendorffs_own_example() -> None:
    # Krippendorff 2011, section A: two observers, ten items, binary data: 0.095.
    one = [0, 1, 0, 0, 0, 0, 0, 0, 1, 0]
    two = [1, 1, 1, 0, 0, 1, 0, 0, 0, 0]
    assert alpha(np.array([one, two], float).T) == pytest.approx(0.095, abs=5e-4)
    assert alpha(np.array([[0.0, 0], [1, 1]])) == 1
    assert alpha(np.array([[0.0, np.nan], [np.nan, 1]])) is None
    assert alpha(np.array([[0.0, 0], [0, 0]])) is None


def test_classes_go_by_the_majority_and_ties_are_marked() -> None:
    found = consensus({"a": {"ann": named(1), "bob": named(1), "cas": named(2)},
                       "b": {"ann": named(0), "bob": named(2)}, "c": {"ann": named(0)}})  # fmt: skip
    assert {k: (v.image_class, v.image_state) for k, v in found.fused.items()} == {
        "a": (1, "accepted"), "b": (0, "to_review"), "c": (0, "accepted")}
    assert found.doubtful("b")
    assert found.quality["cas"].value == 0


def test_crowdlab_breaks_ties_by_what_the_labeler_says() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 60)
    answers, probs = {}, {}
    for k, t in enumerate(truth.tolist()):
        other = (t + 1) % 3
        answers[f"{k:03}"] = {"ann": named(t), "bob": named(t if k % 5 else other), "cas": named(t if k % 2 else other)}
        probs[f"{k:03}"] = np.where(np.arange(3) == t, 0.8, 0.1).astype(np.float32)
    found = consensus(answers, probs)
    right = np.mean([found.fused[f"{k:03}"].image_class == t for k, t in enumerate(truth.tolist())])
    assert right == 1
    order = sorted(found.quality, key=lambda name: found.quality[name].value or 0)
    assert order == ["cas", "bob", "ann"]


def test_two_kinds_of_answers_are_refused() -> None:
    with pytest.raises(ValueError, match="one task each"):
        consensus({"a": {"ann": named(0)}, "b": {"ann": Labels((4, 4))}})


def test_the_last_answer_of_each_counts_and_consensus_is_one_more_line(tmp_path: Path) -> None:
    h, log = "a" * 64, Decisions(tmp_path)
    for by, labels in (("ann", drawn(A)), ("ann", drawn(A, B)), ("bob", drawn(A, B))):
        log.append(Decision(h, "x", labels, by, "2026-01-01T00:00:00Z", 1.0, "review", "redraw"))
    said = of_decisions(log.every())
    assert {by: len(labels) for by, labels in said[h].items()} == {"ann": 2, "bob": 2}
    fused = consensus(said).fused[h]
    assert log.append(fused_decision(h, "x", fused, "2026-01-02T00:00:00Z"))
    assert not log.append(fused_decision(h, "x", fused, "2026-01-03T00:00:00Z"))
    assert log.latest()[h].by == BY
    assert of_decisions(log.every()).keys() == said.keys()
    assert len(log.every()) == 4
    log.undo(BY, "2026-01-04T00:00:00Z")
    assert log.latest()[h].by == "bob"


def test_datasets_are_matched_by_their_pixels() -> None:
    image = np.zeros((*SIZE, 3), np.uint8)
    said = of_datasets({"ann": [Sample("x", image, drawn(A))], "bob": [Sample("other", image, drawn(B))]})
    assert [sorted(v) for v in said.values()] == [["ann", "bob"]]
