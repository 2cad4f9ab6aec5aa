"""What stands on disk of a run, for those who only read: the report and `status`.

A unit counts when its key is the one in `recipe.lock.json`: what an earlier recipe left behind is stale, and
nothing is told from it as if it were of this run.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import ValidationError

from synthgen.errors import RecipeError
from synthgen.recipe.schema import Recipe
from synthgen.stages import Job
from synthgen.store import Stored, Subset, read_json
from synthgen.types import Json
from synthgen.work import Events, Work

State = Literal["done", "partial", "stale", "missing"]
_ENV = re.compile(r"\$\{env:([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")


def load_run(folder: Path) -> Job:
    """The job of a run folder, from `recipe.resolved.json` in it, whose paths are absolute; good for reading.

    Nothing of the user's data is needed, and neither are the plug-ins.
    Raises: RecipeError when the folder holds no run, or one whose recipe this version cannot read.
    """
    folder = folder.absolute()
    path = folder / "recipe.resolved.json"
    if not path.is_file():
        raise RecipeError(f"{folder} is no run folder: it has no recipe.resolved.json; a run folder is what "
                          "`synthgen run` made, runs/NAME")
    try:
        recipe = Recipe.model_validate(_filled(read_json(path)))
    except (ValidationError, json.JSONDecodeError) as error:
        raise RecipeError(f"{path} cannot be read by this version of synthgen "
                          f"({str(error).splitlines()[0]}); run the recipe again") from None
    return Job(recipe, folder, Work(folder), Events(folder / "events.jsonl"))


def _filled(value: Json) -> Json:
    """The value with ${env:NAME} filled in, since it is kept as it was written; what is not set stays."""
    if isinstance(value, dict):
        return {k: _filled(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_filled(v) for v in value]
    if isinstance(value, str):
        return _ENV.sub(lambda m: os.environ.get(m[1]) or (m[0] if m[2] is None else m[2]), value)
    return value


class OnDisk:
    """A run as it stands: reads only, and never trips over what is not there."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.folder = job.work.folder
        self.recipe = job.recipe
        self.lock: Mapping[str, Json] = self.json("recipe.lock.json") or {}

    @property
    def units(self) -> list[str]:
        """Names of the run's units in the order of the line; of what is there where no lock was kept."""
        if self.lock:
            return list(self.lock["units"])
        return sorted(p.parent.relative_to(self.folder).as_posix() for p in self.folder.glob("[0-9]-*/**/done.json"))

    def state(self, unit: str) -> State:
        """done: whole and of this recipe. stale: whole, of an earlier one. partial: begun. missing."""
        done = self.json(f"{unit}/done.json")
        wanted = self.lock.get("units", {}).get(unit)
        if done is not None and wanted in (None, done["key"]):
            return "done"
        if (self.folder / f"{unit}.part").exists():
            return "partial"
        return "stale" if done is not None else "missing"

    def json(self, file: str) -> Json:
        """What a JSON file holds; None when it is not there, or being replaced this very moment."""
        try:
            return read_json(self.folder / file)
        except (OSError, json.JSONDecodeError):
            return None

    def of(self, unit: str, file: str) -> Json:
        """A JSON file of a unit that stands; None otherwise."""
        return self.json(f"{unit}/{file}") if self.state(unit) == "done" else None

    def verdict(self) -> Json:
        """What the gate said before release; or after generation, where it refused there; None when it has not yet."""
        found = self.of("6-evaluate", "verdict.json")
        early = self.of("2-screen/verdict", "verdict.json")
        if early is not None and early["verdict"] == "fail":
            return {**early, "test": {}, "pool": None}
        return found

    def benchmark(self) -> Json:
        """What `synthgen benchmark` said of these data and trainings; None when it has not, or spoke of others."""
        found = self.json("benchmark/benchmark.json")
        wanted = self.lock.get("units", {})
        about = (found or {}).get("about")
        return found if about is not None and all(wanted.get(name) == key for name, key in about.items()) else None

    def lines(self, unit: str, file: str) -> list[Mapping[str, Json]]:
        """The JSON lines of a unit that stands."""
        path = self.folder / unit / file
        if self.state(unit) != "done" or not path.exists():
            return []
        return [json.loads(line) for line in path.read_text("utf-8").splitlines() if line]

    def stored(self, unit: str, inside: str = "") -> Stored:
        """The samples of a unit that stands; empty otherwise."""
        return Stored(self.folder / unit / inside) if self.state(unit) == "done" else Stored()

    @property
    def generators(self) -> list[str]:
        """Names of the generators that make something."""
        return [g.name for g in self.recipe.generate if g.enabled and g.count]

    def made(self) -> Subset:
        """All synthetic samples, with the labels that the filter left them: those too that were dropped or taken out
        later."""
        whole = Stored(*(self.folder / f"1-generate/{name}" / "shards" for name in self.generators
                         if self.state(f"1-generate/{name}") == "done"))
        index = self.of("2-filter", "index.json")
        return Subset(whole, range(len(whole)), None if index is None else index["labels"])

    def kept(self) -> dict[str, Subset]:
        """The synthetic samples by generator: what the filter left, or all of them before it."""
        ends = np.cumsum([len(self.stored(f"1-generate/{name}", "shards")) for name in self.generators]).tolist()
        index, made = self.of("2-filter", "index.json"), self.made()
        out = {row["id"] for row in self.lines("2-screen/quarantine", "quarantine.jsonl")}
        keep = [k for k in (made.indices if index is None else index["kept"])
                if made.stored.entries[k].id not in out]
        return {name: Subset(made.stored, [k for k in keep if start <= k < end], made.changed)
                for name, (start, end) in zip(self.generators, pairwise([0, *ends]), strict=True)}


def evenly(n: int, most: int) -> list[int]:
    """At most `most` of n indices, evenly spread, the first and the last among them."""
    return list(range(n)) if n <= most else np.linspace(0, n - 1, most).round().astype(int).tolist()
