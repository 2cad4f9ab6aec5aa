"""What a person sees of long work where there is no terminal, and the summary at its end."""

from __future__ import annotations

from pathlib import Path

import pytest

from synthgen.cli import progress, run
from synthgen.cli.common import WIDTH
from synthgen.cli.progress import EVERY, Watch
from synthgen.hearing import FileSay
from synthgen.types import Json
from synthgen.work import Events


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def test_each_of_two_trainings_side_by_side_tells_how_far_it_is(
    tmp_path: Path, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    watch = Watch(tmp_path)
    for second in range(0, int(2 * EVERY) + 8, 2):
        clock.now = float(second)
        watch("train mixed", second, 300)
        watch("train seed-only", second / 2, 300)
    told = capsys.readouterr().err
    assert told.count("train mixed: ") == told.count("train seed-only: ") == 2
    assert "train mixed: 32 of 300, 1.0/s, 4:28 left" in told


def test_warnings_of_this_run_are_said_once_and_those_before_it_never(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    events = Events(tmp_path / "events.jsonl")
    events.add("warning", why="long ago")
    watch = Watch(tmp_path)
    watch.look()
    events.add("make", unit="3-mix", why="new")
    Events(tmp_path / "events.jsonl").add("warning", why="eleven labels of debris")  # by another process
    watch.look()
    watch.warn()
    assert " ".join(capsys.readouterr().err.split()) == "note: eleven labels of debris"


def test_what_a_child_said_long_ago_is_not_told_again(
    tmp_path: Path, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    child = FileSay(tmp_path / ".progress")
    child.folder.mkdir()
    watch = Watch(tmp_path)
    child("classes of the pool", 2, 0)
    for second in range(int(4 * EVERY)):
        clock.now = float(second)
        child("train flow", second, 600)
        watch.look()
    told = capsys.readouterr().err
    assert "classes of the pool" not in told
    assert told.count("train flow: ") == 3


def _measured(check: str, verdict: str, hard: bool, why: str) -> Json:
    return {"check": check, "name": "x", "verdict": verdict, "hard": hard, "why": why, "value": 1.0, "remedy": ""}


def test_the_summary_wraps_and_shortens_what_does_not_refuse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "report" / "index.html"
    page.parent.mkdir()
    (page.parent / "report.json").write_text(
        '{"certificate": null, "loop": null, "left_out": {"quarantine": {}}, "state": "refused",'
        ' "synthetic": {"kept": 3}}'
    )
    long = "words that go on " * 12
    verdict = {
        "verdict": "fail",
        "test": {},
        "pool": None,
        "measurements": [
            _measured("copying", "fail", True, f"{long}; a second clause; a third clause"),
            _measured("drift", "fail", False, "sizes differ; by much; a third clause"),
            _measured("drift", "pass", False, "places agree"),
        ],
    }
    run.summarise(verdict, tmp_path, page, 61.0)
    told = capsys.readouterr().err.splitlines()
    assert max(map(len, told)) <= WIDTH + len(str(tmp_path))  # paths are never broken
    whole = " ".join(" ".join(told).split())
    assert "copying: words that go on" in whole
    assert "a second clause; a third clause" in whole
    assert "warn drift: 1 beyond the bound, 1 pass; sizes differ report" in whole
    assert "done in 1 min 1 s" in told[-1]
