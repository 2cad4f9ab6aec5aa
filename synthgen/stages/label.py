"""Label: the pool, image by image, each label accepted, ignored or left for a person."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from synthgen import plugins
from synthgen.answers import answers
from synthgen.recipe.schema import Label
from synthgen.stages import Job, Unit, consensus, ingest, keys, train, votes
from synthgen.store import Stored, committed, read_json, write_json, write_shard
from synthgen.types import Json, Labels, Origin, Sample, State, Trainer
from synthgen.work import in_parallel

CODE = 1


def units(job: Job) -> list[Unit]:
    """One unit; none without a pool."""
    if job.recipe.data.pool is None:
        return []
    weak = votes.units(job)
    # The truth that was kept aside only scores the functions, in the summary.
    data = ("0-ingest/pool", "0-ingest/pool_truth") if weak else ("0-ingest/pool",)
    before = [u for u in ingest.units(job) if u.name in data] + train.units(job)[-1:] + weak
    return [
        Unit(
            "5-label",
            {"code": CODE, **rules_of(job), "shard_size": job.recipe.shard_size, "after": keys(before)},
            partial(_make, job),
        )
    ]


def rules_of(job: Job) -> dict[str, Json]:
    """What decides the labels and their states; what a certificate asks for comes after them."""
    rules = job.recipe.label
    voting = {"functions", "combine"} if rules.functions else set()
    return rules.model_dump(mode="json", include={"accept", "ignore", "tta", *voting})


def labelled(job: Job) -> Stored:
    """The pool with its labels."""
    return Stored(job.work.path("5-label") / "shards") if units(job) else Stored()


def _make(job: Job, folder: Path) -> None:
    pool, size = ingest.part(job, "pool"), job.recipe.shard_size
    shards = folder / "shards"
    shards.mkdir(exist_ok=True)
    done = set(committed(shards))
    if job.recipe.label.functions:
        _consensus(job, folder, [n for n in range(-(-len(pool) // size)) if n not in done])
        return
    section = job.recipe.train
    jobs = [
        (
            label_shard,
            (
                section.use,
                section.options,
                str(job.work.path(train.MODEL)),
                str(job.work.path("0-ingest/pool")),
                str(shards),
                number,
                number * size,
                min((number + 1) * size, len(pool)),
                job.recipe.label,
                job.device,
            ),
        )
        for number in range(-(-len(pool) // size))
        if number not in done
    ]
    # On a device of its own one process is enough; on the CPU one per core, each with one thread.
    in_parallel(jobs, job.workers if job.device == "cpu" else 1, job.say, "label pool")
    write_json(folder / "summary.json", summary_of(Stored(shards)))


def _consensus(job: Job, folder: Path, missing: Sequence[int]) -> None:
    """The pool's labels as the label model makes them of everybody's votes."""
    model = consensus.kept(folder, job)
    work = [(consensus.label_shard, (job, model, folder / "shards", n, partial(sorted_out, rules=job.recipe.label)))
            for n in missing]
    in_parallel(work, 1, job.say, "label pool")  # the networks have spoken; what is left is short
    write_json(folder / "summary.json", {**summary_of(Stored(folder / "shards")), **consensus.about(job, model)})


def label_shard(
    use: str,
    options: dict[str, Any],
    model: str,
    pool: str,
    shards: str,
    number: int,
    first: int,
    last: int,
    rules: Label,
    device: str,
) -> None:
    """Label pool images first … last − 1 and write one shard; may run in a process of its own."""
    trainer: Trainer = plugins.build("trainers", use, options)
    labeler = trainer.load(Path(model), device, 1)
    stored = Stored(Path(pool))
    origin = Origin("pseudo", use, known_by="model", weights=read_json(Path(model) / "done.json")["key"][:16])

    def labelled() -> Iterator[Sample]:
        for sample, labels in answers(labeler, (stored[k] for k in range(first, last)), tta=rules.tta):
            yield replace(sample, labels=sorted_out(labels, rules), origin=origin)

    write_shard(Path(shards), number, labelled())


def sorted_out(labels: Labels, rules: Label) -> Labels:
    """Labels with a state each: accepted from `accept` on, ignored below `ignore`, else for a person."""
    assert labels.scores is not None

    def state(score: float) -> State:
        return "accepted" if score >= rules.accept else "ignored" if score < rules.ignore else "to_review"

    return replace(labels, states=tuple(state(float(s)) for s in labels.scores), image_state=state(labels.image_score))


def measured(labels: Labels) -> Labels:
    """Sorted-out labels as they are scored: what is accepted, since it goes out; of other boxes without masks, which a
    labeler also names for people where it is hardly sure, those that are at least as likely right as wrong."""
    if labels.masks is not None or labels.scores is None or labels.states is None:
        return labels
    states = zip(labels.states, labels.scores, strict=True)
    return replace(labels, states=tuple("ignored" if state == "to_review" and score < 0.5 else state
                                        for state, score in states))


def settled(labels: Labels) -> Labels:
    """What goes out when an image is accepted as a whole: its accepted objects; what is doubtful in it says nothing."""
    states: tuple[State, ...] = tuple("accepted" if s == "accepted" else "ignored" for s in labels.states or ())
    return replace(labels, states=states, image_state="accepted")


def summary_of(pool: Stored) -> dict[str, Any]:
    """Counts over a labelled pool."""
    states: Counter[str] = Counter()
    images: Counter[str] = Counter()
    empty = 0
    for k in range(len(pool)):
        labels = pool.labels(k)
        assert labels is not None
        states.update(labels.states or ())
        if labels.image_class is not None:
            images[labels.image_state] += 1
        empty += labels.image_class is None and not len(labels)
    return {
        "images": len(pool),
        "instances": {s: states[s] for s in ("accepted", "to_review", "ignored")},
        "image_classes": {s: images[s] for s in ("accepted", "to_review", "ignored")},
        "empty": empty,
    }
