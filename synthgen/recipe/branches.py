"""What a JSON schema says of a place in a document."""

from __future__ import annotations

from synthgen.recipe.check import Keys
from synthgen.types import Json


def keys_below(schema: Json, path: Keys) -> tuple[str, ...]:
    """The keys that a JSON schema allows at a path; none where it says nothing."""
    return tuple(dict.fromkeys(key for part in branches_at(schema, path) for key in part.get("properties", {})))


def branches_at(schema: Json, path: Keys) -> list[Json]:
    """What a JSON schema says of the value at a path, one entry per branch of its unions."""
    here = [schema]
    for key in path:
        here = [below for part in _branches(schema, here) for below in (
            [part["properties"][key]] if key in part.get("properties", {}) else
            [part[word] for word in ("items", "additionalProperties") if isinstance(part.get(word), dict)])]
    return _branches(schema, here)


def _branches(schema: Json, parts: list[Json]) -> list[Json]:
    """Parts with `$ref` followed and `anyOf` opened."""
    found = []
    for part in parts:
        while "$ref" in part:
            part = schema["$defs"][part["$ref"].rpartition("/")[2]]
        found += [part, *_branches(schema, [*part.get("anyOf", ()), *part.get("oneOf", ())])]
    return found
