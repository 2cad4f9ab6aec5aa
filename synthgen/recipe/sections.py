"""Facts about the schema's sections: which keys they have, and which of them name a plug-in."""

from __future__ import annotations

import typing
from collections.abc import Iterator, Sequence

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from synthgen.plugins import Group
from synthgen.recipe.schema import Features, Function, GateEntry, Generate, Open, Recipe, Train

# Section that takes a plug-in's options → the group, and the key that names the plug-in.
PLUGIN_KEY: dict[type[Open], tuple[Group, str]] = {
    Generate: ("generators", "use"), Train: ("trainers", "use"), GateEntry: ("checks", "check"),
    Features: ("features", "use"), Function: ("functions", "use")}

EXTENDS_HELP = "Another recipe (relative path, or the name of a shipped one) that this one is merged over."


def fields_of(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """A section's fields by the name that stands in YAML."""
    return {info.alias or name: info for name, info in model.model_fields.items()}


def keys_of(model: type[BaseModel]) -> tuple[str, ...]:
    """The keys of a section; those of the recipe itself with `extends`."""
    return (*fields_of(model), "extends") if model is Recipe else tuple(fields_of(model))


def section_in(annotation: object) -> type[BaseModel] | None:
    """The section class inside an annotation such as `tuple[Generate, ...]` or `Source | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for part in typing.get_args(annotation):
        found = section_in(part)
        if found is not None:
            return found
    return None


def section_at(path: Sequence[str | int]) -> type[BaseModel] | None:
    """The section class that a path leads to; None below plain values and plug-in options."""
    model: type[BaseModel] | None = Recipe
    for key in path:
        if isinstance(key, int):
            continue                          # an item of a list of sections
        if model is None or key not in fields_of(model):
            return None
        model = section_in(fields_of(model)[key].annotation)
    return model


def sections(model: type[BaseModel] = Recipe, path: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    """Every section below one, with its path as `explain` takes it."""
    for key, info in fields_of(model).items():
        below = section_in(info.annotation)
        if below is not None:
            here = f"{path}.{key}" if path else key
            yield here, below
            yield from sections(below, here)


def home_of(key: str) -> str | None:
    """The section that has this key, when exactly one section has it."""
    homes = {model: path for path, model in sections() if key in fields_of(model)}
    return next(iter(homes.values())) if len(homes) == 1 else None
