"""Export: seed, synthetic samples and the labelled pool as one dataset in each format asked for, with its card."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path

from synthgen import __version__, plugins
from synthgen.errors import DataError
from synthgen.formats import Format, Loss, Reading
from synthgen.formats.seal import seal
from synthgen.geometry import only_accepted
from synthgen.stages import Job, Unit, card, certify, croissant, evaluate, ingest, keys, screen, version_of
from synthgen.store import write_atomic, write_json
from synthgen.types import Dataset, Labels, Origin, Sample

CODE = 3
TRIED = 8  # samples: a single one might be odd, such as an object without a pixel


def units(job: Job) -> list[Unit]:
    """One unit per format."""
    before = evaluate.units(job) + certify.units(job)
    # The card names the recipe and who wrote it, so both are among the needs.
    common = {"code": CODE, "synthgen": __version__, "name": job.recipe.name, "after": keys(before)}
    return [
        Unit(
            f"7-export/{name}",
            common | {"format": name, "version": version_of("formats", name)},
            partial(_make, job, name),
        )
        for name in job.recipe.export
    ]


def everything(job: Job, writer: Format, waiting: list[str] | None = None) -> Iterator[tuple[card.Source, Sample]]:
    """What is exported: the seed, the synthetic samples, and the pool as far as its labels were accepted.

    Each with where this run has it from, since what a sample says of its origin may be of an earlier run.
    Instances that were not accepted become ignored pixels. A format that cannot say "ignored" would turn them into
    background, so for it images that hold any are left out; they wait in `5-label` for a person. So do images that
    are not accepted as a whole: by their class's score (task `classify`), or by the certificate.
    waiting: takes the ids of images that were left out because this format cannot say "ignored".
    """
    yield from ((("seed", "seed"), sample) for sample in ingest.part(job, "seed"))
    yield from ((("generator", sample.id.rsplit("-", 1)[0]), sample) for sample in screen.kept(job))
    played = set(ingest.audited(job)) if job.recipe.label.audit.answers == "simulated" else set()
    for k, sample in enumerate(certify.final(job)):
        labels = sample.labels
        if labels is None or labels.image_state != "accepted":
            continue
        if labels.reviewed == "human":
            origin = Origin("real", "kept aside", known_by="simulated") if k in played else Origin("real")
            sample = replace(sample, origin=origin)
        sure = only_accepted(labels)
        if len(sure) == len(labels) or getattr(writer, "holds_ignored", False):
            yield ("pool", "pool"), replace(sample, labels=sure)
        elif waiting is not None:
            waiting.append(sample.id)


def write(job: Job, writer: Format, name: str, folder: Path) -> list[Loss]:
    """Write the dataset into a folder, with `losses.json`, `DATASET_CARD.md`, `croissant.json` and,
    where one was asked for, `certificate.json`.

    name: the format's. Raises: DataError, before anything is written, when the format can hold none of the labels.
    """
    refuse_the_unfit(ingest.part(job, "seed"), writer, name, job.recipe.classes)
    tally, waiting = card.Tally(), list[str]()

    def counted() -> Iterator[Sample]:
        for number, (source, sample) in enumerate(everything(job, writer, waiting), 1):
            tally.add(source, sample)
            job.say(f"export {name}", number, 0)
            yield sample

    losses = list(writer.write(counted(), folder, job.recipe.classes))
    if waiting:
        losses.append(Loss("pool images with objects that nobody decided on: left out, since this format cannot say "
                           "that a part of an image is unknown", len(waiting), waiting[0]))
    images = sum(part.images for part in tally.parts.values())
    told = [{"what": x.what, "count": x.count, "example": x.example} for x in losses]
    write_json(folder / "losses.json", {"images": images, "losses": told})
    facts = card.facts_of(job, name, tally, losses)
    write_atomic(folder / card.FILE, card.card(facts).encode())
    # Last, since it lists the other files with their hashes.
    write_atomic(folder / croissant.FILE, croissant.as_text(croissant.croissant(facts, folder)).encode())
    promise = certify.certificate(job)
    if promise is not None and not promise["waiting"]:
        part = tally.parts.get(("pool", "pool"))
        seal(folder, {**promise, "exported": {
            "images": part.images if part else 0,
            "note": "Pool images of this export, people's answers among them. Where they are fewer than were accepted, "
            "this format cannot say that parts of an image are unknown, and the promise is about all that were "
            "accepted, not about this selection of them."}})
    return losses


def refuse_the_unfit(labelled: Dataset, writer: Format, name: str, classes: Sequence[str]) -> None:
    """Refuse a format that gives none of the labels back: a few samples are written on trial and read again.

    Raises: DataError.
    """
    samples = list(islice((s for s in labelled if _says_something(s.labels)), TRIED))
    if not samples:
        return
    with tempfile.TemporaryDirectory(prefix="synthgen-") as scratch:
        folder = Path(scratch) / "trial"
        writer.write(iter(samples), folder, classes)
        back = [x.labels for x in writer.read(folder, classes, Reading()) if isinstance(x, Sample)]
    if any(_says_something(labels) for labels in back):
        return
    labels = samples[0].labels
    assert labels is not None
    what, others = "objects", ["coco", "yolo", "masks", "shards"]
    if labels.image_class is not None:
        what, others = "classes of whole images", ["imagefolder", "shards"]
    elif labels.masks is None:
        what, others = "objects with boxes alone", ["coco", "yolo", "shards"]
    raise DataError(f"the format {name} can hold none of these labels, which are {what}; choose {' or '.join(others)}")


def _says_something(labels: Labels | None) -> bool:
    return labels is not None and (len(labels) > 0 or labels.image_class is not None)


def _make(job: Job, name: str, folder: Path) -> None:
    write(job, plugins.build("formats", name, {}), name, folder)
