"""Reads Pascal VOC that may be wrong anywhere: every bad item becomes a Problem, the others come through."""

from __future__ import annotations

import json
import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL.Image
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from synthgen.errors import DataError
from synthgen.formats import Problem, Reading
from synthgen.formats.files import each_image, inside, relative, unknown_class
from synthgen.formats.gather import MASKLESS, Box, Facts, Gathered, box_mask, facts_from_json, image_facts_from_json
from synthgen.formats.palette import palette
from synthgen.formats.xml import parse_xml, text_of
from synthgen.geometry import box_ious, rle_boxes
from synthgen.images import image_size, list_images, read_ids, read_image
from synthgen.rle import regions
from synthgen.types import Json, Rle, Sample, Size

VOID = 255  # of a mask: says nothing
FITS = 0.5  # IoU of an object's box and a mask's from which they are one
SLACK = 1.5  # px between them that is not worth a word: VOC counts from 1, tools round
PLACES = ("JPEGImages", "Annotations", "SegmentationClass", "SegmentationObject", "ImageSets")


@dataclass(frozen=True, slots=True)
class _Object:
    item: str
    name: str
    box: Box
    clipped: bool
    facts: Facts


def looks_right(path: Path) -> bool:
    """Whether a folder is a VOC dataset."""
    if not path.is_dir():
        return False
    if (path / "JPEGImages").is_dir() or any((path / "Annotations").glob("*.xml")):
        return True
    first = next(iter(sorted(path.glob("*.xml"))), None)
    return first is not None and re.search(rb"<annotation[\s>]", first.read_bytes()[:4096]) is not None


def class_names(path: Path) -> list[str]:
    """Names in labelmap.txt without the background, else those of objects, sorted.

    Raises: DataError when the path is no folder, or labelmap.txt is no text.
    """
    if not path.is_dir():
        raise DataError(f"{path}: there is no such folder; VOC is a folder with Annotations/ and JPEGImages/")
    file = path / "labelmap.txt"
    if file.is_file():
        try:
            lines = file.read_text(encoding="utf-8-sig").splitlines()
        except UnicodeDecodeError:
            raise DataError(f"{file}: it is no UTF-8 text") from None
        names = [line.rsplit(":", 3)[0] for line in lines if line.strip() and not line.startswith("#")]
        return [n for n in dict.fromkeys(names) if n not in ("", "background")]
    found: set[str] = set()
    for xml in sorted([*path.glob("Annotations/*.xml"), *path.glob("*.xml")]):
        try:
            found |= {text_of(item, "name") for item in parse_xml(xml).iter("object")}
        except DataError:  # said when it is read
            continue
    return sorted(found - {""})


def read_folder(
    path: Path, classes: Sequence[str], reading: Reading, with_masks: bool, first: int
) -> Iterator[Sample | Problem]:
    """Samples by file name, and Problems. first: the number of the first column.

    Raises: DataError when the path is no VOC folder.
    """
    if not path.is_dir():
        raise DataError(f"{path}: there is no such folder; VOC is a folder with Annotations/ and JPEGImages/")
    home = path / "JPEGImages" if (path / "JPEGImages").is_dir() else path
    xmls = {p.stem: p for p in sorted([*path.glob("Annotations/*.xml"), *path.glob("*.xml")])}
    if home == path and not xmls:
        raise DataError(f"{path}: there is neither JPEGImages/ nor an XML of VOC here")
    masked = with_masks and (path / "SegmentationObject").is_dir() and bool(list_images(path / "SegmentationObject"))
    splits = _splits(path)
    number = 0
    for image_path, name, image in each_image(path, home, reading):
        if home == path and image_path.relative_to(path).parts[0] in PLACES:
            continue
        sample_id, number = f"{number:06d}", number + 1
        stem = image_path.stem
        xml = xmls.pop(stem, None)
        if isinstance(image, Problem):
            yield image
            continue
        meta: dict[str, Json] = {"file": name} | ({"split": splits[stem]} if stem in splits else {})
        size = (image.shape[0], image.shape[1])
        if xml is None:
            yield Sample(sample_id, image, None, meta=meta)
            continue
        try:
            inside(path, xml.relative_to(path).as_posix())
            root = parse_xml(xml)
            _check_size(root, size)
            ids = _ids(path, stem, size, reading) if masked else None
        except DataError as error:
            yield Problem(relative(xml, path), "", str(error).removeprefix(f"{xml}: "), "quarantined")
            continue
        gathered = Gathered(size, with_masks=masked)
        for problem in _gather(root, ids, gathered, classes, first):
            yield Problem(relative(xml, path), problem[0], problem[1], "repaired")
        about = _json(text_of(root, "synthgen"))
        verified = root.get("verified") == "yes"  # LabelImg's own mark of a person
        _, origin, reviewed, empty = image_facts_from_json({} if verified and not about.get("origin") else about)
        labels = gathered.labels("human" if verified else reviewed, "confirmed" if verified else empty)
        yield Sample(sample_id, image, labels, origin, meta)
    for left in xmls.values():
        yield Problem(relative(left, path), "", "the XML has no image of the same name", "quarantined")


def _gather(
    root: ET.Element, ids: NDArray[np.int32] | None, gathered: Gathered, classes: Sequence[str], first: int
) -> Iterator[tuple[str, str]]:
    """Add the objects of a file; (item, what is wrong with it) of each that is not as it should be."""
    objects: list[_Object] = []
    for k, element in enumerate(root.iter("object"), 1):
        try:
            found = _object(element, f"object {k}", gathered.size, first)
            if found.name not in classes:
                raise DataError(unknown_class(found.name, classes))
            objects.append(found)
        except DataError as error:
            yield f"object {k}", f"{error}; it is left out"
            continue
        if found.clipped:
            yield found.item, "it stands over the frame; it is clipped"
    index = {name: k for k, name in enumerate(classes)}
    if not gathered.with_masks:
        for one in objects:
            gathered.add(index[one.name], one.box, one.facts)
        return
    masks = [] if ids is None else [(k, rle) for k, rle in regions(ids) if k != VOID]
    gathered.ignore += [] if ids is None else [rle for k, rle in regions(ids) if k == VOID]
    mine = _paired(objects, masks, gathered.size)
    for k, one in enumerate(objects):
        if k not in mine:
            gathered.ignore.append(box_mask(one.box, gathered.size))
            yield one.item, MASKLESS
            continue
        rle = masks[mine[k]][1]
        away = float(np.abs(rle_boxes([rle], gathered.size)[0] - np.asarray(one.box)).max())
        if away > SLACK:
            yield one.item, f"its box and its mask are {away:.0f} px apart; the mask is taken"
        gathered.add(index[one.name], rle, one.facts)
    for j in sorted(set(range(len(masks))) - set(mine.values())):
        yield f"mask {masks[j][0]}", "no object of the XML has its place; it is left out"


def _paired(objects: Sequence[_Object], masks: Sequence[tuple[int, Rle]], size: Size) -> dict[int, int]:
    """Object → its mask, by the boxes; where several fit, by their order."""
    if not objects or not masks:
        return {}
    boxes = np.asarray([one.box for one in objects], np.float32)
    ious = box_ious(boxes, rle_boxes([rle for _, rle in masks], size))
    order = np.abs(np.arange(1, len(objects) + 1)[:, None] - np.asarray([k for k, _ in masks])[None])
    rows, columns = linear_sum_assignment(ious - 1e-6 * np.minimum(order, 1000), maximize=True)
    return {int(i): int(j) for i, j in zip(rows, columns, strict=True) if ious[i, j] >= FITS}


def _object(element: ET.Element, item: str, size: Size, first: int) -> _Object:
    H, W = size
    name = text_of(element, "name")
    try:
        x0, y0, x1, y1 = (float(text_of(element, f"bndbox/{tag}")) for tag in ("xmin", "ymin", "xmax", "ymax"))
    except ValueError:
        raise DataError("its bndbox has no four numbers xmin, ymin, xmax, ymax") from None
    x0, y0 = x0 - first, y0 - first  # counted from 1 with the last pixel included, a maximum is the same number
    if not all(map(math.isfinite, (x0, y0, x1, y1))) or x1 <= x0 or y1 <= y0:
        raise DataError(f"its box {x0:g} {y0:g} {x1:g} {y1:g} has no area")
    box = (max(x0, 0.0), max(y0, 0.0), min(x1, float(W)), min(y1, float(H)))
    if box[2] <= box[0] or box[3] <= box[1]:
        raise DataError(f"its box stands outside the image, at x {x0:g}, y {y0:g}")
    # Whom the challenge calls difficult it does not count, neither found nor missed.
    difficult = text_of(element, "difficult") == "1"
    said: dict[str, Json] = {"state": text_of(element, "state") or ("ignored" if difficult else "")}
    if (truncated := text_of(element, "truncated")) in ("0", "1"):
        said["truncated"] = truncated == "1"
    if visible := _number(text_of(element, "visible_fraction")):
        said["visible_fraction"] = visible
    clipped = min(x0, y0, W - x1, H - y1) < -SLACK
    return _Object(item, name, box, clipped, facts_from_json(said, _number(text_of(element, "score"))))


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _check_size(root: ET.Element, size: Size) -> None:
    if root.tag != "annotation":
        raise DataError(f"its root is <{root.tag}>; VOC's is <annotation>")
    said = tuple(_number(text_of(root, f"size/{tag}")) for tag in ("height", "width"))
    if None not in said and 0.0 not in said and said != size:
        raise DataError(f"the file says {said[1]:g} × {said[0]:g} px, but the image has {size[1]} × {size[0]}")


def _ids(path: Path, stem: str, size: Size, reading: Reading) -> NDArray[np.int32] | None:
    file = path / "SegmentationObject" / f"{stem}.png"
    if not file.exists():
        return None
    inside(path, file.relative_to(path).as_posix())
    ids = _indices(file, reading)
    if ids.shape != size:
        raise DataError(f"its mask is {ids.shape[1]} × {ids.shape[0]} px, the image has {size[1]} × {size[0]}")
    return ids


def _indices(file: Path, reading: Reading) -> NDArray[np.int32]:
    """(H, W) int32 from a palette PNG, or from one in which a tool (CVAT, datumaro) painted the palette's colours.

    Raises: DataError when it cannot be decoded, or holds another colour.
    """
    image_size(file, reading.max_pixels)  # refuses what is no image, before it is opened here
    with PIL.Image.open(file) as header:
        if header.mode not in ("RGB", "RGBA"):
            return read_ids(file, reading.max_pixels)
    weights = np.array([1 << 16, 1 << 8, 1])
    known = palette().astype(np.int64) @ weights
    pixels = read_image(file, max_pixels=reading.max_pixels).astype(np.int64) @ weights
    order = np.argsort(known)
    found = order[np.searchsorted(known, pixels, sorter=order).clip(max=255)]
    if (known[found] != pixels).any():
        raise DataError("its mask holds colours that are not of VOC's palette")
    return np.asarray(found, np.int32)


def _splits(path: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in ("train", "val", "test"):
        file = path / "ImageSets" / "Main" / f"{name}.txt"
        if file.is_file():
            text = file.read_text(encoding="utf-8-sig", errors="replace")
            found |= {line.strip(): name for line in text.splitlines()}
    return found


def _json(text: str) -> dict[str, Json]:
    try:
        value = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
