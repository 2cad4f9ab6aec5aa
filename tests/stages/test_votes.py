"""Labelling functions in the line: whose votes are kept, whose count, what is made again, and who is to blame."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from synthgen.cli import main
from synthgen.errors import DataError, Interrupted
from synthgen.formats.coco import Coco
from synthgen.run import job_of
from synthgen.stages import label, votes
from synthgen.testing import tiny_real

pytestmark = pytest.mark.slow  # runs the whole line again and again

RULES = """
from synthgen.geometry import labels_from_ids
import cv2, numpy as np

def bright(image):
    _, ids = cv2.connectedComponents((cv2.blur(image.mean(-1), (3, 3)) > 110).astype(np.uint8))
    sizes = np.bincount(ids.ravel())
    return labels_from_ids(ids, {k: 0 for k in range(1, len(sizes)) if sizes[k] > 12})

def silent(image):
    return None

def broken(image):
    return 1 / 0

def stranger(image):
    return labels_from_ids(np.ones(image.shape[:2], int), {1: 7})
"""


@pytest.fixture
def weak(project: Any) -> Any:
    (project.folder / "rules.py").write_text(RULES)
    Coco().write(tiny_real(5, seed=2), project.folder / "pool_truth", ["class 0", "class 1"])
    data = json.loads(project.recipe.read_text())["data"]
    project.change(data={**data, "pool_truth": {"path": "pool_truth", "format": "coco"}}, label={"functions": [
        {"name": "threshold", "use": "otsu", "smoothing": 0.5},
        {"name": "large", "use": "size", "of": "threshold", "min_area": 30},
        {"name": "bright", "use": "rules.py:bright"},
        {"name": "silent", "use": "rules.py:silent"},
    ]})
    return project


def test_votes_are_kept_and_the_summary_says_of_each_function_what_was_learned_of_it(weak: Any) -> None:
    weak.run(until="label")
    job = job_of(weak.load())
    first = votes.said(job, 0)
    assert [set(row) for row in first] == [{"labeler", "threshold", "large", "bright", "silent"}] * 4
    assert all(row["silent"] is None for row in first)
    summary = weak.json("5-label/summary.json")
    facts = summary["functions"]
    assert summary["images"] == 5
    assert facts["threshold"]["votes itself"] is False            # `large` speaks for it
    assert facts["silent"] | {"true": None} == {
        "votes itself": True, "coverage": 0.0, "votes": 0, "accuracy": None, "precision": None, "recall": None,
        "conflicts": None, "true": None}
    assert facts["bright"]["coverage"] == 1
    assert 0 < facts["bright"]["precision"] <= 1
    assert facts["bright"]["true"]["simulated_truth"] is True
    assert facts["bright"]["true"]["n"] == 5
    pool = label.labelled(job)
    assert len(pool) == 5
    assert pool[0].origin.maker == "dawid-skene"
    assert sum(len(pool.labels(k)) for k in range(5)) > 10


def test_the_same_recipe_gives_the_same_bytes_whatever_shard_is_first_and_after_a_kill(
        weak: Any, tree: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    weak.run("run.workers=1", until="label")
    parts = [weak.run_folder / name for name in ("5-votes", "5-label")]
    whole = [tree(part) for part in parts]
    for part in parts:
        shutil.rmtree(part)
    with monkeypatch.context() as turned:
        turned.setattr(votes, "in_parallel", lambda jobs, *_: [run(*arguments) for run, arguments in jobs[::-1]])
        weak.run("run.workers=1", until="label")
    assert [tree(part) for part in parts] == whole

    for part in parts:
        shutil.rmtree(part)
    once = votes.vote_shard

    def killed(*arguments: Any) -> None:
        if arguments[5] == 1:
            raise Interrupted("here")
        once(*arguments)

    monkeypatch.setattr(votes, "vote_shard", killed)
    with pytest.raises(Interrupted):
        weak.run("run.workers=1", until="label")
    monkeypatch.setattr(votes, "vote_shard", once)
    weak.run("run.workers=1", until="label")
    assert weak.made["5-votes"] == "interrupted: goes on where it was"
    assert [tree(part) for part in parts] == whole


def test_a_change_of_the_file_asks_again_and_majority_only_counts_again(weak: Any) -> None:
    weak.run(until="label")
    weak.run(until="label")
    assert not {"5-votes", "5-label"} & set(weak.made)
    weak.run("label.combine=majority", until="label")
    assert "5-votes" not in weak.made
    assert "combine" in weak.made["5-label"]
    (weak.folder / "rules.py").write_text(RULES.replace("> 110", "> 120"))
    weak.run(until="label")
    assert "rules.py" in weak.made["5-votes"]


@pytest.mark.parametrize(("name", "said"), [
    ("broken", r"labelling function bad on pool image pool-000000: ZeroDivisionError: division by zero; mend "),
    ("stranger", r"labelling function bad on pool image pool-000000: it says class 7; the recipe has classes 0 to 1")])
def test_a_function_that_fails_is_named_with_its_image(weak: Any, name: str, said: str) -> None:
    weak.change(label={"functions": [{"name": "bad", "use": f"rules.py:{name}"}]})
    with pytest.raises(DataError, match=said):
        weak.run(until="label")


def test_the_whole_line_runs_with_functions(weak: Any) -> None:
    weak.run()
    assert weak.json("6-evaluate/verdict.json")["pool"]["n"] == 5
    assert Path(weak.run_folder / "7-export").is_dir()
    assert main(["report", str(weak.run_folder)]) == 0
    page = next(weak.run_folder.glob("report/*.html")).read_text()
    assert "Who voted on the pool" in page
    assert "threshold <small>(through another)</small>" in page
