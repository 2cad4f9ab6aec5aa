"""Label errors in the line: made from out-of-fold answers, where there are any; nothing is changed by them."""

from __future__ import annotations

from typing import Any

from synthgen.run import job_of
from synthgen.stages import errors, ingest


def test_errors_are_ranked_of_every_seed_image_and_made_once(project: Any) -> None:
    project.run(until="errors")
    rows, facts = project.json("5-errors/errors.json"), project.json("5-errors/summary.json")
    seed = ingest.part(job_of(project.load()), "seed")
    assert facts["images"] == len(seed)
    assert [r["score"] for r in rows] == sorted(r["score"] for r in rows)
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
