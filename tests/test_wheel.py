"""The wheel holds what the checkout holds, recipes and data included."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAPPED = {
    "synthgen": "synthgen",
    "generators/synthgen_compose": "synthgen_compose",
    "generators/synthgen_diffusion": "synthgen_diffusion",
    "generators/synthgen_gan": "synthgen_gan",
    "generators/synthgen_pretrained": "synthgen_pretrained",
    "trainers/synthgen_labeler": "synthgen_labeler",
    "extractors/synthgen_features": "synthgen_features",
    "functions/synthgen_functions": "synthgen_functions",
    "recipes": "synthgen/_recipes",
    "assets": "synthgen/_assets",
}


def tracked(folder: str) -> set[str]:
    """Files below a folder that belong to the project, as git knows them; all files where there is no git."""
    found = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", folder], cwd=ROOT, capture_output=True, text=True
    )
    if found.returncode == 0:
        return {line.removeprefix(f"{folder}/") for line in found.stdout.splitlines() if (ROOT / line).is_file()}
    return {
        p.relative_to(ROOT / folder).as_posix()
        for p in (ROOT / folder).rglob("*")
        if p.is_file() and "__pycache__" not in p.parts
    }


@pytest.mark.slow
def test_the_wheel_holds_every_file_of_the_packages_the_recipes_and_the_assets(tmp_path):
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "-w",
        str(tmp_path),
        str(ROOT),
    ]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    inside = set(zipfile.ZipFile(wheel).namelist())
    missing = [
        f"{folder}/{name}"
        for folder, package in MAPPED.items()
        for name in tracked(folder)
        if f"{package}/{name}" not in inside
    ]
    assert not missing


@pytest.mark.slow
def test_the_wheel_finds_its_recipes_and_data_from_another_directory(tmp_path):
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "-w",
        str(tmp_path),
        str(ROOT),
    ]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    code = (
        f"import synthgen; assert str(synthgen.__file__).startswith({str(site)!r}), synthgen.__file__\n"
        "from synthgen.cli import main; raise SystemExit(main(['validate', 'nuclei']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(site), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "is valid" in done.stderr + done.stdout
