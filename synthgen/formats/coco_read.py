"""Reads a COCO file that may be wrong anywhere: every bad item becomes a Problem, the others come through."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import PIL.Image

from synthgen.errors import DataError
from synthgen.formats import Problem, Reading
from synthgen.formats.files import inside, load_json, open_image, relative, unknown_class
from synthgen.formats.gather import MASKLESS, Box, Gathered, facts_from_json, image_facts_from_json
from synthgen.geometry import areas, mask_from_polygons
from synthgen.rle import parse_rle
from synthgen.types import Image, Json, Rle, Sample, Size

SLACK = 0.5                        # px that a shape may stand over the frame without being reported: rounding
Crowd = Literal["ignore", "object"]


@dataclass(frozen=True, slots=True)
class Found:
    """One annotation, understood. clipped: it stood over the frame."""

    name: str
    shape: Rle | Box
    crowd: bool
    clipped: bool
    amodal: Rle | None


def read_classes(file: Path) -> list[str]:
    """Category names by ascending id, each once. Raises: DataError when the file is no COCO file."""
    return list(dict.fromkeys(_categories(file, _document(file)).values()))


def read_file(file: Path, root: Path, classes: Sequence[str], reading: Reading,
              crowd: Crowd) -> Iterator[Sample | Problem]:
    """Samples by file name, and Problems. Paths in the file are looked for below `root`.

    Raises: DataError when the file is no COCO file.
    """
    document = _document(file)
    categories = _categories(file, document)
    shown = relative(file, root)
    images, wrong = _images(document["images"], shown)
    yield from wrong
    split = file.stem.removeprefix("instances_")
    places = ("images", "", split, f"images/{split}")

    ids, listed = {_key(entry["id"]) for entry in images}, _all_ids(document)
    grouped: dict[Json, list[dict[str, Json]]] = defaultdict(list)
    seen: dict[Json, dict[str, Json]] = {}
    renumbered: list[Problem] = []
    for k, annotation in enumerate(document["annotations"]):
        item = _item(annotation, k)
        if not isinstance(annotation, dict) or _key(annotation.get("image_id")) not in listed:
            yield Problem(shown, item, "it belongs to no image of the file; it is left out", "repaired")
            continue
        if _key(annotation["image_id"]) not in ids:                # its image is quarantined
            continue
        key = _key(annotation.get("id"))
        if key is not None and key in seen:
            if seen[key] == annotation:
                yield Problem(
                    shown, item, "it stands twice, word for word; the second is left out", "repaired"
                )
                continue
            renumbered.append(
                Problem(shown, item, "its id was used before; it is kept under a new one", "repaired")
            )
        elif key is not None:
            seen[key] = annotation
        grouped[_key(annotation["image_id"])].append(annotation)
    yield from renumbered

    every = [a for group in grouped.values() for a in group]
    if len(every) > 1 and crowd == "ignore" and all(_is_crowd(a) for a in every):
        yield Problem(
            shown,
            "",
            "every annotation has iscrowd 1, which means regions to ignore, so that no object is "
            "left; some exporters (CVAT, datumaro) write masks so: read it with crowd=object",
            "repaired",
        )
    with_masks = not reading.boxes and any(_has_mask(a) and (crowd == "object" or not _is_crowd(a)) for a in every)
    index = {
        key: (name, classes.index(name) if name in classes else None) for key, name in categories.items()
    }
    for k, entry in enumerate(sorted(images, key=lambda e: str(e["file_name"]))):
        reader = _Reader(root, places, classes, index, reading, crowd, with_masks)
        yield from reader.read(f"{k:06d}", entry, grouped[_key(entry["id"])])


@dataclass(frozen=True, slots=True)
class _Reader:
    root: Path
    places: Sequence[str]
    classes: Sequence[str]
    index: Mapping[Json, tuple[str, int | None]]        # category id → name, class
    reading: Reading
    crowd: Crowd
    with_masks: bool

    def read(self, sample_id: str, entry: dict[str, Json],
             annotations: Sequence[dict[str, Json]]) -> Iterator[Sample | Problem]:
        """The image's Problems, then its sample unless it is quarantined."""
        name = str(entry["file_name"]).replace("\\", "/")
        try:
            path = inside(self.root, str(entry["file_name"]), self.places)
        except DataError as error:
            yield Problem(name, "", str(error), "quarantined")
            return
        image = open_image(path, name, self.reading)
        if isinstance(image, Problem):
            yield image
            return
        if wrong := _wrong_size(entry, image, path):
            yield Problem(name, "", wrong, "quarantined")
            return
        labelled, origin, reviewed, empty = image_facts_from_json(entry)
        gathered = Gathered((image.shape[0], image.shape[1]), self.with_masks)
        for k, annotation in enumerate(annotations):
            try:
                said = self._take(annotation, _item(annotation, k), gathered)
            except DataError as error:
                said = f"{error}; it is left out"
            if said:
                yield Problem(name, _item(annotation, k), said, "repaired")
        labels = gathered.labels(reviewed, empty) if labelled or annotations else None
        yield Sample(sample_id, image, labels, origin, {"file": name})

    def _take(self, annotation: dict[str, Json], item: str, gathered: Gathered) -> str:
        """Add one annotation; what had to be changed, or "". Raises: DataError when it cannot be used."""
        found = _understand(annotation, item, gathered.size)
        said = "it stands over the frame; it is clipped" if found.clipped else ""
        if found.crowd and self.crowd == "ignore":
            gathered.ignore.append(_as_rle(found.shape, gathered.size))
            return said
        category = annotation.get("category_id")
        if _key(category) is None or category not in self.index:
            raise DataError(f"its category id {category!r} is not among the file's categories")
        name, class_id = self.index[category]
        if class_id is None:
            raise DataError(unknown_class(name, self.classes))
        shape = found.shape
        if self.with_masks and not isinstance(shape, str):
            gathered.ignore.append(_as_rle(shape, gathered.size))
            return MASKLESS
        facts = facts_from_json(annotation.get("attributes"), annotation.get("score"))
        gathered.add(class_id, shape, facts, found.amodal)
        return said


def _document(file: Path) -> dict[str, Json]:
    document = load_json(file)
    for name in ("images", "annotations", "categories"):
        if not isinstance(document, dict) or not isinstance(document.get(name), list):
            raise DataError(f"{file}: a COCO file holds images, annotations and categories, each a list; "
                            f"{name!r} is missing or is none")
    return dict(document)


def _all_ids(document: dict[str, Json]) -> set[Json]:
    return {_key(e.get("id")) for e in document["images"] if isinstance(e, dict)} - {None}


def _categories(file: Path, document: dict[str, Json]) -> dict[Json, str]:
    found: dict[Json, str] = {}
    for entry in document["categories"]:
        key, name = (entry.get("id"), entry.get("name")) if isinstance(entry, dict) else (None, None)
        if type(key) is not int or not isinstance(name, str) or not name:
            raise DataError(
                f"{file}: a category needs a whole number as id and a name, this one is {entry!r:.80}"
            )
        if key in found:
            raise DataError(f"{file}: category id {key} stands twice, for {found[key]!r} and {name!r}")
        found[key] = name
    return {key: found[key] for key in sorted(found)}


def _images(entries: list[Json], shown: str) -> tuple[list[dict[str, Json]], list[Problem]]:
    """Entries that can be told apart, and Problems for the others."""
    good: list[dict[str, Json]] = []
    wrong: list[Problem] = []
    for k, entry in enumerate(entries):
        if (
            not isinstance(entry, dict)
            or not isinstance(entry.get("file_name"), str)
            or _key(entry.get("id")) is None
        ):
            wrong.append(
                Problem(shown, f"image entry {k}", "an image needs an id and a file_name", "quarantined")
            )
        elif entry not in good[-1:]:                           # word for word the one before: no harm
            good.append(entry)
    ids = Counter(_key(e["id"]) for e in good)
    files = Counter(e["file_name"] for e in good)
    for entry in good:
        if ids[_key(entry["id"])] > 1:
            what = f"its image id {entry['id']!r} is also another image's, so that its labels cannot be told"
        elif files[entry["file_name"]] > 1:
            what = "it is listed under several image ids, so that each holds only a part of its labels"
        else:
            continue
        wrong.append(Problem(entry["file_name"], f"image {entry['id']}", what, "quarantined"))
    return [e for e in good if ids[_key(e["id"])] == 1 and files[e["file_name"]] == 1], wrong


def _wrong_size(entry: dict[str, Json], image: Image, path: Path) -> str:
    """Why the size in the file does not fit the image as displayed, or ""."""
    H, W = image.shape[:2]
    said = (entry.get("height"), entry.get("width"))
    if said in ((H, W), (None, None)):
        return ""
    with PIL.Image.open(path) as header:
        stored = header.size
    if said == (stored[1], stored[0]):
        return (
            f"its annotations are for the image as stored, {stored[0]} × {stored[1]} px, but its EXIF tag "
            f"turns it to {W} × {H}; turn the image itself, or annotate it as displayed"
        )
    return f"the file says {said[1]} × {said[0]} px, but the image has {W} × {H}"


def _understand(annotation: dict[str, Json], item: str, size: Size) -> Found:
    """Raises: DataError, with a sentence without its end, when there is no shape in the frame."""
    clipped = False
    shape: Rle | Box
    if _has_mask(annotation):
        segmentation = annotation["segmentation"]
        if isinstance(segmentation, dict):
            shape = _stored_rle(segmentation, size)
        else:
            shape, clipped = _polygons(segmentation, size)
        if areas([shape], size)[0] == 0:
            raise DataError("its mask has no pixel inside the frame")
    else:
        shape, clipped = _box(annotation.get("bbox"), size)
    amodal = annotation.get("amodal")
    whole = _stored_rle(amodal, size) if isinstance(amodal, dict) else None
    return Found(item, shape, _is_crowd(annotation), clipped, whole)


def _stored_rle(value: dict[str, Json], size: Size) -> Rle:
    if value.get("size") != list(size):
        raise DataError(
            f"its run lengths are for {value.get('size')}, the image is {list(size)} (height, width)"
        )
    return parse_rle(value.get("counts"), size)


def _polygons(value: Json, size: Size) -> tuple[Rle, bool]:
    H, W = size
    outlines, clipped = [], False
    for flat in value if isinstance(value, list) else []:
        numbers = _numbers(flat)
        if numbers is None or len(numbers) % 2:
            raise DataError("its outline is no list of x and y")
        if len(numbers) < 6:
            continue                                           # a point or a line has no area
        points = np.asarray(numbers, np.float64).reshape(-1, 2)
        if np.abs(points).max() > 4 * (H + W):
            raise DataError(f"its outline reaches to {np.abs(points).max():.3g} px, far outside the image")
        clipped |= bool((points < -SLACK).any() or (points > np.array([W, H]) + SLACK).any())
        outlines.append(points)
    if not outlines:
        raise DataError("its outline is empty: it needs three points")
    return mask_from_polygons(outlines, size), clipped


def _box(value: Json, size: Size) -> tuple[Box, bool]:
    H, W = size
    numbers = _numbers(value)
    if numbers is None or len(numbers) != 4:
        raise DataError("it has neither an outline nor a box of four numbers")
    x, y, w, h = numbers
    x0, y0, x1, y1 = max(x, 0.0), max(y, 0.0), min(x + w, float(W)), min(y + h, float(H))
    if w <= 0 or h <= 0:
        raise DataError(f"its box is {w:g} × {h:g} px, without area")
    if x1 <= x0 or y1 <= y0:
        raise DataError(f"its box stands outside the image, at x {x:g}, y {y:g}")
    return (x0, y0, x1, y1), min(x, y, W - x - w, H - y - h) < -SLACK


def _as_rle(shape: Rle | Box, size: Size) -> Rle:
    if isinstance(shape, str):
        return shape
    x0, y0, x1, y1 = shape
    corners = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
    return mask_from_polygons([corners], size)


def _has_mask(annotation: dict[str, Json]) -> bool:
    return bool(annotation.get("segmentation"))


def _is_crowd(annotation: dict[str, Json]) -> bool:
    return annotation.get("iscrowd") in (1, True)


def _numbers(value: Json) -> list[float] | None:
    """A list of finite numbers, or None."""
    if not isinstance(value, list) or any(
        isinstance(v, bool) or not isinstance(v, int | float) for v in value
    ):
        return None
    try:
        numbers = [float(v) for v in value]
    except OverflowError:
        return None
    return numbers if all(map(math.isfinite, numbers)) else None


def _key(value: Json) -> Json:
    """An id that can be looked up, or None."""
    return value if isinstance(value, int | str) and not isinstance(value, bool) else None


def _item(annotation: Json, k: int) -> str:
    key = annotation.get("id") if isinstance(annotation, dict) else None
    return f"annotation {key}" if _key(key) is not None else f"annotation entry {k}"
