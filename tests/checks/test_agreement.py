"""Agreement: judged against the same labelers' agreement on real images that they did not see."""

from __future__ import annotations

import numpy as np
import pytest

from synthgen.checks.agreement import Agreement
from synthgen.types import Evidence

RNG = np.random.default_rng


def records(shares, px=100):
    """Image records whose Dice is the share."""
    return [{"tp": 0, "fp": 0, "fn": 0, "n_pred": 1, "n_true": 1, "left_out": 0, "correct": None, "classes": {},
             "overlap": round(px * s), "pred_px": px, "true_px": px} for s in shares]


def run(made, real, task="instances", **options):
    agreement = {"synthetic": {"per_image": made, "ids": [f"s{k}" for k in range(len(made))]},
                 "real": {"per_image": real}} if made or real else {}
    evidence = Evidence((1,), (), (), (), ("a",), task, {}, agreement=agreement)
    (m,) = Agreement(resamples=400, **options)(evidence, RNG(0))
    return m


def around(mean, n, seed):
    return records(np.clip(RNG(seed).normal(mean, 0.04, n), 0, 1))


def test_labels_that_agree_as_real_ones_do_pass():
    m = run(around(0.9, 60, 1), around(0.9, 30, 2))
    assert (m.verdict, m.hard) == ("pass", True)
    assert m.value == pytest.approx(0, abs=0.03)
    assert m.interval[0] < m.value < m.interval[1]


def test_labels_that_do_not_show_in_the_images_are_refused_and_the_worst_are_named():
    made = around(0.6, 60, 1)
    made[7] = records([0.1])[0]
    m = run(made, around(0.9, 30, 2))
    assert (m.verdict, m.hard) == ("fail", True)
    assert m.worst[0] == "s7"
    assert "worst" in m.remedy


def test_far_easier_images_than_real_ones_warn_and_never_refuse():
    m = run(around(0.97, 60, 1), around(0.6, 30, 2))
    assert (m.verdict, m.hard) == ("warn", False)
    assert "far easier than real ones" in m.why


def test_few_real_images_decide_nothing_and_no_folds_are_said():
    m = run(around(0.6, 60, 1), around(0.9, 4, 2))
    assert m.verdict == "inconclusive"
    assert "4 images" in m.why
    none = run([], [])
    assert (none.verdict, none.hard) == ("skipped", True)
    assert "calibration_folds" in none.remedy


def test_false_alarms_stay_under_the_nominal_level_at_the_margin():
    alarms = sum(run(around(0.8, 30, 1000 + k), around(0.9, 20, k)).verdict == "fail" for k in range(200))
    assert alarms <= 10          # a true difference of exactly the margin fails in at most 2.5 %, one-sided


def test_a_class_is_judged_by_accuracy():
    def correct(shares):
        blank = {**records([0])[0], "overlap": None, "pred_px": None, "true_px": None}
        return [{**blank, "correct": int(s)} for s in shares]

    assert run(correct([1] * 40), correct([1] * 40), task="classify").verdict == "pass"
    m = run(correct([0, 1] * 30), correct([1] * 40), task="classify")
    assert (m.verdict, m.unit) == ("fail", "accuracy")
