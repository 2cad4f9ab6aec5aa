"""Filter: nothing unchecked is mixed in. What is dropped, and why, is kept; samples are not copied.

Compositing knows its labels exactly, so this floor looks for what is exact too: objects of which too little
shows become ignored pixels, doubles of images go. Agreement filters for learned generators stand on it later.
"""

from __future__ import annotations

import json
from collections import Counter
from functools import partial
from pathlib import Path

from synthgen.geometry import areas, set_aside
from synthgen.images import hash_image
from synthgen.stages import Job, Unit, generate, ingest, keys
from synthgen.store import Subset, labels_to_json, read_json, write_atomic, write_json
from synthgen.types import Json, Labels

CODE = 1


def units(job: Job) -> list[Unit]:
    """One unit; none without generators."""
    before = generate.units(job)
    if not before:
        return []
    return [
        Unit("2-filter", {"code": CODE, **job.recipe.filter.model_dump(), "after": keys(before)}, partial(_make, job))
    ]


def kept(job: Job) -> Subset:
    """The synthetic samples that passed, with their labels as filtered."""
    if not units(job):
        return Subset(generate.made(job), [])
    index = read_json(job.work.path("2-filter") / "index.json")
    return Subset(generate.made(job), index["kept"], index["labels"])


def _make(job: Job, folder: Path) -> None:
    rules, made = job.recipe.filter, generate.made(job)
    seen = {hash_image(s.image) for s in ingest.part(job, "seed")} if rules.duplicates == "drop" else set()
    keep: list[int] = []
    changed: dict[str, Json] = {}
    dropped: list[Json] = []
    reasons: Counter[str] = Counter()
    tally: dict[str, Counter[str]] = {}
    for k in range(len(made)):
        sample = made[k]
        job.say("filter", k + 1, len(made))
        mine = tally.setdefault(sample.id.rsplit("-", 1)[0], Counter())
        mine["images"] += 1
        mine["instances"] += 0 if sample.labels is None else len(sample.labels)
        if rules.duplicates == "drop":
            digest = hash_image(sample.image)
            if digest in seen:
                dropped.append({"id": sample.id, "reason": "the same pixels as an earlier image"})
                reasons["image: double"] += 1
                mine["images lost"] += 1
                continue
            seen.add(digest)
        if sample.labels is not None and sample.labels.masks is not None:
            labels, small = without_slivers(sample.labels, rules.min_visible, rules.min_area)
            if small:
                reasons["instance: too little of it shows"] += small
                mine["instances lost"] += small
                changed[str(k)] = labels_to_json(labels)
        keep.append(k)
    write_atomic(folder / "dropped.jsonl", "".join(json.dumps(d) + "\n" for d in dropped).encode())
    summary = {"made": len(made), "kept": len(keep), "reasons": dict(sorted(reasons.items()))}
    write_json(folder / "summary.json", summary | {"generators": {name: dict(t) for name, t in tally.items()}})
    write_json(folder / "index.json", {"kept": keep, "labels": changed})


def without_slivers(labels: Labels, min_visible: float, min_area: int) -> tuple[Labels, int]:
    """Labels whose hardly visible instances became ignored pixels, and how many those were."""
    assert labels.masks is not None
    seen = areas(labels.masks, labels.size)
    # What the frame cuts off hides nothing: a sliver at the border is labelled, one behind another object is not.
    framed = seen if labels.amodal is None else areas(labels.amodal, labels.size)
    few = (seen < min_area) | (seen < min_visible * framed)
    return set_aside(labels, few), int(few.sum())
