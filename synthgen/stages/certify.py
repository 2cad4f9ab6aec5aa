"""Certify: how wrong the pool's labels are, from a random audit; what may be accepted, and what waits for a person.

Writes `certificate.json`, for programs and, in `words`, for people, and `labels.json`: the states and labels that the
certificate gives to the pool's images. It holds for this model, this pool and these labels; when one of them changes
its key no longer fits and it is made anew, or refused. That is another look at the audit, and each look has its share
of the risk (`synthgen.metrics.looks`); which one this is stands in people/looks.json.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from synthgen import __version__
from synthgen.errors import DataError
from synthgen.metrics.accuracy import Record, score_image
from synthgen.metrics.certificate import Certified, audit_needed, certify, most_loss, risk_coverage
from synthgen.metrics.looks import confidence_at
from synthgen.people import looks
from synthgen.people.decisions import hash_labels
from synthgen.seeds import rng_of, seed_of
from synthgen.stages import Job, Unit, audit, core, doubt, ingest, keys, label
from synthgen.stages.promise import in_words
from synthgen.store import Stored, Subset, labels_to_json, read_json, write_json
from synthgen.types import Json, Labels, State, Task
from synthgen.work import key_of

CODE = 3
NAME = "5-certify"
FILE = "certificate.json"
DECILE = 0.1
KIND = "mean error"  # of promise, by which its looks are counted
LOSSES: Mapping[Task, str] = {
    "classify": "a wrong class (0 or 1 per image)",
    "instances": "1 − F1 of the objects at IoU 0.5, per image",
    "detect": "1 − F1 of the boxes at IoU 0.5, per image",
    "segment": "1 − Dice, per image",
}


def units(job: Job) -> list[Unit]:
    """One unit, where a certificate is asked for."""
    rules = job.recipe.label.certify
    if rules is None or job.recipe.data.pool is None:
        return []
    before = [u for u in ingest.units(job) if u.name == "0-ingest/pool"] + doubt.units(job)
    needs = {"code": CODE, **rules.model_dump(), "audit": job.recipe.label.audit.model_dump(),
             "answers": audit.digest(job), "after": keys(before)}
    return [*doubt.units(job), Unit(NAME, needs, partial(_make, job))]


def certificate(job: Job) -> Json:
    """The certificate of this run, or None where none was asked for."""
    return read_json(job.work.path(NAME) / FILE) if units(job) else None


def final(job: Job) -> Stored | Subset:
    """The pool with its labels as they go out: with the certificate's states, and people's answers in their place."""
    pool = label.labelled(job)
    if not units(job):
        return pool
    return Subset(pool, range(len(pool)), read_json(job.work.path(NAME) / "labels.json"))


def _make(job: Job, folder: Path) -> None:
    rules, pool, task = job.recipe.label.certify, label.labelled(job), job.recipe.task
    assert rules is not None
    answers = audit.answers(job)
    given = [pool.labels(k) for k in range(len(pool))]
    settled = [label.settled(labels) for labels in given if labels is not None]
    doubts = doubt.doubts(job)
    records = [None if right is None else _record(settled[k], right, task, pool.entries[k].id)
               for k, right in zip(answers.drawn, answers.labels, strict=True)]
    losses = np.array([loss_of(r, task) for r in records])
    beside = job.work.folder / ingest.PEOPLE
    seen = audit.look(job, [KIND, rules.max_error, rules.confidence, rules.of], answers,
                      [[hash_labels(labels), float(d)] for labels, d in zip(settled, doubts, strict=True)])
    look = looks.number_of(beside, KIND, seen)
    found = certify(doubts, answers.drawn, losses, rules.max_error, confidence_at(look, rules.confidence), rules.of)
    if found.steps:  # else nothing could have passed, whatever was answered
        looks.write_down(beside, KIND, seen)
    accepted = np.zeros(len(pool), bool)
    accepted[np.argsort(doubts, kind="stable")[: found.best.accepted if found.best else 0]] = True
    facts = _facts(job, look, found, np.asarray(answers.drawn, np.int64), doubts, losses, len(pool))
    facts["audit"]["answers"] = answers.decided_by
    facts["classes"] = _per_class(job, settled, accepted, np.asarray(answers.drawn, np.int64), losses, look)
    people = {k: right for k, right in zip(answers.drawn, answers.labels, strict=True) if right is not None}
    here, decided = ingest.hashes(job), ingest.decided(job)
    others = {k: decided[h] for k, h in enumerate(here) if h in decided and k not in set(answers.drawn)}
    people |= {k: d.labels for k, d in others.items() if d.answered}
    rejected = {k for k, h in enumerate(here) if h in decided and decided[h].action == "reject"}
    facts["waiting"] = int((~accepted).sum()) - sum(not accepted[k] for k in people) if rules.of == "output" else 0
    facts["pixels"] = None if rules.pixels is None else core.facts(job, rules, answers, settled)
    facts["words"] = in_words(facts)
    write_json(folder / FILE, facts)
    changed = {str(k): labels_to_json(people[k] if k in people else settled[k] if accepted[k] and k not in rejected
                                      else _waiting(given[k]))
               for k in range(len(pool))}
    write_json(folder / "labels.json", changed)


def _record(mine: Labels, right: Labels, task: Task, name: str) -> Record:
    """The record of an image's labels against a person's answer.

    Raises: DataError for an answer that cannot be compared: boxes where the task has masks.
    """
    if right.masks is None and not len(right):
        right = replace(right, masks=())
    if mine.masks is None and not len(mine):
        mine = replace(mine, masks=())
    if task == "segment" and right.masks is None:
        raise DataError(f"the answer about {name} is boxes, and task segment is judged by masks: answer it with masks")
    return score_image(mine, right)


def loss_of(record: Record | None, task: Task) -> float:
    """The loss of an image's labels in [0, 1], from `score_image`; 1 where the person could not say."""
    if record is None:
        return 1.0
    if task == "classify":
        return 1.0 - float(record["correct"] or 0)
    if task == "segment":
        both = record["pred_px"] + record["true_px"]
        return 1 - 2 * record["overlap"] / both if both else 0.0
    every = 2 * record["tp"] + record["fp"] + record["fn"]
    return 1 - 2 * record["tp"] / every if every else 0.0


def _waiting(labels: Labels | None) -> Labels:
    assert labels is not None
    states: tuple[State, ...] = tuple("ignored" if s == "ignored" else "to_review" for s in labels.states or ())
    return replace(labels, states=states, image_state="to_review")


def _facts(job: Job, look: int, found: Certified, drawn: NDArray[np.int64], doubts: NDArray[np.float64],
           losses: NDArray[np.float64], size: int) -> dict[str, Json]:
    rules, best = job.recipe.label.certify, found.best
    assert rules is not None
    sure = confidence_at(look, rules.confidence)
    order = np.argsort(doubts, kind="stable")
    rank = np.empty(size, np.int64)
    rank[order] = np.arange(size)
    coverage, risk, augrc = risk_coverage(doubts[drawn], losses)
    worst = np.argsort(-losses, kind="stable")[: max(1, math.ceil(DECILE * len(losses)))]
    pool = ingest.part(job, "pool")
    needed = None
    if best is None:
        after = confidence_at(look + bool(found.steps), rules.confidence)
        needed = audit_needed(doubts[drawn], losses, rules.max_error, after, size, rng_of(seed_of(0, "plan the audit")),
                              of=rules.of)
    return {
        "synthgen": __version__,
        "name": job.recipe.name,
        "task": job.recipe.task,
        "loss": LOSSES[job.recipe.task],
        "max_error": rules.max_error,
        "confidence": rules.confidence,
        "of": rules.of,
        "look": looks.told(look, sure, counted=bool(found.steps)),
        "certified": best is not None,
        "images": size,
        "accepted": best.accepted if best else 0,
        "bound": _rounded(best.bound) if best else None,
        # From what was promised, not from the bound: that is of the part that the audit chose, and counts no choice.
        "bound_of_accepted": _rounded(min(1.0, rules.max_error * (size / best.accepted if rules.of == "output" else 1)))
        if best else None,
        "observed": _rounded(best.loss) if best else None,
        "audit": {"images": len(drawn), "inside": best.seen if best else 0, "needed": needed,
                  "loss": _rounded(float(losses.mean())) if len(losses) else None,
                  "bound_of_all": _rounded(most_loss(losses, size, sure))},
        "worst": {"loss": _rounded(float(losses[worst].mean())),
                  "images": [[pool.entries[int(drawn[k])].id, _rounded(float(losses[k]))] for k in worst]}
        if len(losses) else None,
        "steps": [{k: _rounded(v) if isinstance(v, float) else v for k, v in asdict(s).items()} for s in found.steps],
        "curve": {"coverage": [_rounded(float(v)) for v in coverage], "risk": [_rounded(float(v)) for v in risk],
                  "augrc": _rounded(augrc)},
        "holds_for": {u.name: key_of(u.needs) for u in label.units(job)}
        | {u.name: u.needs["data"] for u in ingest.units(job) if u.name == "0-ingest/pool"},
    }


def _per_class(job: Job, settled: Sequence[Labels], accepted: NDArray[np.bool_], drawn: NDArray[np.int64],
               losses: NDArray[np.float64], look: int) -> list[Json]:
    """For each class, the accepted images that show it by the model's word; the bounds hold together for a part of the
    pool that was chosen beforehand: that the audit chose it is not counted in."""
    rules = job.recipe.label.certify
    assert rules is not None
    inside = accepted if accepted.any() else np.ones(len(settled), bool)
    out: list[Json] = []
    sure = confidence_at(look, rules.confidence)
    each = 1 - (1 - sure) / len(job.recipe.classes)  # so that all bounds hold together (Bonferroni)
    for c, name in enumerate(job.recipe.classes):
        shows = np.array([labels.image_class == c or c in _shown(labels) for labels in settled], bool) & inside
        seen = losses[shows[drawn]]
        size = int(shows.sum())
        bound = most_loss(seen, size, each)
        mean = float(seen.mean()) if len(seen) else None
        verdict = ("nothing to certify" if not size else "bound met" if accepted.any() and bound <= rules.max_error
                   else "too wrong" if mean is not None and mean > rules.max_error else "n too small"
                   if accepted.any() else "not certified")
        out.append({"class": name, "images": size, "audited": len(seen), "loss": None if mean is None else
                    _rounded(mean), "bound": _rounded(bound) if size else None, "verdict": verdict})
    return out


def _shown(labels: Labels) -> set[int]:
    """Classes of the objects that go out."""
    return {int(c) for c, state in zip(labels.classes, labels.states or (), strict=True) if state == "accepted"}


def _rounded(value: float) -> float | None:
    return round(value, 6) if math.isfinite(value) else None
