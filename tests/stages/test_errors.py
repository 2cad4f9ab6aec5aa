"""Label errors in the line: made from out-of-fold answers, where there are any; nothing is changed by them."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from synthgen.cli import main
from synthgen.metrics.label_errors import ranked
from synthgen.report import write_report
from synthgen.report.suspects import Suspects
from synthgen.run import job_of
from synthgen.stages import errors, ingest


@pytest.mark.slow
def test_errors_are_ranked_of_every_seed_image_and_made_once(project: Any) -> None:
    project.run(until="errors")
    rows, facts = project.json("5-errors/errors.json"), project.json("5-errors/summary.json")
    seed = ingest.part(job_of(project.load()), "seed")
    assert facts["images"] == len(seed)
    assert rows == ranked(rows[::-1])
    assert {r["id"] for r in rows} <= {e.id for e in seed.entries}
    before = (project.run_folder / "5-errors/errors.json").read_bytes()
    project.run(until="errors")
    assert "5-errors" not in project.made
    (project.run_folder / "5-errors/done.json").unlink()
    project.run(until="errors")
    assert (project.run_folder / "5-errors/errors.json").read_bytes() == before


def test_without_folds_or_when_it_is_off_there_is_no_unit(project: Any) -> None:
    assert [u.name for u in errors.units(job_of(project.load()))] == ["5-errors"]
    assert errors.units(job_of(project.load("label.errors=false"))) == []
    assert errors.units(job_of(project.load("train.calibration_folds=0"))) == []
    assert errors.units(job_of(project.load("train.calibration_folds=1"))) == []


@pytest.mark.slow
def test_the_command_prints_the_table_and_the_report_shows_it(project: Any, capsys: Any) -> None:
    project.run(until="errors")
    rows = project.json("5-errors/errors.json")
    assert main(["errors", str(project.run_folder), "-n", "3"]) == 0
    table = capsys.readouterr().out.splitlines()
    assert table[0].split() == ["file", "object", "kind", "score", "given", "suggested"]
    assert len(table) == 1 + min(3, len(rows))
    assert main(["errors", str(project.run_folder), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [{k: v for k, v in row.items() if k != "file"} for row in shown] == rows[:20]
    page = write_report(job_of(project.load())).read_text()
    assert "labels that look wrong" in page
    assert "These are proposals" in page


@pytest.mark.slow
def test_a_label_that_was_planted_wrong_is_on_top_and_stays_in_the_seed(project: Any, capsys: Any) -> None:
    file = project.folder / "seed" / "annotations.json"
    if not file.exists():
        file = next(project.folder.rglob("*seed*/**/*.json"))
    truth = json.loads(file.read_text())
    gone = max(truth["annotations"], key=lambda a: a["area"])
    truth["annotations"].remove(gone)
    file.write_text(json.dumps(truth))
    project.run(until="errors")
    rows = project.json("5-errors/errors.json")
    x, y, w, h = gone["bbox"]
    about = [r for r in rows if r["kind"] == "overlooked"
             and np.allclose(r["suggested"]["box"], (x, y, x + w, y + h), atol=4)]
    assert about
    assert sum(len(s.labels) for s in ingest.part(job_of(project.load()), "seed")) == len(truth["annotations"])


@pytest.mark.slow
def test_without_errors_the_command_says_what_to_change(project: Any, capsys: Any) -> None:
    project.run("label.errors=false", until="train")
    assert main(["errors", str(project.run_folder)]) == 3
    assert "label.errors: true" in capsys.readouterr().err


def test_where_most_labels_are_in_doubt_those_who_judge_them_are() -> None:
    assert "are to be doubted first" in Suspects((), 6, 10, 2).caution
    assert Suspects((), 5, 10, 2).caution == ""
