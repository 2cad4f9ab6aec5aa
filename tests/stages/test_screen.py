"""The gate's first place: bad samples are taken out and the rest is judged anew; a bad generator costs no training."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import numpy as np
import pytest
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from synthgen import plugins
from synthgen.cli import main
from synthgen.report.source import OnDisk, load_run
from synthgen.run import job_of
from synthgen.stages import export, screen
from synthgen.types import Sample

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _spoiler(install: Any) -> None:
    """A generator whose every `nth` sample has a box that is not its mask's."""
    copies = plugins.find("generators", "copies")

    @dataclass(kw_only=True, config=ConfigDict(extra="forbid"))
    class Spoiler(copies):  # type: ignore[misc, valid-type]
        nth: int = 20

        def sample(self, seeds: Sequence[int]) -> Iterator[Sample]:
            for seed, sample in zip(seeds, super().sample(seeds), strict=True):
                labels = sample.labels
                image = np.clip(sample.image // 2 + seed % 97, 0, 255).astype(np.uint8)
                image[seed % 31, seed % 29] = seed % 251
                spoilt = (seed >> 8) % self.nth == 0  # the low bits tell renderings of one layout apart
                yield Sample(sample.id, image, replace(labels, boxes=labels.boxes + spoilt), sample.origin)

    install("generators", "spoiler", Spoiler)


def spoilt(project: Any, nth: int, **evaluate: Any) -> None:
    project.change(generate=[{"name": "a", "use": "spoiler", "count": 40, "nth": nth}],
                   evaluate={"permutations": 19, "gate": [{"check": "integrity"}], **evaluate})


def test_flagged_samples_are_taken_out_with_reason_and_what_remains_is_judged(project: Any) -> None:
    spoilt(project, 30)
    verdict = project.run()
    assert verdict["verdict"] != "fail", [m["why"] for m in verdict["measurements"] if m["verdict"] == "fail"]
    job = job_of(project.load())
    listed = project.run_folder / "2-screen/quarantine/quarantine.jsonl"
    out = [json.loads(line) for line in listed.read_text().splitlines()]
    assert 1 <= len(out) <= 4
    assert all("box" in row["reason"] for row in out)
    early = project.json("2-screen/verdict/verdict.json")
    before = {m["name"]: m["verdict"] for m in project.json("2-screen/quarantine/before.json")}
    after = {m["name"]: m["verdict"] for m in early["measurements"]}
    assert (before["box of mask"], after["box of mask"], after["taken out"]) == ("fail", "pass", "pass")
    gone = {row["id"] for row in out}
    assert not gone & {s.id for s in screen.kept(job)}
    assert not gone & {row["id"] for row in project.json("3-mix/index.json")["samples"]}
    writer = plugins.build("formats", "coco", {})
    assert not gone & {sample.id for _, sample in export.everything(job, writer)}
    shown = OnDisk(load_run(project.run_folder)).kept()["a"]
    assert len(shown) == 40 - len(out)


def test_a_generator_that_loses_over_a_tenth_is_refused_before_anything_is_trained(
    project: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    spoilt(project, 3)
    assert main(["run", str(project.recipe)]) == 4
    assert not (project.run_folder / "4-train").exists()
    said = capsys.readouterr().err
    assert "were taken out after generation" in said
    assert "more than evaluate.max_quarantine = 0.1" in said
    page = (project.run_folder / "report" / "index.html").read_text()
    assert "evaluate.max_quarantine" in page
    assert main(["gate", str(project.run_folder)]) == 4
    assert main(["gate", str(project.recipe)]) == 4
    spoilt(project, 3, max_quarantine=0.6)
    assert main(["run", str(project.recipe)]) == 0
    spoilt(project, 3)
    assert main(["run", str(project.recipe)]) == 4
    assert not list((project.run_folder / "7-export").glob("*/*")), "an export of the earlier run is not of these data"
    assert main(["gate", str(project.run_folder)]) == 4, "what an earlier run was told is not what this one is"


def waiver(**changes: Any) -> dict[str, Any]:
    day = date.today() + timedelta(days=changes.pop("days", 30))
    return {"check": "integrity", "reason": "boxes are not used by us", "until": day.isoformat(), "by": "A. Person",
            **changes}


def test_who_answers_for_the_losses_trains_on_the_rest(project: Any) -> None:
    spoilt(project, 3, waivers=[waiver(check="quarantine")])
    assert project.run()["verdict"] == "warn"
    assert project.json("3-mix/summary.json")["synthetic"] < 36


def test_a_waiver_turns_a_refusal_into_a_warning_until_its_day(project: Any) -> None:
    spoilt(project, 3, waivers=[waiver(check="quarantine")])
    verdict = project.run()
    (lost,) = [m for m in verdict["measurements"] if m["check"] == "quarantine"]
    assert (verdict["verdict"], lost["verdict"]) == ("warn", "waived")
    assert "waived until" in lost["why"]
    assert "by A. Person: boxes are not used by us" in lost["why"]
    spoilt(project, 3, waivers=[waiver(check="quarantine", days=-1)])
    verdict = project.run()
    assert verdict["verdict"] == "fail"
    (lost,) = [m for m in verdict["measurements"] if m["check"] == "quarantine"]
    assert "the waiver of A. Person ended on" in lost["why"]


def test_a_waiver_names_one_measurement_and_no_error(project: Any) -> None:
    spoilt(project, 3, waivers=[waiver(check="quarantine", name="something else")])
    assert project.run()["verdict"] == "fail"


def test_nothing_is_screened_twice(project: Any) -> None:
    spoilt(project, 30)
    project.run()
    project.run()
    assert project.made == {}
    project.run("evaluate.max_quarantine=0.2")
    assert project.made.keys() == {"2-screen/verdict", "6-evaluate", "7-export/coco", "7-export/yolo"}
    assert project.made["2-screen/verdict"] == "changed: max_quarantine: 0.1 → 0.2"
