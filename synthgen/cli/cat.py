"""synthgen cat: print a shipped recipe."""

from __future__ import annotations

import click

from synthgen.cli.common import recipe_argument
from synthgen.recipe.shipped import resolve_recipe


@click.command("cat")
@recipe_argument
def command(recipe: str) -> None:
    """Print a shipped recipe as it is, comments too."""
    click.echo(resolve_recipe(recipe).read_text("utf-8"), nl=False)
