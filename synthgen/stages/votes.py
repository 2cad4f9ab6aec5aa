"""Votes: what the labeler and each labelling function say of each pool image, before anybody is believed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from synthgen import plugins
from synthgen.answers import answers
from synthgen.errors import DataError, SynthgenError
from synthgen.recipe.schema import Function, Label
from synthgen.seeds import seed_of
from synthgen.stages import Job, Unit, files_of, ingest, keys, train, version_of
from synthgen.store import Stored, committed, labels_from_json, labels_to_json, read_json, write_json
from synthgen.types import Context, Json, Labels, Sample, Trainer
from synthgen.work import in_parallel

CODE = 1
LABELER = "labeler"


def units(job: Job) -> list[Unit]:
    """One unit; none without a pool or without labelling functions."""
    recipe = job.recipe
    if recipe.data.pool is None or not recipe.label.functions:
        return []
    before = [u for u in ingest.units(job) if u.name == "0-ingest/pool"] + train.units(job)[-1:]
    functions = {f.name: {**f.model_dump(mode="json"), "version": _version(f), "files": files_of(job, _paths(f))}
                 for f in recipe.label.functions}
    needs = {"code": CODE, "functions": functions, "order": list(functions),
             "accept": recipe.label.accept, "tta": recipe.label.tta,
             "classes": list(recipe.classes), "seed": recipe.seed, "shard_size": recipe.shard_size,
             "after": keys(before)}
    return [Unit("5-votes", needs, partial(_make, job))]


def voters(label: Label) -> tuple[str, ...]:
    """Who votes: the labeler and the functions, but those whose labels another one works on."""
    heard_through = {f.of for f in label.functions}
    return tuple(n for n in (LABELER, *(f.name for f in label.functions)) if n not in heard_through)


def said(job: Job, number: int) -> list[dict[str, Labels | None]]:
    """What everybody says of each image of a shard, by name; None = it abstains."""
    rows = read_json(job.work.path("5-votes") / f"{number:05d}.json")["images"]
    return [{name: None if found is None else labels_from_json(found) for name, found in row.items()} for row in rows]


def counted(job: Job) -> dict[str, Json]:
    """What functions counted of themselves, by name, summed over the shards."""
    total: dict[str, Counter[str]] = {}
    folder = job.work.path("5-votes")
    for number in committed(folder):
        for name, counts in read_json(folder / f"{number:05d}.json")["counts"].items():
            total.setdefault(name, Counter()).update(counts)
    return {name: dict(sorted(counts.items())) for name, counts in total.items()}


def _version(function: Function) -> str:
    return "" if plugins.in_file(function.use) else version_of("functions", function.use)


def _paths(function: Function) -> Mapping[str, Any]:
    place = plugins.in_file(function.use)
    # A log is written, not read: what was sent must not make the stage new.
    options = {name: value for name, value in function.options.items() if name != "log"}
    return options if place is None else {"use": str(place[0])}


def _make(job: Job, folder: Path) -> None:
    pool, size, section = ingest.part(job, "pool"), job.recipe.shard_size, job.recipe.train
    done = set(committed(folder))
    context = {"seed": seed_of(job.recipe.seed, "label"), "task": job.recipe.task, "classes": job.recipe.classes,
               "device": job.device, "base": job.base}
    jobs = [
        (vote_shard, (section.use, section.options, str(job.work.path(train.MODEL)),
                      str(job.work.path("0-ingest/pool")), str(folder), number, number * size,
                      min((number + 1) * size, len(pool)), job.recipe.label, context))
        for number in range(-(-len(pool) // size)) if number not in done
    ]
    in_parallel(jobs, job.workers if job.device == "cpu" else 1, job.say, "votes")


def vote_shard(use: str, options: dict[str, Any], model: str, pool: str, folder: str, number: int, first: int,
               last: int, rules: Label, about: dict[str, Any]) -> None:
    """Ask everybody about pool images first … last − 1 and write what they say; may run in a process of its own.

    Raises: DataError when a function fails on an image, or says what cannot be.
    """
    trainer: Trainer = plugins.build("trainers", use, options)
    labeler = trainer.load(Path(model), about["device"], 1)
    stored = Stored(Path(pool))
    scratch = Path(folder) / "functions"
    functions = {}
    for entry in rules.functions:
        functions[entry.name] = plugins.function(entry.use, entry.options)
        if hasattr(functions[entry.name], "prepare"):
            (scratch / entry.name).mkdir(parents=True, exist_ok=True)
            functions[entry.name].prepare(Context(folder=scratch / entry.name, **about))

    def images() -> Iterator[Json]:
        for sample, found in answers(labeler, (stored[k] for k in range(first, last)), tta=rules.tta):
            heard: dict[str, Labels | None] = {LABELER: _believed(found, rules.accept)}
            for entry in rules.functions:
                heard[entry.name] = _asked(functions[entry.name], entry, heard, sample, len(about["classes"]))
            yield {name: None if labels is None else labels_to_json(labels) for name, labels in heard.items()}

    rows = list(images())
    counts = {name: dict(f.counts()) for name, f in functions.items() if hasattr(f, "counts")}
    write_json(Path(folder) / f"{number:05d}.json", {"images": rows, "counts": counts})


def _believed(labels: Labels, accept: float) -> Labels | None:
    """What the labeler votes for: what it would accept itself; None of an image whose class it doubts."""
    if labels.image_class is not None:
        return labels if labels.image_score >= accept else None
    assert labels.scores is not None
    stay = [k for k, score in enumerate(labels.scores) if score >= accept]
    return Labels(labels.size, labels.classes[stay], labels.boxes[stay],
                  None if labels.masks is None else tuple(labels.masks[k] for k in stay), scores=labels.scores[stay],
                  reviewed="model")


def _asked(function: Any, entry: Function, heard: Mapping[str, Labels | None], sample: Sample,
           n_classes: int) -> Labels | None:
    """What a function says of an image, checked. Raises: DataError."""
    if entry.of is not None:
        below = heard[entry.of]
        if below is None:
            return None
        arguments: tuple[Any, ...] = (sample.image, below)
    else:
        arguments = (sample.image,)
    where = f"labelling function {entry.name} on pool image {sample.id}"
    try:
        found = function(*arguments)
    except SynthgenError as error:
        raise type(error)(f"{where}: {error}") from error
    except Exception as error:
        raise DataError(f"{where}: {type(error).__name__}: {error}; mend {entry.use}, or take it out of "
                        "label.functions") from error
    if found is not None and not isinstance(found, Labels):
        raise DataError(f"{where}: it must give Labels, or None to abstain, not {type(found).__name__}")
    if found is None:
        return None
    if found.size != sample.image.shape[:2]:
        raise DataError(f"{where}: its labels are for an image of {found.size}, this one is {sample.image.shape[:2]}")
    classes = [int(c) for c in found.classes] + ([] if found.image_class is None else [found.image_class])
    wrong = [c for c in classes if not 0 <= c < n_classes]
    if wrong:
        raise DataError(f"{where}: it says class {wrong[0]}; the recipe has classes 0 to {n_classes - 1}")
    return found
