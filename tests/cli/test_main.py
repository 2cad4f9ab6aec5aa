"""The front door: help, exit codes, one clean message."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

import synthgen.cli
from synthgen import errors
from synthgen.cli import COMMANDS, Entry, common, main

OURS = ("validate", "schema", "explain", "ls", "cat", "cp", "doctor", "review", "errors",
        "consensus")
HEAVY = ("torch", "pytorch_lightning", "albumentations", "matplotlib", "scipy", "pycocotools")
FAKES = Path(__file__).parents[1] / "fakes"


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("COLUMNS", "80")
    yield
    common.set_verbosity(0)


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], int]:
    """Run a command that raises; gives the exit code."""

    def run(error: BaseException) -> int:
        @click.command("fail")
        def command() -> None:
            raise error

        monkeypatch.setattr(synthgen.cli, "_test_command", command, raising=False)
        monkeypatch.setitem(COMMANDS, "fail", Entry("synthgen.cli:_test_command", ""))
        return main(["fail"])

    return run


def test_help_names_every_command_under_its_heading(
        capsys: pytest.CaptureFixture[str], golden: Callable[[str, str], None]) -> None:
    assert main(["--help"]) == 0
    golden("help", capsys.readouterr().out)


@pytest.mark.parametrize("name", OURS)
def test_the_help_of_a_command_is_as_documented(
        name: str, capsys: pytest.CaptureFixture[str], golden: Callable[[str, str], None]) -> None:
    assert main([name, "--help"]) == 0
    golden(f"help_{name}", capsys.readouterr().out)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_of_the_table_exists_and_helps(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    module = COMMANDS[name].target.partition(":")[0]
    assert importlib.util.find_spec(module), f"{module} is not written"
    assert main([name, "--help"]) == 0
    assert f"Usage: synthgen {name}" in capsys.readouterr().out


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"synthgen {synthgen.__version__}\n"


@pytest.mark.parametrize("error", [
    errors.RecipeError("a"), errors.DataError("a"), errors.PluginError("a"), errors.GateRefused("a"),
    errors.TooManyBadItems("a"), errors.Locked("a"), errors.EnvironmentProblem("a"),
    errors.WaitingForPeople("a"), errors.Interrupted("a")], ids=lambda e: type(e).__name__)
def test_an_error_for_people_is_one_line_and_its_own_exit_code(
        error: errors.SynthgenError, failing: Callable[[BaseException], int],
        capsys: pytest.CaptureFixture[str]) -> None:
    assert failing(error) == error.exit_code
    assert capsys.readouterr() == ("", "error: a\n")


def test_ctrl_c_is_130_and_says_how_to_go_on(
        failing: Callable[[BaseException], int], capsys: pytest.CaptureFixture[str]) -> None:
    assert failing(KeyboardInterrupt()) == 130
    assert "the same command goes on from there" in capsys.readouterr().err


def test_a_bug_says_that_it_is_one_and_shows_where(
        failing: Callable[[BaseException], int], capsys: pytest.CaptureFixture[str]) -> None:
    assert failing(ZeroDivisionError("half of nothing")) == 1
    said = capsys.readouterr().err
    assert "This is a bug" in said
    assert "Traceback" in said
    assert "ZeroDivisionError: half of nothing" in said


def test_a_full_disk_is_no_bug(
        failing: Callable[[BaseException], int], capsys: pytest.CaptureFixture[str]) -> None:
    assert failing(OSError(28, "No space left on device", "x.tar")) == 7
    assert "the disk is full (x.tar)" in capsys.readouterr().err


@pytest.mark.parametrize(("error", "said"), [
    (PermissionError(13, "Permission denied", "/data/out"), "error: /data/out: Permission denied\n"),
    (MemoryError(), "train.batch"), (type("OutOfMemoryError", (RuntimeError,), {})("CUDA"), "train.batch"),
])
def test_what_the_machine_refuses_is_7_without_a_traceback(
        error: BaseException, said: str, failing: Callable[[BaseException], int],
        capsys: pytest.CaptureFixture[str]) -> None:
    assert failing(error) == 7
    printed = capsys.readouterr().err
    assert said in printed
    assert "Traceback" not in printed


@pytest.mark.parametrize(("args", "said"), [
    (["valdate"], "did you mean 'validate'?"), (["validate"], "Missing argument 'RECIPE'"),
    (["ls", "colours"], "'recipes', 'generators'"), (["validate", "x", "--nope"], "--nope"),
])
def test_a_usage_error_is_2_with_a_suggestion(
        args: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(args) == 2
    assert said in capsys.readouterr().err


def test_quiet_may_stand_before_the_command_behind_it_or_in_the_environment(
        fake_plugins: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for args in (["schema", "-q"], ["-q", "schema"]):
        assert main(args) == 0
        assert capsys.readouterr().err == ""
    monkeypatch.setenv("SYNTHGEN_SCHEMA_QUIET", "1")
    assert main(["schema"]) == 0
    assert capsys.readouterr().err == ""
    monkeypatch.delenv("SYNTHGEN_SCHEMA_QUIET")     # quiet ends with its command
    assert main(["schema"]) == 0
    assert "yaml-language-server" in capsys.readouterr().err


RECIPE = """\
schema: synthgen/1
name: light
task: instances
classes: [dot]
data: {seed: {path: .}}
generate: [{name: a, use: dots}]
train: {use: stub}
evaluate: {gate: [{check: shape}], features: [shapes]}
export: [lines]
"""


@pytest.mark.slow
@pytest.mark.parametrize("args", [["--help"], ["--version"], ["validate", "r.yaml"], ["cat", "r.yaml"],
                                  ["ls"], ["validate", "--help"]], ids=" ".join)
def test_a_light_command_imports_nothing_heavy(args: list[str], tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(RECIPE)
    heavy = HEAVY if args[0] != "--help" else (*HEAVY, "numpy", "pydantic", "rich", "cv2", "ruamel.yaml")
    code = (f"import sys; from synthgen.cli import main; code = main({args!r}); "
            f"found = [m for m in {heavy!r} if m in sys.modules]; assert not found, found; sys.exit(code)")
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": str(FAKES)})
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_our_own_plug_ins_are_validated_without_torch(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(RECIPE.partition("generate:")[0] + "generate: [{name: a}]\n")
    code = ("import sys; from synthgen.cli import main; code = main(['validate', 'r.yaml']); "
            "assert 'torch' not in sys.modules; sys.exit(code)")
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    # More than a pipe holds, to a reader that is gone.
    code = ("import sys, time, click, synthgen.cli as c; "
            "c._test = click.Command('x', callback=lambda: [click.echo('x' * 99) for _ in range(9999)]); "
            "c.COMMANDS['x'] = c.Entry('synthgen.cli:_test', ''); time.sleep(0.2); sys.exit(c.main(['x']))")
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        said = process.stderr.read()
    assert said == b""
    assert process.returncode == 141
