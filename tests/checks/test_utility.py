"""Utility says helps, non-inferior, harms or inconclusive from planted scores, paired by image."""

from __future__ import annotations

import numpy as np
import pytest

from synthgen.checks import run_checks, verdict_of
from synthgen.checks.utility import Utility, plainly_worse
from synthgen.types import Evidence

RNG = np.random.default_rng


def record(found, missed, extra=0, correct=None):
    return {"tp": found, "fp": extra, "fn": missed, "n_pred": found + extra, "n_true": found + missed,
            "overlap": 100 * found, "pred_px": 100 * (found + extra), "true_px": 100 * (found + missed),
            "correct": correct, "classes": {}}


def arms(rng, n, shift, noise=0.02, base=0.7):
    """Two arms of n images of 1000 objects; images differ much, the arms by `shift` in the share found."""
    easy = np.clip(base + 0.15 * rng.normal(size=n), 0.1, 0.9)
    real, mixed = easy, np.clip(easy + shift + noise * rng.normal(size=n), 0, 1)
    return {name: {"per_image": [record(round(1000 * s), 1000 - round(1000 * s)) for s in share]}
            for name, share in (("mixed", mixed), ("real", real))}


def run(scores, task="instances", **options):
    found = Evidence((), (), (), (), ("a",), task, {}, scores)
    return {m.name: m for m in Utility(**options)(found, RNG(0))}


@pytest.mark.parametrize(("shift", "noise", "n", "word", "verdict"), [
    (0.08, 0.02, 40, "HELPS", "pass"), (0.0, 0.01, 40, "NON-INFERIOR", "pass"),
    (-0.08, 0.02, 40, "HARMS", "fail"), (0.0, 0.2, 12, "INCONCLUSIVE", "inconclusive")])
def test_the_four_verdicts(shift, noise, n, word, verdict):
    m = run(arms(RNG(1), n, shift, noise))["ap50"]
    assert m.why.startswith(word)
    assert (m.verdict, m.hard, m.n) == (verdict, True, (n, n))
    assert m.interval[0] < m.value < m.interval[1]
    assert m.value == pytest.approx(shift, abs=0.03 if n == 40 else 0.15)


def test_harm_refuses_and_inconclusive_says_how_many_would_settle_it():
    assert verdict_of(list(run(arms(RNG(1), 40, -0.08)).values())) == "fail"
    m = run(arms(RNG(1), 12, 0, 0.2))["ap50"]
    assert "test images (now 12) would settle it" in m.remedy


def test_dice_and_count_error_stand_beside_and_never_refuse():
    found = run(arms(RNG(1), 40, -0.08))
    assert list(found) == ["ap50", "dice", "count_error"]
    assert found["dice"].verdict == "fail"
    assert not found["dice"].hard
    # Fewer found of as many: the count error rises by 80 objects, and a rise is harm.
    assert found["count_error"].value == pytest.approx(80, abs=10)
    assert (found["count_error"].verdict, found["count_error"].hard) == ("fail", False)
    assert run(arms(RNG(1), 40, 0.08))["count_error"].why.startswith("HELPS")


def test_slightly_worse_within_the_margin_passes_and_a_margin_of_zero_does_not():
    scores = arms(RNG(1), 40, -0.01, 0.005)
    assert run(scores)["ap50"].why.startswith("NON-INFERIOR")
    assert run(scores, margin=0.0)["ap50"].why.startswith("HARMS")


def test_few_images_decide_nothing():
    for n in (1, 2, 4):
        m = run(arms(RNG(1), n, 0.2, 0))["ap50"]
        assert m.verdict == "inconclusive"
        assert f"{n} image" in m.why


def test_the_metric_follows_the_task_or_the_recipe():
    scores = {name: {"per_image": [record(5, 5, correct=c) for c in right]}
              for name, right in (("mixed", [1] * 9 + [0]), ("real", [1] * 5 + [0] * 5))}
    assert list(run(scores, "classify")) == ["accuracy"]
    assert run(scores, "classify")["accuracy"].value == pytest.approx(0.4)
    assert list(run(scores, "segment")) == ["dice"]
    assert list(run(scores, "detect")) == ["ap50", "count_error"]
    assert next(iter(run(scores, metric="dice"))) == "dice"


@pytest.mark.parametrize("scores", [{}, {"mixed": {"per_image": []}},
                                    {"mixed": {"per_image": [record(1, 1)]}},
                                    {"real": {"per_image": [record(1, 1)]}, "mixed": {}}])
def test_without_a_test_or_an_arm_it_is_skipped_and_has_not_passed(scores):
    (m,) = run(scores).values()
    assert (m.verdict, m.hard) == ("skipped", True)
    assert verdict_of([m]) == "warn"
    assert verdict_of([m], "fail") == "fail"


def test_a_metric_that_the_labels_do_not_tell_is_skipped():
    assert run(arms(RNG(1), 9, 0), "classify")["accuracy"].verdict == "skipped"


def test_arms_of_unequal_length_fail_closed():
    scores = arms(RNG(1), 9, 0)
    scores["real"]["per_image"].pop()
    found = Evidence((), (), (), (), ("a",), "instances", {}, scores)
    (m,) = run_checks([("utility", Utility())], found, 7)
    assert (m.verdict, m.hard) == ("error", True)
    assert "9 and 8 images" in m.why


@pytest.mark.parametrize("options", [{"margin": -0.1}, {"margin": 1}, {"metric": "fid"}, {"resamples": 3}])
def test_nonsense_options_are_refused(options):
    with pytest.raises(ValueError):
        Utility(**options)


def test_a_collapse_is_plain_in_four_images_and_a_slip_is_not():
    m = run(arms(RNG(1), 4, -0.5, 0.03))["ap50"]
    assert (m.verdict, m.why.split(":")[0]) == ("fail", "HARMS")
    assert "plain even in 4 images" in m.why
    assert run(arms(RNG(1), 4, -0.05, 0.1))["ap50"].verdict == "inconclusive"
    assert run(arms(RNG(1), 2, -0.5, 0.0))["ap50"].verdict == "inconclusive"
    assert run(arms(RNG(1), 4, 0.3, 0.03))["ap50"].verdict == "inconclusive"  # good news needs more images


def test_by_chance_four_images_alarm_hardly_ever():
    assert sum(plainly_worse(RNG(k).normal(0, 0.1, 4), 0.0) for k in range(4000)) <= 12


def test_images_that_are_right_or_wrong_tell_too_little_when_they_are_few():
    """Equally good labelers lose on all of three images once in 64 times; of hundreds of objects never."""
    right, wrong = ([record(0, 0, correct=c) for _ in range(3)] for c in (1, 0))
    classes = run({"mixed": {"per_image": wrong}, "real": {"per_image": right}}, "classify")["accuracy"]
    assert (classes.value, classes.verdict) == (-1, "inconclusive")
    found, lost = ([record(n, 300 - n) for _ in range(3)] for n in (300, 0))
    assert run({"mixed": {"per_image": lost}, "real": {"per_image": found}})["ap50"].verdict == "fail"


def test_a_gain_over_all_images_is_no_plain_harm_though_each_image_loses_a_little():
    """Found of ten, beside 90 false ones, against one beside ten: less in each image, and more over all of them."""
    real = [record(10, 0, 90)] * 2 + [record(90, 0, 10)] * 2
    mixed = [record(1, 9, 10)] * 2 + [record(85, 5, 10)] * 2
    m = run({"mixed": {"per_image": mixed}, "real": {"per_image": real}})["ap50"]
    assert m.value > 0.2
    assert m.verdict == "inconclusive"


def test_a_labeler_that_gets_nothing_right_is_said():
    nothing = [record(0, 5) for _ in range(6)]
    some = [record(3, 2) for _ in range(6)]
    both = run({"mixed": {"per_image": nothing}, "real": {"per_image": nothing}})["a labeler"]
    assert (both.verdict, both.hard) == ("warn", False)
    assert both.why.startswith("neither labeler gets anything right on the 6 test images")
    one = run({"mixed": {"per_image": nothing}, "real": {"per_image": some}})["a labeler"]
    assert one.why.startswith("the labeler that was trained on synthetic data gets nothing right")
    assert "a labeler" not in run({"mixed": {"per_image": some}, "real": {"per_image": some}})
