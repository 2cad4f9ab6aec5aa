"""Mask PNGs beside images: 16-bit instance ids with a JSON, or an 8-bit class index with its names."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from synthgen.errors import DataError
from synthgen.formats import Loss, Problem, Reading
from synthgen.formats.files import (
    Names,
    class_index,
    each_image,
    inside,
    load_json,
    relative,
    unknown_class,
    write_image,
)
from synthgen.formats.gather import (
    Facts,
    Gathered,
    box_mask,
    facts_from_json,
    facts_to_json,
    image_facts_from_json,
    image_facts_to_json,
)
from synthgen.formats.losses import Losses, Part
from synthgen.formats.palette import write_palette
from synthgen.geometry import areas, decode, encode
from synthgen.images import list_images, png_bytes, read_ids
from synthgen.rle import regions
from synthgen.store import write_json
from synthgen.types import Json, Labels, Sample

IGNORE = {"instance": 65_535, "class": 255}                         # ids of ignored pixels
LOOKED, NAMED = 20, 8  # masks that are opened for a hint, and numbers it names
# How people call folders of masks: by one of these words, not by a part of one (masked, length, segway are classes).
CALLED = re.compile("masks?|labels?|anno|annots?|annotations?|seg|segs|segmentations?|gt|truth|groundtruth")
WORD = re.compile("[A-Z]?[a-z]+|[A-Z]+")
TAILS = ("_mask", "_masks", "_label", "_labels", "_seg", "_gt", "-mask", "_cp_masks")
MEANING = ('Where each number is an object, write {"classes": ["NAME"]} into instances.json; where it is a class, '
           '{"1": "NAME"} into classes.json ({"255": "NAME"} for masks of 0 and 255)')
HOLDS: dict[str, frozenset[Part]] = {
    "instance": frozenset(
        {"instances", "masks", "scores", "states", "visible", "truncated", "ignore", "source", "empty"}
    ),
    "class": frozenset({"instances", "masks", "ignore", "empty"}),
}


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid", use_attribute_docstrings=True))
class Masks:
    """Masks: images/ beside masks/ with a PNG of ids per image, and instances.json or classes.json.

    instances.json: `{"classes": [names], "masks": {"x.png": {"instances": {"1": {"class": name, …}}}}}`; ids
    are 8- or 16-bit, 0 is background, 65535 is ignored. With one class, `masks` may be left out: then every
    id is an instance of it. classes.json: a list of names, or a map from index to name; a PNG holds the
    index of each pixel's class (palette or 8-bit grey, never colours), 255 is ignored, 0 and whatever is
    called background are no class. An image without a mask is unlabelled; a mask of zeros says that there
    is nothing. A pixel belongs to one instance: where instances overlap, the smaller is on top.
    """

    TASKS: ClassVar[tuple[str, ...]] = ("instances", "segment")

    kind: Literal["instance", "class"] = "instance"
    """What is written: instance ids, or class indices. What is read is told by the JSON file."""

    def matches(self, path: Path) -> bool:
        """Whether images/ and masks/ lie here, with instances.json or classes.json."""
        return (path / "images").is_dir() and (path / "masks").is_dir() and any(
            (path / name).is_file() for name in ("instances.json", "classes.json"))

    def by_class(self, path: Path) -> bool:
        """Whether the masks here say which class a pixel is of, and not which object."""
        return not (path / "instances.json").is_file() and (path / "classes.json").is_file()

    def nearly(self, path: Path) -> str:
        """What a folder lacks to be of this format, and what to do; "" where it is not near."""
        if not path.is_dir() or self.matches(path):
            return ""
        if (path / "images").is_dir() and (path / "masks").is_dir():
            return (f"masks/ lies beside images/, and nothing says what its numbers mean{_numbers(path / 'masks')}. "
                    f"{MEANING} in {path}")
        if pair := folder_of_masks(path):
            return (f"{pair[0]}/ and {pair[1]}/ hold images of the same names. If {pair[1]}/ are masks"
                    f"{_numbers(path / pair[1])}, call the two folders images and masks. {MEANING} in {path}")
        stems = {p.stem for p in list_images(path) if p.parent == path}
        for tail in TAILS:
            named = sum(s.endswith(tail) and s.removesuffix(tail) in stems for s in stems)
            if named:
                return (f"{named} images have a namesake that ends in {tail}. Move the images into images/ and their "
                        f"masks into masks/, under the names of the images. {MEANING} in {path}")
        return ""

    def classes(self, path: Path) -> list[str]:
        """Class names in the order of the JSON. Raises: DataError when it is missing or not valid."""
        return _about(path)[1]

    def read(self, path: Path, classes: Sequence[str], reading: Reading) -> Iterator[Sample | Problem]:
        """Samples sorted by path; in class masks each class of an image is one instance.

        Raises: DataError when the JSON is missing or not valid.
        """
        about, names, indices = _about(path)
        masks = {p.relative_to(path / "masks").with_suffix(""): p for p in list_images(path / "masks")}
        for k, (image_path, name, image) in enumerate(each_image(path, path / "images", reading)):
            mask = masks.pop(image_path.relative_to(path / "images").with_suffix(""), None)
            if isinstance(image, Problem):
                yield image
                continue
            meta = {"file": name}
            if mask is None:
                yield Sample(f"{k:06d}", image, None, meta=meta)
                continue
            shown = relative(mask, path)
            try:
                inside(path, mask.relative_to(path).as_posix())
                ids = read_ids(mask, reading.max_pixels)
            except DataError as error:
                yield Problem(shown, "", str(error).removeprefix(f"{mask}: "), "quarantined")
                continue
            if ids.shape != image.shape[:2]:
                yield Problem(
                    shown,
                    "",
                    f"the mask is {ids.shape[1]} × {ids.shape[0]} px, its image as displayed "
                    f"{image.shape[1]} × {image.shape[0]}",
                    "quarantined",
                )
                continue
            entry = _entry(about, relative(mask, path / "masks"))
            problems: list[Problem] = []
            gathered = Gathered((ids.shape[0], ids.shape[1]), with_masks=True)
            if indices is None:
                _take_instances(ids, entry, names, classes, gathered, shown, problems)
            else:
                _take_classes(ids, dict(zip(indices, names, strict=True)), classes, gathered, shown, problems)
            yield from problems
            labelled, origin, reviewed, empty = image_facts_from_json(entry or {})
            labels = gathered.labels(reviewed, empty) if labelled else None
            yield Sample(f"{k:06d}", image, labels, origin, meta)
        for left in masks.values():
            yield Problem(
                relative(left, path), "", "the mask has no image of the same name in images/", "quarantined"
            )

    def write(self, samples: Iterable[Sample], folder: Path, classes: Sequence[str]) -> list[Loss]:
        """Write images/, masks/ and the JSON; the folder is made.

        Raises: DataError for more classes or instances than the PNG has numbers.
        """
        if self.kind == "class" and len(classes) > 254:
            raise DataError(f"a class mask holds 254 classes, not {len(classes)}; write kind=instance")
        taken, losses = Names(), Losses()
        entries: dict[str, Json] = {}
        for name in ("images", "masks"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        for sample in samples:
            stem = taken.stem(sample)
            write_image(folder / "images" / f"{stem}.png", sample.image)
            losses.compare(sample, stem, HOLDS[self.kind])
            labels = sample.labels
            if labels is None:
                continue
            if labels.masks is None and len(labels):
                losses.add("instances that are boxes only: their boxes become ignored regions", stem, len(labels))
            ids, instances = _id_map(labels, classes, self.kind, stem, losses)
            if self.kind == "instance":
                (folder / "masks" / f"{stem}.png").write_bytes(png_bytes(ids.astype(np.uint16)))
                # What is ignored shows objects: the image is not empty.
                empty = {"empty": "unknown"} if len(labels) and labels.masks is None else {}
                entries[f"{stem}.png"] = {"instances": instances, **image_facts_to_json(sample), **empty}
            else:
                write_palette(folder / "masks" / f"{stem}.png", ids.astype(np.uint8))
        if self.kind == "instance":
            write_json(folder / "instances.json", {"classes": list(classes), "masks": entries})
        else:
            write_json(folder / "classes.json", {str(k + 1): name for k, name in enumerate(classes)})
        return losses.report()


def _numbers(folder: Path) -> str:
    """Which numbers the first masks hold, in brackets; "" where none can be read."""
    found: set[int] = set()
    looked = 0
    for file in list_images(folder)[:LOOKED]:
        with contextlib.suppress(DataError):
            found.update(np.unique(read_ids(file)).tolist())
            looked += 1
    some = ", ".join(map(str, sorted(found)[:NAMED])) + (f", … {max(found)}" if len(found) > NAMED else "")
    return f" ({some} in {looked} mask{'s' * (looked > 1)})" if looked else ""


def folder_of_masks(path: Path) -> tuple[str, str] | None:
    """The only two folders here, where they hold images of the same names and one is called as masks are: that one
    last."""
    folders = [p for p in sorted(path.iterdir()) if p.is_dir()]
    masks = [p.name for p in folders if any(CALLED.fullmatch(word.lower()) for word in WORD.findall(p.name))]
    if len(masks) != 1:
        return None
    held = {p.name: stems for p in folders if (stems := {q.stem for q in list_images(p)})}
    if len(held) != 2 or masks[0] not in held:
        return None
    (images,) = held.keys() - set(masks)
    shared = len(held[images] & held[masks[0]])
    return (images, masks[0]) if 2 * shared >= min(len(stems) for stems in held.values()) else None


def _about(path: Path) -> tuple[Json, list[str], list[int] | None]:
    """(the JSON, class names, index of each class or None for instance masks). Raises: DataError."""
    file = path / "instances.json"
    if file.is_file():
        about = load_json(file)
        names = about.get("classes") if isinstance(about, dict) else None
        if not isinstance(names, list) or not names or not all(isinstance(n, str) for n in names):
            raise DataError(
                f"{file}: it must hold classes, a list of names, and masks, a map from PNG to instances"
            )
        if "masks" not in about and len(names) > 1:
            raise DataError(
                f"{file}: masks is missing; it says which class each id has, and may be left out only "
                "where there is one class"
            )
        return about, names, None
    file = path / "classes.json"
    if not file.is_file():
        raise DataError(
            f"{path}: a folder of masks needs instances.json (ids are instances) or classes.json (ids are "
            "classes)"
        )
    about = load_json(file)
    pairs = dict(enumerate(about)) if isinstance(about, list) else about
    if not isinstance(pairs, dict) or not all(
        str(k).isdecimal() and isinstance(v, str) for k, v in pairs.items()
    ):
        raise DataError(f"{file}: it must be a list of class names, or a map from index to name")
    named = sorted((int(k), v) for k, v in pairs.items() if v.lower() != "background")
    if not named or len({v for _, v in named}) < len(named):
        raise DataError(f"{file}: it names no class, or one twice")
    return about, [v for _, v in named], [k for k, _ in named]


def _entry(about: Json, name: str) -> dict[str, Json] | None:
    masks = about.get("masks") if isinstance(about, dict) else None
    entry = masks.get(name) if isinstance(masks, dict) else None
    return entry if isinstance(entry, dict) else None


def _take_instances(ids: NDArray[np.int32], entry: dict[str, Json] | None, names: Sequence[str],
                    classes: Sequence[str], gathered: Gathered, shown: str, problems: list[Problem]) -> None:
    known = entry.get("instances") if entry else None
    known = known if isinstance(known, dict) else {}
    index = dict(zip(names, class_index(names, classes), strict=True))
    for number, rle in regions(ids):
        if number == IGNORE["instance"]:
            gathered.ignore.append(rle)
            continue
        facts = known.get(str(number), {"class": names[0]} if len(names) == 1 and not known else None)
        if not isinstance(facts, dict) or facts.get("class") not in names:
            what = "instances.json does not say which class it has; it is left out"
        elif index[facts["class"]] is None:
            what = f"{unknown_class(facts['class'], classes)}; it is left out"
        else:
            gathered.add(index[facts["class"]] or 0, rle, facts_from_json(facts, facts.get("score")))
            continue
        problems.append(Problem(shown, f"id {number}", what, "repaired"))
    present = {str(n) for n in np.unique(ids)}
    problems += [
        Problem(shown, f"id {n}", "instances.json lists it, but it has no pixel; it is left out", "repaired")
        for n in known
        if n not in present
    ]


def _take_classes(ids: NDArray[np.int32], names: dict[int, str], classes: Sequence[str], gathered: Gathered,
                  shown: str, problems: list[Problem]) -> None:
    for number, rle in regions(ids):
        if number == IGNORE["class"] and number not in names:
            gathered.ignore.append(rle)
        elif number not in names:
            problems.append(
                Problem(
                    shown,
                    f"index {number}",
                    "classes.json does not name it; its pixels are ignored",
                    "repaired",
                )
            )
            gathered.ignore.append(rle)
        elif names[number] not in classes:
            problems.append(
                Problem(
                    shown,
                    f"index {number}",
                    f"{unknown_class(names[number], classes)}; it is left out",
                    "repaired",
                )
            )
        else:
            gathered.add(list(classes).index(names[number]), rle, Facts())


def _id_map(labels: Labels, classes: Sequence[str], kind: Literal["instance", "class"], stem: str,
            losses: Losses) -> tuple[NDArray[np.int32], dict[str, Json]]:
    """(H, W) ids and what is known of each; the smaller of two that overlap is on top."""
    rles = labels.masks or ()
    if kind == "instance" and len(rles) >= IGNORE["instance"]:
        raise DataError(f"{stem}: {len(rles)} instances are more than a 16-bit mask has numbers for")
    ids = np.zeros(labels.size, np.int32)
    if labels.ignore is not None:
        ids[decode([labels.ignore], labels.size)[0]] = IGNORE[kind]
    if labels.masks is None:
        for box in labels.boxes.tolist():  # as background it would be taught that nothing is there
            ids[decode([box_mask(tuple(box), labels.size)], labels.size)[0]] = IGNORE[kind]
    order = np.argsort(-areas(rles, labels.size), kind="stable")
    values = [k + 1 if kind == "instance" else int(labels.classes[k]) + 1 for k in range(len(rles))]
    for k in order:
        ids[decode([rles[k]], labels.size)[0]] = values[k]
    ignored = encode((ids == IGNORE[kind])[None])[0]
    if labels.ignore is not None and labels.masks is not None and ignored != labels.ignore:
        losses.add("ignored pixels that lie under instances", stem)
    known: dict[str, Json] = {}
    if kind == "class":
        extra = len(rles) - len(set(labels.classes.tolist()))
        losses.add("instances told apart: those of one class become one region", stem, extra)
        for class_id in sorted(set(labels.classes[:len(rles)].tolist())):
            union = decode(
                [r for r, c in zip(rles, labels.classes, strict=True) if c == class_id], labels.size
            ).any(0)
            if (ids[union] != class_id + 1).any():
                losses.add("class regions under another class", stem)
        return ids, known
    assert labels.scores is not None
    left = dict(regions(ids))
    for k, rle in enumerate(rles):
        if k + 1 not in left:
            losses.add("instances without a pixel of their own: they are left out", stem)
            continue
        if left[k + 1] != rle:
            losses.add("pixels of instances that lie under another", stem)
        score = {} if labels.scores[k] == 1 else {"score": round(float(labels.scores[k]), 6)}
        known[str(k + 1)] = {"class": classes[labels.classes[k]], **score, **facts_to_json(labels, k)}
    return ids, known
