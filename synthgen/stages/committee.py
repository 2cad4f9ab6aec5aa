"""Committee: labelers that learned from the seed without one fold of it each, and can be asked about what they did not
see: for the scores' temperature, for agreement with synthetic labels, and by generators while they learn.

They need the seed alone. Where a generator asks them they are trained first of all, else with the labeler, so that a
bad generator that learns nothing costs no training.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from synthgen import plugins
from synthgen.stages import Job, Unit, ingest, keys, training
from synthgen.stages.weights import of_seed
from synthgen.store import Stored, Subset, write_json
from synthgen.types import Labeler, Member


def units(job: Job) -> list[Unit]:
    """The committee, where it is asked before the labeler is trained."""
    return trainings(job) if early(job) else []


def early(job: Job) -> bool:
    """Whether a generator that learns, or the filter, asks the committee."""
    return any(getattr(plugins.find("generators", g.use), "LEARNS", False)
               for g in job.recipe.generate if g.enabled and g.count)


def trainings(job: Job) -> list[Unit]:
    """One training per fold."""
    data = ingest.labelled(job)
    n = job.recipe.train.calibration_folds
    return [Unit(name_of(k), training.needs(job) | {"after": keys(data), "fold": [k, n]}, partial(_train, job, k))
            for k in range(folds(job))]


def name_of(k: int) -> str:
    """The unit of a fold."""
    return f"1-committee/fold-{k}"


def folds(job: Job) -> int:
    """Folds that are trained."""
    return job.recipe.train.calibration_folds if job.recipe.train.calibration_folds > 1 else 0


def members(job: Job) -> list[Member]:
    """The committee: each labeler with the ids of the seed images that it did not see; empty without folds."""
    seed = ingest.part(job, "seed")
    found = []
    for k in range(folds(job)):
        if not (job.work.path(name_of(k)) / "skipped.json").exists():
            unseen = tuple(seed.entries[i].id for i in _out(job, seed, k))
            found.append(Member(training.load(job, name_of(k)), unseen))
    return found


def held_out(job: Job) -> list[tuple[Labeler, Subset]]:
    """Each labeler of the committee with the seed images that it did not see."""
    seed = ingest.part(job, "seed")
    at = {entry.id: i for i, entry in enumerate(seed.entries)}
    return [(m.labeler, Subset(seed, [at[name] for name in m.unseen])) for m in members(job)]


def _out(job: Job, seed: Stored, k: int) -> list[int]:
    """Samples of a fold: every n-th, so that classes in order are spread evenly."""
    return [i for i in range(len(seed)) if i % job.recipe.train.calibration_folds == k]


def _train(job: Job, k: int, folder: Path) -> None:
    seed = ingest.part(job, "seed")
    out = _out(job, seed, k)
    if not out or len(out) == len(seed):
        # Too few images for so many folds: this one holds nothing out, or everything.
        write_json(folder / "skipped.json", {"why": f"{len(seed)} seed images do not fill fold {k}"})
        return
    training.fit(job, of_seed(job, without=[seed.entries[i].id for i in out]), folder, f"fold-{k}")
