"""The gate's rows, what they mean for the verdict, and the sentences about what they cannot show."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from synthgen.report import gate
from synthgen.report.junit import junit
from synthgen.report.limits import limits
from synthgen.types import Json

Measured = Callable[..., Json]
WAIVER = {"check": "realism", "name": "", "reason": "colour is known to differ", "until": "2027-01-31", "by": "Ann"}


def facts(measurements: list[Json], **more: Any) -> dict[str, Any]:
    """What `limits` reads of a run that was judged."""
    return {"data": {"seed": {"images": 40}, "test": {"images": 30}}, "verdict": "warn", "synthetic": {"kept": 9},
            "measurements": measurements, "label": None, "scores": {"test": {}, "pool": None}, "waivers": [],
            "benchmark": None, **more}


def test_a_failed_check_that_cannot_refuse_is_a_warning_whose_bound_was_missed(measured: Measured) -> None:
    soft, hard = measured("drift", "size", "fail", "far off"), measured("drift", "size", "fail", "far off", hard=True)
    assert (gate.meaning(soft), gate.meant(soft)) == ("warn", "warn, bound missed")
    assert (gate.meaning(hard), gate.meant(hard)) == ("fail", "fail")
    reason = {"verdict": "fail", "check": "drift", "text": "Far off."}
    assert gate.softened([reason], [soft]) == [{**reason, "verdict": "warn", "missed": True}]
    assert gate.softened([reason], [soft, hard]) == [{**reason, "verdict": "fail", "missed": False}]


def test_a_check_shows_its_worst_row_whatever_order_they_were_measured_in(measured: Measured) -> None:
    rows = [measured("drift", "a", "pass", ""), measured("drift", "b", "warn", "", value=0.1),
            measured("drift", "c", "warn", "", value=0.4), measured("drift", "d", "inconclusive", "")]
    for order in itertools.permutations(rows):
        (group,) = gate.groups(order)
        assert group["head"]["name"] == "c"
        assert [m["name"] for m in group["rest"]] == ["b", "d", "a"]
        assert group["tally"] == "1 warn, 1 inconclusive, 1 pass"
        assert not group["passed"]


def test_what_refuses_stands_before_a_larger_miss_that_does_not(measured: Measured) -> None:
    (group,) = gate.groups([measured("labels", "soft", "fail", "", value=9.0),
                            measured("labels", "hard", "fail", "", value=0.1, hard=True)])
    assert group["head"]["name"] == "hard"
    assert group["tally"] == "1 warn"


def test_checks_keep_the_gates_order_and_numbers_for_readers_stand_apart(measured: Measured) -> None:
    rows = [measured("b", "x", "pass", ""), measured("a", "y", "fail", ""), measured("b", "z", "info", "")]
    assert [(g["check"], len(g["rest"]), g["passed"]) for g in gate.groups(rows)] == [("b", 0, True), ("a", 0, False)]
    assert [m["name"] for m in gate.for_readers(rows)] == ["z"]


def test_every_measurement_stands_in_one_place(measured: Measured) -> None:
    words = ("pass", "warn", "fail", "inconclusive", "error", "skipped", "waived", "info")
    rows = [measured(check, f"{check} {word}", word, "") for check in ("a", "b", "utility") for word in words]
    shown = [m for g in gate.groups(rows) for m in (g["head"], *g["rest"])] + gate.for_readers(rows)
    assert sorted(m["name"] for m in shown) == sorted(m["name"] for m in rows)


def test_a_waiver_is_in_force_where_the_verdict_says_so_and_not_by_todays_date(measured: Measured) -> None:
    held = measured("realism", "x", "waived", "told (warn, waived until 2027-01-31 by Ann: colour is known to differ)")
    ended = measured("realism", "x", "warn", "told (the waiver of Ann ended on 2027-01-31)")
    assert gate.waivers_in_force([held], [WAIVER]) == [{**WAIVER, "waived": ["x"]}]
    assert gate.waivers_in_force([ended], [WAIVER]) == []
    assert gate.waivers_in_force([held], [{**WAIVER, "by": "Bob"}]) == []
    assert gate.waivers_in_force([held], [{**WAIVER, "name": "y"}]) == []
    assert gate.waivers_in_force([held], [{**WAIVER, "check": "drift"}]) == []


def test_the_limits_name_the_smallest_detectable_auc_and_how_many_images_it_rests_on(measured: Measured) -> None:
    rows = [measured("realism", "seed against pool", "pass", "", unit="AUC", detectable=0.51),
            measured("realism", "spectrum: synthetic against pool", "pass", "", unit="AUC", detectable=0.66,
                     n=[35, 20]),
            measured("realism", "spectrum: MMD², synthetic against pool", "pass", "", unit="MMD²", detectable=0.1)]
    (text,) = (t for t in limits(facts(rows)) if "AUC" in t)
    assert text.startswith("With 35 synthetic and 20 real images the smallest detectable AUC is 0.66 (0.5:")
    rows.append(measured("realism", "encoder: synthetic against pool", "pass", "", unit="AUC", detectable=0.7))
    assert any("smallest detectable AUC is 0.66 to 0.70, depending on the features" in t for t in limits(facts(rows)))


def test_the_limits_name_waivers_with_who_answers_until_when_and_why(measured: Measured) -> None:
    found = limits(facts([], waivers=[{**WAIVER, "waived": ["x", "y"]}]))
    assert found[-1].startswith("Waived: realism (2 measurements). Ann answers for it until 2027-01-31: colour is")
    found = limits(facts([], waivers=[{**WAIVER, "name": "x", "waived": ["x"]}]))
    assert found[-1].startswith("Waived: realism, x. Ann")


def test_the_limits_name_what_was_not_measured_and_what_stayed_open(measured: Measured) -> None:
    rows = [measured("copying", "near copies", "skipped", "not checked: it needs 29 pool images; name more"),
            measured("drift", "size", "inconclusive", ""), measured("drift", "count", "inconclusive", ""),
            measured("utility", "ap50", "inconclusive", "")]
    found = limits(facts(rows))
    assert "Not measured, which is not the same as passed: copying, near copies (it needs 29 pool images)." in found
    assert any(t.startswith("Too few images to decide either way: drift (2), utility.") for t in found)
    many = limits(facts([measured(f"c{k}", f"c{k}", "skipped", "why") for k in range(9)]))
    assert many[-1].endswith("c5 (why); and 3 more.")


@pytest.mark.parametrize(("benchmark", "said"), [
    (None, "synthgen benchmark trains from several"),
    ({"seeds": 5}, "The benchmark below trained from 5 random seeds."),
    ({"seeds": 1}, "trained from 1 random seed.")])
def test_the_limits_say_from_how_many_random_seeds_was_trained(benchmark: Json, said: str) -> None:
    scores = {"test": {"mixed": {"n": 30}}, "pool": None}
    assert any(said in t for t in limits(facts([], scores=scores, benchmark=benchmark)))


def test_a_number_for_readers_is_no_skipped_case_for_build_servers(measured: Measured) -> None:
    text = junit("run", [measured("realism", "FID", "info", "866"), measured("drift", "size", "fail", "off")], "warn")
    assert 'skipped="1"' in text
    assert "866" in text
    assert text.count("<skipped") == 1
