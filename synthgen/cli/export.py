"""`synthgen export`: a finished run's dataset in another format."""

from __future__ import annotations

from pathlib import Path

import click

from synthgen.cli.common import overrides_option, run_argument, say


@click.command("export")
@run_argument
@overrides_option
@click.option("--to", "target", required=True,
              help="Format: coco, yolo, voc, cvat, labelstudio, masks, imagefolder, shards.")
@click.option("--out", "-o", required=True, type=click.Path(path_type=Path), help="New folder for the dataset.")
@click.option("--option", "options", multiple=True, metavar="KEY=VALUE", help="Option of the format. Repeatable.")
@click.option("--strict", is_flag=True, help="Write nothing when the format cannot hold everything.")
def command(
    run: str, overrides: tuple[str, ...], target: str, out: Path, options: tuple[str, ...], strict: bool
) -> None:
    """Write a finished run's dataset in another format: seed, synthetic samples and the labelled pool.

    A dataset that the gate refused is not written (exit 4), nor is one in a format that can hold none of its labels
    (exit 3). DATASET_CARD.md and croissant.json go with it.
    """
    from synthgen import plugins
    from synthgen.cli.data import options_of
    from synthgen.cli.gate import finished
    from synthgen.cli.progress import Watch
    from synthgen.errors import DataError, GateRefused
    from synthgen.formats import Format, Loss
    from synthgen.stages.export import write
    from synthgen.store import new_folder

    job, verdict = finished(run, overrides)
    if verdict["verdict"] == "fail":
        raise GateRefused(f"the gate refused this dataset; the report says why: synthgen report {run}")
    writer: Format = plugins.build("formats", target, options_of(options))

    def make(folder: Path) -> list[Loss]:
        losses = write(job, writer, target, folder)
        if strict and losses:
            raise DataError(f"--strict: {target} cannot hold " + "; ".join(f"{x.what} ({x.count})" for x in losses))
        return losses

    with Watch(out.parent):
        losses = new_folder(out, make)
    for loss in losses:
        say(f"{target} cannot hold: {loss.what} ({loss.count}, for example {loss.example})")
    say(f"wrote {out}")
