"""Ingest: the user's data into shards, whole or quarantined with the reason; the test split locked by hash."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from synthgen.errors import DataError, TooManyBadItems
from synthgen.formats import Problem, Reading
from synthgen.formats.detect import open_dataset
from synthgen.images import hash_image
from synthgen.people.decisions import Decision, Decisions, hash_labels
from synthgen.recipe.schema import Source
from synthgen.seeds import rng_of, seed_of
from synthgen.stages import Job, Unit, keys
from synthgen.stages.words import not_as_given
from synthgen.store import Stored, read_json, without_labels, write_all, write_atomic, write_json
from synthgen.types import Image, Origin, Sample
from synthgen.work import fingerprint

CODE = 2  # raised when what this stage writes changes its meaning
PARTS = ("seed", "pool", "pool_truth", "test")
PEOPLE = "people"  # folder in the run: what people decided; no stage ever removes it
AUDITED, HASHES = "audited.json", "hashes.json"
NEAR = 2.0  # grey levels, root mean square at 32 × 32 px: a re-encoded copy


def units(job: Job) -> list[Unit]:
    """One unit per dataset, and the guard that compares them."""
    data = job.recipe.data
    parts = {name: source for name in PARTS if (source := getattr(data, name)) is not None}
    out = []
    for name, source in parts.items():
        needs = {
            "code": CODE,
            "format": source.format,
            "limit": source.limit,
            "limit_per_class": source.limit_per_class,
            "bits": data.bits,
            "max_pixels": data.max_pixels,
            "max_bad_fraction": data.max_bad_fraction,
            "classes": list(job.recipe.classes),
            "task": job.recipe.task,
            "shard_size": job.recipe.shard_size,
            "data": _fingerprint(job, source),
            **({"split": source.split} if source.split is not None else {}),
        }
        out.append(Unit(f"0-ingest/{name}", needs, partial(_make, job, name, source)))
    out += _people(job, out)
    return [*out, Unit("0-ingest/guard", {"code": CODE, "leaks": data.leaks, "after": keys(out)}, partial(_guard, job))]


def labelled(job: Job) -> list[Unit]:
    """The units that the seed's samples come from: its own, and what people answered. That the test was compared with
    them, and with the pool, changes none of them: the guard comes before all else, and stops a run or does not."""
    return [u for u in units(job) if u.name in ("0-ingest/seed", "0-ingest/people")]


def part(job: Job, name: str) -> Stored:
    """The samples of an ingested part; empty when the recipe names none. What people answered joins the seed."""
    joined = [job.work.path("0-ingest/people")] if name == "seed" and _answered(job) else []
    return Stored(job.work.path(f"0-ingest/{name}"), *(folder for folder in joined if folder.is_dir()))


def hashes(job: Job) -> list[str]:
    """`hash_image` of the pool's images, in its order. An image is known by its pixels: its id is only its place."""
    folder = job.work.path("0-ingest/pool")
    mark = _mark(folder)
    if "hashes" not in job.once or job.once["hashes"][0] != mark:
        path = folder / HASHES
        found = read_json(path) if path.is_file() else [hash_image(s.image) for s in Stored(folder)]
        job.once["hashes"] = mark, found
    return list(job.once["hashes"][1])


def _mark(folder: Path) -> str:
    done = folder / "done.json"
    return str(read_json(done)["key"]) if done.is_file() else ""


def history(job: Job) -> tuple[Decision, ...]:
    """What people decided in this run's folder, in order, but for what was taken back. Read once: what is decided while
    a run works is the next run's."""
    if "history" not in job.once:
        folder = job.work.folder / PEOPLE
        job.once["history"] = tuple(Decisions(folder).every()) if folder.is_dir() else ()
    return tuple(job.once["history"])


def decided(job: Job) -> dict[str, Decision]:
    """Image hash → the last decision of people in this run's folder, as `Decisions.latest` has it."""
    return {d.image: d for d in history(job) if d.action != "skip"}


def audited(job: Job) -> tuple[int, ...]:
    """Indices of the pool's images that the audit drew, in the order of the draw; empty where no certificate is asked
    for. The draw follows from the pool alone, not from the recipe's seed and not from any model, so that answers stay
    good whatever is trained; a larger audit begins with the smaller one."""
    source = job.recipe.data.pool
    if source is None or job.recipe.label.certify is None:
        return ()
    rng = rng_of(seed_of(0, "audit", _fingerprint(job, source)))
    return tuple(int(k) for k in rng.permutation(len(part(job, "pool")))[: job.recipe.label.audit.images])


def set_apart(job: Job) -> set[str]:
    """Hashes of the images on whose answers nothing is ever trained: of this audit, and of every one before, whatever
    the recipe says now."""
    known = hashes(job)
    path = job.work.folder / PEOPLE / AUDITED
    before = read_json(path) if path.is_file() else []
    return {known[k] for k in audited(job)} | set(before)


def set_apart_for_good(job: Job) -> None:
    """Write down which images this audit drew, before anybody answers."""
    path = job.work.folder / PEOPLE / AUDITED
    every = sorted(set_apart(job))
    if not path.is_file() or read_json(path) != every:
        write_json(path, every)


def _people(job: Job, before: Sequence[Unit]) -> list[Unit]:
    """A unit of what people answered about images of the pool, but for the audit, on which nothing is ever trained."""
    found = _answered(job)
    if not found:
        return []
    needs = {"code": CODE, "answers": sorted([d.image, hash_labels(d.labels)] for d in found),
             "after": keys([u for u in before if u.name == "0-ingest/pool"])}
    return [Unit("0-ingest/people", needs, partial(_keep, job))]


def _answered(job: Job) -> list[Decision]:
    if job.recipe.data.pool is None:
        return []
    found = [d for d in decided(job).values() if d.answered]
    if not found:
        return []
    away, here = set_apart(job), set(hashes(job))
    return [d for d in found if d.image not in away and d.image in here]


def _keep(job: Job, folder: Path) -> None:
    pool, known = part(job, "pool"), {d.image: d for d in _answered(job)}

    def samples() -> Iterator[Sample]:
        for k, name in enumerate(hashes(job)):
            decision = known.pop(name, None)  # a second copy of an image teaches nothing more
            if decision is not None:
                yield replace(pool[k], labels=decision.labels, origin=Origin("real"))

    write_all(folder, samples(), job.recipe.shard_size)
    write_json(folder / "summary.json", {"samples": len(Stored(folder)), "quarantined": 0, "repaired": 0})


def _fingerprint(job: Job, source: Source) -> str:
    # A COCO file names images beside it: they are part of the data.
    path = source.path
    if path.is_file():
        path = path.parent.parent if path.parent.name == "annotations" else path.parent
    if str(path) not in job.prints:
        # The run and the recipe may stand beside the data; they are not part of it.
        job.prints[str(path)] = fingerprint(path, job.work.folder / ".hashes.json", (job.work.folder.parent,))
    return job.prints[str(path)]


def _make(job: Job, name: str, source: Source, folder: Path) -> None:
    recipe, data = job.recipe, job.recipe.data
    bad: list[Problem] = []
    prints: list[str] = []
    good = 0

    def samples() -> Iterator[Sample]:
        nonlocal good
        boxes = recipe.task == "detect"
        reading = Reading(bits=data.bits, max_pixels=data.max_pixels, boxes=boxes)
        for item in open_dataset(
            source.path, source.format, recipe.classes, reading, source.limit, source.limit_per_class, source.split
        ):
            if isinstance(item, Problem):
                bad.append(item)
                continue
            wrong = _unfit(item, name, recipe.task)
            if wrong:
                bad.append(Problem(str(item.meta.get("file", item.id)), "", wrong, "quarantined"))
                continue
            good += 1
            job.say(f"ingest {name}", good, 0)
            known = without_labels(item) if name == "pool" else item
            if boxes and known.labels is not None:  # masks beside boxes would make of boxes the exception in every file
                known = replace(known, labels=replace(known.labels, masks=None, amodal=None))
            prints.append(hash_image(known.image) if name == "pool" else "")
            yield Sample(
                f"{name.replace('_', '-')}-{good - 1:06d}", known.image, known.labels, known.origin, known.meta
            )

    write_all(folder, samples(), recipe.shard_size)
    if name == "pool":
        write_json(folder / HASHES, prints)
    lost = [p for p in bad if p.action == "quarantined"]
    write_atomic(
        folder / "quarantine.jsonl",
        "".join(
            json.dumps({"file": p.file, "item": p.item, "what": p.what, "action": p.action}, ensure_ascii=False) + "\n"
            for p in bad
        ).encode(),
    )
    write_json(folder / "summary.json", {"samples": good, "quarantined": len(lost), "repaired": len(bad) - len(lost)})
    if len(lost) > data.max_bad_fraction * (good + len(lost)):
        shown = "".join(f"\n  {p.file}: {p.what}" for p in lost[:8]) + (
            f"\n  … and {len(lost) - 8} more" if len(lost) > 8 else ""
        )
        raise TooManyBadItems(
            f"data.{name}: {len(lost)} of {good + len(lost)} images cannot be used, more than data.max_bad_fraction "
            f"= {data.max_bad_fraction:g} allows:{shown}\n  all of them: synthgen data check {source.path}"
        )
    for said in not_as_given(name, [asdict(p) for p in bad]):
        job.events.add("warning", data=name, why=said)
    if not good:
        raise DataError(f"data.{name}: {source.path} holds no image that can be used")


def _unfit(sample: Sample, name: str, task: str) -> str | None:
    """Why a sample cannot serve in its part, or None."""
    labels = sample.labels
    if name == "pool":
        return None
    if labels is None:
        return "it has no labels"
    if task == "classify":
        return None if labels.image_class is not None else "it has no class"
    if labels.masks is None and len(labels) and task != "detect":
        return f"it has boxes but no masks, and task {task} needs masks (task detect takes boxes)"
    return None


def _guard(job: Job, folder: Path) -> None:
    """Lock the test by the hashes of its images, and look for them in seed and pool.

    Raises: DataError when one is found there and data.leaks is `refuse`.
    """
    test = part(job, "test")
    leaks: list[dict[str, str]] = []
    hashes, thumbs = _prints(test)
    for name in ("seed", "pool"):
        other = part(job, name)
        if not len(test) or not len(other):
            continue
        known, small = _prints(other)
        where = {h: k for k, h in enumerate(known)}
        for k, h in enumerate(hashes):
            if h in where:
                leaks.append({"test": test.entries[k].id, "in": other.entries[where[h]].id, "how": "the same pixels"})
        # |a − b|² = |a|² + |b|² − 2ab, in slices of the test so that memory stays flat.
        for start in range(0, len(thumbs), 256):
            a = thumbs[start : start + 256]
            square = (a**2).sum(1)[:, None] + (small**2).sum(1)[None] - 2 * a @ small.T
            for row, column in np.argwhere(np.sqrt(np.maximum(square, 0) / a.shape[1]) < NEAR):
                if hashes[start + row] != known[column] and a[row].std() > NEAR:
                    leaks.append(
                        {"test": test.entries[start + row].id, "in": other.entries[column].id, "how": "nearly the same"}
                    )
    write_json(
        folder / "guard.json", {"test": dict(zip([e.id for e in test.entries], hashes, strict=True)), "leaks": leaks}
    )
    if leaks and job.recipe.data.leaks == "refuse":
        shown = ""
        for leak in leaks[:8]:
            name = leak["in"].rsplit("-", 1)[0]
            there = _file(part(job, name), leak["in"])
            shown += f"\n  {_file(test, leak['test'])} in {name}: {there} ({leak['how']})"
        raise DataError(
            f"{len(leaks)} images of the locked test split also stand in seed or pool, so that every score on it would "
            f"be too good:{shown}\n  take them out of one of the two, or say data.leaks: warn"
        )


def _prints(dataset: Stored) -> tuple[list[str], NDArray[np.float32]]:
    """Hash of each image's pixels, and (N, 1024) its grey thumbnail."""
    hashes, thumbs = [], []
    for sample in dataset:
        hashes.append(hash_image(sample.image))
        thumbs.append(_thumb(sample.image))
    return hashes, np.stack(thumbs) if thumbs else np.zeros((0, 1024), np.float32)


def _thumb(image: Image) -> NDArray[np.float32]:
    grey = image.mean(2, dtype=np.float32)
    return np.asarray(cv2.resize(grey, (32, 32), interpolation=cv2.INTER_AREA).reshape(-1), np.float32)


def _file(dataset: Stored, sample_id: str) -> str:
    for k, entry in enumerate(dataset.entries):
        if entry.id == sample_id:
            return str(dataset.about(k)["meta"].get("file", sample_id))
    return sample_id
