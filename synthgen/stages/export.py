"""Export: seed, synthetic samples and the labelled pool as one dataset in each format asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from synthgen import plugins
from synthgen.formats import Format
from synthgen.geometry import only_accepted
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


def everything(job: Job, writer: Format) -> Iterator[Sample]:
    """What is exported: the seed, the synthetic samples, and the pool as far as its labels were accepted.

    Instances that were not accepted become ignored pixels. A format that cannot say "ignored" would turn them into
    background, so for it images that hold any are left out; they wait in `5-label` for a person. Pool images whose
    class is not accepted are left out (task `classify`).
    """
    yield from ingest.part(job, "seed")
    yield from filter.kept(job)
    for sample in label.labelled(job):
        labels = sample.labels
        if labels is None or (labels.image_class is not None and labels.image_state != "accepted"):
            continue
        sure = only_accepted(labels)
        if len(sure) == len(labels) or getattr(writer, "holds_ignored", False):
            yield replace(sample, labels=sure)


def _make(job: Job, name: str, folder: Path) -> None:
    writer: Format = plugins.build("formats", name, {})
    count = 0

    def counted() -> Iterator[Sample]:
        nonlocal count
        for sample in everything(job, writer):
            count += 1
            job.say(f"export {name}", count, 0)
            yield sample

    losses = writer.write(counted(), folder, job.recipe.classes)
    write_json(
        folder / "losses.json",
        {"images": count, "losses": [{"what": x.what, "count": x.count, "example": x.example} for x in losses]},
    )
