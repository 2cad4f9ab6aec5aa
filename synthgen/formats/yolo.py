"""YOLO: data.yaml, images/SPLIT and labels/SPLIT with one text line per object."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from synthgen.errors import DataError
from synthgen.formats import Loss, Problem, Reading
from synthgen.formats.files import (
    Names,
    class_index,
    each_image,
    inside,
    relative,
    unknown_class,
    write_image,
)
from synthgen.formats.gather import MASKLESS, Facts, Gathered
from synthgen.formats.losses import Losses, Part
from synthgen.formats.outline import fill, trace
from synthgen.formats.yolo_lines import Line, parse_line
from synthgen.geometry import decode, encode_crop, mask_box, mask_from_polygons
from synthgen.images import list_images
from synthgen.store import write_atomic
from synthgen.types import Json, Sample, Size

KEYS = ("train", "val", "validation", "test", "unlabelled")
WRITTEN_AS = {"train": "train", "training": "train", "unlabelled": "train", "val": "val", "valid": "val",
              "validation": "val", "dev": "val", "test": "test", "testing": "test"}  # fmt: skip
LOOKED_AT, MOST_CLASSES = 50, 1000  # texts of which one must be labels, without a data.yaml; classes of labels
HOLDS: dict[str, frozenset[Part]] = {
    "segment": frozenset({"instances", "masks", "boxes", "empty", "split"}),
    "detect": frozenset({"instances", "boxes", "empty", "split"}),
}


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid", use_attribute_docstrings=True))
class Yolo:
    """YOLO: data.yaml with class names and folders; images/SPLIT beside labels/SPLIT, a .txt per image.

    Read: an empty .txt means that somebody looked and found nothing; no .txt means unlabelled. A line is
    `class x y w h`, with a sixth number its score, or `class x y x y x y …`, an outline; all shares of the
    image's size. `path:` in data.yaml is used only when it names a folder inside the dataset.
    Written: data.yaml without `path:`, so that it means the folder it lies in. An object's split is its
    image's `meta["split"]`, else train. Images whose labels are unknown go to images/unlabelled, which
    data.yaml does not list under train or val. Outlines run through pixel centres, moved by a quarter pixel
    so that readers who cut off and readers who round see the same.
    """

    TASKS: ClassVar[tuple[str, ...]] = ("instances", "segment", "detect")

    kind: Literal["segment", "detect"] = "segment"
    """segment: outlines. detect: boxes only, even where there are outlines or masks."""

    def matches(self, path: Path) -> bool:
        """Whether the folder holds a data.yaml (or the path is one) that names folders of images."""
        try:
            file = _yaml_file(path)
            return isinstance(_load(file).get("names"), list | dict)
        except DataError:
            # A data.yaml that is broken is still meant to be one: say so when it is read.
            return path.is_dir() and (path / "data.yaml").is_file() and (path / "images").is_dir()

    def nearly(self, path: Path) -> str:
        """What a folder lacks to be of this format, and what to do; "" where it is not near."""
        if not path.is_dir() or self.matches(path):
            return ""
        texts = sorted(path.rglob("*.txt"))
        if all(_highest_class(file) is None for file in texts[:LOOKED_AT]):
            return ""
        numbers = [n for file in texts if (n := _highest_class(file)) is not None]  # the last may show a class more
        inside = path / "images"
        splits = [key for key in KEYS if (inside / key).is_dir()]
        where = [f"{key}: images/{key}" for key in splits] or ["train: images" if inside.is_dir() else "train: ."]
        listed = next((path / name for name in ("classes.txt", "obj.names") if (path / name).is_file()), None)
        names = listed.read_text(encoding="utf-8", errors="replace").split("\n") if listed else []
        names = [n.strip() for n in names if n.strip()] or [f"NAME_OF_{k}" for k in range(max(numbers) + 1)]
        about = "".join(f"\n    {line}" for line in (*where, f"names: {json.dumps(names, ensure_ascii=False)}"))
        return f"labels like YOLO's are here, and data.yaml is not. Write into {path / 'data.yaml'}:{about}"

    def classes(self, path: Path) -> list[str]:
        """Names by ascending index. Raises: DataError when data.yaml is missing or not valid."""
        file = _yaml_file(path)
        return list(_names(file, _load(file)).values())

    def read(self, path: Path, classes: Sequence[str], reading: Reading) -> Iterator[Sample | Problem]:
        """Samples of every split in data.yaml, train first, each split sorted by file name.

        Raises: DataError when data.yaml is missing, not valid, or names no folder that exists.
        """
        file = _yaml_file(path)
        about, root = _load(file), file.parent
        names = _names(file, about)
        index = dict(zip(names, class_index(list(names.values()), classes), strict=True))
        folders = _folders(file, about)
        with_masks = self.kind == "segment" and not reading.boxes and any(
            _has_outline(_label_file(p, root), root) for _, folder in folders for p in list_images(folder))
        k, used = 0, dict[Path, str]()
        for split, folder in folders:
            for image_path, name, image in each_image(root, folder, reading):
                sample_id, k = f"{k:06d}", k + 1
                if isinstance(image, Problem):
                    yield image
                    continue
                text_file = _label_file(image_path, root)
                if text_file in used:
                    # The same image again, where one split's folder lies in another's, is no problem.
                    if used[text_file] != name:
                        what = f"it shares its label file with {used[text_file]}"
                        yield Problem(name, "", what, "quarantined")
                    continue
                used[text_file] = name
                meta = {"file": name, "split": split}
                if not text_file.is_file():
                    yield Sample(sample_id, image, None, meta=meta)
                    continue
                text = _text(text_file, root)
                if isinstance(text, Problem):
                    yield text
                    continue
                gathered = Gathered((image.shape[0], image.shape[1]), with_masks)
                for number, line in enumerate(text.splitlines(), 1):
                    if said := self._take(line, gathered, names, index, classes):
                        yield Problem(relative(text_file, root), f"line {number}", said, "repaired")
                yield Sample(sample_id, image, gathered.labels(), meta=meta)

    def _take(self, text: str, gathered: Gathered, names: dict[int, str], index: dict[int, int | None],
              classes: Sequence[str]) -> str:
        """Add one line of a label file; what had to be changed, or ""."""
        if not text.strip():
            return ""
        try:
            line = parse_line(text, gathered.size)
            if line.class_id not in names:
                raise DataError(f"class {line.class_id} is not in data.yaml, which has {len(names)}")
            class_id = index[line.class_id]
            if class_id is None:
                raise DataError(unknown_class(names[line.class_id], classes))
        except DataError as error:
            return f"{error}; the line is left out"
        said = "it stands over the frame; it is clipped" if line.clipped else ""
        facts = Facts(score=line.score)
        if not gathered.with_masks:
            gathered.add(class_id, line.box, facts)
        elif line.outline is None:
            gathered.ignore.append(_box_mask(line, gathered.size))
            return MASKLESS
        else:
            gathered.add(class_id, _filled(line.outline, gathered.size), facts)
        return said

    def write(self, samples: Iterable[Sample], folder: Path, classes: Sequence[str]) -> list[Loss]:
        """Write data.yaml, images/ and labels/; the folder is made."""
        taken, losses = Names(), Losses()
        splits = {"train"}
        (folder / "images" / "train").mkdir(parents=True, exist_ok=True)
        for sample in samples:
            stem = taken.stem(sample)
            labels = sample.labels
            named = str(sample.meta.get("split", "train"))
            split = WRITTEN_AS.get(named)
            if split is None:
                losses.add("splits not called train, val or test: they join train", f"{stem}, of {named!r}")
            if labels is not None and not len(labels) and labels.empty != "confirmed":
                losses.add("emptiness that nobody confirmed: written as unlabelled", stem)
                labels = None
            split = "unlabelled" if labels is None else split or "train"
            splits.add(split)
            write_image(folder / "images" / split / f"{stem}.png", sample.image)
            if labels is None:
                continue
            losses.compare(sample, stem, HOLDS[self.kind])
            lines = self._lines(sample, stem, losses)
            file = folder / "labels" / split / f"{stem}.txt"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("".join(lines), encoding="utf-8")
        write_atomic(folder / "data.yaml", _data_yaml(splits, classes))
        return losses.report()

    def _lines(self, sample: Sample, stem: str, losses: Losses) -> Iterator[str]:
        labels = sample.labels
        assert labels is not None
        H, W = labels.size
        if self.kind == "detect" or labels.masks is None:
            for class_id, (x0, y0, x1, y1) in zip(
                labels.classes, labels.boxes.astype(np.float64), strict=True
            ):
                if x1 <= x0 or y1 <= y0:
                    losses.add("instances without a single pixel", stem)
                    continue
                yield _line(class_id, [(x0 + x1) / 2 / W, (y0 + y1) / 2 / H, (x1 - x0) / W, (y1 - y0) / H])
            return
        for class_id, rle in zip(labels.classes, labels.masks, strict=True):
            mask = decode([rle], labels.size)[0]
            box = mask_box(mask)
            if box is None:
                losses.add("instances without a single pixel", stem)
                continue
            crop = mask[box[1]:box[3], box[0]:box[2]]
            outline = trace(crop)
            if not np.array_equal(fill(outline, (crop.shape[0], crop.shape[1])), crop):
                losses.add("exact outlines of objects in several parts: a thin line joins them", stem)
            yield _line(class_id, ((outline + box[:2] + 0.25) / (W, H)).reshape(-1).tolist())


def _line(class_id: int, numbers: list[float]) -> str:
    return " ".join([str(int(class_id)), *(f"{n:.6f}" for n in numbers)]) + "\n"


def _data_yaml(splits: set[str], classes: Sequence[str]) -> bytes:
    value: dict[str, Json] = {key: f"images/{key}" for key in KEYS if key in splits}
    # Quoted, since other readers take a class called `no` for false.
    value["nc"] = len(classes)
    value["names"] = {k: DoubleQuotedScalarString(name) for k, name in enumerate(classes)}
    out = io.StringIO()
    if "val" not in splits and "train" in splits:
        # Trainers refuse a file without it.
        value = {"train": value.pop("train"), "val": "images/train", **value}
        out.write("# There is no val split: val repeats train, and scores on it say nothing.\n"
                  "# `synthgen data split` makes one by image.\n")
    yaml = YAML(typ="rt", pure=True)
    yaml.width = 10_000
    yaml.allow_unicode = True
    yaml.dump(value, out)
    return out.getvalue().encode()


def _yaml_file(path: Path) -> Path:
    """Raises: DataError when there is none."""
    if path.is_file() and path.suffix in (".yaml", ".yml"):
        return path
    for name in ("data.yaml", "data.yml", "dataset.yaml"):
        if (path / name).is_file():
            return path / name
    raise DataError(f"{path}: there is no data.yaml here; a YOLO dataset needs one with the class names")


def _load(file: Path) -> dict[str, Json]:
    """Raises: DataError when the file is no YAML map of a reasonable size."""
    if file.stat().st_size > 2**20:
        raise DataError(f"{file}: it is larger than 1 MiB, which no data.yaml is")
    try:
        value = YAML(typ="safe", pure=True).load(file.read_text(encoding="utf-8-sig"))
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        raise DataError(
            f"{file}{where}: this is no valid YAML: {getattr(error, 'problem', None) or error}"
        ) from None
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise DataError(f"{file}: this is no valid YAML ({error})") from None
    if not isinstance(value, dict):
        raise DataError(f"{file}: it must hold keys such as names and train, but is a {type(value).__name__}")
    return value


def _names(file: Path, about: dict[str, Json]) -> dict[int, str]:
    """Class names by index. Raises: DataError when there are none, or nc says another number."""
    names = about.get("names")
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not names:
        raise DataError(f"{file}: names is missing; it must list the class names, or map 0, 1, … to them")
    found = {}
    for key, name in names.items():
        number = int(key) if isinstance(key, str) and key.isdecimal() else key
        if type(number) is not int or number < 0 or isinstance(name, list | dict) or name is None:
            raise DataError(f"{file}: names: {key!r}: {name!r:.60} must be a class index from 0 and a name")
        found[number] = str(name)
    if len(set(found.values())) < len(names):
        raise DataError(f"{file}: names: a class stands twice")
    nc = about.get("nc", len(found))
    if nc != len(found):
        raise DataError(f"{file}: nc is {nc}, but names has {len(found)} classes; correct one of them")
    return dict(sorted(found.items()))


def _folders(file: Path, about: dict[str, Json]) -> list[tuple[str, Path]]:
    """(split, folder) of each folder, once. Raises: DataError when there is none, or one is elsewhere."""
    home = file.parent.resolve()
    base = file.parent
    named = about.get("path")
    if (
        isinstance(named, str)
        and not Path(named).is_absolute()
        and (base / named).resolve().is_relative_to(home)
    ):
        base = base / named if (base / named).is_dir() else base
    found: list[tuple[str, Path]] = []
    for key in KEYS:
        value = about.get(key)
        for entry in value if isinstance(value, list) else [value]:
            if not isinstance(entry, str) or not entry:
                continue
            # Roboflow writes ../train/images for a folder that lies beside data.yaml.
            for text in (entry, entry.removeprefix("../")):
                folder = base / text
                if folder.is_dir() and folder.resolve().is_relative_to(home):
                    if folder.resolve() not in [f.resolve() for _, f in found]:
                        found.append(("val" if key == "validation" else key, folder))
                    break
            else:
                if (base / entry).exists():
                    raise DataError(f"{file}: {key}: {entry!r} must be a folder inside the dataset")
    if not found:
        raise DataError(f"{file}: none of {', '.join(KEYS)} names a folder of images that exists; paths are "
                        "relative to this file")
    return found


def _highest_class(file: Path) -> int | None:
    """The highest class index in a text that looks like a label file; None of others."""
    try:
        rows = [line.split() for line in file.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
        found = [int(row[0]) for row in rows if len(row) >= 5 and [float(x) for x in row[1:]]]
    except (OSError, ValueError):  # a text of another kind
        return None
    return max(found) if found and len(found) == len(rows) and 0 <= max(found) < MOST_CLASSES else None


def _label_file(image: Path, root: Path) -> Path:
    """labels/…/x.txt for images/…/x.png: the last folder called images is replaced; else beside it."""
    parts = list(image.relative_to(root).parts)
    for k in range(len(parts) - 2, -1, -1):
        if parts[k] == "images":
            parts[k] = "labels"
            break
    return root.joinpath(*parts).with_suffix(".txt")


def _text(file: Path, root: Path) -> str | Problem:
    name = relative(file, root)
    try:
        return inside(root, file.relative_to(root).as_posix()).read_text(encoding="utf-8-sig")
    except DataError as error:
        return Problem(name, "", str(error), "quarantined")
    except (OSError, UnicodeDecodeError) as error:
        return Problem(
            name, "", f"the label file cannot be read as text ({type(error).__name__})", "quarantined"
        )


def _has_outline(file: Path, root: Path) -> bool:
    text = _text(file, root) if file.is_file() else ""
    return isinstance(text, str) and any(len(line.split()) > 6 for line in text.splitlines())


def _filled(outline: NDArray[np.int64], size: Size) -> str:
    # Painted in the outline's own box, since images may be large and objects many.
    left, top = outline.min(0)
    w, h = outline.max(0) - (left, top) + 1
    return encode_crop(fill(outline - (left, top), (int(h), int(w))), int(top), int(left), size)


def _box_mask(line: Line, size: Size) -> str:
    x0, y0, x1, y1 = line.box
    return mask_from_polygons([np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])], size)
