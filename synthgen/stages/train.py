"""Train: the labeler on the mix, the same steps on the seed alone to compare with, and folds for calibration.

Each training is a unit of its own: resumable, reused when the others change, and run beside them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from synthgen import plugins
from synthgen.seeds import seed_of
from synthgen.stages import Job, Unit, files_of, ingest, keys, mix, version_of
from synthgen.store import Stored, Subset, read_json, write_json
from synthgen.types import Context, Labeler, Mixture, Trainer

CODE = 1
MODEL = "4-train/model"


def units(job: Job) -> list[Unit]:
    """The trainings, which do not depend on each other, and last the calibrated model."""
    recipe = job.recipe
    section = recipe.train
    data = [u for u in ingest.units(job) if u.name in ("0-ingest/seed", "0-ingest/guard")]
    common = {
        "code": CODE,
        "use": section.use,
        "version": version_of("trainers", section.use),
        "options": section.options,
        "task": recipe.task,
        "seed": recipe.seed,
        "mix": {k: v for k, v in recipe.mix.model_dump(mode="json").items() if k in ("augment", "per_class")},
        "files": files_of(job, section.options),
    }
    mixed = Unit("4-train/mixed", common | {"after": keys(mix.units(job))}, partial(_train, job, True))
    trainings = [mixed]
    if compares(job):
        trainings.append(
            Unit("4-train/seed-only", common | {"after": keys(data)}, partial(_train, job, False))
        )
    for k in range(folds(job)):
        needs = common | {"after": keys(data), "fold": [k, section.calibration_folds]}
        trainings.append(Unit(f"4-train/fold-{k}", needs, partial(_train_fold, job, k)))
    last = Unit(MODEL, {"code": CODE, "use": section.use, "after": keys(trainings)}, partial(_calibrate, job))
    return [*trainings, last]


def compares(job: Job) -> bool:
    """Whether a labeler on the seed alone is trained beside: there is something to compare, and a test to do it on."""
    return bool(job.recipe.data.test and any(g.enabled and g.count for g in job.recipe.generate))


def folds(job: Job) -> int:
    """Folds that are trained."""
    return job.recipe.train.calibration_folds if job.recipe.train.calibration_folds > 1 else 0


def load(job: Job, name: str) -> Labeler:
    """The labeler of a training unit."""
    return trainer(job).load(job.work.path(name), job.device, job.threads)


def trainer(job: Job) -> Trainer:
    """The recipe's trainer."""
    built: Trainer = plugins.build("trainers", job.recipe.train.use, job.recipe.train.options)
    return built


def fold_members(stored: Stored, k: int, n: int) -> list[int]:
    """Samples of fold k of n: every n-th, so that classes in order are spread evenly."""
    return [i for i in range(len(stored)) if i % n == k]


def fit(job: Job, train: Mixture, val: Sequence[int], folder: Path, name: str) -> None:
    """One training, saved into a folder."""
    recipe = job.recipe
    context = Context(
        seed_of(recipe.seed, "train"),
        recipe.task,
        recipe.classes,
        folder,
        job.device,
        job.threads,
        lambda what, done, total: job.say(f"{what} {name}", done, total),
        job.base,
    )
    labeler = trainer(job).fit(train, Subset(ingest.part(job, "seed"), list(val)), ingest.part(job, "pool"), context)
    labeler.save(folder)


def _train(job: Job, synthetic: bool, folder: Path) -> None:
    fit(job, mix.mixture(job, synthetic=synthetic), [], folder, "mixed" if synthetic else "seed-only")


def _train_fold(job: Job, k: int, folder: Path) -> None:
    stored = ingest.part(job, "seed")
    out = fold_members(stored, k, job.recipe.train.calibration_folds)
    if not out or len(out) == len(stored):
        # Too few images for so many folds: this one holds nothing out, or everything.
        write_json(folder / "skipped.json", {"why": f"{len(stored)} seed images do not fill fold {k}"})
        return
    mixture = mix.mixture(job, without=[stored.entries[i].id for i in out], synthetic=False)
    fit(job, mixture, out, folder, f"fold-{k}")


def _calibrate(job: Job, folder: Path) -> None:
    stored = ingest.part(job, "seed")
    held_out = []
    for k in range(folds(job)):
        if (job.work.path(f"4-train/fold-{k}") / "skipped.json").exists():
            continue
        members = fold_members(stored, k, job.recipe.train.calibration_folds)
        held_out.append((load(job, f"4-train/fold-{k}"), Subset(stored, members)))
    trainer(job).calibrate(load(job, "4-train/mixed"), held_out).save(folder)


def curve(job: Job, name: str) -> list[list[float]]:
    """(step, loss) pairs of a training; empty when its trainer keeps none."""
    path = job.work.path(name) / "curve.json"
    found: list[list[float]] = read_json(path)["step_loss"] if path.exists() else []
    return found
