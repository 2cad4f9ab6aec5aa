"""What commands share: where text goes, and the arguments that many of them take."""

from __future__ import annotations

import json
import logging
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console

from synthgen.types import Json

F = TypeVar("F", bound=Callable[..., Any])
WIDTH = 120  # characters of a line of running text, at most

console = Console(stderr=True, highlight=False)
"""For people: stderr, in colour on a terminal, silent under -q. Data never goes here."""


def set_verbosity(level: int) -> None:
    """-1 errors only · 0 as usual · 1 what is being done · 2 and why."""
    console.quiet = level < 0
    if level > 0:
        logging.basicConfig(format="%(name)s: %(message)s")          # stderr
        logging.getLogger("synthgen").setLevel(logging.INFO if level == 1 else logging.DEBUG)


def say(text: str, style: str | None = None) -> None:
    """One line for people; never wrapped or read as markup, so that paths in it can be copied."""
    console.print(text, style=style, markup=False, soft_wrap=True)


def print_json(value: Json) -> None:
    """A value on stdout, for machines."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def beside(word: str, text: str) -> str:
    """A word, and beside it a text that wraps: lines of the terminal's width, WIDTH at most."""
    width = min(console.width, WIDTH) if console.is_terminal else WIDTH
    return textwrap.fill(text, width, initial_indent=f"  {word:<12} ", subsequent_indent=" " * 15,
                         break_long_words=False, break_on_hyphens=False)


def columns(rows: Sequence[Sequence[str]], indent: str = "") -> str:
    """Rows as aligned columns, two spaces apart; the last column is not padded."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)] if rows else []
    return "\n".join(
        (indent + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))).rstrip()
        for row in rows)


def _complete_recipe(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[Any]:
    from click.shell_completion import CompletionItem

    from synthgen.recipe.shipped import shipped_recipes

    names = [CompletionItem(name) for name in shipped_recipes() if name.startswith(incomplete)]
    return [*names, CompletionItem(incomplete, type="file")]


def recipe_argument(function: F) -> F:
    """The argument RECIPE: a file, or the name of a shipped recipe; `load` resolves it."""
    return click.argument("recipe", metavar="RECIPE", shell_complete=_complete_recipe)(function)


def overrides_option(function: F) -> F:
    """The option -S, given to the command as `overrides`, for `load`."""
    return click.option(
        "-S", "--set", "overrides", multiple=True, metavar="PATH=VALUE",
        help="Set a key of the recipe: -S generate.paste.count=50. Items of lists go by name or index. "
             "Repeatable.",
    )(function)


def run_argument(function: F) -> F:
    """The argument RECIPE|RUN_FOLDER, given as `run`; `run_folder_of` resolves it."""
    return click.argument("run", metavar="RECIPE|RUN_FOLDER", shell_complete=_complete_recipe)(function)


def run_folder_of(run: str, overrides: Sequence[str] = ()) -> Path:
    """The run folder that a person means: the folder itself, or the one of a recipe.

    Raises: RecipeError when it is neither; UsageError as `made_by`.
    """
    from synthgen.recipe.load import load
    from synthgen.run import run_folder

    return made_by(run, overrides) or run_folder(load(run, overrides))


def made_by(run: str, overrides: Sequence[str]) -> Path | None:
    """The folder, if it is one that a run made; None of a recipe.

    Raises: UsageError where keys are to be set in a folder, whose recipe is settled: they would be lost.
    """
    folder = Path(run)
    if not (folder / "recipe.resolved.json").is_file():
        return None
    if overrides:
        raise click.UsageError(f"-S sets keys of a recipe, and {run} is the folder of a run, whose recipe stands: "
                               "leave -S out, or give the recipe")
    return folder.absolute()


def json_option(function: F) -> F:
    """The option --json, given to the command as `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")(function)
