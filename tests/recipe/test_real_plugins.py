"""What a recipe may say to the plug-ins that we ship, and to albumentations, is judged before anything runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from synthgen.recipe.load import load
from synthgen.recipe.problems import InvalidRecipeError, Problem
from synthgen_labeler import LabelerTrainer

RECIPE = """\
schema: synthgen/1
name: x
task: instances
classes: [nucleus]
data: {seed: {path: seed}}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    (tmp_path / "seed").mkdir()
    (tmp_path / "fields").mkdir()
    return tmp_path / "recipe.yaml"


def problems(recipe: Path, more: str, text: str = RECIPE) -> tuple[Problem, ...]:
    recipe.write_text(text + more)
    with pytest.raises(InvalidRecipeError) as caught:
        load(recipe)
    return caught.value.problems


def test_a_misspelt_word_where_a_path_would_do_is_told_with_the_words(recipe: Path) -> None:
    (found,) = problems(recipe, "train: {weights: imagnet}\n")
    assert (found.line, found.where, found.hint) == (6, "train.weights", 'did you mean "imagenet"?')
    assert found.allowed == ("imagenet", "random", "a path")


def test_an_encoder_is_a_folder_with_a_model_or_a_repository_at_a_commit(recipe: Path) -> None:
    (recipe.parent / "dinov2").mkdir()
    for said, message in [("dinov3", 'there is no file or folder "dinov3"'),
                          ("facebook/dinov2-small@main", 'there is no file or folder "facebook/dinov2-small@main"'),
                          ("dinov2", f"{recipe.parent / 'dinov2'} holds no model of transformers")]:
        (found,) = problems(recipe, f"train:\n  encoder: {said}\n")
        assert (found.line, found.column, found.where) == (7, 12, "train.encoder")
        assert found.message.startswith(message)
    (found,) = problems(recipe, "train: {encoder: facebook/dinov2-small}\n")
    assert found.allowed == (
        "efficientnet-lite0", "text like OWNER/NAME@COMMIT (a commit has 40 hex digits)", "a path")
    (recipe.parent / "dinov2/config.json").write_text("{}")
    (recipe.parent / "dinov2/model.safetensors").touch()
    for said, kept in [("dinov2", str(recipe.parent / "dinov2")), (f"a/b@{'0' * 40}", f"a/b@{'0' * 40}")]:
        recipe.write_text(RECIPE + f"train: {{encoder: {said}}}\n")
        assert load(recipe).recipe.train.options["encoder"] == kept


def test_paths_in_lists_of_options_must_lead_somewhere_and_start_at_the_recipe(
        recipe: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    generate = "generate: [{name: a, background: [keep, %s]}]\n"
    (found,) = problems(recipe, generate % "feilds")
    assert (found.path, found.hint) == ("generate.0.background.1", 'did you mean "fields"?')
    recipe.write_text(RECIPE + generate % "fields")
    assert load(recipe).recipe.generate[0].options["background"] == ["keep", str(recipe.parent / "fields")]


def test_a_task_that_the_trainer_does_not_do_is_told_before_anything_is_made(
        recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe.write_text(RECIPE.replace("instances", "detect"))
    assert load(recipe).recipe.task == "detect"
    monkeypatch.setattr(LabelerTrainer, "TASKS", ("instances", "segment"))
    (found,) = problems(recipe, "", RECIPE.replace("instances", "detect"))
    assert (found.line, found.message) == (3, 'the trainer "labeler" does not do task detect')


def test_transforms_are_known_by_name_without_importing_them(recipe: Path) -> None:
    found = problems(recipe, "mix: {augment: [{type: HorizontlFlip}, {p: 1}, {type: D4}]}\n")
    assert [(p.path, p.hint) for p in found] == [
        ("mix.augment.0.type", 'did you mean "HorizontalFlip"?'), ("mix.augment.1", "")]
    recipe.write_text(RECIPE + "mix: {augment: [{type: D4}]}\n")
    code = f"import sys; from synthgen.recipe.load import load; load({str(recipe)!r}); print(*sys.modules)"
    names = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert not {"albumentations", "torch"} & set(names)
