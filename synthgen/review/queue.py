"""Which images a person sees, in which order, and of which the pre-label is hidden."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from synthgen.errors import DataError
from synthgen.images import hash_image
from synthgen.people.bias import Bias, automation_bias, hidden
from synthgen.people.decisions import Decision, Decisions
from synthgen.people.package import as_shown, read_queue, waits
from synthgen.stages import Job, audit, certify, label
from synthgen.store import Stored
from synthgen.types import Labels

QUEUE = ("5-queue", "queue.json")


@dataclass(frozen=True, slots=True)
class Waiting:
    """An image that waits for a person. place: index in the pool. why: in words, for the person. audit: it is of the
    random audit. blind: its pre-label is not shown."""

    place: int
    why: str
    audit: bool = False
    blind: bool = False


def waiting(job: Job, pool: Stored, decided: Mapping[str, Decision]) -> list[Waiting]:
    """The audit in the order of its draw, then the queue of the run where there is one, then what the labels leave for
    a person; without what was decided, and each image once.

    Raises: DataError when the queue names an image that the pool does not have.
    """
    known = {d.id: d.image for d in decided.values()}
    found: dict[int, Waiting] = {}
    for one in _in_order(job, pool):
        found.setdefault(one.place, one)

    def done(k: int) -> bool:
        # By the pixels: a sample of the same name may be another image by now.
        image = known.get(pool.entries[k].id)
        return image is not None and image == hash_image(pool[k].image)

    return [one for one in found.values() if not done(one.place)]


def bias(job: Job, pool: Stored) -> Bias:
    """Automation bias over the audit of a run, from the decisions so far."""
    prelabels = {}
    for k in audit.drawn(job):
        labels = pool.labels(k)
        if labels is not None:
            prelabels[hash_image(pool[k].image)] = shown(labels)
    return automation_bias(Decisions(job.work.folder / "people").every(), prelabels)


def shown(labels: Labels) -> Labels:
    """What of a pre-label a person sees: without instances that the model's own threshold set aside, and nothing
    ignored, since a person answers for the whole image."""
    return as_shown(labels)


def _in_order(job: Job, pool: Stored) -> Iterator[Waiting]:
    if job.recipe.label.audit.answers != "simulated":
        drawn = audit.drawn(job)
        blind = hidden([hash_image(pool[k].image) for k in drawn])
        yield from (Waiting(k, "random audit", True, b) for k, b in zip(drawn, blind, strict=True))
    place = {entry.id: k for k, entry in enumerate(pool.entries)}
    for one in read_queue(job.work.folder.joinpath(*QUEUE), set(place)):
        yield Waiting(place[one.id], one.why, False, one.blind)
    settled = certify.final(job) if (job.work.folder / certify.NAME / "done.json").is_file() else pool
    yield from (Waiting(k, "to review") for k in range(len(pool)) if waits(settled.labels(k)))


def labelled(job: Job) -> Stored:
    """The pool of a run with its pre-labels. Raises: DataError when it has none yet."""
    folder = job.work.folder
    if not (folder / "5-label" / "done.json").is_file():
        raise DataError(f"{folder}: its pool has no labels yet (5-label is not finished); run the recipe: synthgen run")
    return label.labelled(job)
