"""Generate: fit each generator on the seed and the pool, then make its samples in shards; sample k depends on seed k
alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from synthgen import plugins
from synthgen.hearing import heard
from synthgen.recipe.schema import Generate
from synthgen.seeds import seed_of
from synthgen.stages import Job, Unit, committee, files_of, ingest, keys, version_of
from synthgen.store import Stored, committed, read_json, write_shard
from synthgen.types import Context, Generator, Member, Sample
from synthgen.work import in_parallel

CODE = 1
LAYOUT_BITS = 8  # low bits of a seed that tell renderings of one layout apart


def units(job: Job) -> list[Unit]:
    """Two units per enabled generator: what it learned, which a changed count leaves as it is, and its samples."""
    enabled = [g for g in job.recipe.generate if g.enabled and g.count]
    return [*(fit_unit(job, g) for g in enabled), *(_sample_unit(job, g) for g in enabled)]


def model_of(section: Generate) -> str:
    """The unit of what a generator learned."""
    return f"1-fit/{section.name}"


def fit_unit(job: Job, section: Generate) -> Unit:
    """The unit of what a generator learns."""
    plugin = plugins.find("generators", section.use)
    before = ingest.labelled(job) + [u for u in ingest.units(job) if u.name == "0-ingest/pool"]
    more = {"task": job.recipe.task, "committee": keys(committee.trainings(job))} if learns(section) else {}
    sampling: tuple[str, ...] = getattr(plugin, "SAMPLING", ())
    learned: Mapping[str, tuple[str, ...]] = getattr(plugin, "LEARNED", {})
    options = {k: v for k, v in section.options.items() if k not in sampling}
    for name, values in learned.items():
        given = section.options.get(name, ())
        asked = [v for v in values if v == given or (isinstance(given, list | tuple) and v in given)]
        options |= {name: asked} if asked else {}
    needs = {
        "code": CODE,
        "use": section.use,
        "version": version_of("generators", section.use),
        "options": _plain(options),
        "files": files_of(job, options),
        "seed": job.recipe.seed,
        **more,
        "after": keys(before),
    }
    return Unit(model_of(section), needs, partial(_fit, job, section))


def _sample_unit(job: Job, section: Generate) -> Unit:
    needs = {
        "code": CODE,
        "options": _plain(section.options),
        "files": files_of(job, section.options),
        "count": section.count,
        "shard_size": job.recipe.shard_size,
        "after": keys([fit_unit(job, section)]),
    }
    return Unit(f"1-generate/{section.name}", needs, partial(_sample, job, section))


def learns(section: Generate) -> bool:
    """Whether a generator trains a network, which takes its time."""
    return bool(getattr(plugins.find("generators", section.use), "LEARNS", False))


def made(job: Job) -> Stored:
    """All synthetic samples, generator by generator."""
    return Stored(*(job.work.path(f"1-generate/{g.name}") / "shards" for g in job.recipe.generate
                    if g.enabled and g.count))


def sample_seed(root: int, name: str, k: int, variants: int) -> int:
    """Seed of sample k: by hash of the names; `variants` neighbours share all but the low bits, hence the layout."""
    low = (1 << LAYOUT_BITS) - 1
    return (seed_of(root, "generate", name, k // variants) & ~low) | (k % variants)


def samples(generator: Generator, root: int, name: str, first: int, last: int) -> Iterator[Sample]:
    """Samples first … last − 1 of a fitted generator, with their ids."""
    variants = getattr(generator, "variants", 1)
    seeds = [sample_seed(root, name, k, variants) for k in range(first, last)]
    for k, sample in zip(range(first, last), generator.sample(seeds), strict=True):
        yield replace(sample, id=f"{name}-{k:06d}")


def fitted(job: Job, section: Generate, folder: Path) -> Generator:
    """A generator fitted on the ingested seed, in a folder for its checkpoints.

    Raises: what the generator raises, DataError for data that it cannot learn from.
    """
    recipe = job.recipe
    generator: Generator = plugins.build("generators", section.use, section.options)
    context = Context(
        seed_of(recipe.seed, "fit", section.name),
        recipe.task,
        recipe.classes,
        folder,
        job.device,
        job.threads,
        lambda what, done, total: job.say(f"{what} {section.name}", done, total),
        job.base,
        job.workers,
        partial(committee.members, job) if learns(section) else _nobody,
    )
    generator.fit(list(ingest.part(job, "seed")), ingest.part(job, "pool"), context)
    return generator


def _nobody() -> list[Member]:
    return []


def _fit(job: Job, section: Generate, folder: Path) -> None:
    """What a generator learned, saved into a folder; a warning that it left in `warning.json` becomes an event."""
    fitted(job, section, folder).save(folder)
    if (folder / "warning.json").exists():
        job.events.add("warning", generator=section.name, why=read_json(folder / "warning.json")["warning"])


def _sample(job: Job, section: Generate, folder: Path) -> None:
    shards, size = folder / "shards", job.recipe.shard_size
    shards.mkdir(exist_ok=True)
    done = set(committed(shards))
    missing = [number for number in range(-(-section.count // size)) if number not in done]
    with heard(job.work.folder, job.say) as say:
        jobs = [(make_shard, (replace(job, workers=1, say=say), section, shards, number)) for number in missing]
        # A device of its own serves one process at a time.
        in_parallel(jobs, job.workers if job.device == "cpu" else 1, job.say, f"generate {section.name}, shards")


def make_shard(job: Job, section: Generate, shards: Path, number: int) -> None:
    """Load a fitted generator and write one shard; runs in a process of its own."""
    size = job.recipe.shard_size
    first, last = number * size, min((number + 1) * size, section.count)
    generator: Generator = plugins.build("generators", section.use, section.options)
    generator.load(job.work.path(model_of(section)), job.device)
    made = samples(generator, job.recipe.seed, section.name, first, last)
    what = f"generate {section.name}, samples of shard {number + 1}"
    write_shard(shards, number, counted(made, lambda n: job.say(what, n, last - first)))


def counted(made: Iterable[Sample], say: Callable[[int], None]) -> Iterator[Sample]:
    """The same samples; as each has been taken in, how many there are so far is said."""
    for n, sample in enumerate(made, 1):
        yield sample
        say(n)


def _plain(value: Any) -> Any:
    """Options as JSON."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)
