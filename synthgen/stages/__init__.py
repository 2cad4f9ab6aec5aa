"""The stages of the line: each is a module with `units(job)`, the pieces of work that it consists of.

A unit says what it needs as plain JSON and how it is made. `plan` compares the needs with what stands on
disk; `run` makes what differs. A stage reads the folders of earlier stages and writes only its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from synthgen import plugins
from synthgen.recipe.schema import Recipe
from synthgen.types import Json
from synthgen.work import Events, Say, Work, fingerprint, key_of


def _silent(what: str, done: float, total: float) -> None:
    del what, done, total


@dataclass(frozen=True, slots=True)
class Job:
    """One run: its recipe, where it works, and with what.

    base: folder of the recipe file; relative paths in a plug-in's options start there. threads: for one
    process; workers: processes for work that is done in shards.
    """

    recipe: Recipe
    base: Path
    work: Work
    events: Events
    device: str = "cpu"
    workers: int = 1
    threads: int = 1
    say: Say = _silent
    prints: dict[str, str] = field(default_factory=dict)  # fingerprints of this call, each read once
    once: dict[str, Any] = field(default_factory=dict)  # what this call read once, so that all its stages see the same


@dataclass(frozen=True, slots=True)
class Unit:
    """A piece of work: its folder in the run, what it needs, and how it is made in a folder given."""

    name: str
    needs: Json
    make: Callable[[Path], None]


def files_of(job: Job, options: Mapping[str, Json]) -> Json:
    """Fingerprints of the files and folders that options name, so that their contents are among the needs."""
    found: dict[str, str] = {}
    values = list(options.values())
    while values:
        value = values.pop()
        if isinstance(value, list | tuple):
            values += value
        elif isinstance(value, str | Path) and (job.base / value).exists() and str(value) not in ("", "."):
            path = job.base / value
            if str(path) not in job.prints:
                job.prints[str(path)] = fingerprint(path, job.work.folder / ".hashes.json")
            found[str(value)] = job.prints[str(path)]
    return found


def keys(units: Sequence[Unit]) -> Json:
    """What a later stage needs of earlier units: their names and keys."""
    return {unit.name: key_of(unit.needs)[:16] for unit in units}


def version_of(group: plugins.Group, name: str) -> str:
    """Name and version of the distribution that a plug-in comes from, for the needs."""
    found = [p for p in plugins.installed(group) if p.name == name]
    return f"{found[0].distribution} {found[0].version}" if found else "?"
