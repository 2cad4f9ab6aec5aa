"""`evaluate.features`: what a recipe may say there, and how it is told what it may not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from synthgen.cli.explain import command as explain_command
from synthgen.cli.ls import command as ls
from synthgen.recipe.editor import json_schema
from synthgen.recipe.explain import explain
from synthgen.recipe.load import Loaded, load
from synthgen.recipe.problems import InvalidRecipeError, Problem

RECIPE = """\
schema: synthgen/1
name: x
task: instances
classes: [nucleus]
data: {seed: {path: seed}, pool: {path: seed}}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    (tmp_path / "seed").mkdir()
    (tmp_path / "dinov2").mkdir()
    return tmp_path / "recipe.yaml"


def loaded(recipe: Path, features: str, text: str = RECIPE, *overrides: str) -> Loaded:
    recipe.write_text(f"{text}evaluate: {{features: {features}}}\n")
    return load(recipe, overrides)


def problems(recipe: Path, features: str, text: str = RECIPE) -> tuple[Problem, ...]:
    with pytest.raises(InvalidRecipeError) as caught:
        loaded(recipe, features, text)
    return caught.value.problems


def families(found: Loaded) -> list[tuple[str, str, dict[str, Any]]]:
    return [(e.family, e.use, e.options) for e in found.recipe.evaluate.features]


def test_without_a_word_there_are_three_families_and_the_labelers_is_called_encoder(recipe: Path) -> None:
    recipe.write_text(RECIPE)
    assert families(load(recipe)) == [
        ("spectrum", "spectrum", {}), ("handcrafted", "handcrafted", {}), ("encoder", "labeler", {})]


def test_a_name_alone_says_the_same_as_a_map_with_use_and_both_keep_every_default_in_the_resolved(recipe: Path) -> None:
    short, long = loaded(recipe, "[pool-ssl]"), loaded(recipe, "[{use: pool-ssl}]")
    assert short.recipe == long.recipe
    assert short.resolved == long.resolved
    assert short.resolved["evaluate"]["features"][0] == {
        "use": "pool-ssl", "name": None, "steps": 150, "batch": 48, "crop": 48, "temperature": 0.5, "rate": 1e-3,
        "few": "warn"}


def test_options_stand_beside_use_and_overrides_reach_them(recipe: Path) -> None:
    text = "[{use: pool-ssl, steps: 9}, {use: transformers, path: dinov2, name: dino}]"
    found = loaded(recipe, text, RECIPE, "evaluate.features.0.steps=7")
    assert families(found) == [("pool-ssl", "pool-ssl", {"steps": 7}),
                               ("dino", "transformers", {"path": str(recipe.parent / "dinov2")})]


@pytest.mark.parametrize(("features", "path", "hint"), [
    ("[spectrun]", "evaluate.features.0", 'did you mean "spectrum"?'),
    ("[{use: pool_ssl}]", "evaluate.features.0.use", 'did you mean "pool-ssl"?'),
    ("[{use: pool-ssl, stps: 3}]", "evaluate.features.0.stps", 'did you mean "steps"?'),
    ("[{usee: spectrum}]", "evaluate.features.0.usee", 'did you mean "use"?'),
    ("[spectrum, {use: pool-ssl, steps: 0}]", "evaluate.features.1.steps", ""),
    ("[{use: transformers, path: dinov3}]", "evaluate.features.0.path", 'did you mean "dinov2"?'),
    ("[{use: transformers}]", "evaluate.features.0.use", ""),
    ("[transformers]", "evaluate.features.0.use", ""),
    ("[3]", "evaluate.features.0", ""),
    ("[spectrum, spectrum]", "evaluate.features.1", "write {use: …, name: …}."),
    ("[{use: imagenet, name: encoder}]", "evaluate.features.0.name", "give these another name."),
    ("[{use: imagenet, name: spectrum}]", "evaluate.features.0.name", "give these another name."),
])
def test_what_is_wrong_is_told_once_at_its_place(recipe: Path, features: str, path: str, hint: str) -> None:
    (found,) = problems(recipe, features)
    assert (found.path, found.hint, found.line) == (path, hint, 6)


def test_an_extractor_that_learns_from_the_pool_needs_one(recipe: Path) -> None:
    without = RECIPE.replace(", pool: {path: seed}", "")
    (found,) = problems(recipe, "[spectrum, pool-ssl]", without)
    assert found.message == "the feature extractor pool-ssl learns from the pool, but there is no pool"
    assert loaded(recipe, "[spectrum, imagenet]", without)


def test_two_models_of_one_extractor_stand_side_by_side_under_names_of_their_own(recipe: Path) -> None:
    found = loaded(recipe, "[{use: pool-ssl, name: short, steps: 5}, {use: pool-ssl, name: long, steps: 500}]")
    assert [family for family, _, _ in families(found)] == ["short", "long"]


def test_the_editors_schema_takes_a_name_or_a_map_and_knows_the_options() -> None:
    schema = json_schema()
    items = schema["$defs"]["Evaluate"]["properties"]["features"]["items"]
    assert {"type": "string"} in items["anyOf"]
    assert {"$ref": "#/$defs/Features"} in items["anyOf"]
    section = schema["$defs"]["Features"]
    assert {"pool-ssl", "spectrum", "labeler"} <= set(section["properties"]["use"]["enum"])
    case = next(c for c in section["allOf"] if c["if"]["properties"]["use"]["const"] == "pool-ssl")
    assert "steps" in case["then"]["properties"]


def test_explain_and_ls_know_the_extractors() -> None:
    assert "pool-ssl" in explain("evaluate.features").plugins
    assert explain("evaluate.features.pool-ssl.few").key.allowed == "warn | random-conv"
    assert "Optimiser steps" in CliRunner().invoke(explain_command, ["evaluate.features.steps"]).output
    found = json.loads(CliRunner().invoke(ls, ["features", "--json"]).stdout)
    assert {"spectrum", "handcrafted", "labeler", "imagenet", "pool-ssl", "random-conv", "transformers"} <= {
        entry["name"] for entry in found}
    assert all(entry["about"] and not entry["error"] for entry in found)


def test_a_recipe_that_names_every_extractor_is_read_without_torch_and_transformers(recipe: Path) -> None:
    names = "[spectrum, handcrafted, labeler, imagenet, pool-ssl, random-conv, {use: transformers, path: dinov2}]"
    loaded(recipe, names)
    code = f"import sys; from synthgen.recipe.load import load; load({str(recipe)!r}); print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert not {"torch", "transformers"} & set(found)
