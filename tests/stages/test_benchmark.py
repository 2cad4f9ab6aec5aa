"""The benchmark: what each arm learns from, that all else is equal, that nothing is trained twice, and what is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from synthgen import plugins
from synthgen.augment import STRONG_CLASSIFY, STRONG_DENSE, Augment
from synthgen.benchmark import words
from synthgen.benchmark.analysis import analyse
from synthgen.benchmark.arms import ARMS
from synthgen.benchmark.trainings import Cell, bench_of, drawn, job_in, train_all
from synthgen.cli import main
from synthgen.errors import DataError
from synthgen.recipe.schema import ARM_NAMES
from synthgen.run import job_of
from synthgen.stages import filter, generate, ingest, training  # noqa: A004
from synthgen.store import read_json, write_json
from synthgen.types import Context, Dataset, Mixture, silent


@pytest.fixture
def notes(install: Any, project: Any) -> list[dict[str, Any]]:
    """A trainer that notes what it is given, and whose labeler is blind without real images."""
    threshold = plugins.find("trainers", "threshold")
    seen: list[dict[str, Any]] = []

    @dataclass(kw_only=True, config=ConfigDict(extra="forbid"))
    class Noting(threshold):  # type: ignore[misc, valid-type]
        SELF_TRAINING: ClassVar[dict[str, float]] = {"eagerness": 2.0}
        steps: int = 3
        eagerness: float = 0.0

        def fit(self, train: Mixture, val: Dataset, pool: Dataset, context: Context) -> Any:
            seen.append({"where": context.folder, "real": int(train.real.sum()), "other": int((~train.real).sum()),
                         "share": train.real_share, "augment": train.augment, "seed": context.seed,
                         "eagerness": self.eagerness, "pool": len(pool),
                         "ids": [s.id for s in train.samples], "weights": train.weights,
                         "known_by": sorted({s.origin.known_by for s in train.samples})})
            if self.eagerness == 9:
                write_json(context.folder / "pool.json", {"warning": "the pool was given up"})
            self.level = 100 if train.real.any() else 250
            return super().fit(train, val, pool, context)

    install("trainers", "noting", Noting)
    project.change(train={"use": "noting", "calibration_folds": 0}, benchmark={"seeds": 2},
                   generate=[{"name": "a", "use": "copies", "count": 6, "varied": True}])
    return seen


def run(project: Any, *overrides: str) -> Any:
    bench = bench_of(project.load(*overrides), silent)
    told: list[str] = []
    train_all(bench, told.append)
    return bench, told


def of(seen: list[dict[str, Any]], arm: str, seed: int = 7) -> dict[str, Any]:
    (found,) = [n for n in seen if n["where"].name == f"{arm}.part" and n["where"].parts[-3] == f"seed-{seed}"]
    return found


def test_the_arms_are_those_of_the_recipe() -> None:
    assert tuple(ARMS) == ARM_NAMES
    assert all(ARMS[arm.teacher].teacher is None for arm in ARMS.values() if arm.teacher)
    for transforms in (STRONG_DENSE, STRONG_CLASSIFY):
        Augment(transforms)


@pytest.mark.slow
def test_every_arm_learns_from_what_its_name_says(project: Any, notes: list[dict[str, Any]]) -> None:
    bench, _ = run(project, "generate.a.varied=false")             # six doubles: one is kept
    job = job_in(bench, Cell(None, 7))
    seed, kept = len(ingest.part(job, "seed")), len(filter.kept(job))
    counts = {name: (of(notes, name)["real"], of(notes, name)["other"]) for name in ARM_NAMES}
    assert counts["real"] == counts["real+augment"] == (seed, 0)
    assert counts["synthetic"] == (0, kept)
    assert counts["mixed"] == (seed, kept)
    assert (kept, len(generate.made(job))) == (1, 6)
    assert counts["mixed-unfiltered"] == (seed, 6)
    assert counts["pseudo"] == (seed, 5)
    assert counts["mixed+pseudo"] == (seed, kept + 5)
    assert counts["self-training"] == (seed, 0)
    assert counts["mixed+self-training"] == (seed, kept)
    assert {n["where"].stem for n in notes if n["eagerness"]} == {"self-training", "mixed+self-training"}
    assert {n["pool"] for n in notes} == {5}
    assert of(notes, "pseudo")["known_by"] == ["model", "person"]
    assert of(notes, "real+augment")["augment"] == STRONG_DENSE
    assert of(notes, "real")["augment"] is None
    assert {n["share"] for n in notes if n["real"] and n["other"]} == {0.5}
    # Synthetic and pseudo-labelled images weigh half each, however many there are of them.
    both = of(notes, "mixed+pseudo")
    pool = np.array([i.startswith("pool") for i in both["ids"]])
    assert both["weights"][pool].sum() == pytest.approx(0.5)


@pytest.mark.slow
def test_arms_of_one_seed_start_alike_and_seeds_differ(project: Any, notes: list[dict[str, Any]]) -> None:
    bench, _ = run(project)
    for seed in (7, 8):
        assert len({n["seed"] for n in notes if n["where"].parts[-3] == f"seed-{seed}"}) == 1
    assert of(notes, "mixed", 7)["seed"] != of(notes, "mixed", 8)["seed"]
    a, b = (filter.kept(job_in(bench, Cell(None, seed)))[0].image for seed in (7, 8))
    assert not np.array_equal(a, b)


@pytest.mark.slow
def test_nothing_is_trained_twice_and_what_is_added_is_all_that_is_trained(
    project: Any, notes: list[dict[str, Any]]
) -> None:
    run(project, "benchmark.arms=[real, mixed]")
    assert len(notes) == 4
    _, told = run(project, "benchmark.arms=[real, mixed]")
    assert len(notes) == 4
    assert "4 stand, 0 to make" in told[0]
    run(project, "benchmark.arms=[real, mixed, pseudo]")
    assert sorted(n["where"].name for n in notes[4:]) == ["pseudo.part"] * 2
    run(project, "benchmark.arms=[real, mixed]", "benchmark.seeds=3", "benchmark.ratios=[0.25]")
    assert sorted(n["where"].name for n in notes[6:]) == ["mixed.part", *["mixed@0.25.part"] * 3, "real.part"]
    assert {n["share"] for n in notes[6:] if "@" in n["where"].name} == {0.25}
    run(project, "benchmark.arms=[real, mixed]", "benchmark.seed_sizes=[2]")
    assert len(notes) == 15
    run(project, "benchmark.arms=[real, mixed]", "generate.a.count=5")
    assert sorted(n["where"].name for n in notes[15:]) == ["mixed.part"] * 2     # the seed alone stands


def test_sizes_are_drawn_anew_for_each_seed_and_smaller_ones_are_part_of_larger_ones(
    project: Any, notes: list[dict[str, Any]]
) -> None:
    bench, _ = run(project, "benchmark.arms=[real]", "benchmark.seed_sizes=[1, 3]", "benchmark.seeds=6")
    whole = ingest.part(bench.job, "seed")
    picked = {(n, s): drawn(whole, Cell(n, s), bench.job.recipe) for n in (1, 3) for s in range(7, 13)}
    assert all(len(found) == n for (n, _), found in picked.items())
    assert all(set(picked[1, s]) < set(picked[3, s]) for s in range(7, 13))
    assert len({tuple(picked[1, s]) for s in range(7, 13)}) > 1
    assert sorted(len(n["ids"]) for n in notes) == [1] * 6 + [3] * 6
    assert not list(project.run_folder.glob("benchmark/*/*/1-generate")), "nobody asked for synthetic images"
    with pytest.raises(DataError, match=r"seed_sizes: 9 labelled images are asked for, and data.seed has 4"):
        run(project, "benchmark.seed_sizes=[1, 9]")


def test_what_the_recipe_has_no_data_for_is_left_out_and_said(project: Any, notes: list[dict[str, Any]]) -> None:
    project.change(generate=[])
    bench, _ = run(project)
    found = analyse(bench)
    assert {row["arm"] for row in found["arms"]} == {"real", "real+augment", "pseudo", "self-training"}
    assert set(found["left_out"]) == {"synthetic", "mixed", "mixed-unfiltered", "mixed+pseudo", "mixed+self-training"}
    assert "was not measured: the recipe makes no synthetic images" in words.first_line(found)
    project.change(data={k: v for k, v in json.loads(project.recipe.read_text())["data"].items() if k != "test"})
    with pytest.raises(DataError, match="needs a locked test split"):
        bench_of(project.load(), silent)


def test_arms_that_learn_from_the_pool_need_a_trainer_that_can_and_a_pool(
    project: Any, notes: list[dict[str, Any]]
) -> None:
    project.change(train={"use": "threshold", "calibration_folds": 0})
    left_out = bench_of(project.load("benchmark.arms=[self-training]"), silent).left_out
    assert left_out == {"self-training": "the trainer threshold does not learn from unlabelled images"}
    project.change(train={"use": "noting"})
    project.change(data={k: v for k, v in json.loads(project.recipe.read_text())["data"].items() if k != "pool"})
    left_out = bench_of(project.load("benchmark.arms=[self-training]"), silent).left_out
    assert left_out == {"self-training": "the recipe names no pool"}


def test_learning_from_the_pool_is_on_in_its_arms_alone_and_as_the_recipe_has_it(
    project: Any, notes: list[dict[str, Any]]
) -> None:
    project.change(train={"use": "noting", "calibration_folds": 0, "eagerness": 5.0})
    run(project, "benchmark.arms=[real, mixed, self-training]", "benchmark.seeds=1")
    assert {n["where"].stem: n["eagerness"] for n in notes} == {"real": 0, "mixed": 0, "self-training": 5}


def test_what_a_trainer_warns_of_is_an_event(project: Any, notes: list[dict[str, Any]]) -> None:
    project.change(train={"use": "noting", "calibration_folds": 0, "eagerness": 9.0})
    bench, _ = run(project, "benchmark.arms=[real, self-training]", "benchmark.seeds=1")
    said = [e for e in bench.job.events.read() if e["what"] == "warning"]
    assert [(e["training"], e["why"]) for e in said] == [("self-training", "the pool was given up")]


def test_the_pool_is_a_need_of_trainings_that_look_at_it_and_of_no_other(
    project: Any, notes: list[dict[str, Any]]
) -> None:
    def needs() -> Any:
        return training.needs(job_of(project.load(), silent))

    plain = needs()
    assert "pool" not in plain
    project.change(train={"use": "noting", "calibration_folds": 0, "eagerness": 1.0})
    asked = needs()
    assert list(asked["pool"]) == ["0-ingest/pool"]
    (project.folder / "pool" / "more.png").write_bytes(next((project.folder / "pool").rglob("*.png")).read_bytes())
    assert needs()["pool"] != asked["pool"]


@pytest.mark.slow
def test_the_answer_is_in_the_first_line_and_every_figure_comes_with_an_interval(
    project: Any, notes: list[dict[str, Any]]
) -> None:
    found = analyse(run(project, "benchmark.seeds=3")[0])
    (primary,) = [c for c in found["comparisons"] if c["primary"]]
    assert primary["arm"] == "mixed"
    # The same labeler, to the last pixel; but five images do not show that it will be so on the next ones.
    assert (primary["verdict"], primary["value"]) == ("INCONCLUSIVE", 0)
    assert primary["interval"][0] < -0.1
    assert words.first_line(found).endswith("test images would settle it.")
    wide = analyse(run(project, "benchmark.seeds=3", "benchmark.margin=0.9")[0])
    assert "were not shown to help, and cost no more than the margin of 0.9 (AP50 +0.000 [" in words.first_line(wide)
    (blind,) = [c for c in found["comparisons"] if c["arm"] == "synthetic"]
    assert blind["verdict"] == "HARMS"
    assert blind["level"] > primary["level"] == 0.95              # the others share their 5 %
    for row in found["arms"]:
        for metric, score in row["scores"].items():
            low, high = score["interval"]
            assert 0 <= low <= score["value"] <= high
            assert metric == "count_error" or high <= 1
    json.dumps(found, allow_nan=False)


@pytest.mark.slow
def test_few_seeds_decide_nothing(project: Any, notes: list[dict[str, Any]]) -> None:
    found = analyse(run(project)[0])
    assert {c["verdict"] for c in found["comparisons"]} == {"INCONCLUSIVE"}
    assert words.first_line(found).endswith("2 seeds are too few to decide anything.")


@pytest.mark.slow
def test_the_command_prints_the_answer_first_and_writes_figures_and_a_page(
    project: Any, notes: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["benchmark", str(project.recipe), "--seeds", "3", "--arms", "real,mixed", "--seed-sizes", "2,4",
                 "--ratios", "0.25"]
    assert main(arguments) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("On these data synthetic images")
    assert out[1].split() == ["labelled", "arm", "real", "share", "Dice", "AP50", "count", "error", "AP50", "against",
                              "real", "verdict"]
    folder: Path = project.run_folder / "benchmark"
    found = read_json(folder / "benchmark.json")
    assert [row["arm"] for row in found["arms"]] == ["real", "mixed", "mixed@0.25"] * 2
    page = (folder / "index.html").read_text()
    assert page.count("<svg") == 4                # two sizes, the curve over sizes, the curve over ratios
    assert "http" not in page.replace("http-equiv", "")
    assert (folder / "table.md").read_text().startswith("On these data")
    before = {p: p.read_bytes() for p in folder.glob("*.*") if p.is_file()}
    assert main([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == found
    assert {p: p.read_bytes() for p in folder.glob("*.*") if p.is_file()} == before


def test_a_wrong_arm_or_list_is_a_helpful_error(project: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["benchmark", str(project.recipe), "--arms", "real,mixt"]) == 3
    assert "mixed" in capsys.readouterr().err
    assert main(["benchmark", str(project.recipe), "--seed-sizes", "1,many"]) == 2
    assert main(["benchmark", str(project.recipe), "--arms", "real", "--ratios", "0.3"]) == 2
    assert main(["benchmark", str(project.recipe), "--profile", "quick", "--seeds", "3"]) == 2
