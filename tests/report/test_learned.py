"""How a generator learned, as the report shows it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from synthgen.neural.watch import Watch
from synthgen.overlay import Stretch
from synthgen.report.learned import learned
from synthgen.report.page import environment
from synthgen.report.source import OnDisk, load_run
from synthgen.store import write_all, write_json
from synthgen.testing import tiny_context, tiny_real


@pytest.fixture
def folder(fabricate) -> Path:  # type: ignore[no-untyped-def]
    run: Path = fabricate()
    unit = run / "1-fit" / "paste"
    unit.mkdir(parents=True)
    watch = Watch(tiny_real(4), tiny_real(6, seed=5), tiny_context(unit), (64, 80))
    for step in (100, 200):
        samples = tiny_real(5, seed=step)
        watch.look(step, samples)
        write_all(unit / "looked" / f"{step:06d}", samples)
    watch.write(unit, "copying: at step 200 <b>")
    write_json(unit / "done.json", {"key": "k" * 64, "needs": {}})
    lock = OnDisk(load_run(run)).lock
    write_json(run / "recipe.lock.json", {**lock, "units": {**lock["units"], "1-fit/paste": "k" * 64}})
    return run


def test_the_curves_that_were_measured_and_the_same_samples_over_the_steps_are_shown(folder: Path) -> None:
    (found,) = learned(OnDisk(load_run(folder)), Stretch())
    assert (found.name, found.best) == ("paste", 200)
    assert [chart.title for chart in found.charts] == ["Distance from the seed", "Variety"], "nobody was asked"
    (group,) = found.groups
    assert group.title == ""
    assert "100, 200 steps" in group.note
    assert len(group.figures) == 4
    (strip,) = group.figures[0].pictures
    assert strip.width > 2 * strip.height, "labels, then two looks, side by side"


def test_the_page_says_which_step_was_taken_and_why_it_ended_and_escapes_it(folder: Path) -> None:
    from synthgen.report import write_report

    write_report(load_run(folder))
    page = (folder / "report" / "index.html").read_text()
    assert "How paste learned to paint" in page
    assert "The weights of step 200 were taken" in page
    assert "Training ended early: copying: at step 200 &lt;b&gt;" in page


def test_a_strip_is_never_wider_than_its_place(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from synthgen.report import write_report

    monkeypatch.setitem(environment().globals, "strip_width", 100)  # narrower than three pictures side by side
    write_report(load_run(folder))
    widths = re.findall(r"--w: ([\d.]+)%", (folder / "report" / "index.html").read_text())
    assert widths
    assert set(widths) == {"100.0"}


def test_generators_that_learn_nothing_have_no_curves(fabricate) -> None:  # type: ignore[no-untyped-def]
    assert learned(OnDisk(load_run(fabricate())), Stretch()) == ()
