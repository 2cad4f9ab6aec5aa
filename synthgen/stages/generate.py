"""Generate: fit each generator on the seed, then make its samples in shards; sample k depends on seed k alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from synthgen import plugins
from synthgen.recipe.schema import Generate
from synthgen.seeds import seed_of
from synthgen.stages import Job, Unit, files_of, ingest, keys, version_of
from synthgen.store import Stored, committed, write_shard
from synthgen.types import Context, Generator, Sample
from synthgen.work import in_parallel

CODE = 1
LAYOUT_BITS = 8  # low bits of a seed that tell renderings of one layout apart


def units(job: Job) -> list[Unit]:
    """One unit per enabled generator."""
    before = [u for u in ingest.units(job) if u.name in ("0-ingest/seed", "0-ingest/pool", "0-ingest/guard")]
    return [
        Unit(
            f"1-generate/{g.name}",
            {
                "code": CODE,
                "use": g.use,
                "version": version_of("generators", g.use),
                "options": _plain(g.options),
                "files": files_of(job, g.options),
                "count": g.count,
                "seed": job.recipe.seed,
                "shard_size": job.recipe.shard_size,
                "after": keys(before),
            },
            partial(_make, job, g),
        )
        for g in job.recipe.generate
        if g.enabled and g.count
    ]


def made(job: Job) -> Stored:
    """All synthetic samples, generator by generator."""
    return Stored(*(job.work.path(u.name) / "shards" for u in units(job)))


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
    """A generator fitted on the ingested seed."""
    recipe = job.recipe
    generator: Generator = plugins.build("generators", section.use, section.options)
    generator.fit(
        list(ingest.part(job, "seed")),
        ingest.part(job, "pool"),
        Context(
            seed_of(recipe.seed, "fit", section.name),
            recipe.task,
            recipe.classes,
            folder,
            job.device,
            job.threads,
            job.say,
            job.base,
        ),
    )
    return generator


def _make(job: Job, section: Generate, folder: Path) -> None:
    model = folder / "model"
    if not (model / "fitted").exists():
        model.mkdir(parents=True, exist_ok=True)
        fitted(job, section, model).save(model)
        (model / "fitted").touch()
    shards, size = folder / "shards", job.recipe.shard_size
    shards.mkdir(exist_ok=True)
    done = set(committed(shards))
    jobs = [
        (
            make_shard,
            (
                section.use,
                section.options,
                model,
                shards,
                number,
                job.recipe.seed,
                section.name,
                number * size,
                min((number + 1) * size, section.count),
            ),
        )
        for number in range(-(-section.count // size))
        if number not in done
    ]
    in_parallel(jobs, job.workers, job.say, f"generate {section.name}")


def make_shard(
    use: str,
    options: dict[str, Any],
    model: Path,
    shards: Path,
    number: int,
    root: int,
    name: str,
    first: int,
    last: int,
) -> None:
    """Load a fitted generator and write one shard; runs in a process of its own."""
    generator: Generator = plugins.build("generators", use, options)
    generator.load(model)
    write_shard(shards, number, samples(generator, root, name, first, last))


def _plain(value: Any) -> Any:
    """Options as JSON."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)
