"""validate, ls, cat, cp, explain, schema."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from synthgen.cli import common, main
from synthgen.recipe import shipped

RECIPE = """\
# Dots on grey.
# More about it.
schema: synthgen/1
name: dots
task: instances
classes: [dot]
data:
  seed: {path: ../assets/seed}      # two images
generate:
  - {name: paste, use: dots, count: 40}
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake_plugins: None) -> Iterator[Path]:
    """A checkout with one shipped recipe; the working directory is elsewhere."""
    (tmp_path / "checkout" / "recipes").mkdir(parents=True)
    (tmp_path / "checkout" / "assets" / "seed").mkdir(parents=True)
    (tmp_path / "checkout" / "recipes" / "dots.yaml").write_text(RECIPE)
    monkeypatch.setattr(shipped, "PACKAGE", tmp_path / "checkout" / "synthgen")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    yield tmp_path / "checkout"
    common.set_verbosity(0)


def test_validate_says_what_the_recipe_makes_and_nothing_on_stdout(
        package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", "dots", "-S", "generate.paste.count=50"]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "dots is valid: task instances; 1 class; 1 generator for 50 samples; export coco\n"


def test_validate_prints_the_page_of_problems_as_it_is_and_exits_3(
        package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine.yaml").write_text("extends: dots\nsede: 3\n")
    assert main(["validate", "mine.yaml"]) == 3
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith('mine.yaml:2:1  unknown key "sede"\n')
    assert err.endswith("1 error. Nothing was run.\n")


def test_validate_json_is_json_on_stdout_whatever_the_verdict(
        package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", "dots", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["valid"] is True
    assert main(["validate", "dots", "--json", "-S", "mix.rael=1"]) == 3
    said = json.loads(capsys.readouterr().out)
    assert said["valid"] is False
    assert said["problems"][0]["path"] == "mix.rael"
    assert said["problems"][0]["hint"] == 'did you mean "real"?'
    assert main(["validate", "nothing", "--json"]) == 3
    assert "no recipe" in json.loads(capsys.readouterr().out)["problems"][0]["message"]


def test_validate_resolved_prints_yaml_that_is_a_recipe_again(
        package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", "dots", "--resolved", "-q"]) == 0
    text = capsys.readouterr().out
    whole = YAML(typ="safe", pure=True).load(text)
    assert whole["generate"][0]["steps"] == 10
    Path("again.yaml").write_text(text)
    assert main(["validate", "again.yaml"]) == 0


def test_ls_shows_recipes_with_their_first_comment(package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ls"]) == 0
    assert capsys.readouterr().out == "dots  Dots on grey.\n"
    assert main(["ls", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["name"] == "dots"


def test_ls_shows_plug_ins_with_distribution_and_options(
        package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ls", "generators"]) == 0
    out = capsys.readouterr().out
    assert "dots  (synthgen-fakes 1.0)\n  Dots on a ground." in out
    assert "Radius of a dot, px." in out
    assert "broken  (synthgen-fakes 1.0)" in out                      # listed, with the reason
    assert "ModuleNotFoundError" in out
    for kind in ("trainers", "checks", "formats"):
        assert main(["ls", kind, "--json"]) == 0
        assert all(e["distribution"] == "synthgen-fakes" for e in json.loads(capsys.readouterr().out))


def test_cat_prints_the_recipe_byte_for_byte(package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cat", "dots"]) == 0
    assert capsys.readouterr().out == RECIPE
    assert main(["cat", "dost"]) == 3
    assert 'did you mean "dots"' in capsys.readouterr().err


def test_cp_makes_a_copy_that_is_valid_where_it_stands(package: Path) -> None:
    assert main(["cp", "dots", "sub/mine.yaml", "--make-parents"]) == 0
    text = Path("sub/mine.yaml").read_text()
    assert "# two images" in text
    assert f"path: {package}/assets/seed" in text
    assert main(["validate", "sub/mine.yaml"]) == 0


def test_cp_takes_a_folder_adds_the_suffix_and_respects_what_is_there(
        package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cp", "dots", "."]) == 0
    assert main(["cp", "dots", "mine"]) == 0
    assert Path("dots.yaml").is_file()
    Path("mine.yaml").write_text("precious")
    assert main(["cp", "dots", "mine", "--no-clobber"]) == 0
    assert Path("mine.yaml").read_text() == "precious"
    capsys.readouterr()
    assert main(["cp", "dots", "mine"]) == 0
    assert "replaced mine.yaml" in capsys.readouterr().err
    assert main(["cp", "dots", "a/b/c.yaml"]) == 3
    assert "--make-parents" in capsys.readouterr().err
    assert main(["cp", "mine.yaml", "mine.yaml"]) == 3


def test_explain_prints_text_type_default_bounds_and_example(
        package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "generate.count"]) == 0
    assert capsys.readouterr().out == (
        "generate.count: whole number, default 400\n  How many samples to make.\n"
        "  allowed: at least 0, at most 10000000\n  example: count: 400\n")
    assert main(["explain", "generate.paste"]) == 0                   # an item of a shipped recipe
    assert "Rounds of drawing" in capsys.readouterr().out
    assert main(["explain", "--json", "train"]) == 0
    assert json.loads(capsys.readouterr().out)["plugins"] == ["labeler", "stub"]
    assert main(["explain"]) == 0
    assert "evaluate: " in capsys.readouterr().out
    assert main(["explain", "trian"]) == 3
    assert 'did you mean "train"' in capsys.readouterr().err


def test_schema_is_json_and_a_field_is_a_part_of_it(
        package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", "-q"]) == 0
    assert json.loads(capsys.readouterr().out)["title"] == "synthgen recipe"
    assert main(["schema", "--field", "generate.count", "-q"]) == 0
    assert json.loads(capsys.readouterr().out)["maximum"] == 10_000_000
