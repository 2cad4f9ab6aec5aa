"""A recipe's text, changed so that it means the same in any folder."""

from __future__ import annotations

import json
import re
from pathlib import Path

from synthgen.recipe.merge import Assembly, read_source
from synthgen.recipe.shipped import absolute_path, shipped_recipe
from synthgen.recipe.tree import Node


def relocated(path: Path) -> str:
    """The text of a recipe with the relative paths of `data` and `extends` made absolute; all else is kept.

    Paths with `${env:..}` in them stay, and so does the name of a shipped recipe after `extends:`.

    Raises: InvalidRecipeError when the file cannot be read as YAML.
    """
    source = read_source(path)
    root = Assembly().tree_of(source)
    text = source.text
    nodes = [node for node in _paths(root) if isinstance(node.value, str) and "${" not in node.value]
    # From the end, so that the places further up stay right.
    for node in sorted(nodes, key=lambda node: -node.place.start):
        written = str(node.value)
        absolute = str(absolute_path(written, source.folder))
        if absolute != written:
            text = text[: node.place.start] + _scalar(absolute) + text[node.place.end :]
    return text


def _paths(root: Node) -> list[Node]:
    top = root.value if isinstance(root.value, dict) else {}
    data = top.get("data")
    parts = data.value.values() if data is not None and isinstance(data.value, dict) else ()
    found = [part.value["path"] for part in parts if isinstance(part.value, dict) and "path" in part.value]
    link = top.get("extends")
    if link is not None and shipped_recipe(str(link.value)) is None:
        found.append(link)
    return found


def _scalar(text: str) -> str:
    # A double-quoted JSON string is YAML; plain words need no quotes.
    return text if re.fullmatch(r"[\w./~@+-]+", text, re.ASCII) else json.dumps(text, ensure_ascii=False)
