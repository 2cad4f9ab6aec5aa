"""evaluate on any two datasets, gate on a finished run: the same words, the same exit codes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, get_args
from xml.etree import ElementTree as ET

import PIL.Image
import pytest

from synthgen.cli import main
from synthgen.formats.coco import Coco
from synthgen.formats.images import Images
from synthgen.testing import tiny_real
from synthgen.types import Verdict

NAMES = ["round", "long"]
QUICK = ["--permutations", "99"]


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two datasets drawn alike, and a shell standing beside them."""
    Coco().write(iter(tiny_real(12, seed=1)), tmp_path / "real", NAMES)
    Coco().write(iter(tiny_real(16, seed=2)), tmp_path / "synthetic", NAMES)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def evaluate(*words: str) -> int:
    return main(["evaluate", "--real", "real", "--synthetic", "synthetic", *QUICK, *words])


def measured(capsys: pytest.CaptureFixture[str], *words: str) -> list[dict[str, Any]]:
    capsys.readouterr()
    assert evaluate("--json", *words) in (0, 4)
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)["measurements"]
    return found


@pytest.mark.slow
def test_two_datasets_drawn_alike_are_not_refused(pair: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate("--junit", "found.xml") == 0
    said = capsys.readouterr().err
    assert "integrity: 11 of 11 measurements" in said
    assert "seed" not in said                                # there is none: the real set stands in its place
    suite = ET.parse("found.xml").getroot()
    assert (suite.get("failures"), suite.get("errors")) == ("0", "0")
    assert int(suite.get("tests", "0")) == len(suite) > 15


@pytest.mark.slow
def test_the_order_and_the_names_of_files_change_no_number(pair: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = measured(capsys)
    samples = list(reversed(tiny_real(16, seed=2)))
    shutil.rmtree("synthetic")
    Coco().write((s.__class__(f"z{k}", s.image, s.labels) for k, s in enumerate(samples)), Path("synthetic"), NAMES)
    after = measured(capsys)
    names = {"worst": (), "best": ()}
    assert [{**m, **names} for m in before] == [{**m, **names} for m in after]


@pytest.mark.slow
def test_a_broken_label_refuses_with_4_and_names_the_file(pair: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree("synthetic")
    Images().write(iter(tiny_real(16, seed=2)), Path("synthetic"), NAMES)       # images whose labels were lost
    assert evaluate("--junit", "found.xml") == 4
    assert "REFUSED" in capsys.readouterr().err
    assert int(ET.parse("found.xml").getroot().get("failures", "0")) == 2       # the check, and the verdict
    (wrong,) = [m for m in measured(capsys) if m["verdict"] == "fail" and m["hard"]]
    assert wrong["name"] == "labelled"
    assert wrong["worst"][0].endswith(".png")


def test_different_file_formats_are_told_before_anything_else(pair: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in Path("real").rglob("*.png"):
        PIL.Image.open(path).save(path.with_suffix(".jpg"), quality=95)
        path.unlink()
    annotations = next(Path("real").rglob("*.json"))
    annotations.write_text(annotations.read_text().replace(".png", ".jpg"))
    first = measured(capsys)[0]
    assert (first["check"], first["verdict"], first["value"]) == ("encoding", "warn", 1.0)
    assert "16 png against 12 jpg" in first["why"]


@pytest.mark.slow
def test_unreadable_images_beyond_what_is_allowed_are_5_and_an_empty_side_is_3(pair: Path) -> None:
    first = sorted(Path("real").rglob("*.png"))[0]
    first.write_bytes(first.read_bytes()[:60])
    assert evaluate() == 5
    assert evaluate("--max-bad", "0.2") == 0
    Path("nothing").mkdir()
    assert evaluate("--real", "nothing") == 3


@pytest.mark.slow
def test_with_a_pool_copies_of_the_real_images_are_refused(pair: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Images().write(iter(tiny_real(432, seed=3)), Path("pool"), NAMES)
    found = {m["name"]: m for m in measured(capsys, "--pool", "pool", "-c", "copying")}
    assert found["near copies of the seed"]["verdict"] == "pass"
    shutil.rmtree("synthetic")
    Coco().write(iter(tiny_real(12, seed=1)), Path("synthetic"), NAMES)      # the real set itself
    found = {m["name"]: m for m in measured(capsys, "--pool", "pool", "-c", "copying")}
    assert (found["near copies of the seed"]["verdict"], found["near copies of the seed"]["value"]) == ("fail", 1.0)


@pytest.mark.slow
def test_real_images_given_out_as_synthetic_ones_are_refused_without_a_pool(
    pair: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate() == 0
    said = capsys.readouterr().err  # what was not looked at is said
    assert "copying: not checked: near copies of real images are told by 31 pool images or more" in said
    assert main(["evaluate", "--real", "real", "--synthetic", "real", *QUICK]) == 4
    assert "12 of 12 images are real images, pixel by pixel" in " ".join(capsys.readouterr().err.split())


def test_strict_refuses_what_cannot_be_told(pair: Path) -> None:
    assert evaluate("-c", "utility") == 0                     # no scores: skipped, and it is a hard check
    assert evaluate("-c", "utility", "--strict") == 4


@pytest.mark.slow
def test_the_markdown_for_a_pull_request_is_written_when_it_passes_and_when_it_is_refused(
        pair: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate("--markdown", "found.md") == 0
    first = Path("found.md").read_text("utf-8").splitlines()
    assert first[0].startswith("## synthetic against real: PASS")
    found = measured(capsys)
    assert sum(line.startswith(tuple(f"| {v} |" for v in get_args(Verdict))) for line in first) == len(found) > 15
    assert f"{sum(m['verdict'] == 'pass' for m in found)} of {len(found)} measurements passed." in first
    shutil.rmtree("synthetic")
    Images().write(iter(tiny_real(16, seed=2)), Path("synthetic"), NAMES)
    assert evaluate("-c", "integrity", "--markdown", "found.md") == 4
    text = Path("found.md").read_text("utf-8")
    assert text.startswith("## synthetic against real: REFUSED")
    assert "| fail | integrity: labelled |" in text
    assert evaluate("-c", "integrity", "--markdown", "no/such/folder.md") == 7


def test_gate_of_a_run_that_is_not_finished_is_3(pair: Path) -> None:
    assert main(["init", "real"]) == 0
    assert main(["gate", "recipe.yaml"]) == 3
