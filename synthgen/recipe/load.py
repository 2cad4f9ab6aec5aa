"""Read a recipe: one call, every error at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from synthgen.recipe.check import Findings, check_schema
from synthgen.recipe.merge import Assembly, expand_environment, override, read_source, read_with_parents
from synthgen.recipe.problems import InvalidRecipeError, Problem
from synthgen.recipe.schema import Recipe
from synthgen.recipe.sense import Settings, check_paths, check_plugins, check_sense
from synthgen.recipe.shipped import resolve_recipe
from synthgen.recipe.tree import Node
from synthgen.types import Json


@dataclass(frozen=True, slots=True)
class Loaded:
    """A valid recipe and where it came from.

    recipe: what to do; paths in it are absolute. text: the file, verbatim. path: the file, absolute.
    resolved: everything in effect as plain JSON, with `extends:`, overrides, the schema's and the plug-ins'
    defaults in it, paths absolute, and `${env:..}` as it was written: values of the environment are never in
    it. overrides: as given. files: every file that was read, this one first.
    """

    recipe: Recipe
    text: str
    resolved: Json
    path: Path
    overrides: tuple[str, ...]
    files: tuple[Path, ...]
    tree: Node

    def where(self, path: str) -> str:
        """`recipe.yaml:34:5` or `-S ..`: where a value as `generate.0.count` was set; "" for a default."""
        keys = tuple(int(key) if key.isdigit() else key for key in path.split("."))
        node = Findings(self.tree, []).get(keys)
        if node is None:
            return ""
        place = node.at
        return f"{place.source.name}:{place.line}:{place.column}" if place.source.path else place.source.name


def load(path: str | Path, overrides: Sequence[str] = ()) -> Loaded:
    """The recipe in a file, or the shipped recipe of that name, with `path=value` overrides applied.

    Nothing is run, and no data is read beyond looking whether the paths exist.

    Raises: RecipeError when there is no such recipe; InvalidRecipeError, whose `problems` holds everything
    that is wrong with the recipe and the ones that it extends.
    """
    assembly = Assembly()
    source = read_source(resolve_recipe(path))
    root = read_with_parents(source, assembly)
    for text in overrides:
        override(root, text, assembly)
    expand_environment(root, assembly)

    findings = Findings(root, assembly.problems)
    check_paths(findings)
    # Plug-ins first: a misspelt key among their options tells which key of the section is not really missing.
    settings = check_plugins(findings)
    recipe = check_schema(findings)
    check_sense(findings)
    if findings.problems or recipe is None:
        raise InvalidRecipeError(sorted(findings.problems, key=lambda p: _order(p, assembly)))
    assert source.path is not None
    files = tuple(dict.fromkeys(s.path for s in assembly.sources if s.path is not None))
    resolved = _everything(recipe, root, settings)
    return Loaded(recipe, source.text, resolved, source.path, tuple(overrides), files, root)


def _order(problem: Problem, assembly: Assembly) -> tuple[int, int, int]:
    names = [source.name for source in assembly.sources]
    rank = names.index(problem.file) if problem.file in names else len(names)      # overrides come last
    return rank, problem.line, problem.column


def _everything(recipe: Recipe, root: Node, settings: Settings) -> Json:
    whole = recipe.model_dump(mode="json", by_alias=True)
    # What the person wrote stands as written: placeholders instead of the environment's values.
    whole = _over(whole, root.plain(secret=True))
    for path, options in settings.items():
        section = whole
        for key in path:
            section = section[key]
        for name, value in options.items():
            section.setdefault(name, value)
    return whole


def _over(below: Json, above: Json) -> Json:
    if isinstance(below, dict) and isinstance(above, dict):
        return {**below, **{key: _over(below.get(key), value) for key, value in above.items()}}
    if isinstance(below, list) and isinstance(above, list) and len(below) == len(above):
        return [_over(b, a) for b, a in zip(below, above, strict=True)]
    return above
