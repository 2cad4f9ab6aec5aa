"""A dataset on disk: tar shards that WebDataset reads, each with a JSON written last as its commit mark.

A shard `00003.tar` holds `ID.png` and `ID.json` per sample; `00003.json` beside it holds the count, the
hash and where each sample lies. A tar without its JSON was never finished and is ignored.
"""

from __future__ import annotations

import bisect
import hashlib
import io
import itertools
import json
import os
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar, overload

from synthgen.errors import DataError, EnvironmentProblem
from synthgen.images import from_png, png_bytes
from synthgen.types import Dataset, Json, Labels, Origin, Sample


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file so that it is there whole or not at all: temporary file, fsync, rename, fsync of the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    with part.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


Made = TypeVar("Made")


def new_folder(folder: Path, make: Callable[[Path], Made]) -> Made:
    """Make a folder beside `folder` and rename it there once it is whole; whatever goes wrong, nothing is left.

    Raises: DataError when `folder` exists; EnvironmentProblem where nothing can be written.
    """
    if folder.exists() or folder.is_symlink():
        raise DataError(f"{folder}: this exists already; give a new folder")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        beside = tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent)
    except OSError as error:
        raise EnvironmentProblem(f"{folder}: it cannot be written there ({error.strerror or error}); choose another "
                                 "place") from None
    with beside as scratch:
        inside = Path(scratch) / "made"
        inside.mkdir()
        made = make(inside)
        inside.rename(folder)
    return made


def write_json(path: Path, value: Json) -> None:
    """Write JSON atomically, keys in the order given, one trailing newline."""
    write_atomic(path, (json.dumps(value, ensure_ascii=False, indent=1, allow_nan=False) + "\n").encode())


def read_json(path: Path) -> Json:
    """What a JSON file holds."""
    return json.loads(path.read_text(encoding="utf-8"))


def labels_to_json(labels: Labels) -> Json:
    """Labels as plain JSON; what has its default is left out."""
    n = len(labels)
    assert labels.scores is not None
    assert labels.visible is not None
    assert labels.truncated is not None
    out: dict[str, Json] = {
        "size": list(labels.size),
        "classes": labels.classes.tolist(),
        "boxes": labels.boxes.tolist(),
    }
    if labels.masks is not None:
        out["masks"] = list(labels.masks)
    if labels.amodal is not None:
        out["amodal"] = list(labels.amodal)
    if (labels.scores != 1).any():
        out["scores"] = [round(float(s), 6) for s in labels.scores]
    if (labels.visible == labels.visible).any():  # any that is not nan
        out["visible"] = [round(float(v), 6) if v == v else None for v in labels.visible]
    if labels.truncated.any():
        out["truncated"] = labels.truncated.tolist()
    if labels.states != ("accepted",) * n:
        out["states"] = list(labels.states or ())
    for name, default in (
        ("ignore", None),
        ("image_class", None),
        ("image_score", 1.0),
        ("image_state", "accepted"),
        ("reviewed", "none"),
        ("empty", "unknown"),
    ):
        if getattr(labels, name) != default:
            out[name] = getattr(labels, name)
    return out


def labels_from_json(value: Mapping[str, Json]) -> Labels:
    """The labels that `labels_to_json` wrote."""
    known: dict[str, Json] = dict(value)
    known["size"] = tuple(known["size"])
    for name in ("masks", "amodal", "states"):
        if name in known:
            known[name] = tuple(known[name])
    if "visible" in known:
        known["visible"] = [float("nan") if v is None else v for v in known["visible"]]
    return Labels(**known)


def _sample_json(sample: Sample) -> bytes:
    o = sample.origin
    origin = {
        "kind": o.kind,
        "maker": o.maker,
        "version": o.version,
        "weights": o.weights,
        "seed": o.seed,
        "parents": list(o.parents),
        "known_by": o.known_by,
    }
    value = {
        "id": sample.id,
        "origin": origin,
        "meta": dict(sample.meta),
        "labels": None if sample.labels is None else labels_to_json(sample.labels),
    }
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode()


def _origin(value: Mapping[str, Json]) -> Origin:
    return Origin(**{**value, "parents": tuple(value["parents"])})


def write_shard(folder: Path, number: int, samples: Iterable[Sample], facts: Mapping[str, Json] | None = None) -> None:
    """Write one shard and commit it. Ids must be unique and free of dots and slashes.

    facts: JSON kept in the commit mark (counts, reasons), for the summary.
    """
    buffer, index = io.BytesIO(), []
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for sample in samples:
            if "." in sample.id or "/" in sample.id:
                raise DataError(f"sample id {sample.id!r}: dots and slashes are not allowed in a shard")
            entry: dict[str, Json] = {"id": sample.id}
            for name, data in (("png", png_bytes(sample.image)), ("json", _sample_json(sample))):
                info = tarfile.TarInfo(f"{sample.id}.{name}")
                info.size = len(data)
                start = buffer.tell()
                tar.addfile(info, io.BytesIO(data))
                # The member's bytes follow its header, which may itself be longer than one block.
                header = buffer.tell() - start - (len(data) + 511) // 512 * 512
                entry[name] = [start + header, len(data)]
            index.append(entry)
    data = buffer.getvalue()
    write_atomic(folder / f"{number:05d}.tar", data)
    write_json(
        folder / f"{number:05d}.json",
        {"count": len(index), "sha256": hashlib.sha256(data).hexdigest(), "facts": dict(facts or {}), "samples": index},
    )


def committed(folder: Path) -> list[int]:
    """Numbers of the shards that were finished, ascending."""
    return sorted(int(p.stem) for p in folder.glob("[0-9][0-9][0-9][0-9][0-9].json"))


@dataclass(frozen=True, slots=True)
class Entry:
    """Where one sample lies."""

    id: str
    shard: Path
    png: tuple[int, int]
    json: tuple[int, int]


class Stored(Sequence[Sample]):
    """The samples of a folder of shards, read when asked for; images are decoded one at a time."""

    def __init__(self, *folders: Path) -> None:
        self.folders = folders
        self.entries: list[Entry] = []
        self.facts: list[Json] = []
        for folder in folders:
            for number in committed(folder):
                mark = read_json(folder / f"{number:05d}.json")
                self.facts.append(mark["facts"])
                shard = folder / f"{number:05d}.tar"
                self.entries += [Entry(e["id"], shard, tuple(e["png"]), tuple(e["json"])) for e in mark["samples"]]

    def __len__(self) -> int:
        return len(self.entries)

    @overload
    def __getitem__(self, k: int) -> Sample: ...
    @overload
    def __getitem__(self, k: slice) -> Sequence[Sample]: ...
    def __getitem__(self, k: int | slice) -> Sample | Sequence[Sample]:
        if isinstance(k, slice):
            return [self[i] for i in range(*k.indices(len(self)))]
        entry = self.entries[k]
        with entry.shard.open("rb") as file:
            file.seek(entry.png[0])
            image = from_png(file.read(entry.png[1]))
        about = self.about(k)
        return Sample(entry.id, image, self._labels(about), _origin(about["origin"]), about["meta"])

    def __iter__(self) -> Iterator[Sample]:
        return (self[k] for k in range(len(self)))

    def about(self, k: int) -> Json:
        """The JSON of sample k (labels, origin, meta), without decoding its image."""
        entry = self.entries[k]
        with entry.shard.open("rb") as file:
            file.seek(entry.json[0])
            return json.loads(file.read(entry.json[1]))

    def labels(self, k: int) -> Labels | None:
        """The labels of sample k, without decoding its image."""
        return self._labels(self.about(k))

    @staticmethod
    def _labels(about: Json) -> Labels | None:
        return None if about["labels"] is None else labels_from_json(about["labels"])


class Subset(Sequence[Sample]):
    """Some samples of a stored dataset, in the order given, some with other labels; nothing is copied."""

    def __init__(self, stored: Stored, indices: Sequence[int], labels: Mapping[str, Json] | None = None) -> None:
        self.stored, self.indices, self.changed = stored, list(indices), dict(labels or {})

    def __len__(self) -> int:
        return len(self.indices)

    @overload
    def __getitem__(self, k: int) -> Sample: ...
    @overload
    def __getitem__(self, k: slice) -> Sequence[Sample]: ...
    def __getitem__(self, k: int | slice) -> Sample | Sequence[Sample]:
        if isinstance(k, slice):
            return [self[i] for i in range(*k.indices(len(self)))]
        sample = self.stored[self.indices[k]]
        return replace(sample, labels=self.labels(k))

    def labels(self, k: int) -> Labels | None:
        """The labels of sample k, without decoding its image."""
        changed = self.changed.get(str(self.indices[k]))
        return self.stored.labels(self.indices[k]) if changed is None else labels_from_json(changed)

    def about(self, k: int) -> Json:
        """The JSON of sample k as it was stored."""
        return self.stored.about(self.indices[k])


class Joined(Sequence[Sample]):
    """Datasets one after the other."""

    def __init__(self, *parts: Dataset) -> None:
        self.parts = parts
        self._ends = [sum(len(p) for p in parts[: i + 1]) for i in range(len(parts))]

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @overload
    def __getitem__(self, k: int) -> Sample: ...
    @overload
    def __getitem__(self, k: slice) -> Sequence[Sample]: ...
    def __getitem__(self, k: int | slice) -> Sample | Sequence[Sample]:
        if isinstance(k, slice):
            return [self[i] for i in range(*k.indices(len(self)))]
        if not -len(self) <= k < len(self):
            raise IndexError(k)
        k %= len(self)
        part = bisect.bisect_right(self._ends, k)
        return self.parts[part][k - (self._ends[part - 1] if part else 0)]


def without_labels(sample: Sample) -> Sample:
    """The sample with nothing known about it."""
    return replace(sample, labels=None)


def write_all(folder: Path, samples: Dataset | Iterable[Sample], shard_size: int = 256) -> None:
    """Write samples as shards of `shard_size`, one decoded sample in memory at a time; at least one shard."""
    rest = iter(samples)
    for number in itertools.count():
        first = next(rest, None)
        if first is None and number:
            return
        begun = () if first is None else (first,)
        write_shard(folder, number, itertools.chain(begun, itertools.islice(rest, shard_size - len(begun))))
