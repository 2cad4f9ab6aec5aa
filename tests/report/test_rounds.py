"""The loop, round by round: what the page, the summary and report.json say of a history of rounds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from synthgen.errors import DataError
from synthgen.people import rounds
from synthgen.report import write_report
from synthgen.report.rounds import charts_of, in_words, loop_of, minutes, table_of
from synthgen.report.source import OnDisk, load_run
from synthgen.types import Json

Fabricate = Callable[..., Path]


def round_of(**more: Any) -> dict[str, Json]:
    """What a round holds beside its number and what it was made of."""
    return {
        "last": "2026-11-22T12:00:00Z", "answered": {"audit": 20, "others": 4, "simulated": 0},
        "minutes": {"all": 12.0, "by_action": {"answer": 12.0}, "untimed": 0},
        "by_hand": {"images": 20, "seconds": 61.2, "interval": [50.4, 73.2], "shown": False}, "pool": 500,
        "covered": 324, "labels": {"of": "objects", "accepted": 900, "to_review": 210, "ignored": 30},
        "certificate": {"certified": True, "accepted": 300, "bound": 0.0431, "max_error": 0.05, "confidence": 0.9,
                        "loss": 0.08},
        "test": {"n": 9, "ap50": {"value": 0.71, "interval": [0.6, 0.8]}}, "truth": None, **more,
    }  # fmt: skip


def four(folder: Path) -> None:
    """A loop of four rounds: nothing certified, then more and more."""
    refused = {"certified": False, "accepted": 0, "bound": None, "max_error": 0.05, "confidence": 0.9, "loss": 0.21}
    for k, more in enumerate((
        {"minutes": {"all": 8.0, "by_action": {"answer": 8.0}, "untimed": 0}, "certificate": refused, "covered": 20,
         "answered": {"audit": 20, "others": 0, "simulated": 0},
         "labels": {"of": "objects", "accepted": 60, "to_review": 1100, "ignored": 40}},
        {"certificate": {**refused, "loss": 0.14}, "covered": 24},
        {"minutes": {"all": 21.5, "by_action": {"answer": 8.0, "redraw": 13.5}, "untimed": 0}, "covered": 211,
         "answered": {"audit": 20, "others": 31, "simulated": 0},
         "certificate": {**round_of()["certificate"], "accepted": 160, "bound": 0.0497, "loss": 0.101}},
        {"minutes": {"all": 36.0, "by_action": {"answer": 8.0, "redraw": 28.0}, "untimed": 0}, "covered": 402,
         "answered": {"audit": 20, "others": 64, "simulated": 0},
         "certificate": {**round_of()["certificate"], "accepted": 318, "loss": 0.072}},
    )):  # fmt: skip
        more = {"last": f"2026-11-2{2 + k}T12:00:00Z", **more}
        rounds.add(folder / "people", {"decisions": str(k), "5-label": "k" * 64}, round_of(**more))


@pytest.mark.slow
def test_without_rounds_and_with_one_that_nobody_decided_anything_in_the_page_is_as_it_was(
    fabricate: Fabricate,
) -> None:
    folder = fabricate()
    before = write_report(load_run(folder)).read_bytes()
    assert b"Round by round" not in before
    rounds.add(folder / "people", {"decisions": "none"}, round_of(last=None))
    assert write_report(load_run(folder)).read_bytes() == before
    assert json.loads((folder / "report" / "report.json").read_text())["loop"] is None


@pytest.mark.slow
def test_four_rounds_are_four_rows_two_charts_and_a_sentence_in_page_summary_and_json(fabricate: Fabricate) -> None:
    folder = fabricate()
    four(folder)
    page = write_report(load_run(folder))
    text = page.read_text("utf-8")
    section = text[text.index('<section id="rounds">'):].partition("</section>")[0]
    assert section.count("<tr>") == 5
    assert section.count("<svg") == 2
    assert '<a href="#rounds">' in text
    told = ("So far 36 minutes of people&#39;s time for 84 images (20 of the audit, 64 outside it). In 402 of the "
            "pool&#39;s 500 images nothing waits for a person; 318 are certified: error at most 0.05 with 90 % "
            "confidence (for this part alone: 0.043). By hand the whole pool would take about 510 minutes (n = 20, "
            "95 % 420 to 610).")
    assert told in section
    assert "one look at the audit" in section
    summary = (folder / "report" / "summary.md").read_text("utf-8")
    assert "**Round by round**" in summary
    assert summary.count(" 12:00 |") == 4
    loop = json.loads((folder / "report" / "report.json").read_text())["loop"]
    assert [r["round"] for r in loop["rounds"]] == [1, 2, 3, 4]
    assert loop["by_hand"] == {"minutes": 510.0, "interval": [420.0, 610.0], "images": 20, "shown": False}
    assert not loop["unfinished"]


@pytest.mark.slow
def test_the_charts_are_against_minutes_or_against_rounds_where_nobody_spent_any(fabricate: Fabricate) -> None:
    folder = fabricate()
    four(folder)
    loop = loop_of(OnDisk(load_run(folder)))
    coverage, error = charts_of(loop)
    assert "minutes of people's time" in coverage.svg
    assert "dotted: by hand, all of them at 510 minutes" in coverage.note
    assert "round 3: 42 %; round 4: 80 %" in coverage.svg
    assert "round 3: 0.050; round 4: 0.043" in error.svg
    none = {"all": 0.0, "by_action": {}, "untimed": 0}
    still = {**loop, "rounds": [{**r, "minutes": none, "certificate": None} for r in loop["rounds"]]}
    (coverage,) = charts_of(still)
    assert "minutes of people" not in coverage.svg
    assert ">round<" in coverage.svg
    assert charts_of(loop)[0].svg == charts_of(loop)[0].svg


def test_a_row_shows_what_was_refused_what_was_simulated_and_what_nobody_asked_for() -> None:
    head, (first, second) = table_of([
        {"round": 1, **round_of(answered={"audit": 0, "others": 0, "simulated": 60}, last=None)},
        {"round": 2, **round_of(certificate=None, test=None)}])
    rows = [dict(zip(head, row, strict=True)) for row in (first, second)]
    assert rows[0]["audit answered"] == "60 simulated"
    assert rows[0]["last decision"] == "–"
    assert (rows[0]["certified"], rows[0]["error at most"]) == ("60 %", "0.043")
    assert (rows[1]["certified"], rows[1]["error at most"], rows[1]["test AP50"]) == ("–", "–", "–")
    assert "pool AP50, kept-aside truth" not in head
    assert "certified" not in table_of([{"round": 1, **round_of(certificate=None)}])[0]


@pytest.mark.parametrize(("pace", "said"), [
    ({"images": 0, "seconds": None, "interval": None, "shown": True}, "is not known: nobody was timed."),
    ({"images": 1, "seconds": None, "interval": None, "shown": True}, "1 answered image was timed, too few"),
    ({"images": 4, "seconds": None, "interval": None, "shown": True}, "4 answered images were timed, too few"),
    ({"images": 5, "seconds": 6.0, "interval": [3.0, 9.0], "shown": True},
     "about 50 minutes (n = 5, 95 % 25 to 75), and more from nothing: these people were shown pre-labels."),
    ({"images": 5, "seconds": 6.0, "interval": None, "shown": False}, "no interval: the minutes were shared out")])
def test_what_the_pool_would_take_by_hand_is_said_with_its_n_or_not_at_all(pace: Json, said: str) -> None:
    assert said in in_words(round_of(by_hand=pace))


def test_simulated_answers_are_named_and_take_nobody_s_time() -> None:
    text = in_words(round_of(answered={"audit": 0, "others": 0, "simulated": 60}, last=None,
                             minutes={"all": 0.0, "by_action": {}, "untimed": 0}))
    assert text.startswith("So far 0 minutes of people's time. The answers to the audit (60 images) are simulated")


def test_what_stands_beside_the_last_round_is_told_apart_from_it(fabricate: Fabricate) -> None:
    folder = fabricate()
    rounds.add(folder / "people", {"decisions": "a", "5-label": "other"}, round_of())
    text = write_report(load_run(folder)).read_text("utf-8")
    assert "it will be a round of its own" in text


def test_a_history_that_was_changed_by_hand_is_refused_with_its_line(fabricate: Fabricate) -> None:
    folder = fabricate()
    four(folder)
    path = folder / "people" / rounds.FILE
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], *lines[2:]]))
    with pytest.raises(DataError, match=r"rounds.jsonl:2: this line is no round"):
        write_report(load_run(folder))


def test_minutes_have_the_digits_that_mean_something() -> None:
    assert [minutes(m) for m in (0.0, 0.04, 0.5, 1.0, 1.26, 9.96, 12.3, 1510.2)] == [
        "0 minutes", "0.040 minutes", "0.50 minutes", "1.0 minute", "1.3 minutes", "10 minutes", "12 minutes",
        "1,510 minutes"]
