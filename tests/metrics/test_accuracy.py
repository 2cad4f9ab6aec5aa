"""Matching, Dice and counts on examples small enough to check by hand."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from synthgen.geometry import encode, labels_from_masks
from synthgen.metrics import accuracy
from synthgen.metrics.accuracy import score_image
from synthgen.types import Labels

SIZE = (20, 30)


def masks(*boxes, size=SIZE):
    out = np.zeros((len(boxes), *size), bool)
    for mask, (x0, y0, x1, y1) in zip(out, boxes, strict=True):
        mask[y0:y1, x0:x1] = True
    return out


def labels(*boxes, classes=None, **more):
    found = labels_from_masks(masks(*boxes), classes or [0] * len(boxes))
    return replace(found, **more)


def counts(record):
    return record["tp"], record["fp"], record["fn"]


A, B = (0, 0, 10, 10), (15, 5, 25, 15)               # 100 px each, apart


def test_perfect_labels_score_one():
    r = score_image(labels(A, B), labels(A, B))
    assert counts(r) == (2, 0, 0)
    assert (r["n_pred"], r["n_true"], r["overlap"], r["pred_px"], r["true_px"]) == (2, 2, 200, 200, 200)
    assert accuracy.ap50_stardist([r]) == accuracy.dice([r]) == 1
    assert accuracy.count_error([r]) == 0


@pytest.mark.parametrize(("pred", "truth", "expected"), [
    ((), (), (0, 0, 0)), ((A,), (), (0, 1, 0)), ((), (A, B), (0, 0, 2)), ((B,), (A,), (0, 1, 1))])
def test_nothing_on_a_side(pred, truth, expected):
    r = score_image(labels(*pred), labels(*truth))
    assert counts(r) == expected
    assert r["overlap"] == 0
    json.dumps(r, allow_nan=False)


def test_nothing_to_find_and_nothing_found_is_right():
    r = score_image(labels(), labels())
    assert accuracy.ap50_stardist([r]) == accuracy.dice([r]) == accuracy.dice([r], pooled=False) == 1


def test_an_iou_of_exactly_one_half_matches_and_less_does_not():
    half = labels((0, 0, 5, 10))                     # 50 of 100 px
    assert counts(score_image(half, labels(A))) == (1, 0, 0)
    assert counts(score_image(labels((0, 0, 5, 9)), labels(A))) == (0, 1, 1)


def test_a_truth_is_found_once_and_by_the_better_prediction():
    r = score_image(labels((0, 0, 10, 7), (0, 0, 10, 9)), labels(A))
    assert counts(r) == (1, 1, 0)
    found, _ = accuracy.match(np.array([[0.7], [0.9]]), np.array([True]))
    assert found.tolist() == [-1, 0]


def test_classes_must_agree():
    r = score_image(labels(A, classes=[1]), labels(A, classes=[0]))
    assert counts(r) == (0, 1, 1)
    assert (r["overlap"], r["pred_px"], r["true_px"]) == (0, 100, 100)
    assert r["classes"]["0"]["fn"] == r["classes"]["1"]["fp"] == 1


def test_small_objects_are_left_out_on_both_sides():
    tiny, other = (0, 0, 7, 2), (20, 0, 22, 7)       # 14 px each
    r = score_image(labels(tiny, other), labels(tiny))
    assert counts(r) == (0, 0, 0)
    assert (r["n_pred"], r["n_true"]) == (0, 0)
    # A prediction large enough to count is still no error when it is matched to a truth that is left out.
    assert counts(score_image(labels((0, 0, 8, 2)), labels(tiny))) == (0, 0, 0)
    # A truth of 15 px counts, and a prediction of 14 px may find it.
    assert counts(score_image(labels((0, 0, 7, 2)), labels((0, 0, 5, 3)))) == (1, 0, 0)
    assert counts(score_image(labels(), labels((0, 0, 5, 3)))) == (0, 0, 1)


def test_one_pixel_counts_when_asked_for():
    one = labels((3, 3, 4, 4))
    assert counts(score_image(one, one, min_area=1)) == (1, 0, 0)
    assert counts(score_image(one, one)) == (0, 0, 0)


def test_ignored_pixels_say_nothing():
    everywhere = encode(np.ones((1, *SIZE), bool))[0]
    r = score_image(labels(A), labels(B, ignore=everywhere))
    assert counts(r) == (0, 0, 0)
    assert (r["overlap"], r["pred_px"], r["true_px"]) == (0, 0, 0)
    left = encode(masks((0, 0, 10, 20)))[0]          # covers A wholly
    r = score_image(labels(A, B), labels(B, ignore=left))
    assert counts(r) == (1, 0, 0)
    assert (r["overlap"], r["pred_px"], r["true_px"]) == (100, 100, 100)


def test_ignored_instances_are_neither_predictions_nor_misses():
    r = score_image(labels(A, B, states=("ignored", "accepted")), labels(A, B))
    assert counts(r) == (1, 0, 1)
    r = score_image(labels(A, B), labels(A, B, states=("ignored", "accepted")))
    assert counts(r) == (1, 0, 0)
    assert (r["pred_px"], r["true_px"]) == (100, 100)
    assert counts(score_image(labels(A, states=("to_review",)), labels(A))) == (1, 0, 0)


def boxes_only(found):
    return replace(found, masks=None)


def test_boxes_are_matched_where_there_are_no_masks():
    r = score_image(boxes_only(labels(A, B)), labels((0, 0, 10, 9)))
    assert counts(r) == (1, 1, 0)
    assert r["overlap"] is None
    assert math.isnan(accuracy.dice([r]))
    tiny = boxes_only(labels((0, 0, 7, 2)))
    assert counts(score_image(tiny, boxes_only(labels()))) == (0, 0, 0)
    left = encode(masks((0, 0, 10, 20)))[0]
    assert counts(score_image(boxes_only(labels(A)), boxes_only(labels(ignore=left)))) == (0, 0, 0)


def test_metrics_are_ratios_of_sums_over_images():
    records = [score_image(labels(A), labels(A, B)), score_image(labels(A, B), labels()),
               score_image(labels((0, 0, 10, 8)), labels(A))]
    assert accuracy.ap50_stardist(records) == 2 / 5
    assert accuracy.dice(records) == 2 * (100 + 80) / (100 + 200 + 200 + 80 + 100)
    assert accuracy.dice(records, pooled=False) == pytest.approx((2 / 3 + 0 + 160 / 180) / 3)
    assert accuracy.count_error(records) == 1
    assert accuracy.count_error(records, signed=True) == 1 / 3
    assert accuracy.value_of(records, "precision") == 2 / 4
    assert accuracy.value_of(records, "recall") == 2 / 3
    num, den = accuracy.columns(records, "ap50")
    assert (num.tolist(), den.tolist()) == ([1, 0, 1], [2, 2, 1])


def test_overlapping_predictions_fill_a_pixel_once():
    r = score_image(labels(A, A), labels(A))
    assert (r["overlap"], r["pred_px"], r["true_px"]) == (100, 100, 100)
    assert counts(r) == (1, 1, 0)


def test_an_image_class_is_right_wrong_or_unknown():
    def of(c):
        return Labels(size=SIZE, image_class=c)

    records = [score_image(of(p), of(t)) for p, t in ((1, 1), (0, 1), (None, 1), (2, None))]
    assert [r["correct"] for r in records] == [1, 0, 0, None]
    assert accuracy.accuracy(records) == 1 / 3
    assert accuracy.columns(records[3:], "accuracy") is None


def test_sizes_must_agree():
    with pytest.raises(ValueError, match="20, 30"):
        score_image(Labels(size=(5, 5)), labels(A))


def test_greedy_matching_of_disjoint_masks_equals_the_optimal_assignment():
    optimize = pytest.importorskip("scipy.optimize")
    rng = np.random.default_rng(0)
    for _ in range(30):
        ids = [np.where(rng.random(SIZE) < 0.85, rng.permutation(4)[np.arange(30) // 8 % 4][None], -1)
               for _ in range(2)]
        sides = [np.stack([x == k for k in range(4)]) for x in ids]
        overlaps = np.array([[(p & t).sum() / (p | t).sum() for t in sides[1]] for p in sides[0]])
        r = score_image(labels_from_masks(sides[0], [0] * 4), labels_from_masks(sides[1], [0] * 4))
        rows, cols = optimize.linear_sum_assignment(-(overlaps * (overlaps >= 0.5)))
        assert r["tp"] == (overlaps[rows, cols] >= 0.5).sum()


@pytest.mark.parametrize("kind", ["segm", "bbox"])
def test_cocos_map_is_one_for_perfect_and_falls_with_a_false_alarm(kind):
    truth = [labels(A, B), labels(A)]
    assert accuracy.coco_map(truth, truth, 1, kind)["map"] == pytest.approx(1)
    false = labels(A, B, scores=np.array([0.5, 0.9], np.float32))
    assert accuracy.coco_map([truth[0], false], truth, 1, kind)["map50"] < 1
    assert accuracy.coco_map([labels(), labels()], truth, 1, kind)["map"] == 0
    assert math.isnan(accuracy.coco_map([labels()], [labels()], 1, kind)["map"])


def test_cocos_map_leaves_ignored_truth_out():
    truth = labels(A, B, states=("ignored", "accepted"))
    assert accuracy.coco_map([labels(A, B)], [truth], 1)["map"] == pytest.approx(1)
