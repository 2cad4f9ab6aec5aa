"""Objects of several functions, matched and fused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from synthgen.geometry import decode, labels_from_masks
from synthgen.metrics.accuracy import ap50_stardist, score_image
from synthgen.seeds import rng_of
from synthgen.store import read_json, write_json
from synthgen.testing import tiny_real
from synthgen.types import Labels
from synthgen.votes.instances import clusters, explained, fused_box
from synthgen.votes.model import LabelModel, fitted

SIZE = (40, 60)


def squares(*corners: tuple[int, int], side: int = 10, classes: int | list[int] = 0, boxes: bool = False) -> Labels:
    masks = np.zeros((len(corners), *SIZE), bool)
    for mask, (y, x) in zip(masks, corners, strict=True):
        mask[y : y + side, x : x + side] = True
    labels = labels_from_masks(masks, [classes] * len(corners) if isinstance(classes, int) else classes)
    return replace(labels, masks=None) if boxes else labels


def test_no_objects_no_functions_and_nobody_who_speaks_make_no_clusters():
    for found in ([], [None, None], [squares(), squares()], [None, squares()]):
        seen = clusters(found)
        assert seen.members.shape == (0, len(found))


def test_a_cluster_holds_one_object_of_a_function_at_most():
    one, two = squares((5, 5)), squares((5, 6), (6, 6))
    seen = clusters([one, two, None])
    assert seen.members.tolist() == [[0, 0, -1], [-1, 1, -1]]
    assert seen.votes.tolist() == [[1, 1, -1], [0, 1, -1]]


def test_a_function_that_is_silent_of_an_image_does_not_vote_against_what_others_see():
    seen = clusters([squares((5, 5)), squares(), None])
    assert seen.votes.tolist() == [[1, 0, -1]]


def test_boxes_match_masks_by_their_boxes():
    assert clusters([squares((5, 5)), squares((6, 5), boxes=True)]).members.tolist() == [[0, 0]]


def test_a_fused_box_lies_nearer_to_whom_weighs_more():
    found = [squares((0, 0), boxes=True), squares((0, 4), boxes=True)]
    assert fused_box(found, np.array([0, 0]), np.array([3.0, 1.0])).tolist() == [1, 0, 11, 10]
    assert fused_box(found, np.array([0, -1]), np.array([0.0, 1.0])).tolist() == [0, 0, 10, 10]


def test_what_a_higher_score_covers_is_explained_and_what_touches_is_not():
    masks = [np.ones((10, 10), bool)] * 3
    windows = [(0, 10, 0, 10), (0, 10, 2, 12), (0, 10, 12, 22)]
    boxes = np.array([[w[2], w[0], w[3], w[1]] for w in windows], np.float32)
    done, left = explained(masks, windows, boxes, np.array([0.9, 0.5, 0.4]))
    assert done.tolist() == [False, True, False]
    assert [int(m.sum()) for m in left] == [100, 20, 100]


def noisy(truth: Labels, found: float, alarms: int, shift: int, seed: int) -> Labels:
    """What a function sees that finds so many objects, moved by up to `shift` px, and sees so many that are not."""
    rng = rng_of(seed)
    masks = decode(truth.masks, truth.size)
    kept = [np.roll(m, rng.integers(-shift, shift + 1, 2), (0, 1)) for m in masks if rng.random() < found]
    for _ in range(alarms):
        blob = np.zeros(truth.size, bool)
        y, x = rng.integers(0, truth.size[0] - 9), rng.integers(0, truth.size[1] - 9)
        blob[y : y + 9, x : x + 9] = True
        kept.append(blob)
    return labels_from_masks(np.array(kept).reshape(-1, *truth.size), [0] * len(kept))


def test_good_functions_are_told_from_a_bad_one_and_the_whole_is_no_worse_than_the_best():
    tiles = tiny_real(24, classes=1)
    rates = ((0.85, 2, 1), (0.8, 2, 1), (0.75, 3, 1), (0.2, 6, 2))
    found = [[noisy(t.labels, *rate, 100 * k + f) for f, rate in enumerate(rates)] for k, t in enumerate(tiles)]
    model = fitted(((row, t.labels.size) for row, t in zip(found, tiles, strict=True)), "instances", 1, "abcd")
    assert [model.facts[n]["precision"] > 0.5 for n in "abcd"] == [True, True, True, False]
    assert [model.facts[n]["recall"] for n in "abc"] == pytest.approx([r[0] for r in rates[:3]], abs=0.1)

    def worth(labels) -> float:
        return ap50_stardist([score_image(replace(a, states=tuple(
            "accepted" if s >= 0.5 else "ignored" for s in a.scores)), t.labels)
            for a, t in zip(labels, tiles, strict=True)])

    fused = worth([model.labels(row, t.labels.size) for row, t in zip(found, tiles, strict=True)])
    alone = [worth([row[f] for row in found]) for f in range(4)]
    assert fused > max(alone) + 0.03, (fused, alone)


@pytest.mark.parametrize("combine", ["dawid-skene", "majority"])
@pytest.mark.parametrize("task", ["instances", "segment", "detect", "classify"])
def test_every_task_gives_labels_whatever_is_said_and_survives_the_disk(task, combine, tmp_path):
    boxes = task == "detect"
    seen = [squares((5, 5), (20, 30), classes=[0, 1], boxes=boxes), squares((6, 5), classes=1, boxes=boxes),
            squares(boxes=boxes), None]
    if task == "classify":
        seen = [None if s is None else Labels(SIZE, image_class=min(len(s), 1)) for s in seen]
    images = [(seen, SIZE), ([None] * 4, SIZE), (seen[::-1], SIZE)]
    model = fitted(images, task, 2, "abcd", combine)
    write_json(tmp_path / "model.json", model.to_json())
    again = LabelModel.from_json(read_json(tmp_path / "model.json"))
    for found, size in images:
        labels = again.labels(found, size)
        assert labels.size == SIZE
        assert ((labels.scores >= 0) & (labels.scores <= 1)).all()
        assert (labels.image_class is None) == (task != "classify")
        assert (labels.masks is None) == (task in ("detect", "classify"))
    assert model.labels(*images[0]).scores.tolist() == again.labels(*images[0]).scores.tolist()


def test_an_image_of_one_pixel_can_be_an_object():
    one = labels_from_masks(np.ones((1, 1, 1), bool), [0])
    labels = fitted([([one, one], (1, 1))], "instances", 1, "ab").labels([one, one], (1, 1))
    assert labels.boxes.tolist() == [[0, 0, 1, 1]]


def test_pixels_of_three_functions_make_one_map():
    a, b, c = squares((5, 5), side=20), squares((5, 6), side=20), squares((30, 40), side=5)
    model = fitted([([a, b, c], SIZE)], "segment", 1, "abc")
    (mask,) = decode(model.labels([a, b, c], SIZE).masks, SIZE)
    assert mask[10:20, 10:20].all()
    assert not mask[32, 42]
