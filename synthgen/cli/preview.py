"""`synthgen preview`: a few samples on one sheet."""

from __future__ import annotations

from pathlib import Path

import click

from synthgen.cli.common import json_option, overrides_option, print_json, recipe_argument, say


@click.command("preview")
@recipe_argument
@overrides_option
@click.option("-n", "count", type=click.IntRange(1, 400), default=16, show_default=True,
              help="How many samples, over all generators.")
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), default=Path("preview.png"),
              show_default=True, help="Where to write the sheet (PNG).")
@click.option("--boxes", is_flag=True, help="Draw boxes instead of outlines.")
@json_option
def command(recipe: str, overrides: tuple[str, ...], count: int, output: Path, boxes: bool, as_json: bool) -> None:
    """Make the first samples that RECIPE would make, and show them on one sheet: image beside known labels.

    Nothing is kept but the sheet; the run's folder is not touched. The samples are the run's own.
    """
    from synthgen.cli.progress import Watch
    from synthgen.errors import DataError, EnvironmentProblem
    from synthgen.images import png_bytes
    from synthgen.preview import contact_sheet, preview
    from synthgen.recipe.load import load
    from synthgen.store import write_atomic

    loaded = load(recipe, overrides)
    with Watch(output.parent) as watch:
        made = preview(loaded, count, watch, lambda text: say(f"note: {text}", style="yellow"))
    if not any(m.samples for m in made):
        trains = "trains a network" if len(made) == 1 else "train networks"
        raise DataError(f"there is nothing to show yet: {', '.join(m.name for m in made)} {trains} first; run "
                        f"synthgen run {recipe} --until generate, then this again")
    try:
        write_atomic(output, png_bytes(contact_sheet(made, loaded.recipe.classes, boxes), level=6))
    except OSError as error:
        raise EnvironmentProblem(
            f"{output} cannot be written ({error.strerror or error}); choose another with -o"
        ) from None
    if as_json:
        print_json({"sheet": str(output), "generators": [
            {"name": m.name, "samples": [s.id for s in m.samples], "fit_seconds": round(m.fit_seconds, 3),
             "sample_seconds": round(m.sample_seconds, 4), "trained": m.trained,
             "agreement": [round(a, 4) for a in m.agreement]} for m in made]})
        return
    for m in made:
        if m.name == "seed" and not m.fit_seconds:
            say("this recipe has no generators; the sheet shows the seed")
        elif not m.trained:
            say(f"{m.name:<16}trains a network first: synthgen run {recipe} --until generate; this sheet leaves it out")
        else:
            say(
                f"{m.name:<16}{len(m.samples):>4} samples, {1000 * m.sample_seconds:.0f} ms each, "
                f"after {m.fit_seconds:.1f} s to fit"
            )
    click.echo(str(output))
