"""synthgen validate: everything that is wrong with a recipe, without running it."""

from __future__ import annotations

import sys

import click

from synthgen.cli.common import json_option, overrides_option, print_json, recipe_argument, say
from synthgen.errors import RecipeError
from synthgen.recipe.load import Loaded, load
from synthgen.recipe.problems import InvalidRecipeError


@click.command("validate")
@recipe_argument
@overrides_option
@click.option("--resolved", is_flag=True,
              help="Print the whole recipe in effect: extended, overridden, defaults filled in.")
@json_option
def command(recipe: str, overrides: tuple[str, ...], resolved: bool, as_json: bool) -> None:
    """Tell everything that is wrong with a recipe: keys, values, plug-ins and their options, paths.

    Exit code 0 when it is valid, 3 when it is not. Nothing is run, and no data is opened.
    """
    try:
        loaded = load(recipe, overrides)
    except RecipeError as error:
        if not as_json:
            raise
        problems = error.problems if isinstance(error, InvalidRecipeError) else ()
        told = [problem.as_json() for problem in problems] or [{"message": str(error)}]
        print_json({"valid": False, "recipe": recipe, "problems": told})
        click.get_current_context().exit(error.exit_code)
    if as_json:
        whole = {"resolved": loaded.resolved} if resolved else {}
        files = [str(path) for path in loaded.files]
        print_json({"valid": True, "recipe": recipe, "problems": [], "files": files, **whole})
        return
    if resolved:
        from ruamel.yaml import YAML

        yaml = YAML()
        yaml.width = 4096                       # no value is broken over lines
        yaml.dump(loaded.resolved, sys.stdout)
    say(_summary(recipe, loaded))


def _summary(name: str, loaded: Loaded) -> str:
    recipe = loaded.recipe
    enabled = [g for g in recipe.generate if g.enabled]
    samples = sum(g.count for g in enabled)
    parts = [f"task {recipe.task}", _count(len(recipe.classes), "class", "es"),
             f"{_count(len(enabled), 'generator')} for {_count(samples, 'sample')}",
             f"export {', '.join(recipe.export) or 'nothing'}"]
    return f"{name} is valid: {'; '.join(parts)}"


def _count(n: int, noun: str, plural: str = "s") -> str:
    return f"{n} {noun}{plural if n != 1 else ''}"
