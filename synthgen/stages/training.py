"""How the recipe's labeler is trained, whatever it is shown: by the committee, by the run, by a benchmark."""

from __future__ import annotations

from pathlib import Path

from synthgen import plugins
from synthgen.seeds import seed_of
from synthgen.stages import Job, files_of, ingest, version_of
from synthgen.store import read_json
from synthgen.types import Context, Json, Labeler, Mixture, Trainer

CODE = 1


def needs(job: Job) -> dict[str, Json]:
    """What every training of the recipe's labeler needs, whatever it is shown."""
    recipe, section = job.recipe, job.recipe.train
    return {
        "code": CODE,
        "use": section.use,
        "version": version_of("trainers", section.use),
        "options": section.options,
        "task": recipe.task,
        "seed": recipe.seed,
        "mix": {k: v for k, v in recipe.mix.model_dump(mode="json").items() if k in ("augment", "per_class")},
        "files": files_of(job, section.options),
    }


def trainer(job: Job) -> Trainer:
    """The recipe's trainer."""
    built: Trainer = plugins.build("trainers", job.recipe.train.use, job.recipe.train.options)
    return built


def fit(job: Job, train: Mixture, folder: Path, name: str) -> None:
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
    trainer(job).fit(train, [], ingest.part(job, "pool"), context).save(folder)


def load(job: Job, name: str) -> Labeler:
    """The labeler of a training unit."""
    return trainer(job).load(job.work.path(name), job.device, job.threads)


def curve(job: Job, name: str) -> list[list[float]]:
    """(step, loss) pairs of a training; empty when its trainer keeps none."""
    path = job.work.path(name) / "curve.json"
    found: list[list[float]] = read_json(path)["step_loss"] if path.exists() else []
    return found
