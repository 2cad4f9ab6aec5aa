"""Packages of images for annotation tools: which images, with what labels, and under which hashes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np

from synthgen import plugins
from synthgen.errors import DataError
from synthgen.formats import Format, Loss, Reading
from synthgen.geometry import set_aside
from synthgen.images import hash_image
from synthgen.people.decisions import Decision, hash_labels
from synthgen.people.guide import guide
from synthgen.store import Stored, labels_from_json, labels_to_json, new_folder, read_json, write_atomic, write_json
from synthgen.types import Json, Labels, Sample

FORMATS = ("cvat", "labelstudio", "voc", "yolo", "coco")  # that annotation tools take in and give back
MANIFEST = "manifest.json"
ASSUMED_SECONDS = 60.0  # per image, while nobody's time has been measured


@dataclass(frozen=True, slots=True)
class Queued:
    """An image that waits for a person: its sample's id, why it was picked, and whether its labels are to be hidden."""

    id: str
    why: str = ""
    blind: bool = False


@dataclass(frozen=True, slots=True)
class Sent:
    """An image of a package. file: its name there. image: hash of its pixels. prelabel: hash of the pool's labels.

    shown: the labels as the package's format holds them, which what comes back is compared with; None when blind.
    """

    id: str
    file: str
    image: str
    prelabel: str
    blind: bool
    why: str
    shown: Labels | None


def queued(pool: Stored, queue: Path, limit: int | None) -> list[Queued]:
    """Images in the order in which people should see them: the queue's, then those with labels to review, then others.

    queue: a JSON list of {"id", "why", "blind"}, where there is one. Without a limit: the queue, or else what is to
    review.
    Raises: DataError when the queue is not such a list, names an image that the pool does not have, or when nothing
    waits and no limit is given.
    """
    first = read_queue(queue, {entry.id for entry in pool.entries})
    waiting = [Queued(e.id, "to review") for k, e in enumerate(pool.entries) if waits(pool.labels(k))]
    if limit is None:
        if not (first or waiting):
            raise DataError("no label waits for a person; say how many images all the same: --images N")
        return first or waiting
    others = [Queued(e.id, "next in the pool") for e in pool.entries]
    found: dict[str, Queued] = {}
    for one in (*first, *waiting, *others):
        found.setdefault(one.id, one)
    return list(found.values())


def read_queue(file: Path, known: set[str]) -> list[Queued]:
    """The queue that a run wrote, in its order; empty where there is none. known: ids of the pool.

    Raises: DataError when it is no list of {"id", "why", "blind"}, or names an image that the pool does not have.
    """
    if not file.is_file():
        return []
    try:
        found = [Queued(str(x["id"]), str(x.get("why", "")), bool(x.get("blind", False))) for x in read_json(file)]
    except (ValueError, TypeError, KeyError, AttributeError):
        raise DataError(f'{file}: it must be a list of {{"id", "why", "blind"}}; run the recipe again') from None
    if strange := [x.id for x in found if x.id not in known]:
        raise DataError(f"{file}: the pool has no image {strange[0]!r}; the queue is of another pool: run again")
    return found


def waits(labels: Labels | None) -> bool:
    """Whether an instance, or the image's class, is left for a person."""
    return labels is not None and (
        "to_review" in (labels.states or ()) or (labels.image_class is not None and labels.image_state == "to_review")
    )


def pace(decisions: Sequence[Decision]) -> tuple[float, bool]:
    """(seconds per image, whether they were measured): the mean of what people took so far."""
    seconds = [d.seconds for d in decisions if d.seconds is not None]
    return (float(np.mean(seconds)), True) if seconds else (ASSUMED_SECONDS, False)


def as_shown(labels: Labels) -> Labels:
    """The labels that a person is shown: without what the model's own threshold set aside, and without its ignored
    pixels: a person answers for the whole image, and pixels that the model passes over would hide what it missed."""
    states = labels.states or ()
    return replace(set_aside(labels, np.array([s == "ignored" for s in states], bool)), ignore=None)


def write_package(
    pool: Stored, queue: Iterable[Queued], limit: int | None, decided: Mapping[str, Decision], form: str,
    classes: Sequence[str], folder: Path, records: Path,
) -> tuple[list[Sent], list[Loss]]:  # fmt: skip
    """Write images, labels, what the tool needs to know of the classes, README.md and manifest.json in a new folder.

    Images that were decided (by their hash) and second copies of an image are passed over. What the package says is
    noted in `records` too, so that what comes back can be told apart from what was sent.
    Raises: DataError when the folder exists, or there is no image left.
    """
    writer = cast(Format, plugins.build("formats", form, {}))
    place = {entry.id: k for k, entry in enumerate(pool.entries)}
    sent: list[tuple[Queued, str, str]] = []

    def samples() -> Iterator[Sample]:
        seen = set(decided)
        for one in queue:
            if limit is not None and len(sent) >= limit:
                return
            sample = pool[place[one.id]]
            image = hash_image(sample.image)
            if image in seen:
                continue
            seen.add(image)
            sent.append((one, image, "" if sample.labels is None else hash_labels(sample.labels)))
            hidden = one.blind or sample.labels is None
            meta = {key: value for key, value in sample.meta.items() if key != "split"}
            yield replace(sample, labels=None if hidden else as_shown(cast(Labels, sample.labels)), meta=meta)

    def make(inside: Path) -> tuple[list[Sent], list[Loss]]:
        losses = writer.write(samples(), inside, classes)
        if not sent:
            raise DataError("every image that waits has been decided; nothing was written")
        # As the format gives it back: what the format itself cannot hold is no change that a person made.
        back = {hash_image(x.image): x for x in writer.read(inside, classes, Reading()) if isinstance(x, Sample)}
        made = [
            Sent(one.id, str(back[image].meta["file"]), image, prelabel, one.blind, one.why,
                 None if one.blind else back[image].labels)
            for one, image, prelabel in sent if image in back
        ]
        if len(made) < len(sent):
            raise DataError(f"the format {form} gives {len(sent) - len(made)} of {len(sent)} images not back; choose "
                            "another")
        manifest = {"format": form, "classes": list(classes), "images": [_listed(x) for x in made]}
        write_json(inside / MANIFEST, manifest)
        write_atomic(inside / "README.md", guide(form, len(made), any(x.blind for x in made)).encode())
        return made, losses

    made, losses = new_folder(folder, make)
    shown = [_listed(x) | {"labels": None if x.shown is None else labels_to_json(x.shown)} for x in made]
    record = {"format": form, "classes": list(classes), "images": shown}
    name = hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()[:16]
    taken = {read_json(p)["name"] for p in records.glob("*.json")}
    if name not in taken:
        write_json(records / f"{len(taken) + 1:04d}.json", {"name": name, **record})
    return made, losses


def _listed(sent: Sent) -> dict[str, Json]:
    return {"file": sent.file, "id": sent.id, "image": sent.image, "prelabel": sent.prelabel, "blind": sent.blind,
            "why": sent.why}


def packages(records: Path, form: str) -> list[Sent]:
    """What was sent in a format, the last package first."""
    found: list[Sent] = []
    for file in sorted(records.glob("*.json"), reverse=True):
        record = read_json(file)
        if record["format"] == form:
            for entry in record["images"]:
                labels = entry.pop("labels")
                found.append(Sent(**entry, shown=None if labels is None else labels_from_json(labels)))
    return found


