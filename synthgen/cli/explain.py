"""synthgen explain: what a key of the recipe means."""

from __future__ import annotations

import textwrap
from dataclasses import asdict

import click

from synthgen.cli.common import json_option, print_json
from synthgen.recipe.explain import Explanation, Key, explain

WIDTH = 100


@click.command("explain")
@click.argument("path", default="")
@json_option
def command(path: str, as_json: bool) -> None:
    """Say what a key of the recipe means, what it takes and what its default is.

    PATH is a section, a key, a plug-in or an option of one; without it, the sections are listed.

    \b
        synthgen explain generate
        synthgen explain generate.count
        synthgen explain generate.compose
        synthgen explain leakage
        synthgen explain coco
    """
    found = explain(path)
    if as_json:
        print_json(asdict(found))
    else:
        click.echo(page(found))


def page(found: Explanation) -> str:
    """An explanation as text."""
    key = found.key
    facts = [key.type, key.default if key.default == "required" else f"default {key.default}"]
    of = f"  (option of {key.plugin})" if key.plugin and key.plugin != key.name else ""
    title = found.path or "recipe"
    head = f"{title}: {', '.join(facts)}{of}" if not found.keys else f"{title}{of}"
    lines = [head, *_paragraph(key.text, "  ")]
    if key.allowed:
        lines += _paragraph(f"allowed: {key.allowed}", "  ")
    if key.example:
        lines.append(f"  example: {key.example}")
    if found.plugins:
        lines += _paragraph(f"plug-ins: {', '.join(found.plugins)}", "  ")
    for plugin in dict.fromkeys(k.plugin for k in found.keys):
        if plugin:
            lines += ["", f"  with {plugin}:"]
        for each in (k for k in found.keys if k.plugin == plugin):
            lines += ["", *_entry(each, "    " if plugin else "  ")]
    return "\n".join(lines)


def _entry(key: Key, indent: str) -> list[str]:
    facts = [key.allowed or key.type]
    if key.default not in ("none", "see its keys"):
        facts.append("required" if key.default == "required" else f"default {key.default}")
    return [f"{indent}{key.name}: {', '.join(facts)}", *_paragraph(key.text, f"{indent}  ")]


def _paragraph(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=indent, subsequent_indent=indent, break_long_words=False)
