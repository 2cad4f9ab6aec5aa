"""The recipe's JSON schema for editors, with the options of the installed plug-ins in it."""

from __future__ import annotations

from typing import Any

from synthgen import plugins
from synthgen.errors import PluginError
from synthgen.plugins import Group
from synthgen.recipe.schema import Open, Recipe
from synthgen.recipe.sections import EXTENDS_HELP, PLUGIN_KEY
from synthgen.types import Json


def json_schema() -> Json:
    """The schema of a recipe file (JSON Schema 2020-12).

    A section that names a plug-in takes that plug-in's options (`if use is compose, then ..`). A plug-in
    that cannot be imported is known by name only: a broken one must not take the schema away.
    """
    whole: dict[str, Any] = Recipe.model_json_schema(by_alias=True)
    definitions: dict[str, Any] = whole["$defs"]
    for model, (group, key) in PLUGIN_KEY.items():
        definitions[model.__name__] = _with_options(model, group, key, definitions)
    # What the parent says need not be said again.
    whole["properties"]["extends"] = {"type": "string", "description": EXTENDS_HELP, "examples": ["nuclei"]}
    whole["anyOf"] = [{"required": ["extends"]}, {"required": whole.pop("required")}]
    formats = list(dict.fromkeys(plugin.name for plugin in plugins.installed("formats")))
    whole["properties"]["export"]["items"] = {"type": "string", "enum": formats}
    definitions["Source"]["properties"]["format"]["enum"] = ["auto", *formats]
    whole["title"] = "synthgen recipe"
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **whole}


def _with_options(model: type[Open], group: Group, key: str, definitions: dict[str, Any]) -> dict[str, Any]:
    section: dict[str, Any] = dict(definitions[model.__name__])
    own = section["properties"]
    names = list(dict.fromkeys(plugin.name for plugin in plugins.installed(group)))
    named: dict[str, Json] = {"enum": names}
    if group == "functions":  # or one of a Python file
        named = {"anyOf": [named, {"type": "string", "pattern": r"\.py:\w+$"}]}
    own[key] = {**own[key], **named}
    cases = []
    for name in names:
        options = plugin_schema(group, name)
        if options is None:
            continue
        definitions.update(options.pop("$defs", {}))
        case: dict[str, Json] = {"properties": {key: {"const": name}}}
        if name != own[key].get("default"):
            case["required"] = [key]
        taken = {**dict.fromkeys(own, True), **options["properties"]}
        needed = {"required": options["required"]} if options.get("required") else {}
        cases.append({"if": case, "then": {"properties": taken, "additionalProperties": False, **needed}})
    return {**section, "allOf": cases}


def plugin_schema(group: Group, name: str) -> dict[str, Any] | None:
    """JSON schema of a plug-in's options, its definitions named for it; None when it cannot be imported."""
    try:
        plugin = plugins.find(group, name)
    except PluginError:
        return None
    # The default refs would clash between plug-ins, and so would the definitions that they point to.
    schema: dict[str, Any] = plugins.schema(plugin, f"#/$defs/{group}.{name}.{{model}}")
    schema["$defs"] = {f"{group}.{name}.{key}": value for key, value in schema.get("$defs", {}).items()}
    return schema


def modeline(schema: str = "recipe.schema.json") -> str:
    """The comment by which editors find the schema: write `synthgen schema > recipe.schema.json` once."""
    return f"# yaml-language-server: $schema={schema}"
