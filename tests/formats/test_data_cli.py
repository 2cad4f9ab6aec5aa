"""`synthgen data` on good and hostile folders."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import PIL.Image
import pytest
from click.testing import CliRunner, Result

from synthgen.cli.data import data
from synthgen.errors import DataError, EnvironmentProblem, TooManyBadItems
from synthgen.formats.coco import Coco
from synthgen.formats.imagefolder import ImageFolder
from synthgen.store import new_folder
from synthgen.types import Labels, Sample

Make: TypeAlias = Callable[..., Sample]


def run(*args: Any) -> Result:
    return CliRunner().invoke(data, [str(a) for a in args])


def bomb() -> bytes:
    """A PNG whose header promises 60,000 × 60,000 px."""
    head = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A COCO folder with everything wrong that was seen in the wild, and one good image."""
    root = tmp_path / "hostile"
    (root / "images").mkdir(parents=True)
    noise = np.random.default_rng(0).integers(0, 255, (32, 40, 3), dtype=np.uint8)
    for name in ("good.png", "größe 細胞.png", "cut.png"):
        PIL.Image.fromarray(noise).save(root / "images" / name)
    whole = (root / "images/cut.png").read_bytes()
    (root / "images/cut.png").write_bytes(whole[: len(whole) // 2])
    (root / "images/bomb.png").write_bytes(bomb())
    PIL.Image.fromarray(noise).save(tmp_path / "secret.png")
    names = [
        "good.png",
        "größe 細胞.png",
        "cut.png",
        "bomb.png",
        "../../secret.png",
        "gone.png",
        "[red]x\x1b[31m.png",
    ]
    images = [{"id": k, "file_name": n, "height": 32, "width": 40} for k, n in enumerate(names, 1)]
    square = [[2, 2, 9, 2, 9, 9, 2, 9]]
    annotations = [
        {"id": 1, "image_id": 1, "category_id": 1, "segmentation": square},
        {"id": 2, "image_id": 1, "category_id": 1, "segmentation": [[900, 2, 909, 2, 909, 9]]},
        {"id": 3, "image_id": 1, "category_id": 1, "bbox": [100, 100, 5, 5]},
        {"id": 4, "image_id": 1, "category_id": 1, "segmentation": [[]]},
        {"id": 5, "image_id": 1, "category_id": 8, "segmentation": square},
        {"id": 1, "image_id": 2, "category_id": 1, "segmentation": [[20, 2, 29, 2, 29, 9, 20, 9]]},
    ]
    document = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "<script>"}]}
    (root / "annotations.json").write_text(json.dumps(document))
    return root


def test_check_lists_everything_that_is_wrong_with_a_hostile_folder(hostile: Path) -> None:
    result = run("check", hostile, "--json")
    assert isinstance(result.exception, TooManyBadItems)
    assert "5 quarantined and 5 repaired; 2 images can be used" in str(result.exception)
    found = {
        (p["file"].split("/")[-1], p["item"], p["action"]): p["what"]
        for p in json.loads(result.stdout)["problems"]
    }
    assert {(file, item): what for (file, item, _), what in found.items()}.keys() == {
        ("cut.png", ""), ("bomb.png", ""), ("secret.png", ""), ("gone.png", ""), ("[red]x\x1b[31m.png", ""),
        ("good.png", "annotation 2"), ("good.png", "annotation 3"), ("good.png", "annotation 4"),
        ("good.png", "annotation 5"), ("annotations.json", "annotation 1"),
    }  # fmt: skip
    assert "damaged or cut off" in found["cut.png", "", "quarantined"]
    assert "climbs" in found["secret.png", "", "quarantined"]


def test_the_table_shows_names_whole_and_obeys_no_markup_in_them(hostile: Path) -> None:
    result = CliRunner(env={"COLUMNS": "200"}).invoke(data, ["check", str(hostile)])
    for text in (
        "cut.png",
        "bomb.png",
        "../../secret.png",
        "[red]x\\x1b[31m.png",
        "annotation 5",
        "category id 8",
    ):
        assert text in result.stdout
    assert "\x1b" not in result.stdout


def test_convert_of_a_hostile_folder_leaves_nothing_behind(hostile: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.iterdir())
    result = run("convert", hostile, tmp_path / "out", "--to", "yolo")
    assert isinstance(result.exception, TooManyBadItems)
    assert sorted(tmp_path.iterdir()) == before


def test_convert_of_a_hostile_folder_keeps_what_is_good_when_that_is_allowed(
    hostile: Path, tmp_path: Path
) -> None:
    result = run("convert", hostile, tmp_path / "out", "--to", "yolo", "--max-bad", 1)
    assert result.exit_code == 0, result.output
    assert sorted(p.name for p in tmp_path.glob("out/labels/train/*")) == ["good.txt", "größe 細胞.txt"]


@pytest.fixture
def good(sample: Make, tmp_path: Path) -> Path:
    """Eleven images of two cells, of which one has a score."""
    masks = np.zeros((2, 12, 16), bool)
    masks[0, 2:5, 2:6], masks[1, 7:10, 8:12] = True, True
    samples = [sample(list(masks), classes=[0, 1], file=f"{k}.png", scores=[1, 0.5 if k == 0 else 1])
               for k in range(10)]
    Coco().write([*samples, sample([], file="empty.png")], tmp_path / "good", ["cell", "größe"])
    return tmp_path / "good"


def test_check_of_a_good_folder_is_silent_on_stdout(good: Path) -> None:
    result = run("check", good)
    assert (result.exit_code, result.stdout) == (0, "")
    assert "nothing wrong" in result.stderr
    assert json.loads(run("check", good, "--json").stdout) == {"format": "coco", "images": 11, "problems": []}


def test_inspect_counts(good: Path) -> None:
    about = json.loads(run("inspect", good, "--json").stdout)
    assert about["format"] == "coco"
    assert about["kinds"] == {"labelled": 10, "confirmed empty": 1, "unlabelled": 0}
    assert about["per class"] == {
        "cell": {"instances": 10, "images": 10},
        "größe": {"instances": 10, "images": 10},
    }
    assert about["sizes"] == [
        {"height": 12, "width": 16, "images": 10},
        {"height": 9, "width": 7, "images": 1},
    ]
    assert about["instances"]["per image"] == {"min": 0, "median": 2.0, "max": 2}
    text = run("inspect", good).stdout
    assert "größe" in text
    assert "16 × 12 (10)" in text


def test_inspect_of_nothing_is_an_error(tmp_path: Path) -> None:
    assert isinstance(run("inspect", tmp_path / "none").exception, DataError)


def test_convert_reports_losses_and_writes_the_rest(good: Path, tmp_path: Path) -> None:
    result = run("convert", good, tmp_path / "out", "--to", "yolo", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == {
        "path": str(tmp_path / "out"), "images": 11, "problems": [],
        "losses": [{"what": "scores", "count": 1, "example": "0"}]}
    assert "scores" in run("convert", good, tmp_path / "out2", "--to", "yolo").stdout


def test_strict_conversion_leaves_nothing_where_something_is_lost(good: Path, tmp_path: Path) -> None:
    result = run("convert", good, tmp_path / "out", "--to", "yolo", "--strict")
    assert isinstance(result.exception, DataError)
    assert result.exception.exit_code == 3
    assert "scores (1, as in 0)" in str(result.exception)
    assert [p.name for p in tmp_path.iterdir()] == ["good"]
    assert run("convert", good, tmp_path / "out", "--to", "shards", "--strict").exit_code == 0
    assert run("convert", tmp_path / "out", tmp_path / "back", "--to", "coco", "--strict").exit_code == 0
    assert json.loads((tmp_path / "back/annotations.json").read_text())["annotations"] == json.loads(
        (good / "annotations.json").read_text())["annotations"]


def test_options_reach_the_format_and_wrong_ones_are_refused(good: Path, tmp_path: Path) -> None:
    assert run("convert", good, tmp_path / "a", "--to", "yolo", "-o", "kind=detect").exit_code == 0
    assert len((tmp_path / "a/labels/train/1.txt").read_text().splitlines()[0].split()) == 5
    for option in ("kind=boxes", "kin=detect"):
        result = run("convert", good, tmp_path / "b", "--to", "yolo", "-o", option)
        assert result.exit_code == 1
        assert option.split("=")[0] in str(result.exception)
    assert run("convert", good, tmp_path / "b", "--to", "yolo", "-o", "kind").exit_code == 2


def test_an_existing_destination_is_not_touched(good: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert "exists already" in str(run("convert", good, tmp_path / "out", "--to", "yolo").exception)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_split_is_deterministic_complete_and_apart(good: Path, tmp_path: Path) -> None:
    parts = "train=0.7,val=0.2,test=0.1"
    for name in ("a", "b"):
        result = run("split", good, tmp_path / name, "--parts", parts, "--seed", 3, "--json")
        assert result.exit_code == 0, result.output
        assert json.loads(result.stdout)["images"] == {"train": 8, "val": 2, "test": 1}
    files = {
        part: {p.name for p in (tmp_path / "a" / part / "images").iterdir()}
        for part in ("train", "val", "test")
    }
    assert sum(map(len, files.values())) == len(set.union(*files.values())) == 11
    for part, names in files.items():
        assert {p.name for p in (tmp_path / "b" / part / "images").iterdir()} == names
    run("split", good, tmp_path / "c", "--parts", parts, "--seed", 4)
    assert {p.name for p in (tmp_path / "c/val/images").iterdir()} != files["val"]


def test_a_split_into_yolo_is_one_dataset(good: Path, tmp_path: Path) -> None:
    assert run("split", good, tmp_path / "out", "--to", "yolo").exit_code == 0
    about = json.loads(run("inspect", tmp_path / "out", "--json").stdout)
    assert about["splits"] == {"train": 9, "val": 2}
    assert "val: images/val" in (tmp_path / "out/data.yaml").read_text()


def test_a_split_shares_every_image_class_out_evenly(tmp_path: Path) -> None:
    samples = [Sample(f"{k:06d}", np.full((2, 2, 3), k, np.uint8),
                      Labels(size=(2, 2), image_class=k % 3, reviewed="human"), meta={"file": f"{k}.png"})
               for k in range(30)]
    ImageFolder().write(samples, tmp_path / "in", ["a", "b", "c"])
    assert run("split", tmp_path / "in", tmp_path / "out").exit_code == 0
    counts = {
        p.relative_to(tmp_path / "out").as_posix(): len(list(p.iterdir())) for p in tmp_path.glob("out/*/*")
    }
    assert counts == {f"{part}/{c}": n for part, n in (("train", 8), ("val", 2)) for c in "abc"}


def test_parts_that_the_format_has_no_word_for_are_refused(good: Path, tmp_path: Path) -> None:
    parts = ("--parts", "train=0.5,mine=0.5")
    assert run("split", good, tmp_path / "out", "--to", "yolo", *parts).exit_code == 2
    assert run("split", good, tmp_path / "out", *parts).exit_code == 0


def test_splits_that_a_format_has_no_place_for_are_a_loss(good: Path, tmp_path: Path) -> None:
    run("split", good, tmp_path / "yolo", "--to", "yolo")
    result = run("convert", tmp_path / "yolo", tmp_path / "coco", "--to", "coco", "--json")
    losses = json.loads(result.stdout)["losses"]
    assert [(loss["what"], loss["count"]) for loss in losses] == [("splits: all become one", 2)]


@pytest.mark.parametrize(
    "parts", ["train", "train=2", "train=0.9,val=0.9", "a=0.1,a=0.1", "../x=0.5", "a=x", ""]
)
def test_parts_that_make_no_sense_are_a_usage_error(good: Path, tmp_path: Path, parts: str) -> None:
    result = run("split", good, tmp_path / "out", "--parts", parts)
    assert result.exit_code == 2
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_no_torch_is_imported() -> None:
    import subprocess
    import sys
    code = "import sys, synthgen.cli.data, synthgen.formats.coco; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_where_nothing_can_be_written_is_said_of_the_place_that_was_asked_for(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentProblem, match=r"file/x: it cannot be written there \(.*\); choose another place"):
        new_folder(tmp_path / "file" / "x", lambda folder: None)
