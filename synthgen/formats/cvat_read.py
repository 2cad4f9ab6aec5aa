"""Reads CVAT's XML that may be wrong anywhere: every bad item becomes a Problem, the others come through."""

from __future__ import annotations

import json
import math
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from synthgen.errors import DataError
from synthgen.formats import Problem, Reading
from synthgen.formats.files import inside, open_image, relative, unknown_class
from synthgen.formats.gather import MASKLESS, Box, Gathered, box_mask, facts_from_json, image_facts_from_json
from synthgen.formats.rows import mask_of_rows
from synthgen.formats.xml import parse_xml, text_of
from synthgen.geometry import areas, encode_crop, mask_from_polygons
from synthgen.types import Image, Json, Rle, Sample, Size, State

ABOUT = "synthgen: image"
IGNORED = "synthgen: ignored region"
SLACK = 0.5  # px that a shape may stand over the frame without being reported: rounding
OTHERS = ("ellipse", "polyline", "points", "cuboid", "skeleton")


def find(path: Path) -> Path:
    """The XML that a path means. Raises: DataError when there is none."""
    if path.is_file():
        return path
    if (path / "annotations.xml").is_file():
        return path / "annotations.xml"
    raise DataError(f"{path}: there is no annotations.xml here; a CVAT dataset is one beside images/")


def looks_right(path: Path) -> bool:
    """Whether the path means an XML that begins as CVAT's do."""
    try:
        file = find(path)
        with file.open("rb") as stream:
            return file.suffix.lower() == ".xml" and b"<annotations" in stream.read(4096)
    except (DataError, OSError):
        return False


def class_names(file: Path) -> list[str]:
    """Declared labels in the file's order, else those of shapes, sorted. Raises: DataError when it is no CVAT XML."""
    root = _root(file)
    declared = [text_of(label, "name") for label in root.findall("./meta//labels/label")]
    used = sorted({shape.get("label", "") for image in root.iter("image") for shape in image})
    return [n for n in dict.fromkeys(declared or used) if n not in ("", ABOUT, IGNORED)]


def read_file(file: Path, home: Path, classes: Sequence[str], reading: Reading) -> Iterator[Sample | Problem]:
    """Samples by file name, and Problems. Raises: DataError when it is no CVAT XML."""
    root = _root(file)
    shown = relative(file, home)
    images = sorted(root.iter("image"), key=lambda e: e.get("name", ""))
    if not images and root.find("track") is not None:
        raise DataError(f"{file}: this is CVAT for video, with tracks; export the task as CVAT for images 1.1")
    with_masks = any(s.tag in ("mask", "polygon") and s.get("label") != IGNORED for e in images for s in e)
    seen: set[str] = set()
    for k, element in enumerate(images):
        name = element.get("name", "").replace("\\", "/")
        if name in seen:
            yield Problem(shown, f"image {name}", "an image of this name stands there before", "quarantined")
            continue
        seen.add(name)
        subset = element.get("subset", "")
        try:
            path = inside(home, name, ("images", "", f"images/{subset}" if subset else "images"))
        except DataError as error:
            yield Problem(name, "", str(error), "quarantined")
            continue
        image = open_image(path, name, reading)
        if isinstance(image, Problem):
            yield image
            continue
        H, W = image.shape[:2]
        said = element.get("width", str(W)), element.get("height", str(H))
        if said != (str(W), str(H)):
            what = f"the file says {said[0]} × {said[1]} px, but the image has {W} × {H}"
            yield Problem(name, "", what, "quarantined")
            continue
        gathered = Gathered((H, W), with_masks)
        yield from _shapes(element, name, gathered, classes)
        file_name = relative(path, home)
        meta: dict[str, Json] = {"file": file_name} | ({"split": subset} if subset else {})
        yield _sample(f"{k:06d}", image, element, gathered, classes, meta)


def _sample(
    sample_id: str, image: Image, element: ET.Element, gathered: Gathered, classes: Sequence[str],
    meta: dict[str, Json],
) -> Sample:  # fmt: skip
    """The sample, with what its tags say."""
    about: dict[str, str] | None = None
    image_class, score = None, 1.0
    state: State = "accepted"
    for tag in element.findall("tag"):
        facts = _attributes(tag)
        if tag.get("label") == ABOUT:
            about = facts
        elif tag.get("label") in classes:
            image_class = list(classes).index(str(tag.get("label")))
            found = facts_from_json({"state": facts.get("state")}, _number(facts.get("score", "")))
            score, state = found.score, found.state
    if about is None and image_class is None and not gathered.classes and not gathered.ignore:
        return Sample(sample_id, image, None, meta=meta)
    known: dict[str, Json] = dict(about or {})
    known["origin"] = _json(known.get("origin", ""))
    _, origin, reviewed, empty = image_facts_from_json(known)
    labels = gathered.labels(reviewed, empty)
    if image_class is not None:
        labels = replace(labels, image_class=image_class, image_score=score, image_state=state)
    return Sample(sample_id, image, labels, origin, meta)


def _shapes(element: ET.Element, name: str, gathered: Gathered, classes: Sequence[str]) -> Iterator[Problem]:
    """Add the shapes of an image; a Problem for each that is not as it should be."""
    for k, shape in enumerate(element, 1):
        label, item = shape.get("label", ""), f"{shape.tag} {k}"
        if shape.tag == "tag":
            if label not in (ABOUT, *classes):
                yield Problem(name, item, f"{unknown_class(label, classes)}; it is left out", "repaired")
            continue
        try:
            if shape.tag in OTHERS:
                raise DataError(f"it is of a kind ({shape.tag}) that is neither a box nor a region")
            if shape.tag not in ("box", "polygon", "mask"):
                continue
            if label not in (IGNORED, *classes):
                raise DataError(unknown_class(label, classes))
            found, said = _shape(shape, gathered)
        except DataError as error:
            yield Problem(name, item, f"{error}; it is left out", "repaired")
            continue
        if said:
            yield Problem(name, item, said, "repaired")
        if label == IGNORED or (gathered.with_masks and not isinstance(found, str)):
            gathered.ignore.append(found if isinstance(found, str) else box_mask(found, gathered.size))
            if label != IGNORED:
                what = MASKLESS
                yield Problem(name, item, what, "repaired")
            continue
        facts = _attributes(shape)
        told: dict[str, Json] = {"state": facts.get("state")}
        told["visible_fraction"] = _number(facts.get("visible_fraction"))
        if facts.get("truncated") in ("true", "false"):
            told["truncated"] = facts["truncated"] == "true"
        gathered.add(list(classes).index(label), found, facts_from_json(told, _number(facts.get("score"))))


def _shape(shape: ET.Element, gathered: Gathered) -> tuple[Rle | Box, str]:
    """(the shape, what had to be changed). Raises: DataError when there is none in the frame."""
    H, W = gathered.size
    if shape.tag == "mask":
        return _mask(shape, gathered.size), ""
    points = _points(shape.get("points", "")) if shape.tag == "polygon" else _corners(shape)
    if np.abs(points).max() > 4 * (H + W):
        raise DataError(f"it reaches to {np.abs(points).max():.3g} px, far outside the image")
    low, high = points.min(0), points.max(0)
    clipped = bool((low < -SLACK).any() or (high > np.array([W, H]) + SLACK).any())
    said = "it stands over the frame; it is clipped" if clipped else ""
    turned = shape.tag == "box" and len(np.unique(points[:, 0].round(6))) > 2
    if shape.tag == "polygon" or (turned and gathered.with_masks):
        rle = mask_from_polygons([points], gathered.size)
        if not areas([rle], gathered.size)[0]:
            raise DataError("its outline has no pixel inside the frame")
        return rle, said
    if turned:
        said = "it is turned; the upright box around it is taken"
    x0, y0, x1, y1 = max(low[0], 0.0), max(low[1], 0.0), min(high[0], float(W)), min(high[1], float(H))
    if x1 <= x0 or y1 <= y0:
        raise DataError("its box has no area inside the image")
    return (float(x0), float(y0), float(x1), float(y1)), said


def _corners(shape: ET.Element) -> NDArray[np.float64]:
    """(4, 2) x y of a box, turned about its centre by its rotation, degrees clockwise."""
    sides = [_number(shape.get(name)) for name in ("xtl", "ytl", "xbr", "ybr")]
    turn = _number(shape.get("rotation", "0"))
    if None in sides or turn is None:
        raise DataError("it has no four numbers xtl, ytl, xbr, ybr")
    x0, y0, x1, y1 = cast(list[float], sides)
    if x1 <= x0 or y1 <= y0:
        raise DataError(f"its box {x0:g} {y0:g} {x1:g} {y1:g} has no area")
    points = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
    if not turn % 360:
        return points
    c, s = math.cos(math.radians(turn)), math.sin(math.radians(turn))
    middle = points.mean(0)
    return np.asarray((points - middle) @ np.array([[c, s], [-s, c]]) + middle)


def _points(text: str) -> NDArray[np.float64]:
    try:
        points = np.array([[float(n) for n in pair.split(",")] for pair in text.split(";")], np.float64)
    except ValueError:
        raise DataError("its points are no list of x,y;x,y") from None
    if points.ndim != 2 or points.shape[1] != 2 or len(points) < 3 or not np.isfinite(points).all():
        raise DataError("its outline needs three points x,y")
    return points


def _mask(shape: ET.Element, size: Size) -> Rle:
    H, W = size
    try:
        left, top, width, height = (int(shape.get(name, "")) for name in ("left", "top", "width", "height"))
    except ValueError:
        raise DataError("its mask has no whole numbers left, top, width, height") from None
    if left < 0 or top < 0 or width < 1 or height < 1 or left + width > W or top + height > H:
        raise DataError(f"its mask's box, {width} × {height} px at {left} {top}, is not inside the image")
    crop = mask_of_rows(shape.get("rle", ""), (height, width))
    if not crop.any():
        raise DataError("its mask has no pixel")
    return encode_crop(crop, top, left, size)


def _attributes(shape: ET.Element) -> dict[str, str]:
    return {a.get("name", ""): (a.text or "").strip() for a in shape.findall("attribute")}


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _json(text: Json) -> Json:
    try:
        return json.loads(text) if text else None
    except (ValueError, RecursionError, TypeError):
        return None


def _root(file: Path) -> ET.Element:
    root = parse_xml(file)
    if root.tag != "annotations":
        raise DataError(f"{file}: its root is <{root.tag}>; that of CVAT for images 1.1 is <annotations>")
    return root
