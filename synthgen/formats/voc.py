"""Pascal VOC: an XML of boxes per image, as LabelImg writes it, and palette PNGs of classes and instances."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from synthgen.errors import DataError
from synthgen.formats import Loss, Problem, Reading
from synthgen.formats.files import Names, write_image
from synthgen.formats.gather import facts_to_json, image_facts_to_json
from synthgen.formats.losses import Losses, Part
from synthgen.formats.palette import palette, write_palette
from synthgen.formats.voc_read import VOID, class_names, looks_right, read_folder
from synthgen.formats.xml import put, refuse_unwritable, xml_bytes
from synthgen.geometry import areas, decode, id_map, rle_boxes
from synthgen.rle import regions
from synthgen.store import write_atomic
from synthgen.types import Json, Labels, Sample

BOXES: frozenset[Part] = frozenset(
    {"instances", "boxes", "scores", "states", "visible", "truncated", "source", "empty", "split"}
)
HOLDS: dict[str, frozenset[Part]] = {"masks": BOXES - {"boxes"} | {"masks", "ignore"}, "boxes": BOXES}
SETS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val",
        "test": "test", "testing": "test"}  # fmt: skip


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid", use_attribute_docstrings=True))
class Voc:
    """VOC: Annotations/*.xml beside JPEGImages/, or an .xml beside each image (LabelImg), with masks where there are.

    Written: `Annotations/x.xml` with boxes that count from 0 (as LabelImg does; VOC's own count from 1), the images as
    `JPEGImages/x.png`, `ImageSets/`, `labelmap.txt` with the classes and their colours, and, of instances with masks,
    `SegmentationClass/x.png` and `SegmentationObject/x.png`: palette PNGs, whose instance k is the k-th object of the
    XML, and whose 255 is ignored. Facts that VOC has no word for stand in elements of their own (score, state,
    visible_fraction, synthgen), which readers pass over; LabelImg drops them when it saves, so that a file that
    somebody saved is read as labelled by a person.

    Read: an XML without objects, seen by a person, means that there is nothing; an image without an XML is unlabelled.
    A mask belongs to the object whose box it fits best.
    """

    kind: Literal["masks", "boxes"] = "masks"
    """masks: with the palette PNGs, where there are masks. boxes: the XML alone, read and written."""

    counts_from: Literal[0, 1] = 0
    """The number of the first column and row in the XML. 0, as LabelImg has it, with a maximum beside the last pixel;
    1, as in the VOC challenge and in supervision, with the last pixel included."""

    TASKS: ClassVar[tuple[str, ...]] = ("instances", "segment", "detect")

    def matches(self, path: Path) -> bool:
        """Whether the folder holds JPEGImages/ or Annotations/ with XML, or XML annotations beside images."""
        return looks_right(path)

    def classes(self, path: Path) -> list[str]:
        """Names in labelmap.txt, else those that objects have, sorted. Raises: DataError when there is no such folder.
        """
        return class_names(path)

    def read(self, path: Path, classes: Sequence[str], reading: Reading) -> Iterator[Sample | Problem]:
        """Samples by file name; one bad item is a Problem and nothing more.

        Raises: DataError when the path is no such folder.
        """
        yield from read_folder(path, classes, reading, self.kind == "masks", self.counts_from)

    def write(self, samples: Iterable[Sample], folder: Path, classes: Sequence[str]) -> list[Loss]:
        """Write the folder; it is made.

        Raises: DataError for more classes than a palette has, or a class name that XML or labelmap.txt cannot hold.
        """
        if len(classes) > VOID - 1:
            raise DataError(f"a VOC palette holds {VOID - 1} classes, not {len(classes)}; write another format")
        refuse_unwritable(list(classes), "VOC")
        if bad := [n for n in classes if "\n" in n or "\r" in n or n.strip() != n or n.startswith("#")]:
            raise DataError(f"the class name {bad[0]!r} cannot stand in labelmap.txt; rename it to write VOC")
        taken, losses = Names(), Losses()
        sets: dict[str, list[str]] = defaultdict(list)
        (folder / "JPEGImages").mkdir(parents=True, exist_ok=True)
        (folder / "Annotations").mkdir(exist_ok=True)
        for sample in samples:
            stem = taken.stem(sample)
            write_image(folder / "JPEGImages" / f"{stem}.png", sample.image)
            losses.compare(sample, stem, HOLDS[self.kind])
            labels = sample.labels
            if labels is None:
                continue
            split = str(sample.meta.get("split", ""))
            name = SETS.get(split, "")
            if split and not name:
                losses.add("splits not called train, val or test: they join trainval", f"{stem}, of {split!r}")
            sets[f"Main/{name or 'trainval'}"].append(stem)
            drawn = self.kind == "masks" and _draw(labels, folder, stem, losses)
            if drawn and len(labels):
                sets[f"Segmentation/{name or 'trainval'}"].append(stem)
            root = _annotation(sample, stem, classes, drawn, self.counts_from, losses)
            write_atomic(folder / "Annotations" / f"{stem}.xml", xml_bytes(root))
        for name, stems in sets.items():
            write_atomic(folder / "ImageSets" / f"{name}.txt", "".join(f"{s}\n" for s in stems).encode())
        write_atomic(folder / "labelmap.txt", _label_map(classes))
        return losses.report()


def _annotation(
    sample: Sample, stem: str, classes: Sequence[str], drawn: bool, first: int, losses: Losses
) -> ET.Element:
    labels = sample.labels
    assert labels is not None
    assert labels.scores is not None
    assert labels.truncated is not None
    H, W = labels.size
    root = ET.Element("annotation")
    put(root, "folder", "JPEGImages")
    put(root, "filename", f"{stem}.png")
    put(put(root, "source"), "database", "written by synthgen")
    size = put(root, "size")
    for tag, value in (("width", W), ("height", H), ("depth", 3)):
        put(size, tag, value)
    put(root, "segmented", int(drawn and len(labels) > 0))
    if about := image_facts_to_json(sample):
        put(root, "synthgen", json.dumps(about, ensure_ascii=False, sort_keys=True))
    boxes = rle_boxes(labels.masks, labels.size) if drawn and labels.masks is not None else labels.boxes
    for k, (class_id, box) in enumerate(zip(labels.classes, boxes, strict=True)):
        if box[2] <= box[0] or box[3] <= box[1]:
            losses.add("instances without a single pixel", stem)
            continue
        facts: dict[str, Json] = facts_to_json(labels, k)
        item = put(root, "object")
        put(item, "name", classes[class_id])
        put(item, "pose", "Unspecified")
        put(item, "truncated", int(facts["truncated"]))
        put(item, "difficult", int(facts["state"] == "ignored"))
        bndbox = put(item, "bndbox")
        sides = box.astype(np.float64) + np.array([first, first, 0, 0])
        for tag, side in zip(("xmin", "ymin", "xmax", "ymax"), sides, strict=True):
            put(bndbox, tag, f"{side:.4f}".rstrip("0").rstrip("."))
        if labels.scores[k] != 1:
            put(item, "score", f"{labels.scores[k]:.6f}")
        if facts["state"] != "accepted":
            put(item, "state", facts["state"])
        if facts["visible_fraction"] is not None:
            put(item, "visible_fraction", facts["visible_fraction"])
    return root


def _draw(labels: Labels, folder: Path, stem: str, losses: Losses) -> bool:
    """Write the two masks of an image, where it has any; whether it has."""
    if labels.masks is None or not (len(labels) or labels.ignore):
        if labels.ignore is not None:
            losses.add("ignored regions of images with boxes only: they become background", stem)
        return False
    if len(labels) >= VOID:
        losses.add("masks of images with more than 254 instances: only boxes are written", stem, len(labels))
        return False
    ids = id_map(labels)
    if labels.ignore is not None:
        ignored = decode([labels.ignore], labels.size)[0]
        if (ids[ignored] > 0).any():
            losses.add("ignored pixels that lie under instances", stem)
        ids[ignored & (ids == 0)] = VOID
    left = dict(regions(ids))
    for k in np.flatnonzero(areas(labels.masks, labels.size)):
        mask = left.get(int(k) + 1)
        if mask is None:
            losses.add("instances without a pixel of their own: they are left out", stem)
        elif mask != labels.masks[k]:
            losses.add("pixels of instances that lie under another", stem)
    table = np.zeros(256, np.uint8)
    table[1 : len(labels) + 1] = labels.classes + 1
    table[VOID] = VOID
    for name, values in (("SegmentationClass", table[ids]), ("SegmentationObject", ids.astype(np.uint8))):
        (folder / name).mkdir(exist_ok=True)
        write_palette(folder / name / f"{stem}.png", values)
    return True


def _label_map(classes: Sequence[str]) -> bytes:
    lines = ["# label:color_rgb:parts:actions"]
    for name, colour in zip(["background", *classes], palette().tolist(), strict=False):
        lines.append(f"{name}:{','.join(map(str, colour))}::")
    return ("\n".join(lines) + "\n").encode()

