"""A recipe from a look at somebody's data."""

from __future__ import annotations

import contextlib
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np

from synthgen import plugins
from synthgen.errors import DataError
from synthgen.formats import Format, Problem, Reading
from synthgen.formats.detect import detect, near, open_dataset
from synthgen.formats.gather import MASKLESS
from synthgen.geometry import areas
from synthgen.images import Bits, bits_of
from synthgen.stages.words import counted
from synthgen.types import Size, Task

OPENED = 24  # images of a dataset whose pixels are looked at
FEW = 5  # objects of a class, or test images, below which next to nothing can be learned or decided
NAMES = {
    "seed": ("seed", "train", "labelled", "labeled"),
    "pool": ("pool", "unlabelled", "unlabeled"),
    "test": ("test", "val", "valid", "validation"),
}


@dataclass(frozen=True, slots=True)
class Part:
    """One dataset as found: how many images, of which sizes, what is wrong, and how large its objects are (√px).
    splits: how many images are of each. split: the only one that was looked at. bits: how many the first images use,
    where they are 16-bit grey."""

    path: Path
    format: str
    classes: tuple[str, ...]
    images: int
    labelled: int
    objects: Counter[int]
    sizes: Counter[Size]
    diameters: tuple[float, ...]
    kinds: frozenset[str]
    problems: tuple[Problem, ...]
    splits: Counter[str]
    split: str | None = None
    bits: Bits | None = None

    @property
    def maskless(self) -> int:
        """How many objects have a box alone where others have a mask."""
        return sum(p.what == MASKLESS for p in self.problems)

    def line(self, name: str) -> str:
        """What was found, in one line."""
        sizes = ", ".join(f"{w} × {h}" for (h, w), _ in self.sizes.most_common(2)) + (
            " …" if len(self.sizes) > 2 else ""
        )
        bad = sum(p.action == "quarantined" for p in self.problems)
        where = f"{self.path}, split {self.split}" if self.split else str(self.path)
        classes = counted(len(self.classes), "class", "es")
        return (
            f"{name:<5} {where}: {self.format}, {counted(self.images, 'image')} ({sizes} px)"
            + (f", {counted(sum(self.objects.values()), 'object')} of {classes}" if self.objects else "")
            + (f"; {bad} cannot be used" if bad else "")
            + (f"; {len(self.problems) - bad} repairs" if len(self.problems) > bad else "")
        )


@dataclass(frozen=True, slots=True)
class Seen:
    """The parts that were found, and the task that the seed's labels allow."""

    parts: dict[str, Part]
    task: Task

    @property
    def bits(self) -> Bits:
        """As many as the images use, where all that are 16-bit grey use fewer than 16."""
        return max((part.bits for part in self.parts.values() if part.bits is not None), default=16)

    def lines(self) -> list[str]:
        """What was found, for people."""
        out = [part.line(name) for name, part in self.parts.items()]
        seed, masked = self.parts["seed"], sum(self.parts["seed"].objects.values())
        if self.task == "segment":
            out.append("seed  its masks say of each pixel which class it is, and not which object: the task is segment")
        if self.bits < 16:
            out.append(f"seed  16-bit images without a value over {2**self.bits - 1:,}: read as {self.bits}-bit ones "
                       "(`data.bits`), or they would be dark")
        if seed.maskless and self.task == "instances":
            out.append(f"seed  {seed.maskless} objects have a box and no mask beside {masked} with one: the task "
                       "instances ignores them;\n      `task: detect` takes every box, and no mask")
        elif seed.maskless:
            out.append(f"seed  {masked - seed.maskless} objects have a mask and {seed.maskless} only a box: the task "
                       "detect takes every box, and no mask;\n      `task: instances` learns from the masks, and "
                       "ignores the rest")
        if "test" not in self.parts:
            apart = min(0.5, max(0.3, round(5 / max(1, seed.labelled) + 0.005, 2)))  # under five decide nothing
            out.append(
                "test  none: nothing can be measured on held-out labels. To keep some of the seed apart:\n"
                f"      synthgen data split {seed.path} SPLIT --parts train={1 - apart:.2g},test={apart:.2g}"
                + (f" --bits {self.bits}" if self.bits < 16 else "")
            )
        elif self.parts["test"].labelled < FEW:
            out.append(f"test  {counted(self.parts['test'].labelled, 'image')}: with fewer than {FEW} the gate can "
                       "decide nothing but a collapse")
        few = [f"{name} ({seed.objects[c]})" for c, name in enumerate(seed.classes) if seed.objects[c] < FEW]
        if few and seed.objects:
            out.append(f"seed  {', '.join(few[:8])}{', …' if len(few) > 8 else ''}: so few objects of a class that "
                       "hardly anything can be learned\n      of it, or shown; label more of them, or leave the class "
                       "out of `classes`")
        if self.task == "classify":
            out.append("seed  images of classes: nothing is generated unless `generate` says so, as in the recipe "
                       "fashion")
        if "pool" not in self.parts:
            out.append("pool  none: nothing will be labelled; give one with --pool")
        return out


def look(data: Path, pool: Path | None, test: Path | None) -> Seen:
    """Find seed, pool and test below `data`, and read them: headers and labels, and of a few the pixels.

    Where some objects have masks and others boxes alone, the larger part says whether the task is instances or detect.
    Raises: DataError when there is no labelled dataset.
    """
    paths = _named(data)
    if "seed" not in paths or (paths["seed"].is_dir() and _is_dataset(data, labelled=True)):
        meant = [data / name for name in NAMES["seed"] if (data / name).is_dir()]  # what is wrong with it will be said
        paths["seed"] = data if _is_dataset(data) or not meant else meant[0]
    given = {name: path for name, path in (("pool", pool), ("test", test)) if path is not None}
    paths |= given
    seed = _part(paths["seed"], None)
    parts = {"seed": seed}
    if len(seed.splits) > 1:
        found = {part: next((n for n in names if seed.splits[n]), None) for part, names in NAMES.items()}
        if found["seed"] is None:  # what is left is the seed, where it has a name; else nothing can be told apart
            left = sorted(seed.splits.keys() - set(found.values()))
            found = found | {"seed": left[0]} if len(left) == 1 and left[0] else {}
        parts |= {part: _part(seed.path, seed.classes, split=name) for part, name in found.items()
                  if name is not None and part not in given}
    parts |= {name: _part(path, seed.classes) for name, path in paths.items() if name not in parts}
    seed = parts["seed"]
    if not seed.labelled:
        hints = "".join(f"\n  {hint}" for hint in near(seed.path))
        raise DataError(f"{seed.path}: {seed.images} images, but no label was found ({seed.format}); the seed must be "
                        f"labelled{hints}")
    masked = "mask" in seed.kinds and sum(seed.objects.values()) >= seed.maskless
    regions = getattr(plugins.build("formats", seed.format, {}), "by_class", lambda _: False)(seed.path)
    task: Task = ("classify" if "class" in seed.kinds else "segment" if masked and regions else
                  "instances" if masked else "detect")
    if task == "detect" and seed.maskless:  # how many and how large the objects are is asked of every box
        every = _part(seed.path, seed.classes, boxes=True, split=seed.split)
        parts["seed"] = replace(seed, objects=every.objects, diameters=every.diameters)
    return Seen(parts, task)


def _named(data: Path) -> dict[str, Path]:
    """Datasets below a folder that are called as the parts are: folders, and COCO files such as
    annotations/instances_train2017.json."""
    if not data.is_dir():
        return {}
    files = sorted([*data.glob("*.json"), *data.glob("annotations/*.json")])
    files = [f for f in files if f.stem.startswith("instances")] or files  # not captions, not key points
    said = {f: re.split(r"[\W_\d]+", f.stem.lower()) for f in files}
    out: dict[str, Path] = {}
    for part, names in NAMES.items():
        found = (path for name in names for path in (data / name, *(f for f, words in said.items() if name in words)))
        path = next((path for path in found if path.exists() and _is_dataset(path)), None)
        out |= {part: path} if path is not None else {}
    return out


def _is_dataset(path: Path, *, labelled: bool = False) -> bool:
    try:
        return detect(path) != "images" or not labelled
    except DataError:
        return False


def _part(path: Path, classes: Sequence[str] | None, *, boxes: bool = False, split: str | None = None) -> Part:
    name = detect(path)
    reader = cast(Format, plugins.build("formats", name, {}))
    known = tuple(classes or reader.classes(path))
    objects: Counter[int] = Counter()
    sizes: Counter[Size] = Counter()
    diameters: list[float] = []
    kinds: set[str] = set()
    problems: list[Problem] = []
    images = labelled = 0
    splits: Counter[str] = Counter()
    bits: list[Bits] = []
    for item in open_dataset(path, name, known, Reading(pixels=False, boxes=boxes), split=split):
        if isinstance(item, Problem):
            problems.append(item)
            continue
        images += 1
        splits[str(item.meta.get("split", ""))] += 1
        sizes[(int(item.image.shape[0]), int(item.image.shape[1]))] += 1
        if images <= OPENED and (used := _bits(path, str(item.meta.get("file", "")))) is not None:
            bits.append(used)
        labels = item.labels
        if labels is None:
            continue
        labelled += 1
        objects.update(labels.classes.tolist())
        if labels.image_class is not None:
            kinds.add("class")
            objects[labels.image_class] += 1
        elif len(labels):
            kinds.add("mask" if labels.masks is not None else "box")
            if len(diameters) < 5000:
                framed = (labels.boxes[:, 2:] - labels.boxes[:, :2]).prod(1)
                covered = areas(labels.masks, labels.size) if labels.masks is not None else framed
                diameters += np.sqrt(covered).tolist()
    return Part(
        path, name, known, images, labelled, objects, sizes, tuple(diameters), frozenset(kinds), tuple(problems),
        splits, split, max(bits, default=None),
    )


def _bits(dataset: Path, file: str) -> Bits | None:
    """Those that an image of a dataset uses: its name counts from the dataset's folder, or from one above its file."""
    for folder in (dataset, dataset.parent, dataset.parent.parent):
        if file and (folder / file).is_file():
            with contextlib.suppress(DataError):  # what is damaged is told when it is read
                return bits_of(folder / file)
            return None
    return None


def recipe_for(seen: Seen, name: str | None, beside: Path) -> str:
    """The text of a recipe for what was seen; paths in it are relative to the folder `beside`."""
    seed = seen.parts["seed"]
    folder = seed.path.resolve()
    folder = folder.parent if folder.is_file() or folder.name in NAMES["seed"] else folder
    title = re.sub(r"[^A-Za-z0-9_-]+", "-", name or folder.name).strip("-") or "dataset"
    title = title if title[0].isalpha() else f"data-{title}"
    lines = [
        f"# Written by synthgen init from {_quoted(str(seed.path))}: {seed.images} labelled images.",
        "#",
        "#   synthgen validate FILE     synthgen preview FILE     synthgen plan FILE     synthgen run FILE",
        "#   synthgen explain train     says what a key means; what is not said here has a default",
        "schema: synthgen/1",
        f"name: {title[:60]}",
        f"task: {seen.task}",
        "seed: 7",
        f"classes: [{', '.join(_quoted(c) for c in seed.classes)}]",
        "data:",
    ]
    for part, found in seen.parts.items():
        where = Path(os.path.relpath(found.path.resolve(), beside.resolve())).as_posix()
        only = f", split: {_quoted(found.split)}" if found.split else ""
        lines.append(f"  {part}: {{path: {_quoted(where)}, format: {found.format}{only}}}")
    if seen.bits < 16:
        lines.append(f"  bits: {seen.bits}     # no value of the first 16-bit images is over {2**seen.bits - 1}")
    bad = [
        sum(p.action == "quarantined" for p in found.problems) / max(found.images, 1) for found in seen.parts.values()
    ]
    if max(bad) > 0.02:
        lines.append(
            f"  max_bad_fraction: {np.ceil(max(bad) * 20) / 20:.2f}     # some files are bad: synthgen data check"
        )
    lines += _making(seen)
    return "\n".join(lines) + "\n"


def _making(seen: Seen) -> list[str]:
    """What to make and train, by task and by the size of the objects."""
    seed = seen.parts["seed"]
    if seen.task == "classify":
        side = int(np.clip(2 ** np.ceil(np.log2(max(max(s) for s in seed.sizes) * 1.5)), 64, 128))
        return [
            "# generate: [{name: flow, use: diffusion, count: 1000}]   # learns to draw each class, from seed and pool",
            "mix: {real: 1.0}      # with drawings, 0.5",
            f"train: {{use: labeler, crop: {side}, batch: 32, steps: 400, calibration_folds: 5}}",
            "label: {accept: 0.8, ignore: 0.0}",
            "export: [imagefolder]",
        ]
    complete = Counter(seed.objects)
    few = [seed.classes[c] for c in range(len(seed.classes)) if complete[c] < 6]
    crop = 96 if not seed.diameters else int(np.clip(32 * round(float(np.median(seed.diameters)) * 5 / 32), 96, 256))
    first = (
        "  - {name: warp, use: compose, layout: warp, count: 200}        # the seed's arrangements, bent"
        if few
        else "  - {name: shape, use: compose, layout: shape, count: 200}   # outlines that nobody drew"
    )
    return [
        "generate:",
        first,
        "  - {name: keep, use: compose, layout: resample, background: [keep], count: 100}  # real images, more in them",
        "  # - {name: painted, use: gan, count: 200}     # in their place: learns to paint layouts, minutes on a CPU",
        "mix: {real: 0.5}",
        f"train: {{use: labeler, crop: {crop}, steps: 400, calibration_folds: {2 if seed.labelled < 20 else 3}}}",
        "label: {accept: 0.5, ignore: 0.15}",
        "export: [coco, yolo]",
    ]


def _quoted(text: str) -> str:
    """A YAML scalar: plain where that is safe, else in double quotes."""
    if re.fullmatch(r"[A-Za-z_./][A-Za-z0-9_./-]*", text) and text.lower() not in (
        "null",
        "true",
        "false",
        "yes",
        "no",
        "on",
        "off",
    ):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
