"""synthgen ls: shipped recipes and installed plug-ins."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Literal

import click

from synthgen import plugins
from synthgen.cli.common import columns, json_option, print_json
from synthgen.errors import PluginError
from synthgen.plugins import GROUPS, Group, Plugin
from synthgen.recipe.explain import options_of
from synthgen.recipe.shipped import shipped_recipes
from synthgen.types import Json


@click.command("ls")
@click.argument("kind", type=click.Choice(["recipes", *GROUPS]), default="recipes")
@json_option
def command(kind: Literal["recipes"] | Group, as_json: bool) -> None:
    """List shipped recipes (the default), or plug-ins of one kind with their options."""
    if kind == "recipes":
        _recipes(as_json)
    else:
        _plugins(kind, as_json)


def _recipes(as_json: bool) -> None:
    rows = [(name, first_comment(path), str(path)) for name, path in shipped_recipes().items()]
    if as_json:
        print_json([{"name": name, "about": about, "path": path} for name, about, path in rows])
    elif rows:
        click.echo(columns([row[:2] for row in rows]))


def first_comment(path: Path) -> str:
    """The first comment line of a recipe: what it makes."""
    for line in path.read_text("utf-8").splitlines():
        words = line.lstrip("# ").strip()
        if line.startswith("#") and words and not words.startswith("yaml-language-server"):
            return words
        if line.strip() and not line.startswith("#"):
            break
    return ""


def _plugins(group: Group, as_json: bool) -> None:
    entries = [_entry(plugin) for plugin in plugins.installed(group)]
    if as_json:
        print_json(entries)
        return
    blocks = []
    for entry in entries:
        lines = [f"{entry['name']}  ({entry['distribution']} {entry['version']})"]
        lines += [f"  {entry['error'] or entry['about']}"] if entry["error"] or entry["about"] else []
        rows = [(o["name"], o["allowed"] or o["type"], o["default"], o["text"]) for o in entry["options"]]
        if rows:
            lines.append(columns([("option", "takes", "default", ""), *rows], indent="    "))
        blocks.append("\n".join(lines))
    if blocks:
        click.echo("\n\n".join(blocks))


def _entry(plugin: Plugin) -> dict[str, Json]:
    entry: dict[str, Json] = {"name": plugin.name, "group": plugin.group, "distribution": plugin.distribution,
                              "version": plugin.version, "about": "", "error": "", "options": []}
    try:
        found = plugins.find(plugin.group, plugin.name)
    except PluginError as error:
        return {**entry, "error": str(error)}
    shown = ("name", "type", "default", "allowed", "text")
    keys = [{name: getattr(key, name) for name in shown} for key in options_of(plugin.group, plugin.name)]
    return {**entry, "about": (inspect.getdoc(found) or "").partition("\n")[0], "options": keys}
