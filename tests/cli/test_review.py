"""`synthgen review` as a person types it: a package goes out, comes back, and is counted once."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synthgen.cli import main
from synthgen.formats import Reading
from synthgen.formats.cvat import Cvat
from synthgen.people.decisions import Decisions
from synthgen.recipe.load import load
from synthgen.run import run_folder
from synthgen.store import write_json, write_shard
from synthgen.testing import tiny_real, tiny_recipe
from synthgen.types import Sample

CLASSES = ["class 0", "class 1"]


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """A recipe whose run has labelled its pool of five; two images wait for a person."""
    path = tiny_recipe(tmp_path)
    loaded = load(str(path))
    folder = run_folder(loaded)
    write_json(folder / "recipe.resolved.json", loaded.resolved)
    pool = []
    for k, sample in enumerate(tiny_real(5, seed=2)):
        assert sample.labels is not None
        states = ("to_review" if k in (1, 3) else "accepted",) * len(sample.labels)
        scores = np.full(len(sample.labels), 0.75, np.float32)
        pool.append(replace(sample, labels=replace(sample.labels, reviewed="model", states=states, scores=scores)))
    write_shard(folder / "5-label" / "shards", 0, pool)
    write_json(folder / "5-label" / "done.json", {"key": "x"})
    return path


def as_a_person(package: Path, out: Path) -> Path:
    """The CVAT package with every image marked as reviewed and its first object deleted."""
    items = [x for x in Cvat().read(package, CLASSES, Reading()) if isinstance(x, Sample) and x.labels is not None]
    done = []
    for item in items:
        assert item.labels is not None
        rest = {name: getattr(item.labels, name)[1:] for name in
                ("classes", "boxes", "masks", "scores", "visible", "truncated", "states")}
        done.append(replace(item, labels=replace(item.labels, reviewed="human", **rest)))
    Cvat().write(done, out, CLASSES)
    return out


def test_a_package_goes_out_and_comes_back_once(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["review", str(recipe), "--to", "cvat", "--out", str(tmp_path / "package")]) == 0
    manifest = json.loads((tmp_path / "package" / "manifest.json").read_text())
    assert [x["id"] for x in manifest["images"]] == ["real-000001", "real-000003"]
    assert (tmp_path / "package" / "README.md").is_file()
    done = as_a_person(tmp_path / "package", tmp_path / "done")
    take = ["review", str(recipe), "--take", str(done), "--by", "ada", "--minutes", "3"]
    capsys.readouterr()
    assert main(take) == 0
    out, err = capsys.readouterr()
    rows = {line.rsplit("  ", 1)[0].strip(): line.rsplit("  ", 1)[1] for line in out.splitlines()}
    assert rows["images decided"] == "2"
    assert rows["deleted"] == "2"
    assert rows["minutes per image"] == "1.50"
    assert "2 new decisions" in err
    assert main([*take, "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["new"] == 0
    assert "nothing new" in err
    decisions = Decisions(run_folder(load(str(recipe))) / "people").every()
    assert [(d.id, d.by, d.tool, d.action, d.seconds) for d in decisions] == [
        ("real-000001", "ada", "cvat", "redraw", 90.0), ("real-000003", "ada", "cvat", "redraw", 90.0)]
    # What was decided does not go out again; a pace that was measured says how many fit.
    again = ["review", str(run_folder(load(str(recipe)))), "--to", "coco", "--minutes", "3"]
    assert main([*again, "--out", str(tmp_path / "next")]) == 0
    assert "90 s per image, as measured" in capsys.readouterr().err
    assert len(json.loads((tmp_path / "next" / "manifest.json").read_text())["images"]) == 2


def test_a_package_taken_back_untouched_says_how_to_count_it(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["review", str(recipe), "--to", "yolo", "--out", str(tmp_path / "p"), "--images", "4"]) == 0
    assert main(["review", str(recipe), "--take", str(tmp_path / "p")]) == 0
    assert "4 images without a change" in capsys.readouterr().err
    assert main(["review", str(recipe), "--take", str(tmp_path / "p"), "--all"]) == 0
    assert "4 new decisions" in capsys.readouterr().err


@pytest.mark.parametrize(("words", "code", "said"), [
    (["--to", "cvat"], 2, "--to needs --out"),
    (["--out", "x"], 2, "--out needs --to"),
    (["--to", "cvat", "--take", "y", "--out", "x"], 2, "give one of the two"),
    (["--to", "cvat", "--out", "x", "--images", "3", "--minutes", "3"], 2, "give one of the two"),
    (["--take", "nothing-there"], 3, "no such file or folder"),
    (["--take", ".", "--format", "voc"], 3, "no package was written for voc"),
])
def test_what_is_asked_wrongly_is_said_in_a_line(words: list[str], code: int, said: str, recipe: Path, tmp_path: Path,
                                                 capsys: pytest.CaptureFixture[str],
                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["review", str(recipe), *words]) == code
    assert said in capsys.readouterr().err


def test_a_run_without_labels_is_told_to_run_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["review", str(tiny_recipe(tmp_path)), "--to", "coco", "--out", str(tmp_path / "p")]) == 3
    assert "there is no run here yet" in capsys.readouterr().err


def test_without_a_tool_the_page_is_opened_for_what_waits(
    recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import synthgen.review

    asked: list[Any] = []
    monkeypatch.setattr(synthgen.review, "serve", lambda session, **kinds: asked.append((session, kinds)))
    assert main(["review", str(recipe), "--by", "ann", "--images", "2", "--no-browser"]) == 0
    ((session, kinds),) = asked
    assert session.by == "ann"
    assert kinds["opened"] is None
