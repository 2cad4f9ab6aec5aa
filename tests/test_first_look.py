"""The first look at somebody's data: what `init` finds in the trees that people have, and what it says of near ones."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from synthgen import plugins
from synthgen.cli import main
from synthgen.errors import DataError
from synthgen.formats import Reading
from synthgen.formats.detect import detect, format_of, near, open_dataset
from synthgen.formats.masks import folder_of_masks
from synthgen.init import look, recipe_for
from synthgen.recipe.load import load
from synthgen.store import write_atomic
from synthgen.testing import tiny_real
from synthgen.types import Labels, Sample

CLASSES = ("class 0", "class 1")
BOX = "0 0.5 0.5 0.2 0.2\n"


def picture(path: Path, grey: int = 90) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(np.full((32, 32), grey, np.uint8)).save(path)


def text(path: Path, words: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(words)


def written(folder: Path, name: str, splits: dict[str, int], unlabelled: int = 0) -> Path:
    """A dataset of tiny pictures, so many of each split."""
    of = [split for split, n in splits.items() for _ in range(n)]
    samples = [replace(s, meta={"split": split}) for s, split in zip(tiny_real(len(of)), of, strict=True)]
    samples += [replace(s, id=f"p{k}", labels=None) for k, s in enumerate(tiny_real(unlabelled, seed=5))]
    if name == "imagefolder":
        samples = [replace(s, labels=Labels((64, 80), image_class=k % 2)) for k, s in enumerate(samples)]
    plugins.build("formats", name, {}).write(samples, folder, CLASSES)
    return folder


def parts(data: Path) -> dict[str, tuple[str, str | None, int]]:
    return {name: (part.path.relative_to(data).as_posix(), part.split, part.images)
            for name, part in look(data, None, None).parts.items()}


# --- splits


def test_of_a_dataset_with_splits_one_can_be_read_and_limits_count_in_it(tmp_path: Path) -> None:
    path = written(tmp_path / "x", "yolo", {"train": 4, "val": 3})

    def splits(**of: Any) -> list[Any]:
        found = open_dataset(path, "auto", CLASSES, Reading(), **of)
        return [s.meta["split"] for s in found if isinstance(s, Sample)]

    assert splits() == ["train"] * 4 + ["val"] * 3
    assert splits(split="val") == ["val"] * 3
    assert splits(split="val", limit=2) == ["val"] * 2
    with pytest.raises(DataError, match=r"of the split 'test'; there are train \(4 images\), val \(3 images\)"):
        splits(split="test")


def test_a_split_that_a_dataset_without_splits_cannot_have_is_told(tmp_path: Path) -> None:
    plugins.build("formats", "coco", {}).write(tiny_real(2), tmp_path / "x", CLASSES)
    with pytest.raises(DataError, match="this dataset has no splits: leave the key out"):
        list(open_dataset(tmp_path / "x", "auto", CLASSES, Reading(), split="train"))


def recipe_of(data: Path) -> Path:
    file = data.parent / "recipe.yaml"
    write_atomic(file, recipe_for(look(data, None, None), None, file.parent).encode())
    return file


def test_splits_of_one_dataset_become_seed_pool_and_test(tmp_path: Path) -> None:
    path = written(tmp_path / "x", "yolo", {"train": 4, "val": 3}, unlabelled=2)
    assert parts(path) == {"seed": (".", "train", 4), "pool": (".", "unlabelled", 2), "test": (".", "val", 3)}
    recipe = load(recipe_of(path)).recipe
    assert [recipe.data.seed.split, recipe.data.test and recipe.data.test.split] == ["train", "val"]


def test_the_same_split_cannot_be_seed_and_test(tmp_path: Path) -> None:
    file = recipe_of(written(tmp_path / "x", "yolo", {"train": 4, "val": 3}))
    for wrong in ("data.test.split=train", "data.seed.split=null", "data.test.split=null"):
        with pytest.raises(Exception, match=r"is data.seed.path too, which cannot test itself"):
            load(file, [wrong])


def test_splits_of_class_folders_are_found(tmp_path: Path) -> None:
    path = written(tmp_path / "x", "imagefolder", {"train": 6, "test": 4})
    assert parts(path) == {"seed": (".", "train", 6), "test": (".", "test", 4)}


def test_of_splits_without_a_train_the_one_that_is_left_is_the_seed(tmp_path: Path) -> None:
    """The whole dataset as seed, beside a split of it as test, would be refused by `validate`, and rightly."""
    path = written(tmp_path / "x", "yolo", {"val": 6, "test": 4})
    assert parts(path) == {"seed": (".", "val", 6), "test": (".", "test", 4)}
    load(recipe_of(path))


def test_a_tree_as_roboflow_writes_it_is_yolo_and_no_folder_of_classes(tmp_path: Path) -> None:
    path, tree = written(tmp_path / "x", "yolo", {"train": 4, "val": 3}), tmp_path / "rf"
    for theirs, ours in (("train", "train"), ("valid", "val")):
        for kind in ("images", "labels"):
            shutil.copytree(path / kind / ours, tree / theirs / kind)
    text(tree / "data.yaml", "train: ../train/images\nval: ../valid/images\nnc: 2\nnames: ['a', 'b']\n")
    assert detect(tree) == "yolo"
    assert parts(tree) == {"seed": (".", "train", 4), "test": (".", "val", 3)}


def test_a_tree_as_coco_has_it_gives_seed_and_test(tmp_path: Path) -> None:
    for split, n in (("train2017", 4), ("val2017", 3)):
        made = tmp_path / split
        plugins.build("formats", "coco", {}).write(tiny_real(n), made, CLASSES)
        about = json.loads((made / "annotations.json").read_text())
        for image in about["images"]:
            image["file_name"] = Path(image["file_name"]).name
        shutil.copytree(made / "images", tmp_path / "coco" / split)
        text(tmp_path / "coco" / "annotations" / f"instances_{split}.json", json.dumps(about))
        text(tmp_path / "coco" / "annotations" / f"captions_{split}.json", "{}")
    found = parts(tmp_path / "coco")
    assert found == {"seed": ("annotations/instances_train2017.json", None, 4),
                     "test": ("annotations/instances_val2017.json", None, 3)}
    assert load(recipe_of(tmp_path / "coco")).recipe.classes == CLASSES


def test_sixteen_bit_images_of_a_camera_with_fewer_are_found_out(tmp_path: Path) -> None:
    for k, largest in enumerate((1000, 4095, 17)):
        picture(tmp_path / f"seed/masks/{k}.png", 1)
        grey = np.full(np.asarray(PIL.Image.open(tmp_path / f"seed/masks/{k}.png")).shape[:2], largest, np.uint16)
        (tmp_path / "seed/images").mkdir(exist_ok=True)
        PIL.Image.fromarray(grey).save(tmp_path / f"seed/images/{k}.tif")
    text(tmp_path / "seed/instances.json", '{"classes": ["cell"]}')
    seen = look(tmp_path, None, None)
    assert seen.bits == 12
    assert any("read as 12-bit ones" in line for line in seen.lines())
    assert any(line.endswith("--bits 12") for line in seen.lines())
    assert "\n  bits: 12 " in recipe_for(seen, None, tmp_path)
    picture(tmp_path / "seed/images/9.png")  # an 8-bit image says nothing about the others
    assert look(tmp_path, None, None).bits == 12
    PIL.Image.fromarray(grey * 3000).save(tmp_path / "seed/images/0.tif")
    assert "bits:" not in recipe_for(look(tmp_path, None, None), None, tmp_path)


# --- near ones


def test_masks_without_a_word_on_their_numbers_are_told_what_to_write(tmp_path: Path) -> None:
    picture(tmp_path / "images/a.png")
    picture(tmp_path / "masks/a.png", 0)
    with pytest.raises(DataError, match=r"no format fits yet\n  masks: masks/ lies beside images/, and nothing says"):
        detect(tmp_path)
    text(tmp_path / "instances.json", '{"classes": ["NAME"]}')  # as the hint says
    assert detect(tmp_path) == "masks"
    assert near(tmp_path) == []


def test_masks_without_a_word_are_told_which_numbers_they_hold_and_where_to_write(tmp_path: Path) -> None:
    for name, ids in (("a", [[0, 1]]), ("b", [[7, 255]])):
        picture(tmp_path / f"images/{name}.png")
        (tmp_path / "masks").mkdir(exist_ok=True)
        PIL.Image.fromarray(np.array(ids, np.uint8)).save(tmp_path / f"masks/{name}.png")
    (said,) = near(tmp_path)
    assert "what its numbers mean (0, 1, 7, 255 in 2 masks)" in said
    assert "classes.json" in said
    assert said.endswith(f"in {tmp_path}")


def test_two_folders_of_which_one_holds_masks_are_no_classes(tmp_path: Path) -> None:
    for k in range(3):
        picture(tmp_path / f"photos/{k}.png")
        picture(tmp_path / f"GT/{k}.png", 0)
    with pytest.raises(DataError, match="photos/ and GT/ hold images of the same names"):
        detect(tmp_path)
    (tmp_path / "GT").rename(tmp_path / "cats")
    assert detect(tmp_path) == "imagefolder"


@pytest.mark.parametrize("name", ["masked", "wrong length", "segway", "labelled_ok", "Gtor"])
def test_a_class_whose_name_only_sounds_like_a_mask_is_a_class(tmp_path: Path, name: str) -> None:
    for k in range(3):  # cameras number the images of each class from the same number on
        picture(tmp_path / f"bare/{k}.png")
        picture(tmp_path / name / f"{k}.png")
    assert detect(tmp_path) == "imagefolder"


@pytest.mark.parametrize("name", ["masks", "Masks_png", "train-labels", "SegmentationClass", "ground truth", "gt2",
                                  "annotations", "labelIds", "seg_maps"])
def test_folders_are_told_for_masks_by_the_words_of_their_names(tmp_path: Path, name: str) -> None:
    for k in range(3):
        picture(tmp_path / f"photos/{k}.png")
        picture(tmp_path / name / f"{k}.png", 0)
    assert folder_of_masks(tmp_path) == ("photos", name)


def test_masks_beside_their_images_are_no_unlabelled_images_without_a_word(tmp_path: Path) -> None:
    for k in range(3):
        picture(tmp_path / f"{k}.png")
        picture(tmp_path / f"{k}_mask.png", 0)
    with pytest.raises(DataError, match=r"6 images, but no label was found \(images\)(.|\n)*3 images have a namesake"):
        look(tmp_path, None, None)


def test_the_yaml_that_is_advised_holds_every_class_and_any_name(tmp_path: Path) -> None:
    for k in range(60):
        picture(tmp_path / f"images/{k:02d}.png")
        text(tmp_path / f"labels/{k:02d}.txt", f"{k // 58} {BOX.partition(' ')[2]}")
    assert near(tmp_path)[0].endswith('names: ["NAME_OF_0", "NAME_OF_1"]')
    names = ["car: red", "no, not", "null", "#1", "größer"]
    text(tmp_path / "classes.txt", "\n".join(names))
    text(tmp_path / "data.yaml", "\n".join(line.strip() for line in near(tmp_path)[0].split("\n")[1:]))
    assert format_of(tmp_path).classes(tmp_path) == names


@pytest.mark.parametrize(("images", "labels"), [("images", "labels"), ("images/train", "labels/train"), ("", "")])
def test_yolo_without_its_yaml_is_told_what_to_write_and_rightly(tmp_path: Path, images: str, labels: str) -> None:
    for k in range(2):
        picture(tmp_path / images / f"{k}.png")
        text(tmp_path / labels / f"{k}.txt", BOX)
    text(tmp_path / "classes.txt", "cell\n")
    (said,) = near(tmp_path)
    lines = said.split("\n")
    assert lines[0].endswith(f"data.yaml is not. Write into {tmp_path / 'data.yaml'}:")
    text(tmp_path / "data.yaml", "\n".join(line.removeprefix("    ") for line in lines[1:]))
    assert near(tmp_path) == []
    found = list(open_dataset(tmp_path, "auto", ["cell"], Reading()))
    assert [len(s.labels) for s in found if isinstance(s, Sample) and s.labels is not None] == [1, 1]


def test_other_texts_are_not_taken_for_labels(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    text(tmp_path / "notes.txt", "taken in 1998 with the old camera\n")
    text(tmp_path / "numbers.txt", "1 2 3\n")
    assert near(tmp_path) == []


def test_what_is_wrong_is_said_of_the_folder_that_is_called_seed(tmp_path: Path) -> None:
    picture(tmp_path / "seed/images/a.png")
    picture(tmp_path / "seed/masks/a.png", 0)
    picture(tmp_path / "pool/b.png")
    with pytest.raises(DataError, match=f"{tmp_path}/seed: no format fits yet"):
        look(tmp_path, None, None)


def test_class_masks_are_for_the_task_segment_and_stay_class_masks_when_they_are_split(tmp_path: Path) -> None:
    data = tmp_path / "seg"
    plugins.build("formats", "masks", {"kind": "class"}).write(tiny_real(6), data, CLASSES)
    seen = look(data, None, None)
    assert seen.task == "segment"
    assert any("which class it is, and not which object" in line for line in seen.lines())
    (command,) = (line.split() for line in "\n".join(seen.lines()).splitlines() if "data split" in line)
    assert command[-1] == "train=0.5,test=0.5"
    assert main(["data", "split", str(data), str(tmp_path / "out"), *command[-2:]]) == 0
    assert (tmp_path / "out/train/classes.json").is_file()
    assert look(tmp_path / "out", None, None).task == "segment"
    plugins.build("formats", "masks", {}).write(tiny_real(6), tmp_path / "objects", CLASSES)
    assert look(tmp_path / "objects", None, None).task == "instances"


@pytest.mark.parametrize("name", ["voc", "imagefolder", "coco", "yolo"])
def test_the_split_that_init_names_works_for_every_format(name: str, tmp_path: Path) -> None:
    data = written(tmp_path / "mine", name, {"train": 12})
    data = data / "annotations.json" if (data / "annotations.json").is_file() and name == "coco" else data
    said = "\n".join(look(data, None, None).lines())
    command = next(line.split() for line in said.splitlines() if "data split" in line)
    assert command[-1] == "train=0.58,test=0.42"  # five of twelve
    assert main(["data", "split", str(data), str(tmp_path / "out"), *command[-2:]]) == 0
    assert set(look(tmp_path / "out", None, None).parts) == {"seed", "test"}


def test_what_is_too_little_is_said_before_anything_runs(tmp_path: Path) -> None:
    data = written(tmp_path / "mine", "voc", {"train": 2, "test": 2})
    said = "\n".join(look(data, None, None).lines())
    assert "test  2 images: with fewer than 5 the gate can decide nothing but a collapse" in said
    assert "so few objects of a class" in "\n".join(
        look(written(tmp_path / "one", "imagefolder", {"train": 3}), None, None).lines())


def test_difficult_objects_do_not_count_and_come_back_difficult(tmp_path: Path) -> None:
    data = written(tmp_path / "mine", "voc", {"train": 1})
    (xml,) = data.glob("Annotations/*.xml")
    xml.write_text(xml.read_text().replace("<difficult>0</difficult>", "<difficult>1</difficult>", 1))
    (sample,) = open_dataset(data, "voc", CLASSES, Reading())
    assert isinstance(sample, Sample)
    assert sample.labels is not None
    assert sample.labels.states is not None
    assert sample.labels.states.count("ignored") == 1
    plugins.build("formats", "voc", {}).write([sample], tmp_path / "again", CLASSES)
    assert next((tmp_path / "again").glob("Annotations/*.xml")).read_text().count("<difficult>1</difficult>") == 1
