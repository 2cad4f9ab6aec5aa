"""The verdict rule, and that a check which breaks refuses instead of passing."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest

from synthgen import checks
from synthgen.checks import run_checks, verdict_of
from synthgen.types import Evidence, Measurement


@pytest.fixture
def nothing():
    return Evidence((), (), (), (), ("a",), "instances", {})


def measured(verdict, hard=False, value=1.0):
    return Measurement("c", "n", verdict, value, "", "", hard=hard)


@pytest.mark.parametrize(("verdict", "hard", "warn", "fail"), [
    ("pass", True, "pass", "pass"), ("pass", False, "pass", "pass"), ("warn", True, "warn", "warn"),
    ("fail", True, "fail", "fail"), ("fail", False, "warn", "warn"), ("error", False, "fail", "fail"),
    ("inconclusive", True, "warn", "fail"), ("inconclusive", False, "warn", "warn"),
    ("skipped", True, "warn", "fail"), ("skipped", False, "warn", "warn")])
def test_the_verdict_of_one_measurement(verdict, hard, warn, fail):
    assert verdict_of([measured(verdict, hard)], "warn") == warn
    assert verdict_of([measured(verdict, hard)], "fail") == fail


def test_the_worst_measurement_decides_and_none_is_no_pass():
    assert verdict_of([measured("pass"), measured("warn"), measured("fail", True)]) == "fail"
    assert verdict_of([]) == "warn"


def test_a_crash_inside_a_check_fails_closed_and_stops_no_other(nothing):
    def broken(evidence, rng):
        raise KeyError("spectrum")

    found = run_checks([("one", broken), ("two", lambda e, r: [measured("pass")])], nothing, 7)
    assert [m.verdict for m in found] == ["error", "pass"]
    assert found[0].hard
    assert "KeyError: 'spectrum'" in found[0].why
    assert verdict_of(found) == "fail"


@pytest.mark.parametrize("returned", [None, [None], "pass", [("pass", 1.0)], 3])
def test_what_is_no_measurement_is_an_error(nothing, returned):
    (found,) = run_checks([("odd", lambda e, r: returned)], nothing, 7)
    assert (found.verdict, found.hard) == ("error", True)


def test_an_interrupt_is_not_swallowed(nothing):
    def stopped(evidence, rng):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_checks([("one", stopped)], nothing, 7)


def test_nothing_measured_and_nan_have_not_passed(nothing):
    unknown = measured("pass", value=math.nan)
    found = run_checks([("silent", lambda e, r: []), ("unknown", lambda e, r: [unknown])], nothing, 7)
    assert [m.verdict for m in found] == ["skipped", "error"]


def test_a_check_draws_the_same_whatever_else_runs(nothing):
    def draw(evidence, rng):
        return [measured("pass", value=float(rng.random()))]

    alone = run_checks([("b", draw)], nothing, 7)
    beside = run_checks([("a", draw), ("b", draw)], nothing, 7)
    assert beside[1].value == alone[0].value != beside[0].value
    assert run_checks([("b", draw)], nothing, 8)[0].value != alone[0].value


def test_judging_needs_the_whole_interval_and_enough_images():
    assert checks.judge((0.1, 0.5), 0.5, (5, 9)) == "pass"
    assert checks.judge((0.51, 0.9), 0.5, (5, 9)) == "fail"
    assert checks.judge((0.4, 0.6), 0.5, (5, 9)) == "inconclusive"
    assert checks.judge((0.1, 0.2), 0.5, (4, 900)) == "inconclusive"
    assert checks.judge((0.0, math.inf), 0.5, (9, 9)) == "inconclusive"


def test_the_images_needed_shrink_the_interval_into_the_room():
    assert checks.images_needed(20, 0.2, 0.1) == 80
    assert checks.images_needed(20, 0.1, 0.1) == 21
    assert checks.images_needed(20, 0.1, 0.0) is None
    assert checks.images_needed(20, math.inf, 0.1) is None
    assert "4 images" in checks.caution(4)
    assert checks.caution(5) == ""


def test_json_has_no_nan():
    m = dataclasses.replace(measured("error", value=math.nan), interval=(0.0, math.inf), worst=("a",))
    value = json.loads(json.dumps(checks.as_json(m), allow_nan=False))
    assert (value["value"], value["interval"], value["worst"]) == (None, [0.0, None], ["a"])


def test_the_plugins_are_where_the_entry_points_say():
    import importlib
    import tomllib
    from pathlib import Path

    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    for target in project["project"]["entry-points"]["synthgen.checks"].values():
        module, name = target.split(":")
        check = getattr(importlib.import_module(module), name)
        assert check() == check()
        for field in dataclasses.fields(check):
            assert check.__pydantic_fields__[field.name].description, (name, field.name)
        with pytest.raises(ValueError):
            check(bound=3)


