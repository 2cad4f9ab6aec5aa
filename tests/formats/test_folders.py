"""Formats that are folders: imagefolder, images, shards; and telling all of them apart."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import PIL.Image
import pytest

from synthgen.errors import DataError, PluginError
from synthgen.formats import Format, Problem, Reading
from synthgen.formats.coco import Coco
from synthgen.formats.cvat import Cvat
from synthgen.formats.detect import detect, open_dataset
from synthgen.formats.imagefolder import ImageFolder
from synthgen.formats.images import Images
from synthgen.formats.labelstudio import LabelStudio
from synthgen.formats.masks import Masks
from synthgen.formats.shards import Shards
from synthgen.formats.voc import Voc
from synthgen.formats.yolo import Yolo
from synthgen.types import Labels, Origin, Sample

Make: TypeAlias = Callable[..., Sample]
Read: TypeAlias = Callable[..., Any]


def put(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.new("RGB", (4, 3)).save(root / name)
    return root


def classified(k: int, name: str, image_class: int | None, **meta: Any) -> Sample:
    image = np.full((3, 4, 3), k, np.uint8)
    labels = None if image_class is None else Labels(size=(3, 4), image_class=image_class, reviewed="human")
    return Sample(f"{k:06d}", image, labels, meta={"file": name, **meta})


def test_the_folder_is_the_class(read: Read, tmp_path: Path) -> None:
    path = put(tmp_path, "cat/b.png", "cat/a.jpg", "größe/c.png", ".hidden/x.png")
    (tmp_path / "empty").mkdir()
    assert ImageFolder().classes(path) == ["cat", "empty", "größe"]
    samples, problems = read(ImageFolder(), path, ["größe", "cat"])
    assert [(s.meta["file"], s.labels.image_class) for s in samples] == [
        ("cat/a.jpg", 1), ("cat/b.png", 1), ("größe/c.png", 0)]
    assert problems == []


def test_splits_are_told_from_classes_by_depth(read: Read, tmp_path: Path) -> None:
    path = put(tmp_path, "train/cat/a.png", "val/cat/b.png", "val/dog/c.png")
    assert ImageFolder().classes(path) == ["cat", "dog"]
    samples, _ = read(ImageFolder(), path, ["cat", "dog"])
    assert [(s.meta["split"], s.labels.image_class) for s in samples] == [
        ("train", 0),
        ("val", 0),
        ("val", 1),
    ]


@pytest.mark.parametrize(
    "names", [["cat/a.png", "cat/x/b.png"], ["red/cat/a.png"], ["a.png"], ["a/b/c/d.png"]]
)
def test_mixed_depths_are_refused(names: list[str], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="folders deep"):
        ImageFolder().classes(put(tmp_path, *names))


def test_an_image_of_an_unwanted_class_is_quarantined(read: Read, tmp_path: Path) -> None:
    samples, (problem,) = read(ImageFolder(), put(tmp_path, "cat/a.png", "dog/b.png"), ["cat"])
    assert len(samples) == 1
    assert problem == Problem(
        "dog/b.png", "", "its class 'dog' is not among the classes wanted (cat)", "quarantined"
    )


def test_image_classes_come_back(read: Read, tmp_path: Path) -> None:
    given = [classified(0, "x/é.png", 1), classified(1, "y/é.jpg", 0), classified(2, "z.png", None)]
    (loss,) = ImageFolder().write(given, tmp_path, ["<b>", "größe", "never seen"])
    assert loss.what == "images without a class: they are left out"
    assert ImageFolder().classes(tmp_path) == ["<b>", "größe", "never seen"]
    samples, problems = read(ImageFolder(), tmp_path, ["größe", "<b>"])
    assert [(s.meta["file"], s.labels.image_class) for s in samples] == [
        ("<b>/é-2.png", 1),
        ("größe/é.png", 0),
    ]
    assert problems == []


def test_splits_in_meta_become_folders(read: Read, tmp_path: Path) -> None:
    given = [classified(0, "a.png", 0, split="val"), classified(1, "b.png", 0, split="odd/../name")]
    assert ImageFolder().write(given, tmp_path, ["a"]) == []
    assert sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*.png")) == [
        "train/a/b.png", "val/a/a.png"]


@pytest.mark.parametrize("name", ["a/b", "..", "", ".x", "a\\b"])
def test_a_class_that_cannot_name_a_folder_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot name a folder"):
        ImageFolder().write([], tmp_path, [name])


def test_imagefolder_reports_the_instances_that_it_loses(sample: Make, tmp_path: Path) -> None:
    one = sample([np.ones((3, 4), bool)], image_class=0, scores=[0.5])
    assert [(loss.what, loss.count) for loss in ImageFolder().write([one], tmp_path, ["a"])] == [
        ("instances", 1)
    ]


def test_plain_images_are_unlabelled(read: Read, tmp_path: Path) -> None:
    path = put(tmp_path, "b.png", "x/a.png")
    samples, problems = read(Images(), path)
    assert [(s.id, s.meta["file"], s.labels) for s in samples] == [
        ("000000", "b.png", None),
        ("000001", "x/a.png", None),
    ]
    assert problems == []
    (loss,) = Images().write([classified(0, "q.png", 0)], tmp_path / "out", ["a"])
    assert loss.what == "all labels"
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["q.png"]


def test_one_bad_file_does_not_end_the_set(read: Read, tmp_path: Path) -> None:
    path = put(tmp_path, "a.png", "c.png")
    (path / "b.png").write_bytes((path / "a.png").read_bytes()[:40])
    samples, (problem,) = read(Images(), path)
    assert [s.id for s in samples] == ["000000", "000002"]
    assert (problem.file, problem.action) == ("b.png", "quarantined")
    assert str(path) not in problem.what


def everything(sample: Make) -> list[Sample]:
    mask = np.zeros((6, 7), bool)
    mask[2:4, 2:5] = True
    full = sample([mask, mask], classes=[1, 0], sample_id="b", scores=[0.5, 1], visible=[0.25, 1.0],
                  states=("to_review", "accepted"), reviewed="model", image_class=1)
    origin = Origin("synthetic", "compose", "1", "w", 4, ("p",), "construction")
    return [replace(full, origin=origin, meta={"x": [1, "é"]}), replace(sample([]), id="c", labels=None)]


def test_shards_lose_nothing(sample: Make, read: Read, tmp_path: Path) -> None:
    given = everything(sample)
    assert Shards().write(given, tmp_path, ["a", "b"]) == []
    for pixels in (True, False):
        samples, problems = read(Shards(), tmp_path, ["a", "b"], pixels=pixels)
        assert problems == []
        for mine, found in zip(given, samples, strict=True):
            assert (found.id, found.origin, found.meta) == (mine.id, mine.origin, mine.meta)
            assert np.array_equal(found.image, mine.image if pixels else np.zeros_like(mine.image))
    assert samples[0].labels.scores.tolist() == [0.5, 1]
    assert samples[0].labels.image_class == 1


def test_shards_map_classes_by_name(sample: Make, read: Read, tmp_path: Path) -> None:
    Shards().write(everything(sample), tmp_path, ["a", "b"])
    (one, _), problems = read(Shards(), tmp_path, ["x", "a"])
    assert one.labels.classes.tolist() == [1]
    assert one.labels.image_class is None
    assert one.labels.states == ("accepted",)
    assert {p.action for p in problems} == {"repaired"}
    assert len(problems) == 2


def test_a_damaged_shard_is_quarantined_sample_by_sample(sample: Make, read: Read, tmp_path: Path) -> None:
    Shards().write(everything(sample), tmp_path, ["a", "b"])
    whole = (tmp_path / "00000.tar").read_bytes()
    (tmp_path / "00000.tar").write_bytes(whole[:700] + b"?" + whole[701:])
    samples, problems = read(Shards(), tmp_path)
    assert samples == []
    assert [p.item for p in problems] == ["b", "c"]
    (tmp_path / "00000.tar").unlink()
    assert "tar is missing" in read(Shards(), tmp_path)[1][0].what
    (tmp_path / "00000.json").write_text("{}")
    with pytest.raises(DataError, match="commit mark"):
        read(Shards(), tmp_path)
    (tmp_path / "classes.json").unlink()
    with pytest.raises(DataError, match=r"classes\.json is missing"):
        read(Shards(), tmp_path)


def test_a_shard_that_lies_is_quarantined(sample: Make, read: Read, tmp_path: Path) -> None:
    import hashlib
    Shards().write(everything(sample), tmp_path, ["a", "b"])
    data = (tmp_path / "00000.tar").read_bytes().replace(b'"size": [6, 7]', b'"size": [9, 9]')
    (tmp_path / "00000.tar").write_bytes(data)
    mark = json.loads((tmp_path / "00000.json").read_text())
    mark["sha256"] = hashlib.sha256(data).hexdigest()
    (tmp_path / "00000.json").write_text(json.dumps(mark))
    samples, (problem,) = read(Shards(), tmp_path)
    assert len(samples) == 1
    assert "run lengths" in problem.what


WRITERS: dict[str, Format] = {"coco": Coco(), "yolo": Yolo(), "imagefolder": ImageFolder(), "masks": Masks(),
                              "images": Images(), "shards": Shards(), "voc": Voc(), "cvat": Cvat(),
                              "labelstudio": LabelStudio()}


@pytest.mark.parametrize("name", WRITERS)
def test_what_each_format_writes_is_detected_and_read(name: str, sample: Make, tmp_path: Path) -> None:
    WRITERS[name].write([sample([np.eye(4, dtype=bool)], image_class=0)], tmp_path / "x", ["a"])
    assert detect(tmp_path / "x") == name
    (one,) = open_dataset(tmp_path / "x", "auto", ["a"], Reading())
    assert isinstance(one, Sample)


def test_what_nothing_fits_lists_what_was_looked_for(tmp_path: Path) -> None:
    (tmp_path / "readme.txt").touch()
    with pytest.raises(DataError, match=r"no format fits; looked for\n  COCO: .*\n  CVAT: .*\n  ImageFolder: "):
        detect(tmp_path)
    with pytest.raises(DataError, match="there is no such file or folder"):
        detect(tmp_path / "nothing")


def test_two_formats_that_fit_are_named(sample: Make, tmp_path: Path) -> None:
    for form in (Coco(), Yolo()):
        form.write([sample([])], tmp_path, ["a"])
    with pytest.raises(DataError, match="coco and yolo both fit"):
        detect(tmp_path)


def test_an_unknown_format_is_named(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="did you mean 'coco'"):
        list(open_dataset(tmp_path, "cocoo", [], Reading()))


def test_a_limit_counts_samples_or_each_class(tmp_path: Path) -> None:
    path = put(tmp_path, *(f"{c}/{k}.png" for c in "abc" for k in range(4)))
    def names(**limit: Any) -> list[str]:
        return [s.meta["file"] for s in open_dataset(path, "imagefolder", ["a", "b", "c"], Reading(), **limit)
                if isinstance(s, Sample)]
    assert names(limit=3) == ["a/0.png", "a/1.png", "a/2.png"]
    assert names(limit=1, limit_per_class=True) == ["a/0.png", "b/0.png", "c/0.png"]
    assert len(names(limit=9, limit_per_class=True)) == 12
