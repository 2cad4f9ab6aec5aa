"""`synthgen label`: label images with a trained labeler."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from synthgen.cli.common import json_option, print_json, say

if TYPE_CHECKING:
    from synthgen.formats import Loss, Problem
    from synthgen.images import Bits


@click.command("label")
@click.argument("images", type=click.Path(path_type=Path))
@click.option(
    "--model", "-m", required=True, type=click.Path(path_type=Path), help="Folder of a labeler: RUN/4-train/model."
)
@click.option(
    "--out", "-o", required=True, type=click.Path(path_type=Path), help="New folder for the labelled dataset."
)
@click.option("--to", "target", default="coco", show_default=True, help="Format to write.")
@click.option(
    "--accept", default=0.5, show_default=True, type=click.FloatRange(0, 1), help="Accept from this score on."
)
@click.option("--ignore", default=0.15, show_default=True, type=click.FloatRange(0, 1), help="Ignore below this score.")
@click.option(
    "--tta/--no-tta",
    default=True,
    show_default=True,
    help="Average over flips and quarter turns: surer, for eight times the work; --no-tta asks once.",
)
@click.option("--device", default="auto", type=click.Choice(["auto", "cpu", "cuda", "mps"]), show_default=True)
@click.option(
    "--bits",
    type=click.Choice(["8", "10", "12", "14", "16"]),
    help="Bits that 16-bit grey images really use. Without: data.bits of the run that the model lies in, so that "
    "images look as they did in training; of a model outside its run this is not known, and 16 is taken.",
)
@click.option(
    "--max-bad",
    default=0.02,
    show_default=True,
    type=click.FloatRange(0, 1),
    help="Share of unreadable images allowed.",
)
@json_option
def command(
    images: Path,
    model: Path,
    out: Path,
    target: str,
    accept: float,
    ignore: float,
    tta: bool,
    device: str,
    bits: str | None,
    max_bad: float,
    as_json: bool,
) -> None:
    """Label the images in the folder IMAGES: of any size, in any format; labels that come with them are not read.

    Scores are calibrated when the labeler is. Each instance is accepted, ignored, or left for a person.
    """
    import os

    from synthgen import plugins
    from synthgen.answers import answers
    from synthgen.cli.progress import Watch
    from synthgen.device import device_of
    from synthgen.errors import DataError
    from synthgen.formats import Format, Problem, Reading
    from synthgen.formats.detect import open_dataset
    from synthgen.images import list_images
    from synthgen.recipe.schema import Label
    from synthgen.stages.label import sorted_out
    from synthgen.store import new_folder, read_json
    from synthgen.types import Origin, Sample, Trainer

    about = model / "labeler.json"
    if not about.is_file():
        raise DataError(
            f"{model}: there is no labeler here (labeler.json is missing); a run keeps its own in 4-train/model"
        )
    facts = read_json(about)
    classes = facts["settings"]["classes"]
    trainer: Trainer = plugins.build("trainers", facts["trainer"], {})
    labeler = trainer.load(model, device_of(device), os.cpu_count() or 1)
    writer: Format = plugins.build("formats", target, {})
    if ignore > accept:
        raise click.UsageError(f"--ignore {ignore:g} is above --accept {accept:g}")
    rules = Label(accept=accept, ignore=ignore, tta=tta)
    reading = Reading(bits=_bits_of_run(model) if bits is None else cast("Bits", int(bits)))
    bad: list[Problem] = []
    states: Counter[str] = Counter()
    count, total = 0, len(list_images(images))

    def labelled(watch: Watch) -> Iterator[Sample]:
        nonlocal count

        def readable() -> Iterator[Sample]:
            for item in open_dataset(images, "images", classes, reading):
                if isinstance(item, Problem):
                    bad.append(item)
                    _bearable(bad, total, max_bad)  # at once, and not after hours
                else:
                    yield item

        for item, found in answers(labeler, readable(), tta=tta):
            labels = sorted_out(found, rules)
            states.update(labels.states or ())
            if labels.image_class is not None:
                states[labels.image_state] += 1
            count += 1
            watch("label", count + len(bad), total)
            yield replace(item, labels=labels, origin=Origin("pseudo", facts["trainer"], known_by="model"))

    with Watch(out.parent) as watch:
        losses = new_folder(
            out, lambda folder: _checked(writer.write(labelled(watch), folder, classes), bad, count, max_bad)
        )
    if as_json:
        print_json(
            {
                "path": str(out),
                "images": count,
                "states": dict(states),
                "bad": len(bad),
                "losses": [{"what": x.what, "count": x.count} for x in losses],
            }
        )
    for problem in bad[:8]:
        say(f"left out {problem.file}: {problem.what}")
    for loss in losses:
        say(f"{target} cannot hold: {loss.what} ({loss.count}, for example {loss.example})")
    said = ", ".join(f"{states[s]} {s.replace('_', ' ')}" for s in ("accepted", "to_review", "ignored"))
    say(f"{out}: {count} images; {said}")


def _bits_of_run(model: Path) -> Bits:
    """`data.bits` of the run that a model lies in, RUN/4-train/model; 16, the recipe's own default, outside of one.

    Raises: RecipeError when that run's recipe cannot be read.
    """
    from synthgen.report.source import load_run

    run = model.absolute().parent.parent
    if not (run / "recipe.resolved.json").is_file():
        return 16
    bits = load_run(run).recipe.data.bits
    if bits != 16:
        say(f"bits     {bits}, as {run.name} says in data.bits")
    return bits


def _checked(losses: list[Loss], bad: list[Problem], good: int, most: float) -> list[Loss]:
    """The losses, once the share of bad items is found bearable. Raises: TooManyBadItems, DataError."""
    from synthgen.errors import DataError

    if not good:
        raise DataError(
            "there is no image that could be labelled" + (f"; the first: {bad[0].file}: {bad[0].what}" if bad else "")
        )
    _bearable(bad, good + len(bad), most)
    return losses


def _bearable(bad: list[Problem], total: int, most: float) -> None:
    """Raises: TooManyBadItems when more of so many images are bad than may be; of a single image it says nothing."""
    from synthgen.errors import TooManyBadItems

    if len(bad) > most * total and total > len(bad):
        raise TooManyBadItems(
            f"{len(bad)} of {total} images cannot be read, more than --max-bad {most:g} allows; the first: "
            f"{bad[0].file}: {bad[0].what}; nothing was written; all of them: synthgen data check IMAGES"
        )
