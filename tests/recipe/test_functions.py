"""Labelling functions in a recipe: what is refused, where, before anything is run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from synthgen.recipe.explain import explain
from synthgen.recipe.load import load
from synthgen.recipe.problems import InvalidRecipeError
from synthgen.testing import tiny_recipe


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    (tmp_path / "rules.py").write_text("raise SystemExit('this must not be run')\ndef bright(image): return None\n")
    return tiny_recipe(tmp_path)


def written(recipe: Path, *functions: dict[str, Any], **label: Any) -> Path:
    whole = json.loads(recipe.read_text())
    recipe.write_text(json.dumps({**whole, "label": {"functions": functions, **label}}))
    return recipe


def said(recipe: Path, *functions: dict[str, Any], **label: Any) -> list[str]:
    with pytest.raises(InvalidRecipeError) as caught:
        load(written(recipe, *functions, **label))
    return [f"{p.where}: {p.message} {p.hint}" for p in caught.value.problems]


def test_a_file_beside_the_recipe_is_found_and_not_run(recipe: Path, monkeypatch: pytest.MonkeyPatch,
                                                       tmp_path: Path) -> None:
    monkeypatch.chdir("/")
    loaded = load(written(recipe, {"name": "a", "use": "rules.py:bright"}, {"name": "b", "use": "otsu"}))
    assert loaded.recipe.label.functions[0].use == f"{tmp_path}/rules.py:bright"
    assert loaded.resolved["label"]["functions"][1]["polarity"] == "bright"


@pytest.mark.parametrize(("function", "message"), [
    ({"use": "otzu"}, 'there is no labelling function named "otzu" did you mean "otsu"?'),
    ({"use": "otsu", "min_aera": 3}, 'unknown key "min_aera" did you mean "min_area"?'),
    ({"use": "otsu", "polarity": "blue"}, '"blue" is none of the choices'),
    ({"use": "rules.py:brigth"}, 'rules.py has no function "brigth" did you mean "bright"?'),
    ({"use": "rulse.py:bright"}, 'there is no file "rulse.py" did you mean "rules.py"?'),
    ({"use": "rules.py:bright", "level": 3}, "a function of a file takes no options"),
    ({"use": "size"}, "size works on what another function says"),
    ({"use": "size", "of": "b"}, 'no function "b" stands before this one'),
    ({"use": "otsu", "of": "labeler"}, "otsu looks at images, not at another function's labels"),
    ({"use": "otsu", "name": "labeler"}, '"labeler" is what the trained labeler is called'),
    ({"use": "template", "file": "nowhere.png"}, 'there is no file or folder "nowhere.png"'),
])
def test_a_mistake_is_told_where_it_stands(recipe: Path, function: dict[str, Any], message: str) -> None:
    (problem,) = said(recipe, {"name": "a", **function})
    assert message in problem
    assert "label.functions[0]" in problem


def test_names_are_given_once_and_a_pool_is_needed(recipe: Path) -> None:
    twice = said(recipe, {"name": "a", "use": "otsu"}, {"name": "a", "use": "colour"})
    assert "stands twice" in twice[0]
    whole = json.loads(recipe.read_text())
    whole["data"].pop("pool")
    recipe.write_text(json.dumps(whole))
    assert any("there is no pool" in line for line in said(recipe, {"name": "a", "use": "otsu"}))


def test_a_function_does_the_task_or_is_refused(recipe: Path) -> None:
    whole = json.loads(recipe.read_text())
    recipe.write_text(json.dumps({**whole, "task": "classify", "generate": []}))
    assert any('"otsu" does not do task classify' in line for line in said(recipe, {"name": "a", "use": "otsu"}))


def test_combine_is_one_of_two(recipe: Path) -> None:
    assert '"vote" is none of the choices' in said(recipe, {"name": "a", "use": "otsu"}, combine="vote")[0]


def test_explain_knows_the_functions_and_their_options() -> None:
    assert "otsu" in explain("label.functions").plugins
    assert explain("label.functions.otsu.smoothing").key.plugin == "otsu"
