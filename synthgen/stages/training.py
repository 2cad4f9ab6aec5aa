"""How the recipe's labeler is trained, whatever it is shown: by the committee, by the run, by a benchmark."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from synthgen import plugins
from synthgen.recipe.schema import Recipe
from synthgen.seeds import seed_of
from synthgen.stages import Job, files_of, ingest, keys, version_of
from synthgen.store import read_json
from synthgen.types import Context, Json, Labeler, Mixture, Trainer

CODE = 1


def needs(job: Job) -> dict[str, Json]:
    """What every training of the recipe's labeler needs, whatever it is shown.

    The labeler on the mix, the one on the seed alone and the members of the committee learn from the pool alike, where
    the recipe's options say so: what differs between the first two is then the synthetic images, and a temperature
    that the committee found fits the labeler that it is given to. The pool has no labels, so that a member has still
    not seen the labels of its fold.
    """
    recipe, section = job.recipe, job.recipe.train
    unlabelled = {"pool": pool_keys(job)} if uses_pool(section.use, section.options) else {}
    return unlabelled | {
        "code": CODE,
        "use": section.use,
        "version": version_of("trainers", section.use),
        "options": section.options,
        "task": recipe.task,
        "seed": recipe.seed,
        "mix": {k: v for k, v in recipe.mix.model_dump(mode="json").items() if k in ("augment", "per_class")},
        "files": files_of(job, section.options),
    }


def pool_keys(job: Job) -> Json:
    """What a training that looks at the pool needs of it."""
    return keys([unit for unit in ingest.units(job) if unit.name == "0-ingest/pool"])


def switches(use: str) -> Mapping[str, Json]:
    """The options that make a trainer learn from the pool, with values that do; empty when it cannot."""
    found: Mapping[str, Json] = getattr(plugins.find("trainers", use), "SELF_TRAINING", {})
    return found


def uses_pool(use: str, options: Mapping[str, Json]) -> bool:
    """Whether a trainer with these options looks at the pool."""
    return any(options.get(name) for name in switches(use))


def options_of(recipe: Recipe, pool: bool) -> dict[str, Json]:
    """The recipe's options for its trainer, with learning from the pool on, as the recipe has it or else as the trainer
    does, or off."""
    use, own = recipe.train.use, recipe.train.options
    on = {name: own.get(name) or value for name, value in switches(use).items()} if pool else {}
    return {name: value for name, value in own.items() if name not in switches(use)} | on


def trainer(job: Job) -> Trainer:
    """The recipe's trainer."""
    built: Trainer = plugins.build("trainers", job.recipe.train.use, job.recipe.train.options)
    return built


def fit(job: Job, train: Mixture, folder: Path, name: str, options: dict[str, Json] | None = None) -> None:
    """One training, saved into a folder; options: in place of the recipe's. A warning that the trainer left in
    `pool.json` becomes an event of the run."""
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
    section = job.recipe.train
    built: Trainer = plugins.build("trainers", section.use, section.options if options is None else options)
    built.fit(train, [], ingest.part(job, "pool"), context).save(folder)
    said = read_json(folder / "pool.json")["warning"] if (folder / "pool.json").exists() else ""
    if said:
        job.events.add("warning", training=name, why=said)


def load(job: Job, name: str) -> Labeler:
    """The labeler of a training unit."""
    return trainer(job).load(job.work.path(name), job.device, job.threads)


def curve(job: Job, name: str) -> list[list[float]]:
    """(step, loss) pairs of a training; empty when its trainer keeps none."""
    path = job.work.path(name) / "curve.json"
    found: list[list[float]] = read_json(path)["step_loss"] if path.exists() else []
    return found
