"""doctor finds what is wrong, and says the cure."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import synthgen
from synthgen.cli import examine, main
from synthgen.cli.examine import Finding
from synthgen.recipe import shipped


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, str | None]], None]:
    """Pretend that distributions have these versions (None: not installed)."""
    real = examine._version

    def pretend(versions: dict[str, str | None]) -> None:
        monkeypatch.setattr(examine, "_version",
                            lambda name: versions[name] if name in versions else real(name))

    return pretend


def states(findings: Iterator[Finding]) -> list[str]:
    return [finding.state for finding in findings]


@pytest.mark.parametrize("version", ["2.6.2", "2.6.3"])
@pytest.mark.parametrize("name", ["lightning", "pytorch-lightning"])
def test_the_releases_with_malware_are_broken_and_the_cure_says_so(
        name: str, version: str, installed: Callable[[dict[str, str | None]], None]) -> None:
    installed({"lightning": None, "pytorch-lightning": None, name: version})
    (finding,) = examine._lightning()
    assert finding.state == "broken"
    assert "change every password" in finding.cure


def test_a_good_lightning_is_no_concern(installed: Callable[[dict[str, str | None]], None]) -> None:
    installed({"lightning": "2.6.6", "pytorch-lightning": "2.6.6"})
    assert states(examine._lightning()) == ["ok"]


@pytest.mark.parametrize(("ours", "successor", "state"), [
    ("2.0.8", None, "ok"), ("2.0.7", None, "warn"), (None, None, "broken"), ("2.0.8", "2.5.1", "broken")])
def test_albumentations_is_told_from_its_agpl_successor(
        ours: str | None, successor: str | None, state: str,
        installed: Callable[[dict[str, str | None]], None]) -> None:
    installed({"albumentations": ours, "albumentationsx": successor})
    (finding,) = examine._albumentations()
    assert finding.state == state
    assert ("AGPL" in finding.text) == (successor is not None)


def test_a_missing_package_has_the_line_to_type(installed: Callable[[dict[str, str | None]], None]) -> None:
    installed({"safetensors": None})
    assert Finding("broken", "safetensors", "not installed", "pip install safetensors") in examine._packages()


def test_a_plug_in_that_cannot_be_imported_is_broken(fake_plugins: None) -> None:
    broken = [finding for finding in examine._plugins() if finding.state == "broken"]
    assert [finding.name for finding in broken] == ["generator broken"]
    assert "synthgen-fakes" in broken[0].cure


def test_a_folder_that_no_entry_point_names_is_broken(
        fake_plugins: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("synthgen_fakes", "synthgen_forgotten"):
        (tmp_path / "generators" / name).mkdir(parents=True)
        (tmp_path / "generators" / name / "__init__.py").touch()
    monkeypatch.setattr(synthgen, "__file__", str(tmp_path / "synthgen" / "__init__.py"))
    (finding,) = examine._folders()
    assert finding.state == "broken"
    assert finding.text.startswith("synthgen_forgotten:")
    (tmp_path / "generators" / "synthgen_forgotten" / "__init__.py").unlink()
    assert states(examine._folders()) == ["ok"]


@pytest.mark.parametrize(("free", "state"), [(1 << 20, "broken"), (1 << 30, "warn"), (1 << 40, "ok")])
def test_little_disk_is_told(free: int, state: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=free))
    assert states(examine._disk()) == [state]


def test_a_shipped_recipe_that_is_invalid_is_broken(
        fake_plugins: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "bad.yaml").write_text("nmae: bad\n")
    monkeypatch.setattr(shipped, "PACKAGE", tmp_path / "synthgen")
    (finding,) = examine._recipes()
    assert (finding.state, finding.name) == ("broken", "recipe bad")


@pytest.mark.parametrize(("state", "code"), [("ok", 0), ("warn", 0), ("broken", 7)])
def test_only_what_is_broken_changes_the_exit_code(
        state: Any, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("synthgen.cli.doctor.examine", lambda: [Finding(state, "thing", "said", "do this")])
    assert main(["doctor"]) == code
    assert capsys.readouterr().out == f"{state}  thing  said\n        cure: do this\n"
    assert main(["doctor", "--json"]) == code
    assert json.loads(capsys.readouterr().out)["ok"] is (state != "broken")


def test_torch_is_described_with_device_and_threads() -> None:
    (finding,) = examine._torch()
    assert finding.state == "ok"
    assert "device" in finding.text
    assert "threads" in finding.text
