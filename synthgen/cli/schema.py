"""synthgen schema: the recipe's JSON schema."""

from __future__ import annotations

import click

from synthgen.cli.common import print_json, say
from synthgen.recipe.editor import json_schema, modeline
from synthgen.recipe.explain import schema_of


@click.command("schema")
@click.option("--field", metavar="PATH", help="Only the schema of one key, such as generate.count.")
def command(field: str | None) -> None:
    """Print the recipe's JSON schema, with the options of all installed plug-ins in it.

    Editors complete and check a recipe with it: write it to a file once, then begin the recipe with a line
    that names the file. Install a plug-in: write it again.

    \b
        synthgen schema > recipe.schema.json
        # yaml-language-server: $schema=recipe.schema.json
    """
    print_json(schema_of(field) if field else json_schema())
    if not field:
        say(f"a recipe beside recipe.schema.json begins with: {modeline()}")
