"""Mask PNGs: instance ids and class indices."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import PIL.Image
import pytest

from synthgen.errors import DataError
from synthgen.formats import Reading
from synthgen.formats.masks import Masks
from synthgen.geometry import decode, encode
from synthgen.images import read_ids
from synthgen.types import Sample

Make: TypeAlias = Callable[..., Sample]
Read: TypeAlias = Callable[..., Any]


@pytest.fixture
def dataset(tmp_path: Path) -> Callable[..., Path]:
    """Writes images/a.png of the mask's size, masks/a.png of the ids, and a JSON."""

    def write(ids: Any, name: str, about: Any) -> Path:
        for folder in ("images", "masks"):
            (tmp_path / folder).mkdir(exist_ok=True)
        ids = np.asarray(ids)
        PIL.Image.new("RGB", (ids.shape[1], ids.shape[0])).save(tmp_path / "images/a.png")
        PIL.Image.fromarray(ids.astype(np.uint16 if ids.max() > 255 else np.uint8)).save(
            tmp_path / "masks/a.png"
        )
        (tmp_path / name).write_text(about if isinstance(about, str) else json.dumps(about), encoding="utf-8")
        return tmp_path

    return write


IDS = [[0, 1, 1], [7, 0, 9]]


def test_with_one_class_every_id_is_an_instance(dataset: Any, read: Read, masks_of: Any) -> None:
    (one,), problems = read(Masks(), dataset(IDS, "instances.json", {"classes": ["cell"]}))
    assert problems == []
    assert masks_of(one).sum((1, 2)).tolist() == [2, 1, 1]
    assert one.labels.reviewed == "human"


def test_ids_without_a_class_and_classes_without_an_id_are_reported(dataset: Any, read: Read) -> None:
    about = {"classes": ["cell", "dog"], "masks": {"a.png": {"instances": {
        "1": {"class": "cell", "score": 0.5}, "7": {"class": "dog"}, "8": {"class": "cell"}}}}}
    (one,), problems = read(Masks(), dataset(IDS, "instances.json", about))
    assert len(one.labels) == 1
    assert one.labels.scores.tolist() == [0.5]
    assert {(p.item, p.action) for p in problems} == {
        ("id 7", "repaired"),
        ("id 8", "repaired"),
        ("id 9", "repaired"),
    }


def test_65535_is_ignored(dataset: Any, read: Read) -> None:
    (one,), _ = read(Masks(), dataset([[0, 65535, 3]], "instances.json", {"classes": ["cell"]}))
    assert len(one.labels) == 1
    assert decode([one.labels.ignore], (1, 3))[0].tolist() == [[False, True, False]]


@pytest.mark.parametrize(
    "about",
    [["background", "cell", "dog"], {"0": "background", "1": "cell", "2": "dog"}, {"1": "cell", "2": "dog"}],
)
def test_class_masks_give_one_instance_per_class(dataset: Any, read: Read, about: Any) -> None:
    path = dataset([[0, 1, 2], [1, 255, 4]], "classes.json", about)
    assert Masks().classes(path) == ["cell", "dog"]
    (one,), problems = read(Masks(), path, ["dog", "cell"])
    assert one.labels.classes.tolist() == [1, 0]
    assert decode([one.labels.ignore], (2, 3))[0].tolist() == [[False] * 3, [False, True, True]]
    assert [p.item for p in problems] == ["index 4"]


def test_a_mask_of_zeros_is_confirmed_and_a_missing_one_unlabelled(
    dataset: Any, read: Read, tmp_path: Path
) -> None:
    path = dataset(np.zeros((2, 3)), "classes.json", ["background", "cell"])
    (one,), _ = read(Masks(), path)
    assert (len(one.labels), one.labels.empty) == (0, "confirmed")
    (tmp_path / "masks/a.png").unlink()
    (one,), problems = read(Masks(), path)
    assert (one.labels, problems) == (None, [])


def test_masks_that_do_not_fit_are_quarantined(dataset: Any, read: Read, tmp_path: Path) -> None:
    path = dataset(IDS, "classes.json", ["background", "cell"])
    PIL.Image.new("RGB", (3, 2), (0, 9, 0)).save(path / "masks/a.png")
    PIL.Image.new("L", (3, 2)).save(path / "masks/alone.png")
    samples, problems = read(Masks(), path)
    assert samples == []
    assert [p.file for p in problems] == ["masks/a.png", "masks/alone.png"]
    assert "one channel" in problems[0].what
    PIL.Image.new("L", (9, 2)).save(path / "masks/a.png")
    _, problems = read(Masks(), path)
    assert "the mask is 9 × 2 px" in problems[0].what


@pytest.mark.parametrize(
    ("name", "about", "said"),
    [("instances.json", "{", "no valid JSON"), ("instances.json", [], "must hold classes"),
     ("instances.json", {"classes": ["a", "b"]}, "masks is missing"),
     ("classes.json", {"a": 1}, "must be a list"),
     ("classes.json", ["background"], "names no class"), ("other.json", {}, "needs instances.json")],
)  # fmt: skip
def test_a_wrong_json_says_what_is_wrong(dataset: Any, name: str, about: Any, said: str) -> None:
    with pytest.raises(DataError, match=said):
        list(Masks().read(dataset(IDS, name, about), ["cell"], Reading()))


def test_overlap_is_reported_and_the_smaller_is_on_top(sample: Make, read: Read, masks_of: Any,
                                                       tmp_path: Path) -> None:
    large, small, hidden = np.zeros((3, 9, 9), bool)
    large[1:8, 1:8], small[2:4, 2:4], hidden[2:4, 2:4] = True, True, True
    losses = Masks().write([sample([large, small, hidden])], tmp_path, ["cell"])
    assert {loss.what.split(":")[0] for loss in losses} == {
        "pixels of instances that lie under another", "instances without a pixel of their own"}
    (found,), problems = read(Masks(), tmp_path)
    assert masks_of(found).sum((1, 2)).tolist() == [45, 4]
    assert problems == []


def test_class_masks_say_what_they_merge(sample: Make, read: Read, masks_of: Any, tmp_path: Path) -> None:
    a, b, c = np.zeros((3, 6, 8), bool)
    a[0:2, 0:2], b[4:6, 4:6], c[4:6, 5:7] = True, True, True
    corner = np.zeros((1, 6, 8), bool)
    corner[0, 0, 7] = True
    one = sample([a, b, c], classes=[1, 1, 0], ignore=encode(corner)[0])
    losses = Masks(kind="class").write([one], tmp_path, ["cell", "größe"])
    assert {loss.what.split(":")[0]: loss.count for loss in losses} == {
        "instances told apart": 1, "class regions under another class": 1}
    with PIL.Image.open(tmp_path / "masks/000000.png") as written:
        assert written.mode == "P"
    assert sorted(np.unique(read_ids(tmp_path / "masks/000000.png"))) == [0, 1, 2, 255]
    assert Masks().classes(tmp_path) == ["cell", "größe"]
    (found,), problems = read(Masks(), tmp_path, ["cell", "größe"])
    assert problems == []
    assert found.labels.classes.tolist() == [0, 1]
    assert masks_of(found)[1].sum() == 4 + 2
    assert found.labels.ignore == encode(corner)[0]


@pytest.mark.parametrize("kind", ["instance", "class"])
def test_boxes_cannot_be_masks_and_are_not_background_either(
    kind: Any, sample: Make, read: Read, tmp_path: Path
) -> None:
    from dataclasses import replace
    corner = np.zeros((5, 4), bool)
    corner[3:, 2:] = True
    one = sample([corner])
    one = replace(one, labels=replace(one.labels, masks=None))           # type: ignore[type-var]  # it has labels
    assert "boxes only: their boxes become ignored" in Masks(kind=kind).write([one], tmp_path, ["a"])[0].what
    (back,), _ = read(Masks(kind=kind), tmp_path, ["a"])
    assert back.labels is not None
    assert len(back.labels) == 0
    assert back.labels.ignore == encode(corner[None])[0]
    assert kind == "class" or back.labels.empty == "unknown"


def test_more_classes_than_numbers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="254"):
        Masks(kind="class").write([], tmp_path, [str(k) for k in range(255)])
