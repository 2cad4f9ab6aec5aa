"""What a key of the recipe means: `explain("generate.count")`."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from synthgen import plugins
from synthgen.errors import RecipeError
from synthgen.plugins import Group
from synthgen.recipe.editor import json_schema, plugin_schema
from synthgen.recipe.problems import did_you_mean
from synthgen.recipe.schema import Recipe
from synthgen.recipe.sections import PLUGIN_KEY, fields_of, section_in, sections
from synthgen.recipe.shipped import shipped_recipes
from synthgen.recipe.tree import Source, UnreadableError, read_tree
from synthgen.types import Json

# What schemas say of values, in words; the plural is for lists.
_WORDS = {"integer": "whole number", "number": "number", "string": "text", "object": "section",
          "boolean": "true or false", "null": "nothing"}
_PLURAL = {"whole number": "whole numbers", "number": "numbers", "text": "texts", "section": "sections",
           "path": "paths", "one of the allowed": "the allowed"}
_LIMITS = {"minimum": "at least {}", "exclusiveMinimum": "more than {}", "maximum": "at most {}",
           "exclusiveMaximum": "less than {}", "pattern": "like {}", "maxLength": "at most {} characters"}


@dataclass(frozen=True, slots=True)
class Key:
    """One key: what it is for, what it takes."""

    name: str
    text: str
    type: str
    default: str
    allowed: str = ""
    example: str = ""
    plugin: str = ""                 # the plug-in whose option it is


@dataclass(frozen=True, slots=True)
class Explanation:
    """A key, and when it is a section, the keys in it, options of its plug-ins included."""

    path: str
    key: Key
    keys: tuple[Key, ...] = ()
    plugins: tuple[str, ...] = ()    # that the section can name


@dataclass(frozen=True, slots=True)
class _Found:
    """Where a path leads: a piece of the schema, and what is known about it from above."""

    path: str
    name: str
    shape: Json
    definitions: Json
    model: type[Any] | None
    required: bool
    plugin: str


def explain(path: str) -> Explanation:
    """What a path such as `generate`, `generate.count`, `generate.compose` or `train.steps` means.

    In a section that names a plug-in the next word may also be a plug-in, an option of one, or the name that
    a shipped recipe gives an item. A plug-in's name alone stands for the path to it, and a format's for the format.

    Raises: RecipeError for a path that leads nowhere, with the nearest that does; PluginError for a plug-in
    that cannot be imported.
    """
    found = _find(_placed(path))
    keys = _keys(found.shape, found.definitions)
    names: tuple[str, ...] = ()
    if found.model in PLUGIN_KEY:
        group = PLUGIN_KEY[found.model][0]
        names = tuple(dict.fromkeys(p.name for p in plugins.installed(group)))
        for name in names:
            keys += options_of(group, name)
    key = _key(found.name, found.shape, found.definitions, found.required, found.plugin)
    return Explanation(found.path, key, keys, names)


def options_of(group: Group, name: str) -> tuple[Key, ...]:
    """The options of a plug-in; none when it has none, or cannot be imported."""
    options = plugin_schema(group, name) or {}
    return _keys(options, options.get("$defs", {}), name)


def schema_of(path: str) -> Json:
    """The JSON schema of what a path leads to, with the definitions that it needs.

    Raises: RecipeError, PluginError, as `explain`.
    """
    found = _find(path)
    needed: dict[str, Json] = {}
    open_ends = [found.shape]
    while open_ends:
        for name in re.findall(r'"#/\$defs/([^"]+)"', json.dumps(open_ends.pop())):
            if name not in needed:
                needed[name] = found.definitions[name]
                open_ends.append(needed[name])
    beside = {key: value for key, value in found.shape.items() if key != "$defs"}
    return {**beside, "$defs": needed} if needed else beside


def _find(path: str) -> _Found:
    words = [w for w in re.sub(r"\[[^\]]*\]", "", path).split(".") if w and not w.isdigit()]
    whole = json_schema()
    whole["description"] = "A recipe: one file that says what to make, and from what."
    here = _Found("", "recipe", whole, whole["$defs"], Recipe, False, "")
    if words and words[0] not in whole["properties"] and words[0] in (p.name for p in plugins.installed("formats")):
        # No section names a format's options: `synthgen data` takes them, as -i and -o.
        options, plugin, _ = _of_plugins("formats", words[0])
        here = _Found(words[0], words[0], options, (options or {}).get("$defs", {}), None, False, plugin)
        words = words[1:]
    for word in words:
        properties = _properties(here.shape, here.definitions)
        shape: Json | None = properties.get(word)
        required = word in _required(here.shape, here.definitions)
        plugin, definitions = here.plugin, here.definitions
        if shape is None and here.model in PLUGIN_KEY:
            shape, plugin, required = _of_plugins(PLUGIN_KEY[here.model][0], word)
            definitions = {**definitions, **(shape or {}).get("$defs", {})}
        if shape is None:
            raise _nowhere(path, here, word)
        fields = fields_of(here.model) if here.model else {}
        model = section_in(fields[word].annotation) if word in fields else None
        here = _Found(f"{here.path}.{word}".lstrip("."), word, shape, definitions, model, required, plugin)
    return here


def _placed(path: str) -> str:
    """A path that begins with a plug-in's name, with the section before it where such plug-ins are named."""
    first = path.partition(".")[0]
    if first not in _properties(json_schema(), {}):
        for place, model in sections():
            if model in PLUGIN_KEY and first in (p.name for p in plugins.installed(PLUGIN_KEY[model][0])):
                return f"{place}.{path}"
    return path


def _of_plugins(group: Group, word: str) -> tuple[Json | None, str, bool]:
    """(schema, plug-in's name, required) of what a word means among a group's plug-ins."""
    names = [p.name for p in plugins.installed(group)]
    name = word if word in names else _named_in_shipped(group, word)
    if name in names:
        schema = plugin_schema(group, name)
        if schema is None:
            plugins.find(group, name)          # says why it cannot be imported
        return schema, name, False
    for name in names:
        schema = plugin_schema(group, name)
        if schema is not None and word in schema["properties"]:
            return ({**schema["properties"][word], "$defs": schema["$defs"]}, name,
                    word in schema.get("required", ()))
    return None, "", False


def _named_in_shipped(group: Group, word: str) -> str:
    """The plug-in that a shipped recipe's item of that name uses; "" when no recipe has one."""
    if group != "generators":
        return ""
    for path in shipped_recipes().values():
        try:
            root, _ = read_tree(Source(path.name, path.read_text("utf-8"), path.parent, path))
        except UnreadableError:
            continue
        plain = root.plain(secret=True)
        for item in plain.get("generate") or () if isinstance(plain, dict) else ():
            if isinstance(item, dict) and item.get("name") == word:
                return str(item.get("use", "compose"))
    return ""


def _nowhere(path: str, here: _Found, word: str) -> RecipeError:
    known = list(_properties(here.shape, here.definitions))
    if here.model in PLUGIN_KEY:
        group = PLUGIN_KEY[here.model][0]
        for plugin in plugins.installed(group):
            known += [plugin.name, *((plugin_schema(group, plugin.name) or {}).get("properties", ()))]
    above = here.path or "a recipe"
    if not known:
        return RecipeError(f"nothing to explain at {path!r}: {above} is a single value")
    hint = did_you_mean(word, known)
    return RecipeError(f"nothing to explain at {path!r}: {above} has no {word!r}; "
                       f"{hint + ' ' if hint else ''}it has: {', '.join(dict.fromkeys(known))}")


def _follow(shape: Json, definitions: Json) -> Json:
    """A schema with its `$ref` followed, and a list or an optional value opened to what it holds."""
    while True:
        if "$ref" in shape:
            beside = {k: v for k, v in shape.items() if k != "$ref"}
            shape = {**definitions[shape["$ref"].rpartition("/")[2]], **beside}
        elif "properties" not in shape and isinstance(shape.get("items"), dict):
            shape = shape["items"]
        elif "properties" not in shape and (inner := [b for b in shape.get("anyOf", ()) if "$ref" in b]):
            shape = inner[0]
        else:
            return shape


def _properties(shape: Json, definitions: Json) -> dict[str, Json]:
    found: dict[str, Json] = _follow(shape, definitions).get("properties", {})
    return found


def _required(shape: Json, definitions: Json) -> Sequence[str]:
    followed = _follow(shape, definitions)
    # The recipe itself requires its keys only where it extends nothing: `anyOf: [extends, all the others]`.
    cases = [followed, *followed.get("anyOf", ())]
    return [key for case in cases for key in case.get("required", ()) if key != "extends"]


def _keys(shape: Json, definitions: Json, plugin: str = "") -> tuple[Key, ...]:
    required = _required(shape, definitions)
    return tuple(_key(name, below, definitions, name in required, plugin)
                 for name, below in _properties(shape, definitions).items())


def _key(name: str, shape: Json, definitions: Json, required: bool, plugin: str = "") -> Key:
    inner = _follow(shape, definitions)
    text = shape.get("description") or inner.get("description", "")
    stated = shape.get("default")
    default = "required" if required else "none" if stated is None else _yaml(stated)
    if default.startswith(("{", "[{")):
        default = "see its keys"                  # a whole section: every key of it says its own default
    kind = _kind(shape, definitions)
    examples = shape.get("examples") or inner.get("examples") or ()
    value = examples[0] if examples else shape.get("default", _sample(shape, definitions))
    example = f"{name}: {_yaml(value)}" if value is not None and not isinstance(value, dict) else ""
    return Key(name, " ".join(text.split()), kind, default, _allowed(shape, definitions), example, plugin)


def _yaml(value: Json) -> str:
    # JSON is YAML; words need no quotes.
    return re.sub(r'"([A-Za-z][\w/.-]*)"', r"\1", json.dumps(value, ensure_ascii=False))


def _sample(shape: Json, definitions: Json) -> Json:
    inner = _follow(shape, definitions)
    return inner["enum"][0] if inner.get("enum") else inner.get("const")


def _kind(shape: Json, definitions: Json) -> str:
    if "$ref" in shape:
        shape = definitions[shape["$ref"].rpartition("/")[2]]
    if "anyOf" in shape and "properties" not in shape:
        return " or ".join(dict.fromkeys(_kind(branch, definitions) for branch in shape["anyOf"]))
    if "const" in shape:
        return _yaml(shape["const"])
    if "enum" in shape:
        return "one of the allowed"
    if shape.get("type") == "array":
        items = shape.get("items") or (shape.get("prefixItems") or [{}])[0]
        kind = _kind(items, definitions) if isinstance(items, dict) and items else ""
        return f"list of {_PLURAL.get(kind, kind)}" if kind else "list"
    if str(shape.get("format", "")).endswith("path"):
        return "path"
    return _WORDS.get(str(shape.get("type")), "anything")


def _allowed(shape: Json, definitions: Json) -> str:
    if "$ref" in shape:
        shape = definitions[shape["$ref"].rpartition("/")[2]]
    if "enum" in shape:
        return " | ".join(_yaml(value) for value in shape["enum"])
    if "anyOf" in shape:
        return " or ".join(filter(None, (_allowed(branch, definitions) for branch in shape["anyOf"])))
    if isinstance(shape.get("items"), dict) and "properties" not in shape["items"]:
        inside = _allowed(shape["items"], definitions)
        few = f"at least {shape['minItems']} of them" if shape.get("minItems") else ""
        return ", ".join(filter(None, (few, inside)))
    return ", ".join(said.format(shape[word]) for word, said in _LIMITS.items() if word in shape)
