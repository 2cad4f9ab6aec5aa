"""The whole line from boxes alone: no mask is asked for, none is made up, and what comes out are boxes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from synthgen.benchmark.arms import wanted
from synthgen.cli import main
from synthgen.formats import Problem, Reading
from synthgen.formats.detect import open_dataset
from synthgen.recipe.load import load
from synthgen.run import job_of, run
from synthgen.stages import ingest, label
from synthgen.testing import tiny_real, tiny_recipe

pytestmark = pytest.mark.slow  # trains


def masks_and_boxes(folder: Path, leave_out: Callable[[int], bool]) -> Path:
    """A recipe of task detect, on data of which some annotations have no outlines."""
    recipe = tiny_recipe(folder)
    for part in ("seed", "test"):
        path = folder / part / "annotations.json"
        about = json.loads(path.read_text())
        for k, one in enumerate(about["annotations"]):
            if leave_out(k):
                del one["segmentation"]
        path.write_text(json.dumps(about))
    recipe.write_text(recipe.read_text().replace('"instances"', '"detect"'))
    return recipe


@pytest.fixture(scope="module")
def boxes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe of task detect, on data whose annotations have no outlines, run to the end."""
    recipe = masks_and_boxes(tmp_path_factory.mktemp("detect"), lambda k: True)
    run(load(recipe, ["train.steps=12"]), lambda what, done, total: None, lambda *step: None)
    return recipe


def objects(path: Path) -> list[Any]:
    return [item.labels for item in open_dataset(path, "auto", ("class 0", "class 1"), Reading())]


def test_boxes_come_out_in_every_format(boxes: Path) -> None:
    folder = boxes.parent / "runs" / "tiny"
    for name in ("coco", "yolo"):
        labels = [x for x in objects(folder / "7-export" / name) if x is not None and len(x)]
        assert len(labels) >= 4 + 12 - 2
        assert all(x.masks is None for x in labels)


def test_the_pool_is_labelled_and_judged_by_boxes(boxes: Path) -> None:
    job = job_of(load(boxes, ["train.steps=12"]))
    assert all(x.masks is None and x.reviewed == "model" for k in range(5) if (x := label.labelled(job).labels(k)))
    verdict = json.loads((boxes.parent / "runs/tiny/6-evaluate/verdict.json").read_text())
    names = {m["name"]: m["verdict"] for m in verdict["measurements"] if m["check"] == "utility"}
    assert any("ap50" in name for name in names)
    said = {m["check"]: m["why"] for m in verdict["measurements"] if m["verdict"] == "skipped"}
    assert "the task detect has no masks" in said["mask_shift"]


def test_a_report_is_drawn_and_suspicious_boxes_are_named(boxes: Path) -> None:
    folder = boxes.parent / "runs" / "tiny"
    assert main(["report", str(folder), "-q"]) == 0
    assert "task detect" in (folder / "report" / "index.html").read_text()
    rows = json.loads((folder / "5-errors" / "errors.json").read_text())
    assert {row["given"]["class"] for row in rows if row["given"]} == {0, 1}  # every given box is judged


def test_init_writes_a_recipe_for_boxes_that_validates(boxes: Path, tmp_path: Path) -> None:
    out = tmp_path / "recipe.yaml"
    assert main(["init", str(boxes.parent / "seed"), "-o", str(out), "-q"]) == 0
    assert "task: detect" in out.read_text()
    assert main(["validate", str(out), "-q"]) == 0


@pytest.mark.parametrize("task", ["instances", "detect"])
def test_init_takes_the_task_of_the_larger_part_and_says_what_the_other_loses(
    task: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    masks_and_boxes(tmp_path, lambda k: (k % 4 == 0) == (task == "instances"))
    out = tmp_path / "mine.yaml"
    assert main(["init", str(tmp_path / "seed"), "-o", str(out)]) == 0
    assert f"task: {task}" in out.read_text()
    shown = capsys.readouterr()
    told = {"instances": "have a box and no mask beside", "detect": "only a box: the task detect"}
    assert told[task] in shown.out + shown.err
    assert main(["validate", str(out), "-q"]) == 0


def test_boxes_for_a_task_that_needs_masks_are_told_of_detect(boxes: Path, tmp_path: Path,
                                                             capsys: pytest.CaptureFixture[str]) -> None:
    other = boxes.parent / "other.yaml"
    other.write_text(boxes.read_text().replace('"detect"', '"instances"').replace('"tiny"', '"other"'))
    assert main(["run", str(other), "--until", "ingest"]) == 5
    assert "task detect takes boxes" in capsys.readouterr().err


@pytest.mark.parametrize("leave_out", [lambda k: False, lambda k: k % 2 == 0], ids=["masks", "masks and boxes"])
def test_masks_are_read_as_boxes_so_that_no_box_is_the_exception(leave_out: Callable[[int], bool],
                                                                tmp_path: Path) -> None:
    recipe = masks_and_boxes(tmp_path, leave_out)
    loaded = load(recipe, ["train.steps=2", "train.calibration_folds=0"])
    run(loaded, lambda what, done, total: None, lambda *step: None)
    seed = ingest.part(job_of(loaded), "seed")
    assert [s.labels.boxes.tolist() for s in seed if s.labels] == [
        s.labels.boxes.tolist() for s in tiny_real(4, seed=1) if s.labels]
    assert all(s.labels is not None and s.labels.masks is None and s.labels.ignore is None for s in seed)
    for name in ("coco", "yolo"):
        read = list(open_dataset(tmp_path / "runs/tiny/7-export" / name, "auto", ("class 0", "class 1"), Reading()))
        assert not [x for x in read if isinstance(x, Problem)]


def test_a_benchmark_of_boxes_can_learn_from_the_pool(boxes: Path) -> None:
    arms, left_out = wanted(load(boxes, ["benchmark.arms=[real,self-training]"]).recipe)
    assert [arm.name for arm in arms] == ["real", "self-training"]
    assert left_out == {}
