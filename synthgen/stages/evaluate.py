"""Evaluate: open the locked test once, measure, and give a verdict."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from synthgen.answers import answers
from synthgen.checks import as_json, run_checks, verdict_of, waive
from synthgen.images import hash_image
from synthgen.metrics.accuracy import columns, score_image
from synthgen.metrics.bounds import ratio_interval
from synthgen.recipe.schema import Label
from synthgen.seeds import rng_of, seed_of
from synthgen.stages import (
    Job,
    Unit,
    committee,
    evidence,
    filter,  # noqa: A004 - the stage is called so
    ingest,
    keys,
    label,
    screen,
    train,
    training,
    version_of,
)
from synthgen.stages.agreement import agreement_of
from synthgen.stages.evidence import NOTHING, built, families, features_of, one_per_layout, waivers_of
from synthgen.stages.losses import losses_of
from synthgen.store import Stored, read_json, write_all, write_json
from synthgen.types import Dataset, Evidence, Json, Labeler, Labels, Origin, Task

CODE = 6
METRICS: dict[Task, tuple[str, ...]] = {
    "instances": ("dice", "ap50", "count_error"),
    "segment": ("dice",),
    "detect": ("ap50", "count_error"),
    "classify": ("accuracy",),
}


def units(job: Job) -> list[Unit]:
    """What extractors learn where the screen has not asked for it already, and the verdict."""
    section = job.recipe.evaluate
    known = {u.name for u in screen.units(job)}
    learned = [u for u in evidence.units(job) if u.name not in known] if filter.units(job) else []
    data = [u for u in ingest.units(job) if u.name != "0-ingest/guard"]
    before = data + filter.units(job) + screen.taken_out(job) + train.units(job) + label.units(job)
    checks = {e.check: [version_of("checks", e.check), e.options] for e in section.gate}
    return [
        *learned,
        Unit(
            "6-evaluate",
            {
                "code": CODE,
                **section.model_dump(mode="json"),
                "checks": checks,
                "features": evidence.needs(job, late=True),
                "waivers in force": [w.in_force for w in waivers_of(section)],
                "seed": job.recipe.seed,
                "label": label.rules_of(job),
                "after": keys(before),
            },
            partial(_make, job),
        )
    ]


def verdict(job: Job) -> Json:
    """What the gate said: {"verdict", "measurements", "extractors", "test", "pool"}.

    The test images with the labels that they got stand as shards in `test-labels` beside it.
    """
    return read_json(job.work.path("6-evaluate") / "verdict.json")


def _make(job: Job, folder: Path) -> None:
    recipe = job.recipe
    arms = {"mixed": training.load(job, train.MODEL)}
    if train.compares(job):
        # Both by the same folds: else the one's scores would mean something else at the same thresholds.
        alone = training.load(job, "4-train/seed-only")
        arms["real"] = training.trainer(job).calibrate(alone, committee.held_out(job))
    test = ingest.part(job, "test")
    if len(test):
        job.events.add("locked test opened", by="evaluate", images=len(test))
    scores: dict[str, Json] = {}
    for number, (arm, labeler) in enumerate(arms.items()):
        job.say("evaluate", number, len(arms) + 2)
        labelled = _labelled(labeler, test, recipe.label)
        scores[arm] = {"per_image": [score_image(label.measured(mine), right) for mine, right in labelled]}
        if arm == "mixed":
            write_all(
                folder / "test-labels",
                (
                    replace(test[k], labels=mine, origin=Origin("pseudo", recipe.train.use, known_by="model"))
                    for k, (mine, _) in enumerate(labelled)
                ),
                recipe.shard_size,
            )
    truth = ingest.part(job, "pool_truth")
    pool_scores = _pool_scores(label.labelled(job), truth)
    synthetic = screen.kept(job)
    job.say("evaluate", len(arms), len(arms) + 2)
    independent = one_per_layout(synthetic)
    parts: dict[str, Dataset] = {
        "synthetic": independent,
        "seed": ingest.part(job, "seed"),
        "pool": ingest.part(job, "pool"),
    }
    # Made before the checks run, which turn every exception into a measurement: a missing package is to stop the run.
    made = features_of(parts, families(job, arms.get("real"))) if len(synthetic) else NOTHING
    def asks(check: str) -> bool:
        return any(entry.check == check for entry in recipe.evaluate.gate)

    found = Evidence(
        synthetic,
        parts["seed"],
        parts["pool"],
        test,
        recipe.classes,
        recipe.task,
        made.features,
        scores,
        independent,
        agreement_of(job, independent) if asks("agreement") else {},
    )
    measurements = run_checks(built(recipe.evaluate), found, recipe.seed) if len(synthetic) else []
    measurements += made.notes() + losses_of(job) + screen.losses(job)
    measurements = waive(measurements, waivers_of(recipe.evaluate))
    rng = rng_of(seed_of(recipe.seed, "evaluate", "scores"))
    write_json(folder / "scores.json", {"test": scores, "pool": pool_scores})
    write_json(
        folder / "verdict.json",
        {
            "verdict": verdict_of(measurements, recipe.evaluate.on_inconclusive),
            "measurements": [as_json(m) for m in measurements],
            "extractors": made.extractors,
            "test": {arm: summary(s["per_image"], recipe.task, rng) for arm, s in scores.items()},
            "pool": {"simulated_truth": True, **summary(pool_scores, recipe.task, rng)} if pool_scores else None,
        },
    )
    job.say("evaluate", len(arms) + 2, len(arms) + 2)


def _labelled(labeler: Labeler, data: Dataset, rules: Label) -> list[tuple[Labels, Labels]]:
    """The labeler's labels, sorted out as the pool's are, and the true ones of each image."""
    out = []
    for sample, found in answers(labeler, data, tta=rules.tta):
        assert sample.labels is not None
        out.append((label.sorted_out(found, rules), sample.labels))
    return out


def _pool_scores(labelled: Stored, truth: Stored) -> list[Json]:
    """Records of the pool's labels against the truth that was kept aside, matched by the pixels; empty without."""
    known = {hash_image(truth[k].image): k for k in range(len(truth))}
    out = []
    for k in range(len(labelled)):
        mine = labelled[k]
        at = known.get(hash_image(mine.image))
        right = None if at is None else truth.labels(at)
        if mine.labels is not None and right is not None:
            out.append(score_image(label.measured(mine.labels), right))
    return out


def summary(records: Sequence[Json], task: Task, rng: np.random.Generator) -> Json:
    """Each metric of the task: value, 95 % interval over images, n."""
    out: dict[str, Any] = {"n": len(records)}
    for metric in METRICS[task]:
        pair = columns(records, metric) if records else None
        if pair is None:
            continue
        value, interval = ratio_interval(*pair, rng)
        out[metric] = {"value": _finite(value), "interval": [_finite(v) for v in interval]}
    return out


def _finite(value: float) -> float | None:
    return round(float(value), 6) if math.isfinite(value) else None
