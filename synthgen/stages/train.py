"""Train: the labeler on the mix, the same steps on the seed alone to compare with, and the committee where it was not
asked before.

Each training is a unit of its own: resumable, reused when the others change, and run beside them.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from synthgen.stages import Job, Unit, committee, ingest, keys, mix, training
from synthgen.stages.weights import of_seed

CODE = 1
MODEL = "4-train/model"


def units(job: Job) -> list[Unit]:
    """The trainings, which do not depend on each other, and last the calibrated model."""
    common = training.needs(job)
    data = ingest.labelled(job)
    trainings = [Unit("4-train/mixed", common | {"after": keys(mix.units(job))}, partial(_train, job, True))]
    if compares(job):
        trainings.append(Unit("4-train/seed-only", common | {"after": keys(data)}, partial(_train, job, False)))
    members = committee.trainings(job)
    after = keys([*trainings, *members])
    last = Unit(MODEL, {"code": CODE, "use": job.recipe.train.use, "after": after}, partial(_calibrate, job))
    return [*trainings, *([] if committee.early(job) else members), last]


def compares(job: Job) -> bool:
    """Whether a labeler on the seed alone is trained beside: there is something to compare, and a test to do it on."""
    return bool(job.recipe.data.test and any(g.enabled and g.count for g in job.recipe.generate))


def _train(job: Job, synthetic: bool, folder: Path) -> None:
    training.fit(job, mix.mixture(job) if synthetic else of_seed(job), folder, "mixed" if synthetic else "seed-only")


def _calibrate(job: Job, folder: Path) -> None:
    mixed = training.load(job, "4-train/mixed")
    training.trainer(job).calibrate(mixed, committee.held_out(job)).save(folder)
