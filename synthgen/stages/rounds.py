"""Rounds: each completed run adds what it had of people, and what came of it, to the history of its folder.

This is no unit: a unit's folder is replaced by a newer one, and the history is what outlives that.
"""

from __future__ import annotations

from collections import Counter

from synthgen.people import rounds
from synthgen.stages import Job, audit, certify, evaluate, ingest, label
from synthgen.types import Json
from synthgen.work import key_of

SCORED_ON = ("0-ingest/test", "0-ingest/pool_truth")


def keep(job: Job) -> bool:
    """Add this run as a round of its folder; whether it was one.

    It is none without a pool, where the line ended before its labels were judged, and where it is made of the same
    decisions, labels and certificate, scored on the same images, as the round before.
    Raises: DataError when the history was changed by another hand.
    """
    units = [*label.units(job), *certify.units(job), *evaluate.units(job)]
    if job.recipe.data.pool is None or any(job.work.why(u.name, u.needs) is not None for u in units):
        return False
    named = [u for u in [*ingest.units(job), *units] if u.name in ("5-label", certify.NAME, *SCORED_ON)]
    made_of = {"decisions": rounds.digest(ingest.history(job)), **{u.name: key_of(u.needs) for u in named}}
    folder = job.work.folder / ingest.PEOPLE
    before = rounds.rounds(folder)
    if before and before[-1]["made_of"] == made_of:
        return False
    rounds.add(folder, made_of, _facts(job))
    return True


def _facts(job: Job) -> dict[str, Json]:
    said, here, drawn = audit.said(job), ingest.hashes(job), set(audit.drawn(job))
    history, decided = ingest.history(job), ingest.decided(job)
    simulated = job.recipe.label.audit.answers == "simulated"
    promise = certify.certificate(job)
    verdict = evaluate.verdict(job)
    test = verdict["test"].get("mixed", {"n": 0})
    return {
        "last": max((d.at for d in history), default=None),
        "answered": {"audit": sum(here[k] in said for k in drawn),
                     "others": sum(h in decided for k, h in enumerate(here) if k not in drawn),
                     "simulated": len(drawn) if simulated else 0},
        "minutes": rounds.time_spent(history),
        "by_hand": rounds.pace_by_hand(history),
        **_labels(job),
        "certificate": promise and {
            **{k: promise[k] for k in ("certified", "accepted", "bound", "max_error", "confidence")},
            "loss": promise["audit"]["loss"]},
        "test": test if test["n"] else None,
        "truth": verdict["pool"],
    }


def _labels(job: Job) -> dict[str, Json]:
    """The pool's labels as they go out: how many are in which state, and in how many images nothing waits."""
    pool, whole = certify.final(job), job.recipe.task == "classify"
    states, covered = Counter[str](), 0
    for k in range(len(pool)):
        labels = pool.labels(k)
        assert labels is not None
        states.update([labels.image_state] if whole else labels.states or ())
        covered += labels.image_state == "accepted" and "to_review" not in (labels.states or ())
    return {"pool": len(pool), "covered": covered,
            "labels": {"of": "images" if whole else "objects",
                       **{s: states[s] for s in ("accepted", "to_review", "ignored")}}}
