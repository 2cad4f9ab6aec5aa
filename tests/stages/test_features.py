"""Feature extractors in a run: what each verdict says of them, and what is remade when one changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from synthgen.compare import Side, compare
from synthgen.errors import DataError
from synthgen.features import comparable
from synthgen.recipe.schema import Features
from synthgen.run import job_of, plan

GATE = [{"check": "integrity"}, {"check": "diversity"}]
SSL = {"use": "pool-ssl", "steps": 2, "batch": 2, "crop": 24}
VERDICTS = ("2-screen/verdict/verdict.json", "6-evaluate/verdict.json")


def evaluate(*features: Any) -> dict[str, Any]:
    return {"permutations": 19, "gate": GATE, "features": list(features)}


def names(verdict: Any) -> dict[str, list[str]]:
    """Which measurements of realism speak of which family."""
    return {family: [m["name"] for m in verdict["measurements"] if f"{family} features" in m["why"]]
            for family in verdict["extractors"]}


@pytest.mark.slow
def test_both_verdicts_say_what_made_every_family_and_only_the_last_has_the_labelers(project: Any) -> None:
    project.change(evaluate={"permutations": 19, "gate": [{"check": "realism"}]})
    project.run("generate.a.count=24")
    early, last = (project.json(path) for path in VERDICTS)
    assert list(early["extractors"]) == ["spectrum", "handcrafted"]
    assert list(last["extractors"]) == ["spectrum", "handcrafted", "encoder"]
    assert last["extractors"]["encoder"]["id"] == "labeler"
    assert all(about["side"] == 64 and about["extractor"].startswith(about["id"] + "@")
               for about in last["extractors"].values())
    assert all(found for found in names(last).values()), "every family was measured by"
    comparable(early, last)


def planned(project: Any, *overrides: str) -> set[str]:
    """The units that would be made, exports aside."""
    steps = plan(job_of(project.load(*overrides)))
    return {step.unit for step in steps if step.why is not None and not step.unit.startswith("7-export")}


@pytest.mark.slow
def test_an_extractor_learns_once_and_its_options_remake_nothing_but_what_looks_through_it(project: Any) -> None:
    project.change(evaluate=evaluate("spectrum", SSL))
    project.run()
    assert "2-features/pool-ssl" in project.made
    early, last = (project.json(path) for path in VERDICTS)
    assert early["extractors"] == last["extractors"]
    before = (project.run_folder / VERDICTS[0]).read_bytes()
    assert planned(project) == set()
    assert planned(project, "evaluate.features.1.steps=3") == {
        "2-features/pool-ssl", "2-screen/verdict", "6-evaluate"}
    assert planned(project, "evaluate.features=[spectrum]") == {"2-screen/verdict", "6-evaluate"}
    assert "2-features/pool-ssl" not in planned(project, "generate.a.count=10", "seed=8")

    project.run("evaluate.features.1.steps=3", until="screen")
    with pytest.raises(DataError, match=r"pool-ssl features were made by .* another weights"):
        comparable(last, project.json(VERDICTS[0]))
    project.run(until="screen")
    assert (project.run_folder / VERDICTS[0]).read_bytes() == before, "to the byte as it was"


@pytest.mark.slow
def test_few_pool_images_are_a_warning_in_words_which_can_be_waived(project: Any) -> None:
    project.change(evaluate=evaluate("spectrum", SSL))
    project.run()
    for path in VERDICTS:
        (found,) = [m for m in project.json(path)["measurements"] if m["check"] == "features"]
        assert (found["verdict"], found["value"]) == ("warn", 5.0)
        assert "random crops of only 5 pool images" in found["why"]
    waiver = {"check": "features", "reason": "a pilot with few images", "until": "2999-01-01", "by": "us"}
    project.change(evaluate={**evaluate("spectrum", SSL), "waivers": [waiver]})
    project.run(until="screen")
    (found,) = [m for m in project.json(VERDICTS[0])["measurements"] if m["check"] == "features"]
    assert found["verdict"] == "waived"


@pytest.mark.slow
def test_without_an_early_check_the_last_gate_lets_them_learn(project: Any) -> None:
    project.change(evaluate={**evaluate("spectrum", SSL), "gate": [{"check": "utility"}]})
    project.run()
    assert [(stage, unit) for stage, unit, _ in project.told if "features" in unit] == [
        ("6-evaluate", "2-features/pool-ssl")]
    assert "pool-ssl" in project.json(VERDICTS[1])["extractors"]


def test_where_nothing_is_generated_nothing_learns(project: Any) -> None:
    project.change(evaluate=evaluate("spectrum", SSL), generate=[])
    project.run()
    assert not [unit for _, unit, _ in project.told if "features" in unit]
    assert project.json(VERDICTS[1])["extractors"] == {}


def test_two_datasets_without_a_recipe_are_compared_by_the_extractors_named(project: Any, tmp_path: Path) -> None:
    real, synthetic = Side("real", tmp_path / "seed"), Side("synthetic", tmp_path / "test")
    pool = Side("pool", tmp_path / "pool")

    def run(folder: str, *features: Features, pool: Side | None = pool) -> Any:
        return compare(real, synthetic, tmp_path / folder, lambda *_: None, pool=pool, checks=("realism",),
                       permutations=19, features=features)

    found = run("a", Features(use="spectrum"), Features.model_validate(SSL))
    assert list(found.extractors) == ["spectrum", "pool-ssl"]
    assert [m.verdict for m in found.measurements if m.check == "features"] == ["warn"]
    assert json.dumps(dict(found.extractors))
    with pytest.raises(DataError, match=r"pool-ssl learns from the pool, which holds 0 images"):
        run("b", Features.model_validate(SSL), pool=None)
    with pytest.raises(DataError, match="no labeler to look through"):
        run("c", Features(use="labeler"))
