"""Reads datasets with other people's readers; runs in an environment of its own, knows nothing of synthgen.

    python oracle_readers.py FOLDER     # FOLDER/FORMAT was written by oracles.py; FOLDER/readings.json is written here

A reading is {"format", "reader", "images": {stem: [{"label", "box", "runs"}]}, "error", "notes"}; runs are a mask's run
lengths row by row, zeros first, or null. Datasets that these libraries write themselves go to FOLDER/by-them.
"""

from __future__ import annotations

import io
import json
import shutil
import sys
import traceback
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np

Images = dict[str, list[dict[str, Any]]]


def runs_of(mask: np.ndarray) -> list[int]:
    """Run lengths of (H, W) bool row by row, zeros first."""
    flat = np.asarray(mask, bool).reshape(-1)
    edges = np.flatnonzero(np.diff(flat, prepend=False))
    return [int(r) for r in np.diff(edges, prepend=0, append=flat.size)]


def found(label: str, box: Any = None, mask: Any = None) -> dict[str, Any]:
    """One instance; box x0 y0 x1 y1."""
    return {"label": str(label), "box": None if box is None else [float(x) for x in box],
            "runs": None if mask is None else runs_of(mask)}


def stem_of(task: dict[str, Any]) -> str:
    """The name of a task's image without its ending."""
    return Path(unquote(task["data"]["image"]).split("d=")[1]).stem


def as_datumaro_wants(folder: Path, form: str) -> Path:
    """Our COCO in the folders that datumaro looks for; other formats as they are."""
    if form != "coco":
        return folder / form
    made = folder / "coco for datumaro"
    if not made.exists():
        (made / "annotations").mkdir(parents=True)
        shutil.copy(folder / "coco" / "annotations.json", made / "annotations" / "instances_default.json")
        shutil.copytree(folder / "coco" / "images", made / "images" / "default" / "images")
    return made


def by_datumaro(path: Path, form: str) -> Images:
    """Everything that datumaro imports; masks and polygons as masks."""
    import datumaro as dm
    from pycocotools import mask as coco_mask

    dataset = dm.Dataset.import_from(str(path), form)
    names = [c.name for c in dataset.categories()[dm.AnnotationType.label]]
    images: Images = {}
    for item in dataset:
        rows = images.setdefault(Path(item.id).name, [])
        H, W = item.media.size
        for one in item.annotations:
            label = names[one.label] if one.label is not None else "?"
            if one.type == dm.AnnotationType.mask:
                rows.append(found(label, mask=np.asarray(one.image, bool)))
            elif one.type == dm.AnnotationType.polygon:
                rle = coco_mask.merge(coco_mask.frPyObjects([list(one.points)], H, W))
                rows.append(found(label, mask=coco_mask.decode(rle).astype(bool)))
            elif one.type == dm.AnnotationType.bbox:
                rows.append(found(label, box=one.points))
    return images


def by_supervision(path: Path, form: str) -> Images:
    """What supervision's DetectionDataset reads."""
    import supervision as sv

    if form == "coco":
        data = sv.DetectionDataset.from_coco(str(path), str(path / "annotations.json"), force_masks=True)
    elif form == "yolo":
        data = sv.DetectionDataset.from_yolo(
            str(path / "images/train"), str(path / "labels/train"), str(path / "data.yaml"), force_masks=True)
    else:
        data = sv.DetectionDataset.from_pascal_voc(str(path / "JPEGImages"), str(path / "Annotations"))
    images: Images = {}
    for name, _, boxes in data:
        rows = images.setdefault(Path(name).stem, [])
        for k in range(len(boxes)):
            rows.append(found(data.classes[boxes.class_id[k]], boxes.xyxy[k],
                              None if boxes.mask is None else boxes.mask[k]))
    return images


def by_pycocotools(path: Path) -> Images:
    """Masks as pycocotools decodes them."""
    from pycocotools.coco import COCO

    with redirect_stdout(io.StringIO()):
        coco = COCO(str(path / "annotations.json"))
    names = {c["id"]: c["name"] for c in coco.loadCats(coco.getCatIds())}
    images: Images = {}
    for entry in coco.loadImgs(coco.getImgIds()):
        images[Path(entry["file_name"]).stem] = [
            found(names[a["category_id"]], mask=coco.annToMask(a).astype(bool))
            for a in coco.loadAnns(coco.getAnnIds(imgIds=[entry["id"]])) if not a["iscrowd"]]
    return images


def by_brush(path: Path) -> Images:
    """Brush regions as label_studio_sdk's own decoder reads them: alpha over 128."""
    from label_studio_sdk.converter.brush import decode_rle

    images: Images = {}
    for task in json.loads((path / "tasks.json").read_text()):
        rows = images.setdefault(stem_of(task), [])
        for answer in [*task["annotations"], *task["predictions"]]:
            for region in answer["result"]:
                shape = (region["original_height"], region["original_width"], 4)
                alpha = decode_rle(region["value"]["rle"]).reshape(shape)[..., 3]
                rows.append(found(region["value"]["brushlabels"][0], mask=alpha > 128))
    return images


def by_converter(path: Path, out: Path) -> Images:
    """What label_studio_sdk's Converter makes of the tasks: one PNG per image and label (BRUSH_TO_PNG)."""
    from label_studio_sdk.converter import Converter
    from PIL import Image

    converter = Converter((path / "label_config.xml").read_text(), str(path), upload_dir=str(path))
    out.mkdir(parents=True)
    converter.convert(str(path / "tasks.json"), str(out), "BRUSH_TO_PNG", is_dir=False)
    tasks = {str(t["id"]): stem_of(t)
             for t in json.loads((path / "tasks.json").read_text())}
    images: Images = {stem: [] for stem in tasks.values()}
    for file in sorted(out.rglob("*.png")):
        parts = file.stem.split("-")                      # task-1-annotation-1-by-0-mask-LABEL-0
        label = "-".join(parts[7:-1])
        images[tasks[parts[1]]].append(found(label, mask=np.asarray(Image.open(file)) > 128))
    return images


def boxes_by_converter(path: Path, out: Path) -> Images:
    """Rectangles through the Converter's Pascal VOC."""
    import xml.etree.ElementTree as ET

    from label_studio_sdk.converter import Converter

    converter = Converter((path / "label_config.xml").read_text(), str(path), upload_dir=str(path))
    out.mkdir(parents=True)
    converter.convert(str(path / "tasks.json"), str(out), "VOC", is_dir=False)
    images: Images = {}
    for file in sorted(out.rglob("*.xml")):
        rows = images.setdefault(file.stem, [])
        for item in ET.parse(file).getroot().iter("object"):  # noqa: S314 (it was written a line ago)
            sides = [float(item.findtext(f"bndbox/{t}") or "nan") for t in ("xmin", "ymin", "xmax", "ymax")]
            rows.append(found(item.findtext("name") or "?", sides))
    return images


def again_by_datumaro(source: Path, form: str, to: str, out: Path) -> None:
    """Import and export again, so that the other side can read what datumaro writes."""
    import datumaro as dm

    dm.Dataset.import_from(str(source), form).export(str(out), to, save_media=True)


def again_by_brush(source: Path, out: Path) -> None:
    """Encode every mask again with label_studio_sdk's encoder."""
    from label_studio_sdk.converter.brush import decode_rle, encode_rle

    tasks = json.loads((source / "tasks.json").read_text())
    for task in tasks:
        for answer in [*task["annotations"], *task["predictions"]]:
            for region in answer["result"]:
                region["value"]["rle"] = encode_rle(decode_rle(region["value"]["rle"]))
    out.mkdir(parents=True)
    (out / "tasks.json").write_text(json.dumps(tasks))


def main(folder: Path) -> None:
    """Run every reader; one that fails says so and stops nobody."""
    readings: list[dict[str, Any]] = []

    def run(form: str, reader: str, read: Callable[[], Any]) -> None:
        row: dict[str, Any] = {"format": form, "reader": reader, "images": None, "error": "", "notes": ""}
        noise = io.StringIO()
        try:
            with redirect_stdout(noise), redirect_stderr(noise):
                row["images"] = read()
        except BaseException as error:
            lines = [line for line in traceback.format_exception_only(error) if line.strip()]
            row["error"] = lines[-1].strip()[:300]
        readings.append(row)

    for form, names in (("coco", "coco"), ("voc", "voc"), ("cvat", "cvat"), ("yolo", "yolo_ultralytics")):
        run(form, "datumaro", lambda form=form, names=names: by_datumaro(
            as_datumaro_wants(folder, form), names))
    for form in ("coco", "yolo", "voc"):
        run(form, "supervision", lambda form=form: by_supervision(folder / form, form))
    run("voc from 1", "supervision", lambda: by_supervision(folder / "voc from 1", "voc"))
    run("yolo boxes", "datumaro", lambda: by_datumaro(folder / "yolo boxes", "yolo_ultralytics"))
    run("coco", "pycocotools", lambda: by_pycocotools(folder / "coco"))
    run("labelstudio", "label-studio-sdk, brush decoder", lambda: by_brush(folder / "labelstudio"))
    run("labelstudio", "label-studio-sdk, Converter", lambda: by_converter(folder / "labelstudio", folder / "png"))
    run("labelstudio boxes", "label-studio-sdk, Converter", lambda: boxes_by_converter(
        folder / "labelstudio boxes", folder / "ls-voc"))
    for form, to in (("coco", "coco"), ("voc", "voc"), ("cvat", "cvat")):
        run(f"{form} again", "datumaro", lambda form=form, to=to: again_by_datumaro(
            as_datumaro_wants(folder, form), form, to, folder / "by-them" / form))
    run("labelstudio again", "label-studio-sdk, brush encoder", lambda: again_by_brush(
        folder / "labelstudio", folder / "by-them" / "labelstudio"))
    (folder / "readings.json").write_text(json.dumps(readings))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
