"""YOLO as others read and write it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import PIL.Image
import pytest
import supervision
from ruamel.yaml import YAML

from synthgen.errors import DataError
from synthgen.formats import Reading
from synthgen.formats.outline import fill, trace
from synthgen.formats.yolo import Yolo
from synthgen.geometry import labels_from_masks
from synthgen.init import look
from synthgen.types import Sample

Make: TypeAlias = Callable[..., Sample]
Read: TypeAlias = Callable[..., Any]


@pytest.fixture
def dataset(tmp_path: Path) -> Callable[..., Path]:
    """Writes a YOLO folder with one 20 × 10 px image; text None: no label file."""

    def write(text: str | None, yaml: str = "train: images/train\nnames: [cell, dog]\n") -> Path:
        for name in ("images/train", "labels/train"):
            (tmp_path / name).mkdir(parents=True, exist_ok=True)
        PIL.Image.new("RGB", (20, 10)).save(tmp_path / "images/train/a.png")
        (tmp_path / "data.yaml").write_text(yaml, encoding="utf-8")
        if text is not None:
            (tmp_path / "labels/train/a.txt").write_text(text, encoding="utf-8")
        return tmp_path

    return write


def test_an_empty_file_is_confirmed_and_a_missing_one_unlabelled(dataset: Any, read: Read) -> None:
    (one,), problems = read(Yolo(), dataset(None))
    assert (one.labels, problems) == (None, [])
    (one,), problems = read(Yolo(), dataset(""))
    assert (one.labels.empty, one.labels.reviewed, len(one.labels), problems) == ("confirmed", "human", 0, [])


def test_boxes_are_read_with_their_scores(dataset: Any, read: Read) -> None:
    (one,), problems = read(Yolo(), dataset("0 0.5 0.5 0.2 0.4\n1 0.1 0.5 0.2 1 0.75\n"), ["dog", "cell"])
    assert problems == []
    assert one.labels.masks is None
    assert one.labels.boxes.tolist() == [[8, 3, 12, 7], [0, 0, 4, 10]]
    assert one.labels.classes.tolist() == [1, 0]
    assert one.labels.scores.tolist() == [1, 0.75]
    assert one.labels.truncated.tolist() == [False, True]


def test_outlines_become_masks_unless_boxes_are_wanted(dataset: Any, read: Read, masks_of: Any) -> None:
    path = dataset("0 0.1 0.2 0.3 0.2 0.3 0.6 0.1 0.6\n0 0.5 0.5 0.6 0.5 0.6 0.9 0.5\n")
    (one,), problems = read(Yolo(), path)
    assert masks_of(one)[0].nonzero()[1].max() == 6
    assert problems == [] or problems[0].item == "line 2"
    (one,), _ = read(Yolo(kind="detect"), path)
    assert one.labels.masks is None


LINES = {
    "0 0.5 0.5 0.2": "needs a class and four numbers",
    "0 a b c d": "no number",
    "0 nan 0.5 0.2 0.2": "not finite",
    "7 0.5 0.5 0.2 0.2": "class 7 is not in data.yaml",
    "0.5 0.5 0.5 0.2 0.2": "no whole number",
    "-1 0.5 0.5 0.2 0.2": "no whole number",
    "0 0.5 0.5 0 0.2": "without area",
    "0 0.5 0.5 -1 0.2": "without area",
    "0 1.5 0.5 0.2 0.2": "outside the image",
    "0 120 40 30 20": "shares of the image",
    "0 0.5 0.5 0.2 0.2 7": "score 7",
    "1 0.5 0.5 0.2 0.2": "'dog' is not among",
    "0 0.9 0.5 0.4 0.4": "clipped",
}


@pytest.mark.parametrize("line", LINES)
def test_a_bad_line_is_reported_with_its_number(line: str, dataset: Any, read: Read) -> None:
    (one,), (problem,) = read(Yolo(), dataset(f"0 0.5 0.5 0.2 0.2\n\n{line}\n"))
    assert LINES[line] in problem.what
    assert (problem.file, problem.item, problem.action) == ("labels/train/a.txt", "line 3", "repaired")
    assert len(one.labels) == (2 if "clipped" in problem.what else 1)


def test_a_box_among_outlines_becomes_an_ignored_region(dataset: Any, read: Read) -> None:
    (one,), (problem,) = read(Yolo(), dataset("0 0.1 0.2 0.3 0.2 0.3 0.6\n0 0.5 0.5 0.2 0.2\n"))
    assert "ignored region" in problem.what
    assert one.labels.ignore is not None


def test_init_counts_boxes_among_outlines_and_takes_the_task_of_the_larger_part(dataset: Any) -> None:
    outline = "0 0.1 0.2 0.3 0.2 0.3 0.6\n"
    boxes = "0 0.5 0.5 0.2 0.2\n0 0.8 0.5 0.2 0.2\n"
    seen = look(dataset(outline + boxes), None, None)
    assert (seen.task, seen.parts["seed"].maskless) == ("detect", 2)
    assert "1 objects have a mask and 2 only a box" in "\n".join(seen.lines())
    assert len(seen.parts["seed"].diameters) == sum(seen.parts["seed"].objects.values()) == 3  # of every box
    assert look(dataset(outline * 3 + boxes), None, None).task == "instances"


YAMLS = {
    "train: images/train\n": "names is missing",
    "train: images/train\nnames: [a, b]\nnc: 3\n": "nc is 3, but names has 2",
    "train: images/train\nnames: [a, a]\n": "a class stands twice",
    "train: images/train\nnames: {x: a}\n": "must be a class index",
    "train: images/train\nnames: [a]\nnames: [b]\n": "no valid YAML",
    "train: images/train\nnames: !!python/object:os.system [a]\n": "no valid YAML",
    "names: [a\n": "no valid YAML",
    "- a\n": "must hold keys",
    "names: [a]\n": "names a folder",
    "train: nowhere\nnames: [a]\n": "names a folder",
    "train: ../../\nnames: [a]\n": "must be a folder inside",
    "train: images/train/a.png\nnames: [a]\n": "must be a folder inside",
}


@pytest.mark.parametrize("text", YAMLS)
def test_a_wrong_data_yaml_says_what_is_wrong(text: str, dataset: Any) -> None:
    with pytest.raises(DataError, match=YAMLS[text]):
        list(Yolo().read(dataset("", text), ["cell"], Reading()))


@pytest.mark.parametrize(
    "text",
    ["path: /somewhere/else\ntrain: images/train\nnames: {0: cell}\n",
     "train: ../images/train\nval: images/train\nnames: {'0': cell}\nnc: 1\n",
     "path: .\ntrain: [images/train]\nnames: [cell]\n",
     "path: images\ntrain: train\nnames: [cell]\n"],
)  # fmt: skip
def test_the_ways_in_which_others_name_folders_are_understood(text: str, dataset: Any, read: Read) -> None:
    samples, problems = read(Yolo(), dataset("0 0.5 0.5 0.2 0.2", text))
    assert (len(samples), problems) == (1, [])


def test_a_link_out_of_the_dataset_is_quarantined(dataset: Any, read: Read, tmp_path: Path,
                                                  tmp_path_factory: pytest.TempPathFactory) -> None:
    path = dataset("")
    secret = tmp_path_factory.mktemp("outside") / "b.png"
    PIL.Image.new("RGB", (4, 4)).save(secret)
    (tmp_path / "images/train/b.png").symlink_to(secret)
    (tmp_path / "labels/train/a.txt").unlink()
    (tmp_path / "labels/train/a.txt").symlink_to(secret)
    samples, problems = read(Yolo(), path)
    assert samples == []
    assert [p.file for p in problems] == ["labels/train/a.txt", "images/train/b.png"]


def test_two_images_do_not_share_a_label_file(dataset: Any, read: Read, tmp_path: Path) -> None:
    path = dataset("")
    PIL.Image.new("RGB", (20, 10)).save(tmp_path / "images/train/a.jpg")
    samples, (problem,) = read(Yolo(), path)
    assert len(samples) == 1
    assert "shares its label file" in problem.what


def test_data_yaml_has_no_path_and_quoted_names(sample: Make, tmp_path: Path) -> None:
    names = ["no", "größe", "<script>", "1", 'a"b: c', "#x"]
    one = replace(sample([]), meta={"split": "val"})
    Yolo().write([one, sample([], sample_id="1")], tmp_path, names)
    text = (tmp_path / "data.yaml").read_text(encoding="utf-8")
    value = YAML(typ="safe", pure=True).load(text)
    assert value == {"train": "images/train", "val": "images/val", "nc": 6, "names": dict(enumerate(names))}
    assert '"no"' in text
    assert Yolo().classes(tmp_path) == names
    assert (tmp_path / "labels/val/000000.txt").read_text() == ""


def test_without_a_val_split_val_repeats_train_for_trainers_that_insist_on_it(
        sample: Make, tmp_path: Path) -> None:
    Yolo().write([sample([]), sample([], sample_id="1")], tmp_path, ["a"])
    text = (tmp_path / "data.yaml").read_text(encoding="utf-8")
    value = YAML(typ="safe", pure=True).load(text)
    assert (value["train"], value["val"]) == ("images/train", "images/train")
    assert "val repeats train" in text
    assert len(list(Yolo().read(tmp_path, ["a"], Reading()))) == 2        # nothing is read twice


def test_numbers_have_six_decimals(sample: Make, tmp_path: Path) -> None:
    dot = np.zeros((7, 9), bool)
    dot[2, 3] = True
    Yolo().write([sample([dot])], tmp_path, ["a"])
    line = (tmp_path / "labels/train/000000.txt").read_text()
    assert line == "0" + " 0.361111 0.321429" * 3 + "\n"


def test_unlabelled_images_stay_out_of_the_lists_for_training(
    sample: Make, read: Read, tmp_path: Path
) -> None:
    unlabelled = replace(sample([]), labels=None)
    unsure = sample([], sample_id="000001", empty="unknown")
    losses = Yolo().write([unlabelled, unsure], tmp_path, ["a"])
    assert [loss.what for loss in losses] == ["emptiness that nobody confirmed: written as unlabelled"]
    samples, problems = read(Yolo(), tmp_path)
    assert [s.labels for s in samples] == [None, None]
    assert {s.meta["split"] for s in samples} == {"unlabelled"}
    assert problems == []
    assert list((tmp_path / "images/train").iterdir()) == []


def test_an_empty_dataset_can_be_written_and_read(read: Read, tmp_path: Path) -> None:
    assert Yolo().write([], tmp_path, ["a"]) == []
    assert read(Yolo(), tmp_path) == ([], [])


def test_supervision_sees_the_same_solid_objects(sample: Make, solid_masks: Any, tmp_path: Path) -> None:
    Yolo().write([sample(solid_masks)], tmp_path, ["a"])
    loaded = supervision.DetectionDataset.from_yolo(
        str(tmp_path / "images/train"),
        str(tmp_path / "labels/train"),
        str(tmp_path / "data.yaml"),
        force_masks=True,
    )
    ((_, _, detections),) = list(loaded)
    found = [] if detections.mask is None else list(np.asarray(detections.mask))
    assert len(found) == len(solid_masks)
    for mine, theirs in zip(solid_masks, found, strict=True):
        assert (mine & theirs).sum() / (mine | theirs).sum() >= 0.99


def test_supervision_sees_the_same_boxes(sample: Make, tmp_path: Path) -> None:
    mask = np.zeros((30, 47), bool)
    mask[3:11, 20:41] = True
    Yolo(kind="detect").write([sample([mask])], tmp_path, ["a"])
    loaded = supervision.DetectionDataset.from_yolo(
        str(tmp_path / "images/train"), str(tmp_path / "labels/train"), str(tmp_path / "data.yaml"))
    ((_, _, detections),) = list(loaded)
    assert detections.xyxy[0] == pytest.approx([20, 3, 41, 11], abs=1e-3)


def test_a_hole_is_cut_out_by_a_seam_that_costs_nothing() -> None:
    y, x = np.ogrid[:60, :60]
    radius = (y - 30) ** 2 + (x - 30) ** 2
    ring = np.asarray((radius < 700) & (radius > 200))
    assert np.array_equal(fill(trace(ring), (60, 60)), ring)


def test_parts_stay_one_object_joined_by_a_thin_line_that_is_reported(sample: Make, read: Read, masks_of: Any,
                                                                      tmp_path: Path) -> None:
    mask = np.zeros((60, 90), bool)
    mask[5:25, 5:25], mask[30:55, 40:80] = True, True
    (loss,) = Yolo().write([sample([mask])], tmp_path, ["cell"])
    assert "several parts" in loss.what
    (found,), _ = read(Yolo(), tmp_path)
    (theirs,) = masks_of(found)
    assert (mask & theirs).sum() == mask.sum()
    assert (mask & theirs).sum() / (mask | theirs).sum() > 0.98


@pytest.mark.slow
def test_large_objects_are_traced_in_reasonable_time() -> None:
    mask = np.random.default_rng(0).random((300, 300)) < 0.5
    assert fill(trace(mask), (300, 300))[mask].all()


def test_what_is_more_than_one_instance_keeps_its_order(sample: Make, read: Read, tmp_path: Path) -> None:
    masks = np.zeros((3, 8, 8), bool)
    for k in range(3):
        masks[k, 2 * k + 1, 1:4] = True
    one = Sample("0", np.zeros((8, 8, 3), np.uint8), labels_from_masks(masks, [2, 0, 1], reviewed="human"))
    Yolo().write([one], tmp_path, ["a", "b", "c"])
    (found,), _ = read(Yolo(), tmp_path, ["c", "b", "a"])
    assert found.labels.classes.tolist() == [0, 2, 1]
