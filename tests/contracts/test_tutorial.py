"""The tutorial generator is installed as a stranger's package is, and does what its page says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from synthgen.testing import tiny_recipe

FOLDER = Path(__file__).parents[2] / "docs" / "tutorial" / "generator"


def run(*command: str, place: Path, cwd: Path) -> str:
    environment = {**os.environ, "PYTHONPATH": str(place)}
    done = subprocess.run([sys.executable, *command], cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.slow
def test_the_tutorial_generator_is_installed_tested_explained_previewed_and_run(tmp_path: Path) -> None:
    place = tmp_path / "installed"
    source = tmp_path / "source"
    source.mkdir()
    for file in FOLDER.iterdir():
        if file.is_file():
            (source / file.name).write_bytes(file.read_bytes())  # a build leaves folders behind
    run("-m", "pip", "install", "-q", "--no-deps", "--no-index", "--no-build-isolation", "--target", str(place),
        str(source), place=place, cwd=tmp_path)
    (tmp_path / "conftest.py").write_text("")
    said = run("-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(source / "test_dots.py"),
               place=place, cwd=tmp_path)
    assert "2 passed" in said
    assert "Radius of the discs" in run("-m", "synthgen", "explain", "generate.dots", place=place, cwd=tmp_path)
    recipe = str(tiny_recipe(tmp_path))
    dots = ["-S", "generate=[{name: a, use: dots, radius: 4, count: 6}]"]
    wrong = subprocess.run([sys.executable, "-m", "synthgen", "validate", recipe, *dots, "-S", "generate.a.radius=0"],
                           env={**os.environ, "PYTHONPATH": str(place)}, capture_output=True, text=True)
    assert wrong.returncode == 3
    assert "radius: must be at least 1, but is 0" in wrong.stderr
    sheet = str(tmp_path / "sheet.png")
    run("-m", "synthgen", "preview", recipe, *dots, "-n", "4", "-o", sheet, place=place, cwd=tmp_path)
    assert (tmp_path / "sheet.png").stat().st_size > 1000
    run("-m", "synthgen", "run", recipe, *dots, "--until", "filter", place=place, cwd=tmp_path)
    assert (tmp_path / "runs" / "tiny" / "2-filter" / "index.json").exists()


def test_every_file_that_the_page_links_is_there() -> None:
    page = (FOLDER / "README.md").read_text()
    for name in ("synthgen_dots.py", "test_dots.py"):
        assert f"]({name})" in page
        assert (FOLDER / name).exists()
