"""The label model of a run: fitted to all votes on the pool, then asked shard by shard, and what it learned of whom."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from synthgen.images import hash_image
from synthgen.metrics.accuracy import score_image, value_of
from synthgen.stages import Job, ingest, votes
from synthgen.store import Stored, read_json, write_json, write_shard
from synthgen.types import Json, Labels, Origin, Task
from synthgen.votes.model import LabelModel, Tally

TRUE: dict[Task, tuple[str, ...]] = {"instances": ("ap50", "dice"), "segment": ("dice",), "detect": ("ap50",),
                                     "classify": ("accuracy",)}


def fit(job: Job) -> LabelModel:
    """The label model of all votes."""
    recipe = job.recipe
    pool, size, names = ingest.part(job, "pool"), recipe.shard_size, votes.voters(recipe.label)
    tally = Tally(recipe.task, len(recipe.classes), names)
    for number in range(-(-len(pool) // size)):
        for k, row in enumerate(votes.said(job, number)):
            tally.add([row[name] for name in names], image_size(pool, number * size + k, row))
    return tally.fitted(recipe.label.combine)


def image_size(pool: Stored, k: int, row: Mapping[str, Labels | None]) -> tuple[int, int]:
    """(H, W) px of an image: as those say who labelled it, since its pixels need not be decoded for that."""
    told = next((labels.size for labels in row.values() if labels is not None), None)
    if told is not None:
        return told
    shape = pool[k].image.shape
    return shape[0], shape[1]


def label_shard(job: Job, model: LabelModel, shards: Path, number: int, state: Any) -> None:
    """Write one shard of the pool with the label model's labels; state: gives labels their states."""
    pool, size = ingest.part(job, "pool"), job.recipe.shard_size
    key = read_json(job.work.path("5-votes") / "done.json")["key"][:16]
    origin = Origin("pseudo", job.recipe.label.combine, known_by="model", weights=key)

    def labelled() -> Any:
        for k, row in enumerate(votes.said(job, number), number * size):
            sample = pool[k]
            found = model.labels([row[name] for name in model.names], (sample.image.shape[0], sample.image.shape[1]))
            yield replace(sample, labels=state(found), origin=origin)

    write_shard(shards, number, labelled())


def about(job: Job, model: LabelModel) -> dict[str, Json]:
    """What is said of each function: what the label model learned, what it counted, and against a pool truth that was
    kept aside, its true figures."""
    counts, true = votes.counted(job), _true(job)
    out: dict[str, Json] = {}
    for name in (votes.LABELER, *(f.name for f in job.recipe.label.functions)):
        learned = model.facts.get(name)
        out[name] = {"votes itself": learned is not None, **(learned or {})}
        if counts.get(name):
            out[name]["counts"] = counts[name]
        if name in true:
            out[name]["true"] = {"simulated_truth": True, **true[name]}
    return {"combine": model.combine, "items": {"classify": "images", "segment": "pixels"}.get(model.task, "objects"),
            "functions": out}


def _true(job: Job) -> dict[str, dict[str, Json]]:
    """Each function's figures against the pool's truth, over the images that it spoke of; empty without a truth."""
    truth = ingest.part(job, "pool_truth")
    if not len(truth):
        return {}
    known = {hash_image(truth[k].image): k for k in range(len(truth))}
    pool, size, records = ingest.part(job, "pool"), job.recipe.shard_size, dict[str, list[Json]]()
    for number in range(-(-len(pool) // size)):
        for k, row in enumerate(votes.said(job, number), number * size):
            at = known.get(hash_image(pool[k].image))
            right = None if at is None else truth.labels(at)
            for name, labels in row.items():
                if labels is not None and right is not None:
                    records.setdefault(name, []).append(score_image(labels, right))
    return {name: {"n": len(rows), **{m: _number(value_of(rows, m)) for m in TRUE[job.recipe.task]}}
            for name, rows in records.items()}


def _number(value: float) -> float | None:
    return round(value, 6) if value == value else None


def kept(folder: Path, job: Job) -> LabelModel:
    """The label model in a folder; fitted and written first when it is not there yet."""
    path = folder / "model.json"
    if not path.exists():
        write_json(path, fit(job).to_json())
    return LabelModel.from_json(read_json(path))
