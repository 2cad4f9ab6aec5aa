"""Our own shards: everything that is known about a sample, exactly."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from synthgen.errors import DataError
from synthgen.formats import Loss, Problem, Reading
from synthgen.formats.files import class_index, load_json, unknown_class
from synthgen.formats.gather import origin_from_json
from synthgen.rle import parse_rle
from synthgen.store import Stored, committed, write_all, write_json
from synthgen.types import Labels, Rle, Sample, Size


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid", use_attribute_docstrings=True))
class Shards:
    """Shards: 00000.tar, 00000.json, … and classes.json, a list of class names; nothing is lost.

    A tar that WebDataset reads: ID.png and ID.json per sample. Ids, origins and meta are kept.
    """

    TASKS: ClassVar[tuple[str, ...]] = ("instances", "segment", "detect", "classify")
    holds_ignored: ClassVar[bool] = True

    def matches(self, path: Path) -> bool:
        """Whether a shard and its commit mark lie here."""
        return path.is_dir() and any((path / f"{number:05d}.tar").is_file() for number in committed(path))

    def classes(self, path: Path) -> list[str]:
        """Class names by index. Raises: DataError when classes.json is missing or not valid."""
        file = path / "classes.json"
        if not file.is_file():
            raise DataError(
                f"{path}: classes.json is missing; shards need it beside them, a list of class names"
            )
        names = load_json(file)
        if (
            not isinstance(names, list)
            or not all(isinstance(n, str) for n in names)
            or len(set(names)) < len(names)
        ):
            raise DataError(f"{file}: it must be a list of class names, each once")
        return names

    def read(self, path: Path, classes: Sequence[str], reading: Reading) -> Iterator[Sample | Problem]:
        """Samples in the order of the shards. A shard whose hash is not its mark's is quarantined whole.

        Raises: DataError when classes.json is missing, or a commit mark is not valid.
        """
        names = self.classes(path)
        index = class_index(names, classes)
        for number in committed(path):
            load_json(path / f"{number:05d}.json")                      # says where the JSON is broken
        try:
            stored = Stored(path)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{path}: a commit mark (00000.json, …) is not what synthgen writes "
                            f"({type(error).__name__}: {error})") from None
        whole: dict[Path, str] = {}
        for k, entry in enumerate(stored.entries):
            if entry.shard not in whole:
                whole[entry.shard] = _damage(entry.shard, reading)
            if whole[entry.shard]:
                yield Problem(entry.shard.name, str(entry.id), whole[entry.shard], "quarantined")
                continue
            try:
                sample = _read(stored, k, reading)
                labels, unknown = _renamed(sample.labels, names, index)
            except (DataError, OSError, KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
                why = str(error) if isinstance(error, DataError) else f"{type(error).__name__}: {error}"
                yield Problem(
                    entry.shard.name, str(entry.id), f"the sample is damaged ({why})", "quarantined"
                )
                continue
            for name in unknown:
                yield Problem(
                    entry.shard.name,
                    str(entry.id),
                    f"{unknown_class(name, classes)}; the label is left out",
                    "repaired",
                )
            yield replace(sample, labels=labels)

    def write(self, samples: Iterable[Sample], folder: Path, classes: Sequence[str]) -> list[Loss]:
        """Write shards and classes.json; the folder is made. Nothing is lost."""
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "classes.json", list(classes))
        write_all(folder, samples)
        return []


def _damage(shard: Path, reading: Reading) -> str:
    """Why a shard cannot be trusted, or ""; without pixels only whether it is there."""
    if not shard.is_file():
        return "the shard's tar is missing, though its commit mark is there"
    if reading.pixels:
        with shard.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != load_json(shard.with_suffix(".json")).get("sha256"):
            return "the shard's bytes are not those that its commit mark says were written"
    return ""


def _read(stored: Stored, k: int, reading: Reading) -> Sample:
    """Sample k, checked. Raises: DataError and whatever damaged JSON leads to."""
    entry = stored.entries[k]
    if any(start < 0 or length < 0 or start + length > entry.shard.stat().st_size
           for start, length in (entry.png, entry.json)):
        raise DataError("its commit mark says that it lies beyond the end of the tar")
    size = _png_size(stored, k)
    if size[0] * size[1] > reading.max_pixels:
        raise DataError(f"its header says {size[1]} × {size[0]} px, more than {reading.max_pixels:,}")
    labels = stored.labels(k)
    if labels is not None:
        rles = [
            *(labels.masks or ()),
            *(labels.amodal or ()),
            *([] if labels.ignore is None else [labels.ignore]),
        ]
        for rle in rles:
            parse_rle(rle, labels.size)
    if reading.pixels:
        return stored[k]
    about = stored.about(k)
    return Sample(
        about["id"], np.zeros((*size, 3), np.uint8), labels, origin_from_json(about["origin"]), about["meta"]
    )


def _png_size(stored: Stored, k: int) -> Size:
    entry = stored.entries[k]
    with entry.shard.open("rb") as file:
        file.seek(entry.png[0])
        head = file.read(24)
    if len(head) < 24 or head[:8] != b"\x89PNG\r\n\x1a\n":
        raise DataError("its image is no PNG")
    return int.from_bytes(head[20:24], "big"), int.from_bytes(head[16:20], "big")


def _renamed(labels: Labels | None, names: Sequence[str],
             index: Sequence[int | None]) -> tuple[Labels | None, list[str]]:
    """Labels with the classes wanted, by name, and the names that are not among them."""
    if labels is None or (list(index) == list(range(len(names))) and _in_range(labels, len(names))):
        return labels, []
    if not _in_range(labels, len(names)):
        raise DataError(f"a class index is not among the {len(names)} of classes.json")
    new = [index[c] for c in labels.classes.tolist()]
    keep = [k for k, c in enumerate(new) if c is not None]
    image_class = None if labels.image_class is None else index[labels.image_class]
    unknown = [names[c] for c in labels.classes.tolist() if index[c] is None]
    if labels.image_class is not None and image_class is None:
        unknown.append(names[labels.image_class])

    def kept(rles: tuple[Rle, ...] | None) -> tuple[Rle, ...] | None:
        return None if rles is None else tuple(rles[k] for k in keep)

    assert labels.scores is not None
    assert labels.visible is not None
    assert labels.truncated is not None
    assert labels.states is not None
    return replace(
        labels,
        classes=np.array([c for c in new if c is not None], np.int64),
        boxes=labels.boxes[keep],
        masks=kept(labels.masks),
        amodal=kept(labels.amodal),
        scores=labels.scores[keep],
        visible=labels.visible[keep],
        truncated=labels.truncated[keep],
        states=tuple(labels.states[k] for k in keep),
        image_class=image_class,
    ), unknown


def _in_range(labels: Labels, n: int) -> bool:
    found = [*labels.classes.tolist(), *([] if labels.image_class is None else [labels.image_class])]
    return all(0 <= c < n for c in found)
