"""Audit: which images of the pool are drawn, and what was answered about them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from synthgen.errors import DataError, WaitingForPeople, shown
from synthgen.images import hash_image
from synthgen.people.decisions import Decision, hash_labels
from synthgen.stages import Job, ingest
from synthgen.types import Json, Labels
from synthgen.work import key_of


@dataclass(frozen=True, slots=True)
class Answers:
    """Of the drawn images, in the order of the draw: their indices in the pool, and the answers; None where a person
    looked and could not say. decided_by: who answered, in words."""

    drawn: tuple[int, ...]
    labels: tuple[Labels | None, ...]
    decided_by: str


def drawn(job: Job) -> tuple[int, ...]:
    """Indices of the audit's images in the pool, in the order of the draw; fewer where the pool is smaller."""
    return ingest.audited(job)


def decided(job: Job) -> dict[str, Decision]:
    """Image hash → the last decision of people in this run's folder."""
    return ingest.decided(job)


def digest(job: Job) -> str:
    """Stands for the answers to the audit, for the needs; it changes when one of them does."""
    if job.recipe.label.audit.answers == "simulated":
        return next((key_of(u.needs) for u in ingest.units(job) if u.name == "0-ingest/pool_truth"), "none")
    known, here = said(job), ingest.hashes(job)
    told = [(here[k], d.action, hash_labels(d.labels)) for k in drawn(job) if (d := known.get(here[k])) is not None]
    return hashlib.sha256(repr(sorted(told)).encode()).hexdigest()


def said(job: Job) -> dict[str, Decision]:
    """Image hash → the last decision, a skip counted where there is no other: who looked and could not say has
    answered too."""
    return {d.image: d for d in ingest.history(job) if d.action == "skip"} | ingest.decided(job)


def answers(job: Job) -> Answers:
    """The answers to the whole audit.

    Raises: WaitingForPeople while some are missing; DataError when they are to be simulated and nothing is there to
    do it with.
    """
    pool, picks = ingest.part(job, "pool"), drawn(job)
    if job.recipe.label.audit.answers == "simulated":
        return Answers(picks, _simulated(job, picks), "simulated: labels kept aside (data.pool_truth) stand in for a "
                       "person")
    ingest.set_apart_for_good(job)
    known, here = said(job), ingest.hashes(job)
    found: list[Decision | None] = [known.get(here[k]) for k in picks]
    missing = [pool.entries[k].id for k, d in zip(picks, found, strict=True) if d is None]
    if missing:
        raise WaitingForPeople(told(shown(job.work.folder), len(missing), len(picks), missing))
    given = [d for d in found if d is not None]
    names = sorted({d.by for d in given})
    return Answers(picks, tuple(d.labels if d.answered else None for d in given), f"people: {', '.join(names)}")


def look(job: Job, question: Json, given: Answers, judged: Sequence[Json | Labels]) -> str:
    """By what a look at the audit is known (`synthgen.people.looks`): the question, what was answered about which
    images, and what is judged by it, something for each image of the pool in its order."""
    here = ingest.hashes(job)
    said = [[here[k], hash_labels(right)] for k, right in zip(given.drawn, given.labels, strict=True)]
    every = [[h, hash_labels(x) if isinstance(x, Labels) else x] for h, x in zip(here, judged, strict=True)]
    return key_of([job.recipe.task, list(job.recipe.classes), question, said, every])


def told(run: str, missing: int, of: int, ids: Sequence[str]) -> str:
    """What waits for whom, and what to do. run: its folder, as it can be typed."""
    few = ", ".join(ids[:3]) + (" …" if len(ids) > 3 else "")
    return (f"{missing} of the {of} audit images wait for a person ({few}): label them with "
            f"`synthgen review {run}`, or with a tool of your own by `synthgen review {run} --to cvat --out FOLDER`; "
            f"then the same command goes on")


def _simulated(job: Job, picks: Sequence[int]) -> tuple[Labels, ...]:
    pool, truth = ingest.part(job, "pool"), ingest.part(job, "pool_truth")
    where = {hash_image(truth[k].image): k for k in range(len(truth))}
    out = []
    for k in picks:
        at = where.get(hash_image(pool[k].image))
        labels = None if at is None else truth.labels(at)
        if labels is None:
            file = pool.about(k)["meta"].get("file", pool.entries[k].id)
            raise DataError(f"data.pool_truth holds no labels of {file}, which the audit drew: simulated answers need "
                            "the labels of the whole pool")
        out.append(replace(labels, reviewed="human"))
    return tuple(out)
