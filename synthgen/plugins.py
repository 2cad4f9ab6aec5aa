"""The registry is the installed entry points, ours included; the constructor is the schema.

A plug-in is a class whose options are the keyword-only fields of a pydantic dataclass; the string under
a field is its help. Nothing registers itself, and nothing is imported before it is asked for.
"""

from __future__ import annotations

import dataclasses
import difflib
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import Distribution, EntryPoint, entry_points
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any, Literal

import pydantic
import pydantic_core

from synthgen.errors import PluginError
from synthgen.types import Json

Group = Literal["generators", "trainers", "features", "functions", "checks", "formats"]
GROUPS: tuple[Group, ...] = ("generators", "trainers", "features", "functions", "checks", "formats")
# What one plug-in of a group is called.
NOUNS: dict[Group, str] = {"generators": "generator", "trainers": "trainer", "features": "feature extractor",
                           "functions": "labelling function", "checks": "check", "formats": "format"}


@dataclass(frozen=True, slots=True)
class Plugin:
    """An installed plug-in that was not imported yet."""

    group: Group
    name: str
    distribution: str
    version: str
    target: str


@lru_cache
def _points(group: Group) -> tuple[EntryPoint, ...]:
    return tuple(entry_points(group=f"synthgen.{group}"))


@lru_cache
def _owner(distribution: Distribution | None) -> tuple[str, str]:
    """Name and version; kept, since each of them is read from a file anew."""
    return (distribution.name, distribution.version) if distribution else ("?", "?")


def installed(group: Group) -> list[Plugin]:
    """Every plug-in of a group, sorted by name. Imports none of them."""
    found = [Plugin(group, p.name, *_owner(p.dist), p.value) for p in _points(group)]
    return sorted(found, key=lambda p: p.name)


def find(group: Group, name: str) -> type:
    """The class behind a plug-in's name.

    Raises: PluginError when the name is unknown, claimed by two distributions, or cannot be imported.
    """
    points = [p for p in _points(group) if p.name == name]
    owners = sorted({p.dist.name if p.dist else "?" for p in points})
    if not points:
        names = [p.name for p in installed(group)]
        close = difflib.get_close_matches(name, names, 1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise PluginError(f"there is no {NOUNS[group]} named {name!r}; {hint}installed: {', '.join(names) or 'none'}")
    if len(owners) > 1:
        raise PluginError(f"the {NOUNS[group]} {name!r} is claimed by {' and '.join(owners)}; uninstall all but one")
    try:
        loaded: type = points[0].load()
    except Exception as error:
        raise PluginError(
            f"the {NOUNS[group]} {name!r} of {owners[0]} cannot be imported: {type(error).__name__}: {error}"
        ) from error
    return loaded


def schema(plugin: type, ref_template: str = "#/$defs/{model}") -> Json:
    """JSON schema of a plug-in's options; a plug-in without options gives an empty object."""
    if not pydantic.dataclasses.is_pydantic_dataclass(plugin):
        return {"type": "object", "properties": {}, "additionalProperties": False}
    return pydantic.TypeAdapter(plugin).json_schema(ref_template=ref_template)


def option_names(plugin: type) -> list[str]:
    """The options that a plug-in takes, in the order of its constructor."""
    if not pydantic.dataclasses.is_pydantic_dataclass(plugin):
        return []
    return [f.name for f in dataclasses.fields(plugin) if f.init]


def problems(plugin: type, options: dict[str, Any]) -> list[dict[str, Any]]:
    """What is wrong with options, as pydantic's list of {loc, msg, type, input}; empty when all is well.

    Values are judged as JSON, strictly: a list is a tuple and a string a path, but "3" is no number. An
    option that the plug-in does not know is always wrong, whatever its own `extra` setting says.
    """
    known = option_names(plugin)
    unknown = f"unknown option; it takes {', '.join(known) or 'none'}"
    wrong: list[dict[str, Any]] = [
        {"loc": (key,), "msg": unknown, "type": "unexpected_keyword_argument", "input": value}
        for key, value in options.items()
        if key not in known
    ]
    if pydantic.dataclasses.is_pydantic_dataclass(plugin):
        try:
            _parse(plugin, {k: v for k, v in options.items() if k in known})
        except pydantic.ValidationError as error:
            wrong += [dict(e) for e in error.errors(include_url=False)]
    return wrong


def settings(plugin: type, options: dict[str, Any]) -> dict[str, Json]:
    """Every option of a plug-in as it will be, defaults included, as plain JSON.

    Raises: pydantic.ValidationError for options in which `problems` finds any.
    """
    if not pydantic.dataclasses.is_pydantic_dataclass(plugin):
        return {}
    every = pydantic.TypeAdapter(plugin).dump_python(_parse(plugin, options), mode="json")
    return {name: every[name] for name in option_names(plugin)}


def _parse(plugin: type, options: dict[str, Any]) -> Any:
    text = pydantic_core.to_json(options, inf_nan_mode="constants")
    return pydantic.TypeAdapter(plugin).validate_json(text, strict=True)


def build(group: Group, name: str, options: dict[str, Any]) -> Any:
    """An instance of a plug-in.

    Raises: PluginError for an unknown name or options that it does not take.
    """
    plugin = find(group, name)
    wrong = problems(plugin, options)
    if wrong:
        said = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in wrong)
        raise PluginError(f"{NOUNS[group]} {name!r}: {said}")
    return plugin(**options)


def in_file(use: str) -> tuple[Path, str] | None:
    """(file, name) of a function that stands in a Python file, `rules.py:bright_blobs`; None for a plug-in's name."""
    file, _, name = use.rpartition(":")
    return (Path(file), name) if file.endswith(".py") else None


def from_file(file: Path, name: str) -> Any:
    """A function of a Python file, which is run for it; only what a recipe names in so many words is loaded.

    Raises: PluginError when the file cannot be run or has no such function.
    """
    spec = spec_from_file_location(f"synthgen_rules_{file.stem}", file)
    if spec is None or spec.loader is None or not file.is_file():
        raise PluginError(f"{file}: there is no Python file here")
    module = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise PluginError(f"{file} cannot be run: {type(error).__name__}: {error}") from error
    found = getattr(module, name, None)
    if not callable(found):
        raise PluginError(f"{file}: there is no function {name!r} in it")
    return found


def function(use: str, options: dict[str, Any]) -> Any:
    """A labelling function: a plug-in's, or one of a Python file, which takes no options.

    Raises: PluginError, as `build` and `from_file`.
    """
    place = in_file(use)
    if place is None:
        return build("functions", use, options)
    if options:
        raise PluginError(f"{use}: a function of a file takes no options, but is given {', '.join(options)}")
    return from_file(*place)
