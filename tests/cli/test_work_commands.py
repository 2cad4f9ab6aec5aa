"""init, run, plan, label and export on somebody's data, as a person would type them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import PIL.Image
import pytest

from synthgen import plugins
from synthgen.cli import main
from synthgen.formats.coco import Coco
from synthgen.formats.images import Images
from synthgen.images import read_image
from synthgen.store import write_json
from synthgen.testing import tiny_real
from synthgen.types import Labels

QUICK = (
    "train.steps=2",
    "train.crop=32",
    "train.batch=2",
    "train.width=16",
    "train.calibration_folds=0",
    "shard_size=4",
    "evaluate.permutations=19",
    "run.workers=1",
)


def overrides(*more: str) -> list[str]:
    """-S options that make a run quick."""
    return [word for text in (*QUICK, *more) for word in ("-S", text)]


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with somebody's seed, pool and test, and a shell standing in it."""
    names = ["round", "long"]
    Coco().write(iter(tiny_real(6, seed=1)), tmp_path / "bugs/seed", names)
    Images().write(iter(tiny_real(3, seed=2)), tmp_path / "bugs/pool", names)
    Coco().write(iter(tiny_real(3, seed=3)), tmp_path / "bugs/test", names)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_init_writes_a_recipe_that_validate_accepts_and_finds_the_parts(project):
    assert main(["init", "bugs", "-o", "sub/recipe.yaml"]) == 0
    text = Path("sub/recipe.yaml").read_text()
    assert "name: bugs" in text
    assert all(f"../bugs/{part}" in text for part in ("seed", "pool", "test"))
    assert main(["validate", "sub/recipe.yaml"]) == 0


def test_init_does_not_write_over_a_file_unless_forced(project, capsys):
    Path("recipe.yaml").write_text("mine")
    assert main(["init", "bugs"]) == 3
    assert Path("recipe.yaml").read_text() == "mine"
    assert main(["init", "bugs", "--force"]) == 0


def test_init_says_what_is_wrong_with_a_folder_without_data(project, capsys):
    Path("empty").mkdir()
    assert main(["init", "empty"]) == 3
    assert "no format fits" in capsys.readouterr().err


@pytest.mark.slow
def test_a_run_from_init_to_export_with_the_commands_of_the_readme(project, capsys):
    assert main(["init", "bugs"]) == 0
    one = (
        overrides("generate.warp.count=4", "generate.keep.count=4")
        if "name: warp" in Path("recipe.yaml").read_text()
        else overrides("generate.shape.count=4", "generate.keep.count=4")
    )
    assert main(["plan", "recipe.yaml", *one]) == 0
    assert not Path("runs").exists(), "plan must not write"
    code = main(["run", "recipe.yaml", *one])
    assert code in (0, 4)  # two steps of training may well be refused
    assert Path("runs/bugs/report/index.html").stat().st_size > 10_000
    assert Path("runs/bugs/7-export").exists() == (code == 0)
    assert main(["gate", "recipe.yaml", *one]) == code      # says again what the run's end said
    assert main(["gate", "runs/bugs"]) == code
    capsys.readouterr()
    assert main(["gate", "recipe.yaml", *one, "-S", "evaluate.permutations=29"]) == 3   # that was not judged
    said = " ".join(capsys.readouterr().err.split())
    assert "what recipe.yaml says now was not run (2-screen/verdict: changed: permutations" in said
    assert "Give the -S that it was run with, or the folder runs/bugs in place of the recipe" in said
    assert main(["plan", "recipe.yaml", *one, "--json"]) == 0
    steps = json.loads(capsys.readouterr().out)
    assert all(s["action"] == "reuse" for s in steps if code == 0 or not s["stage"].startswith("7")), steps
    # Only what depends on a change is made again, and the plan says why.
    assert main(["plan", "recipe.yaml", *one, "-S", "label.accept=0.9", "--json"]) == 0
    changed = {s["unit"]: s["why"] for s in json.loads(capsys.readouterr().out) if s["action"] == "make"}
    assert "label" in " ".join(changed)
    assert "4-train/mixed" not in changed
    assert "accept: 0.5 → 0.9" in changed["5-label"]
    # The labeler serves on its own.
    assert main(["label", "bugs/pool", "-m", "runs/bugs/4-train/model", "-o", "out/labelled"]) == 0
    assert len(json.loads(Path("out/labelled/annotations.json").read_text())["images"]) == 3
    assert main(["label", "bugs/pool", "-m", "runs/bugs/4-train/model", "-o", "out/labelled"]) == 3
    assert main(["label", "bugs/pool", "-m", "bugs", "-o", "out/other"]) == 3
    assert not Path("out/other").exists()
    if code == 0:
        assert main(["export", "recipe.yaml", *one, "--to", "masks", "-o", "out/masks"]) == 0
        assert main(["export", "runs/bugs", "--to", "masks", "-o", "out/again"]) == 0  # without recipe and options
        assert [p.read_bytes() for p in sorted(Path("out/masks").rglob("*.png"))] == [
            p.read_bytes() for p in sorted(Path("out/again").rglob("*.png"))]
        assert main(["export", "recipe.yaml", *one, "--to", "yolo", "-o", "out/strict", "--strict"]) == 3
        assert not Path("out/strict").exists()


@dataclass
class Bright:
    """A trainer and a labeler in one: it finds nothing, and keeps the images that it was shown."""

    shown: ClassVar[list[Any]] = []

    def load(self, folder, device="cpu", threads=1):
        return self

    def label(self, images, *, tta=True):
        self.shown.extend(images)
        yield from (Labels(size=image.shape[:2]) for image in images)


@pytest.mark.parametrize(("words", "inside", "bits"), [
    ([], True, 12), ([], False, 16), (["--bits", "8"], True, 8)])
def test_label_reads_deep_images_as_the_run_of_its_model_did(words, inside, bits, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Bright, "shown", [])
    monkeypatch.setattr(plugins, "build", lambda group, name, options, real=plugins.build: Bright()
                        if group == "trainers" else real(group, name, options))
    Path("in").mkdir()
    deep = np.full((16, 16), 2000, np.uint16)
    PIL.Image.fromarray(deep).save("in/a.png")
    model = Path("runs/deep/4-train/model") if inside else Path("model")
    write_json(model / "labeler.json", {"trainer": "bright", "settings": {"classes": ["dot"]}})
    write_json(Path("runs/deep/recipe.resolved.json"),
               {"schema": "synthgen/1", "name": "deep", "task": "instances", "classes": ["dot"],
                "data": {"seed": {"path": "/nowhere"}, "bits": 12}, "train": {"use": "labeler"}})
    assert main(["label", "in", "-m", str(model), "-o", "out", *words]) == 0
    assert np.array_equal(Bright.shown[0], read_image(Path("in/a.png"), bits))
    assert ("bits     12, as deep says in data.bits" in capsys.readouterr().err) == (inside and not words)
