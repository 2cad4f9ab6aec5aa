"""synthgen cp: copy a shipped recipe, to change it."""

from __future__ import annotations

from pathlib import Path

import click

from synthgen.cli.common import recipe_argument, say
from synthgen.errors import EnvironmentProblem, RecipeError
from synthgen.recipe.relocate import relocated
from synthgen.recipe.shipped import resolve_recipe
from synthgen.store import write_atomic


@click.command("cp")
@recipe_argument
@click.argument("dest", metavar="DEST", type=click.Path(path_type=Path))
@click.option("-n", "--no-clobber", is_flag=True, help="Leave DEST alone when it is there already.")
@click.option("--make-parents", is_flag=True, help="Make the folders above DEST.")
def command(recipe: str, dest: Path, no_clobber: bool, make_parents: bool) -> None:
    """Copy a shipped recipe to DEST, a file or a folder, and keep its comments.

    Paths to the shipped data become absolute in the copy, so that it works wherever it stands.
    """
    source = resolve_recipe(recipe)
    target = dest / source.name if dest.is_dir() else dest
    if target.suffix not in (".yaml", ".yml"):
        target = target.with_name(target.name + ".yaml")
    if target.exists() and target.samefile(source):
        raise RecipeError(f"{target} is the recipe itself; name another DEST")
    if target.exists() and no_clobber:
        say(f"{target} is there already, left as it was")
        return
    if make_parents:
        target.parent.mkdir(parents=True, exist_ok=True)
    if not target.parent.is_dir():
        raise RecipeError(f"there is no folder {target.parent}; make it, or add --make-parents")
    replaced = target.exists()
    try:
        write_atomic(target, relocated(source).encode())
    except PermissionError as error:
        raise EnvironmentProblem(f"{target} cannot be written: {error.strerror}") from None
    say(f"{'replaced' if replaced else 'wrote'} {target}   next: synthgen validate {target}")
