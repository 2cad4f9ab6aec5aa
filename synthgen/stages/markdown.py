"""Markdown in which text stays text: a name in it cannot end a table's cell, open a tag, link, or call somebody."""

from __future__ import annotations

import re
from collections.abc import Iterable

# As references (CommonMark 0.31, section 2.5) these are characters and never structure.
_ACTIVE = re.compile(r"[&<>|`*\[\]\\~$#]|(?<![^\W_])_|_(?![^\W_])")
_JOINER = "&#8288;"  # no width and no break: parts what sites would take for an address or a person's name
_CALLS = re.compile(r"@(?=\w)|:(?=//)|\bwww(?=\.)", re.IGNORECASE)
_BULLET = re.compile(r"^[-+=]")
_NUMBER = re.compile(r"^(\d{1,9})([.)])(?=\s|$)")


def escaped(text: object) -> str:
    """The text on one line, so that Markdown and the HTML made from it show its characters and nothing else."""
    line = " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
    line = _BULLET.sub(_reference, _ACTIVE.sub(_reference, line))
    line = _NUMBER.sub(lambda m: f"{m[1]}&#{ord(m[2])};", line)
    return _CALLS.sub(lambda m: m[0] + _JOINER, line)


def _reference(match: re.Match[str]) -> str:
    return "".join(f"&#{ord(c)};" for c in match[0])


def row(cells: Iterable[str]) -> str:
    """A line of a table; the cells are Markdown already."""
    return "| " + " | ".join(cells) + " |"


def table(head: list[str], rows: Iterable[list[str]]) -> list[str]:
    """The lines of a table with a blank one before it, so that it follows a paragraph; none without rows."""
    lines = [row(cells) for cells in rows]
    return ["", row(head), row(["---"] * len(head)), *lines] if lines else []
