"""Every key can be explained, and editors are told the same."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from synthgen.errors import PluginError, RecipeError
from synthgen.recipe.editor import json_schema, modeline
from synthgen.recipe.explain import explain, schema_of
from synthgen.recipe.schema import Recipe
from synthgen.recipe.sections import fields_of, sections

pytestmark = pytest.mark.usefixtures("fake_plugins")


@pytest.mark.slow
def test_every_key_of_every_section_has_a_help_text() -> None:
    for path, model in [("", Recipe), *sections()]:
        for key in fields_of(model):
            found = explain(f"{path}.{key}".strip("."))
            assert found.key.text, found.path
            assert found.key.type != "anything", found.path


def test_a_key_is_explained_with_default_bounds_and_example() -> None:
    key = explain("generate.count").key
    assert (key.text, key.type, key.default, key.allowed, key.example) == (
        "How many samples to make.", "whole number", "400", "at least 0, at most 10000000", "count: 400")
    assert explain("generate[0].count").key == key
    assert explain("data.seed").key.default == "required"


def test_options_of_plug_ins_are_explained_too() -> None:
    assert explain("generate.dots.steps").key.example == "steps: 24"
    assert explain("generate.steps").key.text == "Rounds of drawing. More are slower."
    assert explain("generate.dots.border.width").key.text == "Pixels."
    section = explain("train")
    assert section.plugins == ("labeler", "stub")
    assert "rounds" in {key.name for key in section.keys if key.plugin == "stub"}


def test_the_name_of_a_plug_in_alone_leads_to_it() -> None:
    assert explain("leakage") == explain("evaluate.gate.leakage")
    assert explain("labeler.rounds") == explain("train.labeler.rounds")
    assert explain("train").path == "train"


def test_a_path_that_leads_nowhere_names_the_nearest() -> None:
    with pytest.raises(RecipeError, match=r"generate has no .cuont.; did you mean .count.\?"):
        explain("generate.cuont")
    with pytest.raises(RecipeError, match="single value"):
        explain("seed.more")
    with pytest.raises(PluginError, match="synthgen-fakes cannot be imported"):
        explain("generate.broken")


def test_the_name_of_a_shipped_recipes_item_stands_for_its_plug_in(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "a.yaml").write_text("generate: [{name: paste, use: dots}]\n")
    monkeypatch.setattr("synthgen.recipe.shipped.PACKAGE", tmp_path / "synthgen")
    assert "radius" in {key.name for key in explain("generate.paste").keys}


def test_the_schema_for_editors_holds_every_option_and_no_dangling_reference() -> None:
    schema = json_schema()
    cases = {case["if"]["properties"]["use"]["const"]: case["then"]
             for case in schema["$defs"]["Generate"]["allOf"]}
    assert set(cases) == {"compose", "dots"}                          # a broken plug-in takes nothing away
    assert {"name", "count", "radius", "border"} <= set(cases["dots"]["properties"])
    assert cases["dots"]["additionalProperties"] is False
    for reference in re.findall(r'"#/\$defs/([^"]+)"', json.dumps(schema)):
        assert reference in schema["$defs"]
    assert "extends" in schema["properties"]
    assert modeline() == "# yaml-language-server: $schema=recipe.schema.json"


def test_the_schema_of_one_field_brings_its_definitions() -> None:
    assert schema_of("generate.count")["minimum"] == 0
    assert "Source" in schema_of("data")["$defs"] or "properties" in schema_of("data")
    border = schema_of("generate.dots")
    assert all(name in border["$defs"] for name in re.findall(r'"#/\$defs/([^"]+)"', json.dumps(border)))
