"""CVAT for images 1.1: one annotations.xml beside images/."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from synthgen.errors import DataError
from synthgen.formats import Loss, Problem, Reading
from synthgen.formats.cvat_read import ABOUT, IGNORED, class_names, find, looks_right, read_file
from synthgen.formats.files import Names, write_image
from synthgen.formats.gather import facts_to_json, image_facts_to_json
from synthgen.formats.losses import Losses, Part
from synthgen.formats.palette import palette
from synthgen.formats.rows import runs_of_rows
from synthgen.formats.xml import put, refuse_unwritable, xml_bytes
from synthgen.geometry import decode, mask_box
from synthgen.store import write_atomic, write_json
from synthgen.types import Json, Mask, Sample

HOLDS: frozenset[Part] = frozenset({
    "instances", "masks", "scores", "states", "visible", "truncated", "ignore", "image_class", "source", "empty",
    "split",
})  # fmt: skip
SHAPE: tuple[tuple[str, str, tuple[str, ...]], ...] = (  # attribute, how it is put in, values with the default first
    ("score", "text", ("1",)),
    ("state", "select", ("accepted", "ignored", "to_review")),
    ("truncated", "checkbox", ("false",)),
    ("visible_fraction", "text", ("",)),
)
IMAGE: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("reviewed", "select", ("human", "model", "none")),
    ("empty", "select", ("unknown", "confirmed")),
    ("origin", "text", ("",)),
)


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid", use_attribute_docstrings=True))
class Cvat:
    """CVAT: annotations.xml of "CVAT for images 1.1" beside images/; boxes, polygons, masks and tags.

    Written: `labels.json` with the labels for the Raw tab of a new task; masks as CVAT's run lengths (row by row in the
    mask's box), boxes where there are no masks, the class of an image as a tag. Every label declares the attributes
    score, state, truncated and visible_fraction, since CVAT drops what is not declared; what a model made has
    source="auto". Two labels are not classes: `synthgen: ignored region`, a mask of pixels that say nothing, and
    `synthgen: image`, a tag that says of an image who reviewed it (`reviewed`: none, model or human) and whether it is
    confirmed to be empty (`empty`).

    Read: an image with neither shape nor tag is unlabelled: CVAT itself does not say whether somebody looked. In a file
    with masks or polygons, a box becomes an ignored region; ellipses, lines, points, cuboids and skeletons are left
    out.
    """

    TASKS: ClassVar[tuple[str, ...]] = ("instances", "segment", "detect", "classify")
    holds_ignored: ClassVar[bool] = True

    def matches(self, path: Path) -> bool:
        """Whether the path is a CVAT XML, or a folder with one as annotations.xml."""
        return looks_right(path)

    def classes(self, path: Path) -> list[str]:
        """Labels in the order of the file, without our own two. Raises: DataError when there is no CVAT XML."""
        return class_names(find(path))

    def read(self, path: Path, classes: Sequence[str], reading: Reading) -> Iterator[Sample | Problem]:
        """Samples by file name; one bad item is a Problem and nothing more.

        Raises: DataError when there is no CVAT XML.
        """
        file = find(path)
        yield from read_file(file, file.parent, classes, reading)

    def write(self, samples: Iterable[Sample], folder: Path, classes: Sequence[str]) -> list[Loss]:
        """Write annotations.xml and images/; the folder is made.

        Raises: DataError for a class name that XML cannot hold, or that is one of our own labels.
        """
        refuse_unwritable(list(classes), "CVAT")
        if taken := {ABOUT, IGNORED} & set(classes):
            raise DataError(f"the class name {taken.pop()!r} has a meaning of its own in CVAT files; rename the class")
        names, losses = Names(), Losses()
        root = ET.Element("annotations")
        put(root, "version", "1.1")
        task = put(put(root, "meta"), "task")
        put(task, "name", "synthgen")
        declared = raw_labels(classes)
        _declare(put(task, "labels"), declared)
        (folder / "images").mkdir(parents=True, exist_ok=True)
        count = 0
        for sample in samples:
            stem = names.stem(sample)
            write_image(folder / "images" / f"{stem}.png", sample.image)
            losses.compare(sample, stem, HOLDS)
            H, W = sample.image.shape[:2]
            element = ET.SubElement(root, "image", id=str(count), name=f"{stem}.png", width=str(W), height=str(H))
            if "split" in sample.meta:
                element.set("subset", str(sample.meta["split"]))
            _image(element, sample, stem, classes, losses)
            count += 1
        put(task, "size", count)
        put(task, "mode", "annotation")
        write_atomic(folder / "annotations.xml", xml_bytes(root))
        write_json(folder / "labels.json", declared)
        return losses.report()


def raw_labels(classes: Sequence[str]) -> list[Json]:
    """The labels of a task, as CVAT's constructor takes them in its Raw tab; those of XML are the same."""
    colours = palette()[1:].tolist()
    labels = [_label(name, "any", colours[k % len(colours)], SHAPE) for k, name in enumerate([*classes, IGNORED])]
    return [*labels, _label(ABOUT, "tag", colours[-1], IMAGE)]


def _label(name: str, kind: str, colour: list[int], attributes: tuple[tuple[str, str, tuple[str, ...]], ...]) -> Json:
    return {
        "name": name, "color": "#" + "".join(f"{c:02x}" for c in colour), "type": kind,
        "attributes": [
            {"name": a, "mutable": False, "input_type": how, "default_value": values[0], "values": list(values)}
            for a, how, values in attributes
        ],
    }  # fmt: skip


def _declare(parent: ET.Element, labels: list[Json]) -> None:
    for value in labels:
        label = put(parent, "label")
        for tag in ("name", "color", "type"):
            put(label, tag, value[tag])
        attributes = put(label, "attributes")
        for one in value["attributes"]:
            attribute = put(attributes, "attribute")
            for tag in ("name", "mutable", "input_type", "default_value"):
                put(attribute, tag, one[tag])
            put(attribute, "values", "\n".join(one["values"]))


def _image(element: ET.Element, sample: Sample, stem: str, classes: Sequence[str], losses: Losses) -> None:
    labels = sample.labels
    if labels is None:
        return
    assert labels.scores is not None
    source = "manual" if labels.reviewed == "human" else "auto"
    facts = image_facts_to_json(sample)
    tag = ET.SubElement(element, "tag", label=ABOUT, source=source)
    _say(tag, "reviewed", labels.reviewed)
    _say(tag, "empty", labels.empty)
    if "origin" in facts:
        _say(tag, "origin", json.dumps(facts["origin"], ensure_ascii=False, sort_keys=True))
    if labels.image_class is not None:
        tag = ET.SubElement(element, "tag", label=classes[labels.image_class], source=source)
        _say(tag, "score", f"{labels.image_score:.6f}")
        _say(tag, "state", labels.image_state)
    for k, class_id in enumerate(labels.classes):
        if labels.masks is None:
            x0, y0, x1, y1 = (f"{side:.4f}".rstrip("0").rstrip(".") for side in labels.boxes[k].astype(np.float64))
            if labels.boxes[k][2] <= labels.boxes[k][0] or labels.boxes[k][3] <= labels.boxes[k][1]:
                losses.add("instances without a single pixel", stem)
                continue
            shape = ET.SubElement(element, "box", label=classes[class_id], source=source, occluded="0",
                                  xtl=x0, ytl=y0, xbr=x1, ybr=y1, z_order="0")
        else:
            drawn = _mask(element, classes[class_id], source, decode([labels.masks[k]], labels.size)[0])
            if drawn is None:
                losses.add("instances without a single pixel", stem)
                continue
            shape = drawn
        known = facts_to_json(labels, k)
        _say(shape, "score", f"{labels.scores[k]:.6f}".rstrip("0").rstrip("."))
        _say(shape, "state", known["state"])
        _say(shape, "truncated", str(known["truncated"]).lower())
        visible = known["visible_fraction"]
        _say(shape, "visible_fraction", "" if visible is None else visible)
    if labels.ignore is not None:
        _mask(element, IGNORED, source, decode([labels.ignore], labels.size)[0])


def _mask(element: ET.Element, label: str, source: str, mask: Mask) -> ET.Element | None:
    box = mask_box(mask)
    if box is None:
        return None
    x0, y0, x1, y1 = box
    runs = ", ".join(map(str, runs_of_rows(mask[y0:y1, x0:x1])))
    return ET.SubElement(element, "mask", label=label, source=source, occluded="0", rle=runs, left=str(x0), top=str(y0),
                         width=str(x1 - x0), height=str(y1 - y0), z_order="0")


def _say(shape: ET.Element, name: str, value: object) -> None:
    put(shape, "attribute", value).set("name", name)
