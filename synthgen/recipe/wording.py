"""pydantic's errors in the words of a recipe: what was wanted, and what stands there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from synthgen.recipe.problems import did_you_mean
from synthgen.recipe.tree import Node

UNKNOWN = frozenset({"extra_forbidden", "unexpected_keyword_argument"})
MISSING = frozenset({"missing", "missing_argument", "missing_keyword_only_argument"})

_KINDS = {
    "int_type": "a whole number", "int_from_float": "a whole number", "int_parsing": "a whole number",
    "float_type": "a number", "float_parsing": "a number", "finite_number": "a finite number",
    "bool_type": "true or false", "bool_parsing": "true or false", "string_type": "text",
    "path_type": "a path", "tuple_type": "a list", "list_type": "a list", "set_type": "a list",
    "dict_type": "a map of keys", "model_type": "a map of keys", "model_attributes_type": "a map of keys",
    "dataclass_type": "a map of keys", "none_required": "empty",
}
_BOUNDS = {
    "greater_than_equal": "at least {ge}", "greater_than": "more than {gt}",
    "less_than_equal": "at most {le}", "less_than": "less than {lt}",
    "string_too_long": "at most {max_length} characters long",
    "string_too_short": "at least {min_length} characters long", "multiple_of": "a multiple of {multiple_of}",
}
_NAME = "a letter, followed by letters, digits, - or _"


def wanted(error: Mapping[str, Any]) -> str | None:
    """What would have been right, to stand after `must be`; None when the error's own words must do."""
    kind, context = str(error["type"]), error.get("ctx") or {}
    if kind in _BOUNDS:
        return _BOUNDS[kind].format(**{k: _number(v) for k, v in context.items()})
    if kind == "literal_error":
        return " or ".join(f'"{value}"' for value in choices(error)) or str(context["expected"])
    if kind == "string_pattern_mismatch":
        pattern = context["pattern"]
        return _NAME if pattern == "^[A-Za-z][A-Za-z0-9_-]*$" else f"text like {pattern}"
    return _KINDS.get(kind)


def _number(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def choices(error: Mapping[str, Any]) -> tuple[str, ...]:
    """The values that a literal allows; none for other errors."""
    if error["type"] != "literal_error":
        return ()
    return tuple(re.findall(r"'([^']*)'", str((error.get("ctx") or {}).get("expected", ""))))


def shown(node: Node) -> str:
    """A value as the message says it; text from the environment stays the text that was written."""
    value = node.plain(secret=True)
    if isinstance(value, str):
        return f'the text "{value if len(value) <= 60 else value[:57] + "..."}"'
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return "empty"
    if isinstance(value, dict):
        return "a map"
    return "a list" if isinstance(value, list) else str(value)


def sentence(errors: list[Mapping[str, Any]], node: Node) -> tuple[str, str, tuple[str, ...]]:
    """(message, hint, allowed) for all that was said about one value.

    More than one error for one value are the branches of a union: it would have been right to be any of them.
    """
    values = tuple(dict.fromkeys(value for error in errors for value in choices(error)))
    kinds = list(dict.fromkeys(filter(None, map(wanted, errors))))
    text = node.value if isinstance(node.value, str) else None
    if len(errors) == 1 and values and text is not None:
        return f'"{node.plain(secret=True)}" is none of the choices', did_you_mean(text, values), values
    if not kinds:
        return _own_words(errors[0]), "", ()
    return f"must be {' or '.join(kinds)}, but is {shown(node)}", _hint(kinds, node, values), ()


def _own_words(error: Mapping[str, Any]) -> str:
    context = error.get("ctx") or {}
    if error["type"] in ("too_short", "too_long"):
        few = error["type"] == "too_short"
        n = context["min_length" if few else "max_length"]
        return f"must hold {'at least' if few else 'at most'} {n} item{'s' if n != 1 else ''}"
    message = str(error["msg"]).removeprefix("Value error, ").removeprefix("Assertion failed, ")
    return message[:1].lower() + message[1:]


def _hint(kinds: list[str], node: Node, values: tuple[str, ...]) -> str:
    value = node.value
    if isinstance(value, str):
        if node.raw is not None:
            return "a value from the environment is always text; give numbers with -S."
        if "true or false" in kinds and value.lower() in ("yes", "no", "on", "off", "true", "false"):
            return f"write {'true' if value.lower() in ('yes', 'on', 'true') else 'false'}."
        if any("number" in kind for kind in kinds) and re.fullmatch(r"[-+]?[0-9.]+(e[-+]?[0-9]+)?", value):
            return "write it without quotes."
        if "a list" in kinds:
            return f"write [{value}]."
        return did_you_mean(value, values)
    if value is None and "a map of keys" in kinds:
        return "remove the line, or write keys below it."
    if "text" in kinds and isinstance(value, int | float):
        return f'write "{str(value).lower()}", in quotes.'
    return ""
