"""COCO files that are right come in exactly; those that are wrong come in as far as they are right."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import PIL.Image
import pytest
import supervision
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from synthgen.errors import DataError
from synthgen.formats import Problem, Reading
from synthgen.formats.coco import Coco
from synthgen.geometry import decode, encode
from synthgen.types import Origin, Sample

Make: TypeAlias = Callable[..., Sample]
Read: TypeAlias = Callable[..., Any]
SQUARE = [[2, 2, 6, 2, 6, 6, 2, 6]]


@pytest.fixture
def dataset(tmp_path: Path) -> Callable[..., Path]:
    """Writes a COCO folder with one 12 × 10 px image a.png per entry, and annotations for it."""

    def write(*annotations: Any, images: Any = None, categories: Any = None, **more: Any) -> Path:
        images = [{"id": 1, "file_name": "a.png", "height": 10, "width": 12}] if images is None else images
        PIL.Image.new("RGB", (12, 10)).save(tmp_path / "a.png")
        complete = [{"id": k, "image_id": 1, "category_id": 1, **a} if isinstance(a, dict) else a
                    for k, a in enumerate(annotations, 1)]
        categories = [{"id": 1, "name": "cell"}] if categories is None else categories
        document = {"images": images, "annotations": complete, "categories": categories, **more}
        (tmp_path / "annotations.json").write_text(json.dumps(document), encoding="utf-8")
        return tmp_path

    return write


def only(found: Any) -> tuple[Sample, list[Problem]]:
    samples, problems = found
    assert len(samples) == 1
    return samples[0], problems


def test_polygons_of_one_annotation_are_one_instance(dataset: Any, read: Read, masks_of: Any) -> None:
    path = dataset({"segmentation": [*SQUARE, [8, 8, 10, 8, 10, 10, 8, 10]]})
    one, problems = only(read(Coco(), path))
    assert problems == []
    assert masks_of(one).sum() == 16 + 4
    assert one.labels is not None
    assert one.labels.boxes.tolist() == [[2, 2, 10, 10]]
    assert one.labels.truncated is not None
    assert one.labels.truncated.tolist() == [True]


@pytest.mark.parametrize("compressed", [True, False])
def test_run_lengths_are_read_compressed_and_plain(
    dataset: Any, read: Read, masks_of: Any, compressed: bool
) -> None:
    mask = np.zeros((1, 10, 12), bool)
    mask[0, 1:4, 2:5] = True
    counts = encode(mask)[0] if compressed else [21, 3, 7, 3, 7, 3, 76]
    one, problems = only(read(Coco(), dataset({"segmentation": {"size": [10, 12], "counts": counts}})))
    assert problems == []
    assert np.array_equal(masks_of(one), mask)


def test_boxes_alone_stay_boxes(dataset: Any, read: Read) -> None:
    one, problems = only(
        read(Coco(), dataset({"bbox": [1.5, 2, 3, 4], "score": 0.5}, {"bbox": [0, 0, 1, 1]}))
    )
    assert problems == []
    assert one.labels is not None
    assert one.labels.masks is None
    assert one.labels.boxes.tolist() == [[1.5, 2, 4.5, 6], [0, 0, 1, 1]]
    assert one.labels.scores is not None
    assert one.labels.scores.tolist() == [0.5, 1]


def test_a_crowd_is_an_ignored_region_of_any_category(dataset: Any, read: Read) -> None:
    path = dataset({"segmentation": SQUARE}, {"segmentation": [[8, 0, 12, 0, 12, 4, 8, 4]], "iscrowd": 1},
                   {"bbox": [0, 8, 2, 2], "iscrowd": 1, "category_id": 77})
    one, problems = only(read(Coco(), path))
    assert problems == []
    assert one.labels is not None
    assert len(one.labels) == 1
    assert one.labels.ignore is not None
    ignore = decode([one.labels.ignore], (10, 12))[0]
    assert ignore.sum() == 16 + 4
    assert ignore[0, 8]
    assert ignore[9, 0]


def test_a_file_of_crowds_only_is_pointed_out_and_can_be_read_as_objects(dataset: Any, read: Read) -> None:
    path = dataset({"segmentation": SQUARE, "iscrowd": 1}, {"segmentation": SQUARE, "iscrowd": 1})
    _, problems = only(read(Coco(), path))
    assert "crowd=object" in problems[0].what
    one, problems = only(read(Coco(crowd="object"), path))
    assert problems == []
    assert len(one.labels or ()) == 2


def test_an_image_without_annotations_is_confirmed_empty(dataset: Any, read: Read) -> None:
    one, _ = only(read(Coco(), dataset()))
    assert one.labels is not None
    assert (one.labels.empty, one.labels.reviewed, one.origin) == ("confirmed", "human", Origin("real"))
    assert (one.id, dict(one.meta)) == ("000000", {"file": "a.png"})


REPAIRED: dict[str, tuple[Any, str, int]] = {                       # annotation, what is said, instances left
    "box over the frame": ({"bbox": [8, 8, 10, 10]}, "stands over the frame", 1),
    "box outside": ({"bbox": [40, 8, 10, 10]}, "outside the image", 0),
    "box without area": ({"bbox": [4, 4, 0, 0]}, "without area", 0),
    "box of text": ({"bbox": "1 2 3 4"}, "neither an outline nor a box", 0),
    "box not finite": ({"bbox": [0, 0, float("nan"), 1]}, "neither an outline nor a box", 0),
    "box far too large a number": ({"bbox": [0, 0, 10**400, 1]}, "neither an outline nor a box", 0),
    "nothing": ({}, "neither an outline nor a box", 0),
    "empty polygon": ({"segmentation": [[]], "bbox": [1, 1, 3, 3]}, "outline is empty", 0),
    "polygon of two points": ({"segmentation": [[1, 1, 5, 5]]}, "outline is empty", 0),
    "polygon without area": ({"segmentation": [[1, 1, 5, 1, 9, 1]]}, "no pixel", 0),
    "polygon over the frame": ({"segmentation": [[8, 2, 20, 2, 20, 6, 8, 6]]}, "stands over the frame", 1),
    "polygon far outside": ({"segmentation": [[0, 0, 1e9, 0, 0, 1e9]]}, "far outside", 0),
    "odd polygon": ({"segmentation": [[1, 1, 5, 1, 5, 5, 1]]}, "no list of x and y", 0),
    "flat polygon": ({"segmentation": [1, 1, 5, 1, 5, 5]}, "no list of x and y", 0),
    "run lengths turned": ({"segmentation": {"size": [12, 10], "counts": [120]}}, "run lengths are for", 0),
    "run lengths too long": ({"segmentation": {"size": [10, 12], "counts": [20, 900]}}, "do not add up", 0),
    "run lengths damaged": ({"segmentation": {"size": [10, 12], "counts": "~~~"}}, "damaged", 0),
    "unknown category id": ({"bbox": [1, 1, 3, 3], "category_id": 9}, "category id 9", 0),
    "category id that is a list": ({"bbox": [1, 1, 3, 3], "category_id": [1]}, "category id", 0),
    "category not wanted": ({"bbox": [1, 1, 3, 3], "category_id": 2}, "'dog' is not among", 0),
    "image that is not listed": ({"bbox": [1, 1, 3, 3], "image_id": 5}, "no image of the file", 0),
    "no annotation at all": (7, "no image of the file", 0),
}  # fmt: skip


@pytest.mark.parametrize("name", REPAIRED)
def test_a_bad_annotation_is_reported_and_the_rest_is_kept(name: str, dataset: Any, read: Read) -> None:
    annotation, said, left = REPAIRED[name]
    path = dataset(annotation, categories=[{"id": 1, "name": "cell"}, {"id": 2, "name": "dog"}])
    one, (problem,) = only(read(Coco(), path))
    assert said in problem.what
    assert problem.action == "repaired"
    assert problem.item == ("annotation entry 0" if annotation == 7 else "annotation 1")
    assert len(one.labels or ()) == left


def test_a_box_among_masks_becomes_an_ignored_region(dataset: Any, read: Read) -> None:
    one, (problem,) = only(
        read(Coco(), dataset({"segmentation": SQUARE}, {"bbox": [8, 8, 2, 2], "segmentation": []}))
    )
    assert "ignored region" in problem.what
    assert one.labels is not None
    assert len(one.labels) == 1
    assert one.labels.ignore is not None


def test_a_repeated_annotation_id_is_kept_and_an_exact_copy_left_out(dataset: Any, read: Read) -> None:
    path = dataset(
        {"bbox": [1, 1, 3, 3], "id": 5}, {"bbox": [6, 1, 3, 3], "id": 5}, {"bbox": [1, 1, 3, 3], "id": 5}
    )
    one, problems = only(read(Coco(), path))
    assert len(one.labels or ()) == 2
    assert sorted(p.what.split(";")[0] for p in problems) == [
        "it stands twice, word for word",
        "its id was used before",
    ]


ENTRY = {"id": 1, "file_name": "a.png", "height": 10, "width": 12}
QUARANTINED: dict[str, tuple[Any, str]] = {
    "missing": ({"file_name": "b.png"}, "no such file"),
    "climbing": ({"file_name": "../a.png"}, "climbs"),
    "climbing in the middle": ({"file_name": "x/../../a.png"}, "climbs"),
    "climbing with backslashes": ({"file_name": "..\\a.png"}, "climbs"),
    "absolute": ({"file_name": "/etc/passwd"}, "absolute"),
    "drive letter": ({"file_name": "C:\\a.png"}, "absolute"),
    "network path": ({"file_name": "\\\\host\\a.png"}, "absolute"),
    "empty name": ({"file_name": ""}, "is not one"),
    "zero byte": ({"file_name": "a\0.png"}, "is not one"),
    "a folder": ({"file_name": "folder"}, "no regular file"),
    "a pipe": ({"file_name": "pipe"}, "no regular file"),
    "link out": ({"file_name": "out.png"}, "leaves the dataset"),
    "dead link": ({"file_name": "dead.png"}, "leads nowhere"),
    "link to itself": ({"file_name": "loop.png"}, ""),
    "name too long": ({"file_name": "a" * 5000}, "cannot be followed"),
    "other size": ({"width": 99}, "the file says 99 × 10 px, but the image has 12 × 10"),
    "no name": ({"file_name": None}, "needs an id and a file_name"),
    "no id": ({"id": None}, "needs an id and a file_name"),
}


@pytest.mark.parametrize("name", QUARANTINED)
def test_a_bad_image_is_quarantined(name: str, dataset: Any, read: Read, tmp_path: Path,
                                    tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("outside") / "secret.png"
    PIL.Image.new("RGB", (12, 10)).save(outside)
    (tmp_path / "folder").mkdir()
    (tmp_path / "out.png").symlink_to(outside)
    (tmp_path / "dead.png").symlink_to(tmp_path / "nothing.png")
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    os.mkfifo(tmp_path / "pipe")
    changed, said = QUARANTINED[name]
    annotations = [] if name == "no id" else [{"bbox": [1, 1, 2, 2]}]
    samples, (problem,) = read(Coco(), dataset(*annotations, images=[ENTRY | changed]))
    assert samples == []
    assert problem.action == "quarantined"
    assert said in problem.what


def test_images_that_share_an_id_or_a_file_are_quarantined(dataset: Any, read: Read) -> None:
    samples, problems = read(Coco(), dataset(images=[ENTRY, ENTRY | {"file_name": "b.png"}]))
    assert (samples, [p.action for p in problems]) == ([], ["quarantined"] * 2)
    samples, problems = read(Coco(), dataset(images=[ENTRY, ENTRY | {"id": 2}]))
    assert (samples, [p.action for p in problems]) == ([], ["quarantined"] * 2)
    samples, problems = read(Coco(), dataset(images=[ENTRY, ENTRY]))
    assert (len(samples), problems) == (1, [])


def test_annotations_of_a_turned_image_are_in_the_frame_that_is_displayed(dataset: Any, read: Read,
                                                                          tmp_path: Path) -> None:
    path = dataset({"bbox": [7, 1, 2, 2]}, images=[ENTRY | {"file_name": "b.jpg", "height": 12, "width": 10}])
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    PIL.Image.new("RGB", (12, 10)).save(tmp_path / "b.jpg", exif=exif)
    one, problems = only(read(Coco(), path))
    assert problems == []
    assert one.image.shape == (12, 10, 3)


def test_annotations_in_the_frame_that_is_stored_are_quarantined(
    dataset: Any, read: Read, tmp_path: Path
) -> None:
    path = dataset({"bbox": [7, 1, 2, 2]}, images=[ENTRY | {"file_name": "b.jpg"}])
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    PIL.Image.new("RGB", (12, 10)).save(tmp_path / "b.jpg", exif=exif)
    samples, (problem,) = read(Coco(), path)
    assert samples == []
    assert "EXIF tag turns it to 10 × 12" in problem.what


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"images": [],\n "annotations": [}', r"annotations\.json:2:18: this is no valid JSON"),
        ("[]", "'images' is missing"),
        ('{"images": [], "annotations": [], "categories": 4}', "'categories' is missing"),
        ('{"images": [], "annotations": [], "categories": [{"id": 1}]}', "a category needs"),
        (
            '{"images": [], "annotations": [], "categories": [{"id":1, "name":"a"}, {"id":1, "name":"b"}]}',
            "twice",
        ),
        ('{"images": ' + "[" * 100_000, "nested too deeply"),
    ],
)
def test_a_file_that_is_no_coco_says_where(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "annotations.json").write_text(text)
    with pytest.raises(DataError, match=said):
        list(Coco().read(tmp_path, ["cell"], Reading()))


def test_a_file_that_is_no_utf8_says_so(tmp_path: Path) -> None:
    (tmp_path / "annotations.json").write_bytes(b'{"images": "\xff"}')
    with pytest.raises(DataError, match="UTF-8"):
        Coco().classes(tmp_path)


def test_samples_are_in_the_order_of_their_files(dataset: Any, read: Read, tmp_path: Path) -> None:
    path = dataset(
        images=[ENTRY | {"id": k, "file_name": name} for k, name in enumerate(["b.png", "a.png", "c.png"])]
    )
    for name in ("b.png", "c.png"):
        PIL.Image.new("RGB", (12, 10)).save(tmp_path / name)
    samples, _ = read(Coco(), path)
    assert [(s.id, s.meta["file"]) for s in samples] == [
        ("000000", "a.png"),
        ("000001", "b.png"),
        ("000002", "c.png"),
    ]


def test_classes_go_by_name_not_by_number(dataset: Any, read: Read) -> None:
    path = dataset({"bbox": [1, 1, 2, 2], "category_id": 90}, {"bbox": [1, 1, 2, 2], "category_id": 3},
                   categories=[{"id": 90, "name": "a"}, {"id": 3, "name": "b"}])
    assert Coco().classes(path) == ["b", "a"]
    one, _ = only(read(Coco(), path, ["a", "x", "b"]))
    assert one.labels is not None
    assert one.labels.classes.tolist() == [0, 2]


def test_the_usual_places_are_found(dataset: Any, read: Read, tmp_path: Path) -> None:
    path = dataset()
    (tmp_path / "annotations").mkdir()
    (tmp_path / "val2017").mkdir()
    (tmp_path / "annotations.json").rename(tmp_path / "annotations" / "instances_val2017.json")
    (tmp_path / "a.png").rename(tmp_path / "val2017" / "a.png")
    assert len(read(Coco(), path)[0]) == 1
    assert len(read(Coco(), tmp_path / "annotations" / "instances_val2017.json")[0]) == 1
    (tmp_path / "annotations" / "other.json").write_bytes(
        (tmp_path / "annotations" / "instances_val2017.json").read_bytes())
    with pytest.raises(DataError, match="2 files could be"):
        Coco().classes(path)


def test_pycocotools_reads_what_is_written_and_finds_it_perfect(
    sample: Make, any_masks: Any, tmp_path: Path
) -> None:
    ignored = np.zeros((1, *(any_masks[0].shape if any_masks else (9, 7))), bool)
    ignored[0, -1, :1] = True
    classes = [k % 2 for k in range(len(any_masks))]
    one = sample(any_masks, classes=classes, ignore=encode(ignored)[0])
    Coco().write([one, sample([np.eye(3, dtype=bool)])], tmp_path, ["a", "b"])
    truth = COCO(str(tmp_path / "annotations.json"))
    mine = list(truth.getAnnIds(imgIds=1, iscrowd=False))
    assert [truth.loadAnns(i)[0]["category_id"] for i in mine] == [c + 1 for c in classes]
    for number, mask in zip(mine, any_masks, strict=True):
        annotation = truth.loadAnns(number)[0]
        assert np.array_equal(truth.annToMask(annotation), mask)
        assert annotation["area"] == mask.sum()
        assert all(type(v) is int for v in [annotation["area"], *annotation["bbox"]])
    found = [{**truth.loadAnns(i)[0], "score": 0.9} for i in truth.getAnnIds(iscrowd=False)]
    # What is found in the ignored region counts against nobody, whatever its class.
    crowd = truth.getAnnIds(imgIds=1, iscrowd=True)
    assert sorted(truth.loadAnns(i)[0]["category_id"] for i in crowd) == [1, 2]
    found += [{**truth.loadAnns(i)[0], "score": 0.95, "iscrowd": 0, "id": 900 + i} for i in crowd]
    for kind in ("segm", "bbox"):
        result = COCOeval(truth, truth.loadRes(found), kind)
        result.evaluate()
        result.accumulate()
        result.summarize()
        assert result.stats[0] == pytest.approx(1.0)


def test_supervision_reads_the_same_masks(sample: Make, any_masks: Any, tmp_path: Path) -> None:
    one = sample(any_masks, file="x/größe 細胞.jpg")
    Coco().write([one], tmp_path, ["a"])
    loaded = supervision.DetectionDataset.from_coco(
        str(tmp_path), str(tmp_path / "annotations.json"), force_masks=True
    )
    ((path, image, detections),) = list(loaded)
    assert path.endswith("images/größe 細胞.png")
    assert np.array_equal(image[..., ::-1], one.image)
    found = (
        np.zeros((0, *one.image.shape[:2]), bool) if detections.mask is None else np.asarray(detections.mask)
    )
    assert found.shape[0] == len(any_masks)
    assert all(np.array_equal(a, b) for a, b in zip(found, any_masks, strict=True))


def test_annotation_ids_are_unique_over_the_file_and_names_over_the_folder(
    sample: Make, tmp_path: Path
) -> None:
    dot = np.zeros((4, 4), bool)
    dot[1, 1] = True
    Coco().write(
        [sample([dot, dot], file=name) for name in ("a/x.jpg", "b/x.png", "b/X.png", "", "..", ".x")],
        tmp_path,
        ["a"],
    )
    document = json.loads((tmp_path / "annotations.json").read_text())
    names = [i["file_name"] for i in document["images"]]
    assert names == [
        "images/x.png",
        "images/x-2.png",
        "images/X-3.png",
        "images/000000.png",
        "images/image.png",
        "images/x-4.png",
    ]
    assert sorted(p.name for p in (tmp_path / "images").iterdir()) == sorted(n.split("/")[1] for n in names)
    assert [a["id"] for a in document["annotations"]] == list(range(1, 13))
    assert [i["id"] for i in document["images"]] == list(range(1, 7))


def test_synthetic_samples_do_not_come_back_as_real(sample: Make, read: Read, tmp_path: Path) -> None:
    origin = Origin("synthetic", "compose", "1", "abc", 5, ("x", "y"), "construction")
    unlabelled = replace(sample([], sample_id="1"), labels=None)
    losses = Coco().write([replace(sample([]), origin=origin), unlabelled], tmp_path, ["a"])
    (first, second), _ = read(Coco(), tmp_path)
    assert first.origin == origin
    assert second.labels is None
    assert [loss.what for loss in losses] == ["that an image is unlabelled: other readers take it for empty"]


def test_boxes_and_amodal_masks_are_written_too(sample: Make, read: Read, tmp_path: Path) -> None:
    part, whole = np.zeros((2, 6, 6), bool)
    part[1:3, 1:3], whole[1:3, 1:5] = True, True
    one = sample([part], amodal=encode(whole[None]))
    assert Coco().write([one], tmp_path / "a", ["a"]) == []
    (found,), _ = read(Coco(), tmp_path / "a", ["a"])
    assert found.labels.amodal == encode(whole[None])
    boxes = sample([part])
    loose = np.array([[0.5, 1, 2.25, 3]], np.float32)
    boxes = replace(boxes, labels=replace(boxes.labels, masks=None, boxes=loose))   # type: ignore[type-var]  # has them
    assert Coco().write([boxes], tmp_path / "b", ["a"]) == []
    (found,), _ = read(Coco(), tmp_path / "b", ["a"])
    assert found.labels.masks is None
    assert found.labels.boxes.tolist() == [[0.5, 1, 2.25, 3]]


def test_without_pixels_images_are_zeros_of_the_right_size(dataset: Any, read: Read) -> None:
    one, _ = only(read(Coco(), dataset({"bbox": [1, 1, 2, 2]}), pixels=False))
    assert one.image.shape == (10, 12, 3)
    assert len(one.labels or ()) == 1


def test_an_image_is_written_with_the_name_it_had_where_it_was_read(tmp_path: Path, sample: Make) -> None:
    named = [sample([], file=file) for file in ("2024/üb/a.tif", "images/b.png")]
    Coco().write(named, tmp_path / "out", ["a", "b", "c"])
    images = json.loads((tmp_path / "out/annotations.json").read_text())["images"]
    assert [i.get("original_file") for i in images] == ["2024/üb/a.tif", None]
