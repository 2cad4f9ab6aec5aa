"""The schema's errors, at the places of the tree that they are about."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from pydantic import ValidationError

from synthgen.recipe.problems import Problem, did_you_mean, problem_at
from synthgen.recipe.schema import Recipe
from synthgen.recipe.sections import home_of, keys_of, section_at
from synthgen.recipe.tree import Node, Place
from synthgen.recipe.wording import MISSING, UNKNOWN, sentence

Keys: TypeAlias = tuple[str | int, ...]               # ("generate", 1, "count")


def spot(problem: Problem) -> tuple[str, int, int]:
    """Where a problem stands."""
    return problem.file, problem.line, problem.column


def _schema_keys(section: Keys) -> Sequence[str]:
    model = section_at(section)
    return () if model is None else keys_of(model)


@dataclass(slots=True, eq=False)
class Findings:
    """A tree and what is wrong with it.

    spoiled: places where the text itself was wrong (a variable that is not set): what such a value would
    mean to the schema is not told. meant: keys that are missing because they were misspelt.
    """

    root: Node
    problems: list[Problem]
    spoiled: set[tuple[str, int, int]] = field(default_factory=set)
    meant: set[Keys] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.spoiled = {spot(p) for p in self.problems}

    def get(self, path: Keys) -> Node | None:
        """What stands at a path, or None."""
        node: Node | None = self.root
        for key in path:
            if node is not None and isinstance(node.value, dict) and isinstance(key, str):
                node = node.value.get(key)
            elif node is not None and isinstance(node.value, list) and isinstance(key, int):
                node = node.value[key] if key < len(node.value) else None
            else:
                return None
        return node

    def children(self, *path: str | int) -> list[tuple[Keys, Node]]:
        """The entries of a map or the items of a list with their paths; none of anything else."""
        node = self.get(path)
        if node is not None and isinstance(node.value, dict):
            return [((*path, key), child) for key, child in node.value.items()]
        if node is not None and isinstance(node.value, list):
            return [((*path, i), child) for i, child in enumerate(node.value)]
        return []

    def text(self, *path: str | int) -> str | None:
        """The text that stands at a path; None when it is anything else."""
        node = self.get(path)
        return node.value if node is not None and isinstance(node.value, str) else None

    def nearest(self, path: Keys) -> Node:
        """What stands at a path, or at the closest part above it that the recipe holds."""
        above = (self.get(path[:n]) for n in range(len(path), 0, -1))
        return next((node for node in above if node is not None), self.root)

    def where(self, path: Keys) -> str:
        """`generate[1] (diffuse).count`: a path as a person reads it."""
        said = ""
        for n, key in enumerate(path, 1):
            if isinstance(key, str):
                said += f".{key}" if said else key
                continue
            label = self.get((*path[:n], "name")) or self.get((*path[:n], "check"))
            said += f"[{key}]" + (f" ({label.plain(secret=True)})" if label is not None else "")
        return said

    def say(self, path: Keys, message: str, *, at: Place | None = None, hint: str = "",
            allowed: Sequence[str] = (), where: Keys | None = None) -> None:
        """Add a problem, unless the text at its place was wrong already."""
        problem = problem_at(at or self.nearest(path).at, message, path=".".join(map(str, path)), hint=hint,
                             allowed=allowed, where=self.where(path if where is None else where))
        if spot(problem) not in self.spoiled:
            self.problems.append(problem)

    def unknown_key(self, section: Keys, key: str, allowed: Sequence[str]) -> None:
        """Say that a key does not belong into a section, and which one might have been meant."""
        node = self.get((*section, key))
        overridden = node is not None and node.place.source.path is None
        # In a file, a key that stands there already is not the one that was meant; of an override it may be.
        hint = did_you_mean(key, [k for k in allowed if overridden or self.get((*section, k)) is None])
        if hint:
            self.meant.add((*section, hint.split('"')[1]))
        elif (home := home_of(key)) is not None:
            hint = f'"{key}" is a key of {home}.'
        self.say((*section, key), f'unknown key "{key}"', at=node.key if node else None, hint=hint,
                 allowed=allowed, where=section)

    def missing_key(self, section: Keys, key: str | int) -> None:
        """Say that a section lacks a key; the place is the section's."""
        if isinstance(key, int):
            self.say(section, f"item {key} is missing")
        elif (*section, key) not in self.meant:
            explain = ".".join(str(k) for k in (*section, key) if isinstance(k, str))
            self.say((*section, key), f'the key "{key}" is missing', at=self.nearest(section).at,
                     where=section, hint=f"see: synthgen explain {explain}")

    def tell(self, errors: Sequence[Mapping[str, Any]], above: Keys = (),
             keys_in: Callable[[Keys], Sequence[str]] = _schema_keys) -> None:
        """Turn pydantic's errors into problems.

        above: the section that each `loc` starts from. keys_in: the keys that the section at a path may have.
        """
        for error in (e for e in errors if e["type"] in UNKNOWN):
            section = self._real((*above, *error["loc"][:-1]))
            self.unknown_key(section, str(error["loc"][-1]), keys_in(section))
        by_value: dict[Keys, list[Mapping[str, Any]]] = {}
        for error in errors:
            path = self._real((*above, *error["loc"]))
            if error["type"] in MISSING:
                self.missing_key(path, error["loc"][-1])
            elif error["type"] not in UNKNOWN:
                by_value.setdefault(path, []).append(error)
        for path, said in by_value.items():
            message, hint, choices = sentence(said, self.nearest(path))
            self.say(path, message, hint=hint, allowed=choices)

    def _real(self, loc: Keys) -> Keys:
        # A loc also holds names of union branches, and keys that are not there: both lead nowhere.
        path: Keys = ()
        for key in loc:
            if self.get((*path, key)) is not None:
                path = (*path, key)
        return path


def check_schema(findings: Findings) -> Recipe | None:
    """The recipe that the tree holds, or None when the schema refuses it.

    The tree is judged as JSON, strictly: lists are tuples and text is a path, but "3" is no number.
    """
    try:
        return Recipe.model_validate_json(json.dumps(findings.root.plain()), strict=True)
    except ValidationError as error:
        # Names that stand twice are told by `check_sense`, which knows where.
        findings.tell([e for e in error.errors(include_url=False) if e["type"] != "duplicate_name"])
    return None
