"""Rounds of a line: a completed run with other decisions or labels than the one before is one, and nothing else is."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from typing import Any

import pytest

from synthgen.cli import main
from synthgen.errors import WaitingForPeople
from synthgen.images import hash_image
from synthgen.people.decisions import Decision, Decisions
from synthgen.people.rounds import rounds
from synthgen.report import write_report
from synthgen.report.source import load_run
from synthgen.run import job_of
from synthgen.stages import ingest
from synthgen.testing import tiny_real
from synthgen.types import Json, Sample

pytestmark = pytest.mark.slow


def rounds_of(project: Any) -> list[dict[str, Json]]:
    return rounds(project.run_folder / "people")


def answer(project: Any, samples: list[Sample], seconds: float, at: str) -> None:
    truth = {hash_image(s.image): s.labels for s in tiny_real(5, seed=2)}
    people = Decisions(project.run_folder / "people")
    for s in samples:
        labels = truth[hash_image(s.image)]
        assert labels is not None
        people.append(Decision(hash_image(s.image), s.id, replace(labels, reviewed="human"), "ann", at, seconds,
                               "review", "answer"))


@pytest.fixture
def halves(project: Any) -> tuple[list[Sample], list[Sample]]:
    """The images of the audit, in whose answers nothing is learned, and the others; the run waits for people."""
    project.change(label={"tta": False, "accept": 0.5, "ignore": 0.1, "certify": {"max_error": 0.9},
                          "audit": {"images": 3, "answers": "people"}})
    with pytest.raises(WaitingForPeople):
        project.run()
    job = job_of(project.load())
    pool, drawn = ingest.part(job, "pool"), ingest.audited(job)
    return [pool[k] for k in drawn], [pool[k] for k in range(len(pool)) if k not in drawn]


def test_two_rounds_with_answers_in_between_are_two_rows_and_a_third_run_adds_none(
    project: Any, halves: tuple[list[Sample], list[Sample]], capsys: pytest.CaptureFixture[str]
) -> None:
    audit, others = halves
    assert rounds_of(project) == []                     # a run that waits for people is not completed
    answer(project, audit, 60.0, "2026-01-01T10:00:00Z")
    project.run()
    answer(project, others, 30.0, "2026-01-02T10:00:00Z")
    project.run(until="evaluate")
    assert len(rounds_of(project)) == 1                 # nor is one that was told to stop
    project.run()
    written = (project.run_folder / "people" / "rounds.jsonl").read_bytes()
    first, second = rounds_of(project)
    assert first["answered"] == {"audit": 3, "others": 0, "simulated": 0}
    assert second["answered"] == {"audit": 3, "others": 2, "simulated": 0}
    assert [r["minutes"]["all"] for r in (first, second)] == [3.0, 4.0]
    assert [r["last"] for r in (first, second)] == ["2026-01-01T10:00:00Z", "2026-01-02T10:00:00Z"]
    assert (first["by_hand"]["seconds"], second["by_hand"]["seconds"]) == (None, 48.0)
    assert first["made_of"]["5-label"] != second["made_of"]["5-label"]     # it was trained anew
    assert second["pool"] == second["covered"] == 5
    assert second["certificate"]["certified"] is project.json("5-certify/certificate.json")["certified"]
    assert second["test"] == project.json("6-evaluate/verdict.json")["test"]["mixed"]
    project.run()
    shutil.rmtree(project.run_folder / "5-label")       # made again, of the same: no new round
    project.run()
    assert (project.run_folder / "people" / "rounds.jsonl").read_bytes() == written
    page = write_report(load_run(project.run_folder)).read_text("utf-8")
    assert "Round by round" in page
    assert "By hand the whole pool would take about 4.0 minutes (n = 5, 95 % " in page
    capsys.readouterr()
    # The summary on the command line says where the loop stands.
    assert main(["run", str(project.recipe)]) == 0
    assert "round 2  So far 4.0 minutes of people's time for 5 images" in capsys.readouterr().err
    # An old folder has no history: it reports as before.
    (project.run_folder / "people" / "rounds.jsonl").unlink()
    assert "Round by round" not in write_report(load_run(project.run_folder)).read_text("utf-8")


def test_a_run_that_is_killed_on_its_way_is_no_round_until_the_same_command_has_ended(
    project: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from synthgen.stages import export

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(export, "write", killed)
        with pytest.raises(KeyboardInterrupt):
            project.run()
    assert (project.run_folder / "6-evaluate").is_dir()
    assert rounds_of(project) == []
    project.run()
    (only,) = rounds_of(project)
    # Nobody decided anything: it is kept as the first round, and the report says nothing of it.
    assert (only["last"], only["minutes"]["all"], only["certificate"]) == (None, 0, None)
    write_report(load_run(project.run_folder))
    assert json.loads((project.run_folder / "report" / "report.json").read_text())["loop"] is None


def test_what_is_no_other_label_decision_or_score_is_no_other_round(project: Any) -> None:
    project.run()
    project.run("evaluate.permutations=29", "export=[yolo]")
    assert len(rounds_of(project)) == 1
    project.run("label.accept=0.9")
    first, second = rounds_of(project)
    assert first["labels"]["accepted"] > second["labels"]["accepted"]
    assert second["covered"] <= first["covered"]


def test_simulated_answers_are_counted_as_such_and_take_no_minutes(project: Any) -> None:
    from synthgen import plugins

    truth = project.folder / "truth"
    plugins.build("formats", "coco", {}).write(tiny_real(5, seed=2), truth, ["class 0", "class 1"])
    recipe = json.loads(project.recipe.read_text())
    project.change(data={**recipe["data"], "pool_truth": {"path": "truth", "format": "coco"}},
                   label={"tta": False, "certify": {"max_error": 0.9}, "audit": {"images": 3, "answers": "simulated"}})
    project.run()
    (only,) = rounds_of(project)
    assert only["answered"] == {"audit": 0, "others": 0, "simulated": 3}
    assert only["minutes"]["all"] == 0
    assert only["truth"]["simulated_truth"] is True


def test_without_a_pool_and_with_a_refusal_after_generation_there_is_no_round(project: Any) -> None:
    recipe = json.loads(project.recipe.read_text())
    project.change(data={k: v for k, v in recipe["data"].items() if k != "pool"})
    project.run()
    assert not (project.run_folder / "people").exists()
    project.change(data=recipe["data"], generate=[{"name": "a", "use": "copies", "count": 40, "bad_box": True}],
                   evaluate={"permutations": 19, "gate": [{"check": "integrity"}]})
    assert project.run()["verdict"] == "fail"
    assert not (project.run_folder / "5-label").exists()
    assert rounds_of(project) == []
