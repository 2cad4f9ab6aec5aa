"""Queue: which images of the pool people should look at next, and why each. `queue.json` is a list of {"id", "why",
"blind"}; the audit stands first, in the order of its draw, and every other image of it is blind."""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from synthgen.answers import answers
from synthgen.errors import DataError
from synthgen.metrics import queue as orders
from synthgen.metrics.accuracy import score_image, value_of
from synthgen.people.bias import hidden
from synthgen.seeds import rng_of, seed_of
from synthgen.stages import Job, Unit, committee, ingest, keys, label, train, training
from synthgen.stages.doubt import doubt_of
from synthgen.store import Stored, write_json
from synthgen.types import Dataset, Json, Labeler, Labels, Probabilistic, Strategy

CODE = 3
CHUNK = 64  # images held at a time
NAME = "5-queue"
WORDS = {
    "audit": "drawn at random for the certificate",
    "random": "drawn at random",
    "typical": "typical of many images that nobody labelled",
    "uncertainty": "its labels are among the most doubtful of their class",
    "committee": "labelers that learned from different parts of the seed disagree",
    "expected-change": "its labels would change the labeler most",
}


def units(job: Job) -> list[Unit]:
    """One unit, where a queue is asked for or an audit waits for people."""
    rules = job.recipe.label
    people = rules.certify is not None and rules.audit.answers == "people"
    if job.recipe.data.pool is None or (rules.queue is None and not people):
        return []
    before = [u for u in ingest.units(job) if u.name == "0-ingest/pool"] + label.units(job) + train.units(job)
    needs = {"code": CODE, "queue": rules.queue and rules.queue.model_dump(), "seed": job.recipe.seed,
             "audit": None if rules.certify is None else [rules.audit.images, rules.audit.answers],
             "measured": _seconds(job), "after": keys(before)}
    return [Unit(NAME, needs, partial(_make, job))]


def _seconds(job: Job) -> list[float]:
    """What people took per image so far, rounded, so that a second more or less makes no new queue."""
    taken = [d.seconds for d in ingest.decided(job).values() if d.seconds]
    return [float(np.round(np.median(taken), -1))] * 5 if len(taken) >= 5 else []


def _make(job: Job, folder: Path) -> None:
    rules, pool = job.recipe.label.queue, label.labelled(job)
    people = job.recipe.label.certify is not None and job.recipe.label.audit.answers == "people"
    audited = list(ingest.audited(job)) if people else []
    here = ingest.hashes(job)
    blind = hidden([here[k] for k in audited])
    rows: list[Json] = [{"id": pool.entries[k].id, "why": WORDS["audit"], "strategy": "audit", "blind": unseen}
                        for k, unseen in zip(audited, blind, strict=True)]
    if rules is not None:
        places = min(orders.places_in(rules.minutes, _seconds(job), rules.seconds), len(pool))
        known = {d.image for d in ingest.decided(job).values() if d.answered}
        away = [k for k, name in enumerate(here) if name in known] + list(ingest.audited(job))
        found = {name: _order(job, name, pool, places) for name, share in rules.shares.items() if share}
        picks = orders.shared(found, rules.shares, places, away)
        rows += [{"id": pool.entries[k].id, "why": WORDS[name], "strategy": name, "blind": False}
                 for k, name in picks]
    write_json(folder / "queue.json", rows)
    write_json(folder / "summary.json", {"images": len(rows), "strategies": Counter(r["strategy"] for r in rows)})


def _order(job: Job, name: Strategy, pool: Stored, places: int) -> NDArray[np.int64]:
    """The pool in the order of a strategy."""
    rng = rng_of(seed_of(job.recipe.seed, "queue", name))
    if name == "random":
        return orders.random(len(pool), rng)
    given = [pool.labels(k) for k in range(len(pool))]
    if name == "typical":
        labeler, seed = training.load(job, train.MODEL), ingest.part(job, "seed")
        return orders.typical(_features(labeler, pool), _features(labeler, seed), places, rng)
    strata = np.array([_class_of(labels) for labels in given])
    if name == "uncertainty":
        return orders.by_value([doubt_of(labels) for labels in given if labels is not None], strata)
    return orders.by_value(_disagreement(job, pool) if name == "committee" else _change(job, pool), strata)


def _features(labeler: Labeler, data: Dataset) -> NDArray[np.float32]:
    """(N, D), some images at a time."""
    return np.concatenate([labeler.features([data[k].image for k in range(i, min(i + CHUNK, len(data)))])
                           for i in range(0, len(data), CHUNK)])


def _class_of(labels: Labels | None) -> int:
    """The class that an image counts for: its own, or its objects' most frequent; −1 without any."""
    if labels is None or (labels.image_class is None and not len(labels)):
        return -1
    return labels.image_class if labels.image_class is not None else int(np.bincount(labels.classes).argmax())


def _disagreement(job: Job, pool: Stored) -> list[float]:
    """1 − how far the labels of each member of the committee agree with the labeler's, averaged over the members; boxes
    that neither believes in are no disagreement.

    Raises: DataError without a committee.
    """
    total = np.zeros(len(pool))
    members = committee.members(job)
    if not members:
        raise DataError("label.queue.shares: committee needs labelers that learned from parts of the seed; set "
                        "train.calibration_folds to 2 or more, or choose another strategy")
    for member in members:
        for k, (_, found) in enumerate(answers(member.labeler, pool, tta=False)):
            mine = pool.labels(k)
            assert mine is not None
            same = float(found.image_class == mine.image_class) if mine.image_class is not None else \
                value_of([score_image(found, label.measured(mine))], "ap50")
            total[k] += 1 - same
    return list(total / len(members))


def _change(job: Job, pool: Stored) -> list[float]:
    labeler = training.load(job, train.MODEL)
    if not isinstance(labeler, Probabilistic):
        raise DataError(f"label.queue.shares: expected-change needs probabilities, which the labeler of "
                        f"{job.recipe.train.use} does not give; choose another strategy")
    return [orders.expected_change(p) for i in range(0, len(pool), CHUNK)
            for p in labeler.probabilities([pool[k].image for k in range(i, min(i + CHUNK, len(pool)))])]
