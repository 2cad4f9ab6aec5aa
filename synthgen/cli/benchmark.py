"""`synthgen benchmark`: does synthetic data help on these data?"""

from __future__ import annotations

import time
from typing import Any

import click

from synthgen.cli.common import columns, json_option, overrides_option, print_json, recipe_argument, say
from synthgen.errors import Interrupted, shown
from synthgen.recipe.schema import ARM_NAMES

PROFILES = {"quick": 2, "release": 5}


def _numbers(_ctx: click.Context, param: click.Parameter, text: str | None) -> list[float] | None:
    """A list such as 4,10,25 as numbers; the recipe's schema judges them."""
    if text is None:
        return None
    try:
        return [int(part) if part.strip().isdigit() else float(part) for part in text.split(",")]
    except ValueError:
        such = "0.25,0.5" if param.name == "ratios" else "4,10,25"
        raise click.BadParameter(f"{text!r} is no list of numbers such as {such}", param=param) from None


@click.command("benchmark")
@recipe_argument
@overrides_option
@click.option("--arms", metavar="A,B,…", help=f"What to compare: {', '.join(ARM_NAMES)}. The arm real is always there.")
@click.option("--seeds", type=click.IntRange(1, 100), help="Repetitions; without: the recipe's, else 5.")
@click.option("--profile", type=click.Choice(list(PROFILES)), help="quick: 2 seeds, decides nothing; release: 5 seeds.")
@click.option("--seed-sizes", callback=_numbers, metavar="N,N,…",
              help="Labelled images to pretend to have (classify: of each class).")
@click.option("--ratios", callback=_numbers, metavar="R,R,…",
              help="Further shares of real images in a batch, for the arm mixed.")
@json_option
def command(recipe: str, overrides: tuple[str, ...], arms: str | None, seeds: int | None, profile: str | None,
            seed_sizes: list[float] | None, ratios: list[float] | None, as_json: bool) -> None:
    """Train the same labeler on real, synthetic, mixed and pseudo-labelled data of RECIPE, and say which helped.

    Every arm gets the same steps; each seed makes its own synthetic images. Trainings that stand are reused, so
    that adding an arm, a seed or a size trains only what is new. Long: `--profile quick` shows in a fraction of the
    time what comes. Exit 0 whatever the answer is: `synthgen run` has a gate, this has a table.
    """
    from synthgen.benchmark.analysis import analyse
    from synthgen.benchmark.trainings import bench_of, train_all
    from synthgen.benchmark.words import equivalents, first_line, notes, table
    from synthgen.cli.progress import Watch
    from synthgen.hearing import interruptible
    from synthgen.recipe.load import load
    from synthgen.report.benchmark import write_page
    from synthgen.run import run_folder
    from synthgen.store import write_json

    if seeds is not None and profile is not None:
        raise click.UsageError("--seeds and --profile both say how many repetitions there are; give one of them")
    if ratios is not None and arms is not None and "mixed" not in [a.strip() for a in arms.split(",")]:
        raise click.UsageError("--ratios are of the arm mixed, which --arms leaves out; name it there too")
    seeds = PROFILES[profile] if profile is not None else seeds
    asked: dict[str, Any] = {"arms": None if arms is None else [a.strip() for a in arms.split(",")], "seeds": seeds,
                             "seed_sizes": seed_sizes, "ratios": ratios}
    given = tuple(f"benchmark.{key}={_yaml(value)}" for key, value in asked.items() if value is not None)
    loaded = load(recipe, (*overrides, *given))
    folder = run_folder(loaded) / "benchmark"
    began = time.monotonic()
    try:
        with interruptible(), Watch(folder) as watch:
            bench = bench_of(loaded, watch)
            train_all(bench, say)
            found = analyse(bench)
    except (KeyboardInterrupt, Interrupted):
        raise Interrupted(
            f"stopped; what was finished is kept in {shown(folder)}. Go on with the same command"
        ) from None
    write_json(folder / "benchmark.json", found)
    page = write_page(found, folder)
    if as_json:
        print_json(found)
    else:
        click.echo(first_line(found))
        click.echo(columns(table(found)))
        for line in equivalents(found):
            click.echo(line)
    for note in notes(found):
        say(note, style="dim")
    say(f"figures  {shown(folder / 'benchmark.json')}")
    say(f"page     {shown(page)}")
    say(f"done in {int((time.monotonic() - began) // 60)} min {int((time.monotonic() - began) % 60)} s")


def _yaml(value: Any) -> str:
    return "[" + ", ".join(map(str, value)) + "]" if isinstance(value, list) else str(value)


