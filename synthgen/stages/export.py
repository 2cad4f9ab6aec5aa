"""Export: seed, synthetic samples and the labelled pool as one dataset in each format asked for."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from synthgen import plugins
from synthgen.formats import Format
from synthgen.stages import Job, Unit, evaluate, filter, ingest, keys, label, version_of  # noqa: A004
from synthgen.store import write_json
from synthgen.types import Sample

CODE = 1


def units(job: Job) -> list[Unit]:
    """One unit per format."""
    before = evaluate.units(job)
    return [
        Unit(
            f"7-export/{name}",
            {"code": CODE, "format": name, "version": version_of("formats", name), "after": keys(before)},
            partial(_make, job, name),
        )
        for name in job.recipe.export
    ]


def everything(job: Job) -> Iterator[Sample]:
    """What is exported: the seed, the synthetic samples, and pool images that have an accepted label or none to doubt.

    Pool images whose class is not accepted are left out (task `classify`); instances that are not accepted keep
    their state, and each format says what it does with them.
    """
    yield from ingest.part(job, "seed")
    yield from filter.kept(job)
    for sample in label.labelled(job):
        if sample.labels is not None and (sample.labels.image_class is None or sample.labels.image_state == "accepted"):
            yield sample


def _make(job: Job, name: str, folder: Path) -> None:
    writer: Format = plugins.build("formats", name, {})
    count = 0

    def counted() -> Iterator[Sample]:
        nonlocal count
        for sample in everything(job):
            count += 1
            job.say(f"export {name}", count, 0)
            yield sample

    losses = writer.write(counted(), folder, job.recipe.classes)
    write_json(
        folder / "losses.json",
        {"images": count, "losses": [{"what": x.what, "count": x.count, "example": x.example} for x in losses]},
    )
