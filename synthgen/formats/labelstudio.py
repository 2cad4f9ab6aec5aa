"""Label Studio: tasks.json beside images/, and the labelling configuration that it needs."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import ClassVar, Literal
from urllib.parse import quote

import numpy as np
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from synthgen.formats import Loss, Problem, Reading
from synthgen.formats.files import Names, write_image
from synthgen.formats.gather import facts_to_json, image_facts_to_json
from synthgen.formats.labelstudio_read import CONFIG, IGNORED, class_names, find, looks_right, read_file
from synthgen.formats.losses import Losses, Part
from synthgen.formats.palette import palette
from synthgen.formats.rows import pack_rgba
from synthgen.formats.xml import put, refuse_unwritable, xml_bytes
from synthgen.geometry import decode
from synthgen.store import write_atomic, write_json
from synthgen.types import Json, Labels, Rle, Sample, Size

HOLDS: frozenset[Part] = frozenset({
    "instances", "masks", "scores", "states", "visible", "truncated", "ignore", "image_class", "source", "empty",
    "split",
})  # fmt: skip
Control = Literal["mask", "box", "class"]
FROM: dict[Control, str] = {"mask": "mask", "box": "box", "class": "class"}


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid", use_attribute_docstrings=True))
class LabelStudio:
    """Label Studio: a .json list of tasks with annotations or predictions, beside images/ and label_config.xml.

    Written: `tasks.json`, `images/*.png` and `label_config.xml`. What a person labelled is an annotation, what a model
    labelled is a prediction with its score; an annotation without regions says that there is nothing. Masks are brush
    regions, objects without masks rectangles, classes of images choices; the label `synthgen: ignored region` holds
    pixels that say nothing. Facts that Label Studio has no word for stand in the meta of the region and of the task.
    Images are named as local files: `/data/local-files/?d=images/x.png`, below the folder that the server was told
    (LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT).

    Read: the last annotation of a task that was not cancelled, else its last prediction; a task with neither is
    unlabelled. `lead_time` is meta["seconds"], `completed_by` meta["by"]. An image is looked for by its whole path,
    then by its name, as Label Studio renames what is uploaded. Ellipses, key points and the like are left out.
    """

    prefix: str = ""
    """What stands before images/ in the addresses: the folder of the dataset below the server's document root."""
    annotator: Literal["last", "each"] = "last"
    """Of a task that several people annotated: the last annotation, or a sample for each of them."""

    TASKS: ClassVar[tuple[str, ...]] = ("instances", "segment", "detect", "classify")
    holds_ignored: ClassVar[bool] = True

    def matches(self, path: Path) -> bool:
        """Whether the path is a JSON list of tasks, or a folder with one."""
        return looks_right(path)

    def classes(self, path: Path) -> list[str]:
        """Labels in the order of label_config.xml, else those of regions, sorted.

        Raises: DataError when there is no list of tasks.
        """
        return class_names(find(path))

    def read(self, path: Path, classes: Sequence[str], reading: Reading) -> Iterator[Sample | Problem]:
        """Samples by the names of their images; one bad item is a Problem and nothing more.

        Raises: DataError when there is no one list of tasks.
        """
        file = find(path)
        yield from read_file(file, file.parent, classes, reading, self.annotator == "each")

    def write(self, samples: Iterable[Sample], folder: Path, classes: Sequence[str]) -> list[Loss]:
        """Write tasks.json, images/ and label_config.xml; the folder is made.

        Raises: DataError for a class name that XML cannot hold.
        """
        refuse_unwritable(list(classes), "labelstudio")
        names, losses = Names(), Losses()
        tasks: list[Json] = []
        used: set[Control] = set()
        (folder / "images").mkdir(parents=True, exist_ok=True)
        for sample in samples:
            stem = names.stem(sample)
            write_image(folder / "images" / f"{stem}.png", sample.image)
            losses.compare(sample, stem, HOLDS)
            place = "/".join(filter(None, [self.prefix.strip("/"), f"images/{stem}.png"]))
            task: dict[str, Json] = {
                "id": len(tasks) + 1,
                "data": {"image": f"/data/local-files/?d={quote(place)}"},
                "meta": {"synthgen": image_facts_to_json(sample)},
                "annotations": [],
                "predictions": [],
            }
            if "split" in sample.meta:
                task["meta"]["split"] = sample.meta["split"]
            if sample.labels is not None:
                _take(task, sample, stem, classes, losses, used)
            tasks.append(task)
        write_json(folder / "tasks.json", tasks)
        write_atomic(folder / CONFIG, config(classes, used or set(FROM)))
        return losses.report()


def config(classes: Sequence[str], controls: set[Control]) -> bytes:
    """The labelling configuration: an image and the controls named, each with every class."""
    root = ET.Element("View")
    ET.SubElement(root, "Image", name="image", value="$image", zoom="true", zoomControl="true")
    colours = ["#" + "".join(f"{c:02x}" for c in colour) for colour in palette()[1:].tolist()]
    for control, tag in (("mask", "BrushLabels"), ("box", "RectangleLabels")):
        if control in controls:
            parent = ET.SubElement(root, tag, name=control, toName="image")
            for name, colour in zip(classes, colours * (len(classes) // 255 + 1), strict=False):
                ET.SubElement(parent, "Label", value=name, background=colour)
            if control == "mask":
                ET.SubElement(parent, "Label", value=IGNORED, background="#888888")
    if "class" in controls:
        parent = ET.SubElement(root, "Choices", name="class", toName="image", choice="single")
        for name in classes:
            ET.SubElement(parent, "Choice", value=name)
    put(root, "Header").set("value", "Nothing to label? Submit without a region: that says the image is empty.")
    # Without the line <?xml …?>: label-studio-sdk hands the text to a parser that refuses it in text.
    return xml_bytes(root, declared=False)


def _take(task: dict[str, Json], sample: Sample, stem: str, classes: Sequence[str], losses: Losses,
          used: set[Control]) -> None:
    labels = sample.labels
    assert labels is not None
    result = list(_regions(labels, stem, classes, losses, used))
    for number, region in enumerate(result, 1):
        region["id"] = f"t{task['id']}r{number}"
    if labels.reviewed == "human":
        task["annotations"].append({"id": task["id"], "result": result, "was_cancelled": False, "ground_truth": False})
        return
    scores = [region["score"] for region in result if "score" in region]
    version = " ".join(filter(None, [sample.origin.maker, sample.origin.weights])) or "model"
    task["predictions"].append({"model_version": version, "score": min(scores, default=1.0), "result": result})


def _regions(labels: Labels, stem: str, classes: Sequence[str], losses: Losses,
             used: set[Control]) -> Iterator[dict[str, Json]]:
    assert labels.scores is not None
    size = labels.size
    for k, class_id in enumerate(labels.classes):
        control: Control = "box" if labels.masks is None else "mask"
        value = _box(labels, k) if labels.masks is None else _brush(labels.masks[k], size)
        if value is None:
            losses.add("instances without a single pixel", stem)
            continue
        used.add(control)
        kind = "rectanglelabels" if control == "box" else "brushlabels"
        region = _region(control, kind, size) | {"value": {**value, kind: [classes[class_id]]}}
        region["meta"] = facts_to_json(labels, k)
        region["score"] = round(float(labels.scores[k]), 6)
        yield region
    if labels.ignore is not None and (value := _brush(labels.ignore, size)):
        used.add("mask")
        yield _region("mask", "brushlabels", size) | {"value": {**value, "brushlabels": [IGNORED]}}
    if labels.image_class is not None:
        used.add("class")
        region = _region("class", "choices", size) | {"value": {"choices": [classes[labels.image_class]]}}
        yield region | {"meta": {"state": labels.image_state}, "score": round(float(labels.image_score), 6)}


def _region(control: Control, kind: str, size: Size) -> dict[str, Json]:
    H, W = size
    return {"from_name": FROM[control], "to_name": "image", "type": kind, "original_width": W, "original_height": H,
            "image_rotation": 0}


def _box(labels: Labels, k: int) -> dict[str, Json] | None:
    H, W = labels.size
    x0, y0, x1, y1 = labels.boxes[k].astype(np.float64).tolist()
    if x1 <= x0 or y1 <= y0:
        return None
    return {"x": x0 / W * 100, "y": y0 / H * 100, "width": (x1 - x0) / W * 100, "height": (y1 - y0) / H * 100,
            "rotation": 0}


def _brush(rle: Rle, size: Size) -> dict[str, Json] | None:
    mask = decode([rle], size)[0]
    return {"format": "rle", "rle": pack_rgba(mask)} if mask.any() else None
