"""Asks the readers that people use whether they see in our files what we wrote: format × reader, on awkward shapes.

    python scripts/oracles.py VENV > docs/measured/round-trips.txt

VENV: a folder for an environment of its own, made and filled by pip where it is not there yet, since these libraries
want other versions than ours. The shapes: a ring, an object in two parts, two that touch, one pixel, one at each
border, nothing (confirmed), nothing known, a name that is not ASCII.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from synthgen import plugins
from synthgen.formats import Format, Problem, Reading
from synthgen.geometry import box_ious, decode, labels_from_masks
from synthgen.types import Labels, Sample

CLASSES = ["cell", "größe"]
LIBRARIES = ("label-studio-sdk", "datumaro", "supervision", "pycocotools")
SIZE = (40, 56)


def shapes() -> dict[str, NDArray[np.bool_] | None]:
    """(N, H, W) bool by the name of the image; None = unlabelled."""
    def blank(n: int) -> NDArray[np.bool_]:
        return np.zeros((n, *SIZE), bool)

    ring, parts, touching, pixel, border, nothing = blank(1), blank(1), blank(2), blank(1), blank(4), blank(0)
    ring[0, 5:25, 8:34], ring[0, 11:19, 15:27] = True, False
    parts[0, 3:11, 4:15], parts[0, 22:35, 30:49] = True, True
    touching[0, 8:20, 5:20], touching[1, 8:20, 20:33] = True, True
    pixel[0, 17, 23] = True
    for k, place in enumerate((np.s_[0:6, 10:20], np.s_[34:40, 10:20], np.s_[10:20, 0:6], np.s_[10:20, 50:56])):
        border[k][place] = True
    y, x = np.ogrid[: SIZE[0], : SIZE[1]]
    disc = ((y - 19) ** 2 + (x - 27) ** 2 < 150)[None]
    return {"ring": ring, "two parts": parts, "touching": touching, "one pixel": pixel, "border": border,
            "nothing": nothing, "größe_細胞": disc, "unknown": None}


def samples(boxes: bool = False) -> list[Sample]:
    """One image per shape, labelled by a person; the classes in turn."""
    out = []
    for k, (name, masks) in enumerate(shapes().items()):
        image = np.random.default_rng(k).integers(0, 255, (*SIZE, 3), dtype=np.uint8)
        labels = None if masks is None else labels_from_masks(masks, [i % 2 for i in range(len(masks))])
        if labels is not None:
            labels = replace(labels, reviewed="human", empty="unknown" if len(labels) else "confirmed",
                             masks=None if boxes and len(labels) else labels.masks)
        out.append(Sample(f"s{k}", image, labels, meta={"file": f"{name.replace(' ', '_')}.png"}))
    return out


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    form: str
    reader: str
    images: str
    instances: str
    iou: str
    worst: str
    wrong: str


def compare(form: str, reader: str, seen: Mapping[str, Sequence[Any]], boxes: bool) -> Row:
    """What a reader saw beside what was written. Each thing seen is (label, box, mask); IoU of masks, else of boxes."""
    truth = {s.meta["file"][:-4]: s.labels for s in samples() if s.labels is not None}
    ious, names, wrong = dict[str, float](), 0, list[str]()
    for stem, labels in truth.items():
        got = seen.get(stem)
        if got is None:
            wrong.append(f"{stem} is not there")
            ious |= {f"{stem} {i}": 0.0 for i in range(len(labels))}
            continue
        if len(got) != len(labels):
            wrong.append(f"{stem}: {len(got)} for {len(labels)}")
        matrix = _ious(labels, got, boxes)
        rows, columns = linear_sum_assignment(matrix, maximize=True)
        best = dict(zip(rows.tolist(), columns.tolist(), strict=True))
        for i in range(len(labels)):
            ious[f"{stem} {i}"] = float(matrix[i, best[i]]) if i in best else 0.0
            names += i in best and got[best[i]][0] != CLASSES[labels.classes[i]]
    if names:
        wrong.append(f"{names} classes wrong")
    if "unknown" in seen:
        wrong.append("unlabelled image read as empty" if form != "labelstudio" else "")
    total, came = sum(map(len, truth.values())), sum(map(len, seen.values()))
    least = min(ious, key=lambda name: ious[name])
    worst = f"{ious[least]:.3f}" + ("" if ious[least] > 0.9995 else f" ({least.rsplit(' ', 1)[0]})")
    return Row(form, reader, f"{len(truth)}/{len(seen)}", f"{total}/{came}",
               ("box " if boxes else "") + f"{np.mean(list(ious.values())):.3f}", worst,
               "; ".join(filter(None, wrong)) or "-")


def _ious(labels: Labels, got: Sequence[Any], boxes: bool) -> NDArray[np.float64]:
    if boxes:
        theirs = np.asarray([b for _, b, _ in got], np.float32).reshape(-1, 4)
        return np.nan_to_num(box_ious(labels.boxes, theirs))
    a = decode(labels.masks or (), labels.size).reshape(len(labels), SIZE[0] * SIZE[1])
    b = np.stack([m.reshape(-1) for _, _, m in got]) if got else np.zeros((0, a.shape[1]), bool)
    both = (a[:, None] & b[None]).sum(-1)
    return np.asarray(both / np.maximum((a[:, None] | b[None]).sum(-1), 1), np.float64)


def seen_by_them(reading: dict[str, Any]) -> tuple[dict[str, list[Any]], bool]:
    """(instances by image, whether only boxes were read)."""
    seen, boxes = {}, True
    for stem, rows in reading["images"].items():
        seen[stem] = []
        for row in rows:
            mask = None
            if row["runs"] is not None:
                mask, boxes = np.repeat(np.arange(len(row["runs"])) % 2 == 1, row["runs"]).reshape(SIZE), False
            seen[stem].append((row["label"], row["box"], mask))
    if not boxes:  # a reader of masks may give their boxes beside them
        seen = {stem: [x for x in rows if x[2] is not None] for stem, rows in seen.items()}
    return seen, boxes


def seen_by_us(form: str, folder: Path) -> dict[str, list[Any]]:
    """What our own reader makes of a dataset."""
    reader = cast(Format, plugins.build("formats", form, {"crowd": "object"} if form == "coco" else {}))
    seen = {}
    folder = folder / "annotations" / "instances_default.json" if form == "coco" and (
        folder / "annotations").is_dir() else folder
    for item in reader.read(folder, CLASSES, Reading()):
        if isinstance(item, Problem) or item.labels is None:
            continue
        labels = item.labels
        masks = decode(labels.masks or (), labels.size)
        stem = Path(item.meta["file"]).stem
        seen[stem] = [(CLASSES[c], b, m) for c, b, m in zip(labels.classes, labels.boxes, masks, strict=True)]
    return seen


def main(environment: Path) -> None:
    """Print the table."""
    python = environment / "bin" / "python"
    if not python.exists():
        venv.create(environment, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *LIBRARIES], check=True)
    versions = subprocess.run(
        [python, "-c", "from importlib.metadata import version\n"
         f"print(', '.join(n + ' ' + version(n) for n in {LIBRARIES!r}))"], check=True, capture_output=True, text=True)
    rows, failed = [], []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for form in ("coco", "voc", "cvat", "yolo", "labelstudio"):
            writer = cast(Format, plugins.build("formats", form, {}))
            writer.write(samples(), folder / form, CLASSES)
            rows.append(compare(form, "synthgen", seen_by_us(form, folder / form), False))
        for name, form, options in (
            ("labelstudio boxes", "labelstudio", {}),
            ("yolo boxes", "yolo", {"kind": "detect"}),
            ("voc from 1", "voc", {"kind": "boxes", "counts_from": 1}),
        ):
            plugins.build("formats", form, options).write(samples(boxes=True), folder / name, CLASSES)
        done = subprocess.run([python, Path(__file__).with_name("oracle_readers.py"), folder],
                              capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(done.stderr)
        for reading in json.loads((folder / "readings.json").read_text()):
            if reading["error"]:
                failed.append((reading["format"], reading["reader"], reading["error"]))
            elif reading["images"] is not None:
                rows.append(compare(reading["format"], reading["reader"], *seen_by_them(reading)))
        for path in sorted((folder / "by-them").iterdir()):
            if path.name == "labelstudio":
                shutil.copytree(folder / "labelstudio" / "images", path / "images")
            rows.append(compare(f"{path.name}, written by them", "synthgen", seen_by_us(path.name, path), False))
    print(f"Written by synthgen, read by {versions.stdout.strip()}.\n"
          "images and instances: written/read. IoU: mean over instances of the best match, worst instance beside it.\n")
    head = Row("format", "reader", "images", "instances", "IoU", "worst", "what it gets wrong")
    table = [[getattr(r, f) for f in Row.__slots__] for r in (head, *sorted(rows, key=lambda r: r.form))]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for line in table:
        print("  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip())
    for form, reader, error in failed:
        print(f"\n{form}, {reader}: {error}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]).absolute())
