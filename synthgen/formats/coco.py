"""COCO: one JSON file of images, annotations and categories beside a folder of images."""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from synthgen.errors import DataError
from synthgen.formats import Loss, Problem, Reading
from synthgen.formats.coco_read import read_classes, read_file
from synthgen.formats.files import Names, write_image
from synthgen.formats.gather import facts_to_json, image_facts_to_json
from synthgen.formats.losses import Losses, Part
from synthgen.geometry import areas, decode, mask_from_polygons, polygons_from_mask, rle_boxes
from synthgen.store import write_atomic
from synthgen.types import Json, Rle, Sample, Size

HOLDS: frozenset[Part] = frozenset(
    {"instances", "masks", "scores", "states", "visible", "truncated", "amodal", "ignore", "source", "empty"}
)


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid", use_attribute_docstrings=True))
class Coco:
    """COCO: a JSON file with images, annotations and categories (annotations.json, or the only one such).

    Written: `annotations.json` and `images/*.png`. Category ids count from 1 in the order of the classes;
    `bbox` (x y w h) and `area` are the mask's; every instance has `iscrowd` 0. An object without a mask has
    no `segmentation`. Facts that COCO has no word for stand in extra keys, which it allows: `score`,
    `attributes` (truncated, visible_fraction, state, origin) and `amodal` (RLE) of an annotation; `origin`,
    `reviewed`, `empty` and `labelled` of an image, where they differ from what a person's labels have, and
    `original_file`, what the image was called where it was read.

    The ignored region of an image is written once for every category, as an annotation with `iscrowd` 1,
    since evaluation code forgives a crowd for its own category only. All such annotations, of whatever
    category, are read as ignored pixels.
    """

    segmentation: Literal["rle", "polygon"] = "rle"
    """rle: run lengths, always exact. polygon: outlines, for tools that read no run lengths; an object that
    outlines cannot say exactly (one with a hole) is still written as run lengths, and reported."""
    crowd: Literal["ignore", "object"] = "ignore"
    """When reading, what `iscrowd` 1 means. ignore: a region to leave out, as COCO defines it. object: a
    plain object; for exporters that mark every mask as a crowd (CVAT, datumaro)."""

    TASKS: ClassVar[tuple[str, ...]] = ("instances", "segment", "detect")
    holds_ignored: ClassVar[bool] = True

    def matches(self, path: Path) -> bool:
        """Whether the path is a COCO file, or a folder that holds one."""
        return any(_looks_right(p) for p in _candidates(path))

    def classes(self, path: Path) -> list[str]:
        """Category names by ascending id, each once.

        Raises: DataError when the file is no COCO file.
        """
        return read_classes(find(path))

    def read(self, path: Path, classes: Sequence[str], reading: Reading) -> Iterator[Sample | Problem]:
        """Samples in the order of their file names; one bad item is a Problem and nothing more.

        Raises: DataError when there is no one COCO file, or it is no valid JSON, or has no valid categories.
        """
        file = find(path)
        # What stands in `annotations/` speaks of images beside that folder.
        root = file.parent.parent if file.parent.name == "annotations" else file.parent
        yield from read_file(file, root, classes, reading, self.crowd)

    def write(self, samples: Iterable[Sample], folder: Path, classes: Sequence[str]) -> list[Loss]:
        """Write `annotations.json` and `images/`; the folder is made."""
        names, losses = Names(), Losses()
        images: list[Json] = []
        annotations: list[Json] = []
        for sample in samples:
            stem = names.stem(sample)
            write_image(folder / "images" / f"{stem}.png", sample.image)
            H, W = sample.image.shape[:2]
            file = str(sample.meta.get("file", ""))
            original = {"original_file": file} if file not in ("", f"images/{stem}.png") else {}
            images.append({"id": len(images) + 1, "file_name": f"images/{stem}.png", "height": H, "width": W,
                           **original, **image_facts_to_json(sample)})
            if sample.labels is None:
                losses.add("that an image is unlabelled: other readers take it for empty", stem)
            losses.compare(sample, stem, HOLDS)
            for annotation in self._annotations(sample, stem, len(classes), losses):
                head = {"id": len(annotations) + 1, "image_id": len(images)}
                annotations.append({**head, **annotation})
        categories = [{"id": k + 1, "name": name, "supercategory": ""} for k, name in enumerate(classes)]
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(
            {
                "info": {"description": "written by synthgen"},
                "licenses": [],
                "categories": categories,
                "images": images,
                "annotations": annotations,
            },
            ensure_ascii=False,
            allow_nan=False,
        )
        write_atomic(folder / "annotations.json", text.encode())
        return losses.report()

    def _annotations(
        self, sample: Sample, stem: str, n_classes: int, losses: Losses
    ) -> Iterator[dict[str, Json]]:
        labels = sample.labels
        if labels is None:
            return
        assert labels.scores is not None
        size = labels.size
        boxes = labels.boxes if labels.masks is None else rle_boxes(labels.masks, size)
        sizes = (boxes[:, 2:] - boxes[:, :2]).prod(1) if labels.masks is None else areas(labels.masks, size)
        for k, (class_id, box, area) in enumerate(zip(labels.classes, boxes, sizes, strict=True)):
            if area <= 0:
                losses.add("instances without a single pixel", stem)
                continue
            shape: dict[str, Json] = {
                "category_id": int(class_id) + 1,
                "bbox": _xywh(box),
                "area": _plain(area),
                "iscrowd": 0,
            }
            if labels.masks is not None:
                shape["segmentation"] = self._segmentation(labels.masks[k], size, stem, losses)
            if labels.scores[k] != 1:
                shape["score"] = round(float(labels.scores[k]), 6)
            shape["attributes"] = {**facts_to_json(labels, k), "origin": sample.origin.kind}
            if labels.amodal is not None:
                shape["amodal"] = _rle(labels.amodal[k], size)
            yield shape
        if labels.ignore is not None and (area := int(areas([labels.ignore], size)[0])):
            box = rle_boxes([labels.ignore], size)[0]
            for category in range(1, n_classes + 1):
                yield {"category_id": category, "bbox": _xywh(box), "area": area, "iscrowd": 1,
                       "segmentation": _rle(labels.ignore, size)}

    def _segmentation(self, rle: Rle, size: Size, stem: str, losses: Losses) -> Json:
        if self.segmentation == "polygon":
            polygons, exact = polygons_from_mask(decode([rle], size)[0])
            if exact and mask_from_polygons(polygons, size) == rle:
                return [p.reshape(-1).tolist() for p in polygons]
            losses.add(
                "outlines of objects with holes: written as run lengths, which some tools do not read", stem
            )
        return _rle(rle, size)


def find(path: Path) -> Path:
    """The COCO file that a path means.

    Raises: DataError when there is none, or more than one.
    """
    files = _candidates(path)
    if len(files) > 1:
        files = [p for p in files if _looks_right(p)]
    if not files:
        raise DataError(f"{path}: there is no COCO file here (annotations.json, or one .json with images, "
                        "annotations and categories, here or in annotations/)")
    if len(files) > 1:
        some = ", ".join(p.name for p in files[:6])
        raise DataError(
            f"{path}: {len(files)} files could be the COCO file ({some}); give the path of one of them"
        )
    return files[0]


def _candidates(path: Path) -> list[Path]:
    if path.is_file():
        return [path] if path.suffix.lower() == ".json" else []
    for name in ("annotations.json", "_annotations.coco.json"):
        if (path / name).is_file():
            return [path / name]
    return sorted(p for p in [*path.glob("*.json"), *path.glob("annotations/*.json")] if p.is_file())


def _looks_right(file: Path) -> bool:
    # The keys may stand anywhere in a file of gigabytes: look for them without parsing it.
    try:
        with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return data.find(b'"images"') >= 0 and data.find(b'"annotations"') >= 0
    except (OSError, ValueError):                              # unreadable, or empty
        return False


def _rle(rle: Rle, size: Size) -> Json:
    return {"size": list(size), "counts": rle}


def _plain(value: float | np.floating | np.integer) -> Json:
    return int(value) if float(value).is_integer() else round(float(value), 3)


def _xywh(box: NDArray[np.float32]) -> list[Json]:
    x0, y0, x1, y1 = box
    return [_plain(x0), _plain(y0), _plain(x1 - x0), _plain(y1 - y0)]
