"""`synthgen init`: look at somebody's data and write a recipe for it."""

from __future__ import annotations

from pathlib import Path

import click

from synthgen.cli.common import say


@click.command("init")
@click.argument("data", type=click.Path(path_type=Path))
@click.option(
    "--pool", type=click.Path(path_type=Path), help="Unlabelled images; found by itself as pool/ or unlabelled/."
)
@click.option("--test", type=click.Path(path_type=Path), help="Labelled test images; found by itself as test/ or val/.")
@click.option("--name", help="Name of the recipe and its run folder; else the folder's.")
@click.option(
    "--out",
    "-o",
    type=click.Path(path_type=Path),
    default=Path("recipe.yaml"),
    show_default=True,
    help="File to write.",
)
@click.option("--force", is_flag=True, help="Write over a file that is there.")
def command(data: Path, pool: Path | None, test: Path | None, name: str | None, out: Path, force: bool) -> None:
    """Look at the labelled images in DATA, and write a recipe that `synthgen validate` accepts.

    DATA is a dataset, or a folder of datasets named seed (or train, labelled), pool (or unlabelled) and test (or
    val). Format, classes, sizes and task are found by looking; nothing in DATA is changed.
    """
    from synthgen.errors import DataError
    from synthgen.init import look, recipe_for

    if out.exists() and not force:
        raise DataError(f"{out}: this exists already; give another --out, or --force")
    seen = look(data, pool, test)
    for line in seen.lines():
        say(line)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(recipe_for(seen, name, out.parent), encoding="utf-8")
    except OSError as error:
        raise DataError(f"{out}: cannot be written ({error.strerror}); give another --out") from None
    say(f"wrote {out}   next: synthgen preview {out}")
