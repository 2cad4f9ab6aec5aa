"""Shipped recipes are found, installed or not, and work where they are copied to."""

from __future__ import annotations

from pathlib import Path

import pytest

from synthgen.recipe import shipped
from synthgen.recipe.load import load
from synthgen.recipe.relocate import relocated

RECIPE = """\
# Nuclei in grey tissue.
schema: synthgen/1
name: nuclei            # a comment
task: instances
classes: [nucleus]
data:
  seed: {path: "../assets/nuclei/seed", format: coco}   # ten images
  pool:
    path: ../assets/nuclei/pool
"""


@pytest.fixture(params=["checkout", "installed"])
def package(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
            fake_plugins: None) -> Path:
    """A package folder with one shipped recipe, laid out as in a checkout or as in a wheel."""
    package = tmp_path / "site" / "synthgen"
    package.mkdir(parents=True)
    recipes, assets = (package.parent / "recipes", package.parent / "assets")
    if request.param == "installed":
        recipes, assets = (package / "_recipes", package / "_assets")
    for name in ("seed", "pool"):
        (assets / "nuclei" / name).mkdir(parents=True)
    recipes.mkdir()
    (recipes / "nuclei.yaml").write_text(RECIPE)
    monkeypatch.setattr(shipped, "PACKAGE", package)
    monkeypatch.chdir(tmp_path)
    return package


def test_a_shipped_recipe_goes_by_its_name_and_finds_its_assets(package: Path) -> None:
    assert list(shipped.shipped_recipes()) == ["nuclei"]
    got = load("nuclei")
    assert got.recipe.data.seed.path == shipped.shipped_assets() / "nuclei" / "seed"
    assert got.recipe.data.seed.path.is_dir()


def test_a_file_wins_over_a_shipped_recipe_of_the_same_name(package: Path) -> None:
    Path("nuclei").write_text("name: mine\n")
    assert shipped.resolve_recipe("nuclei") == Path("nuclei")


def test_a_shipped_recipe_can_be_extended_by_name(package: Path) -> None:
    Path("mine.yaml").write_text("extends: nuclei\nname: mine\n")
    got = load("mine.yaml")
    assert got.recipe.name == "mine"
    assert got.recipe.data.seed.path.is_dir()


def test_a_copy_keeps_its_comments_and_works_in_another_folder(package: Path) -> None:
    text = relocated(shipped.shipped_recipes()["nuclei"])
    copy = Path("elsewhere/copy.yaml")
    copy.parent.mkdir()
    copy.write_text(text)
    got = load(copy)
    assert got.recipe == load("nuclei").recipe
    assert "# a comment" in text
    assert "# ten images" in text
    assert ".." not in text
    assert len(text.splitlines()) == len(RECIPE.splitlines())
