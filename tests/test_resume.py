"""Kill it any time: the same command goes on, and what it ends in is the same bytes as an unbroken run.

SYNTHGEN_KILLS raises the number of randomly killed runs (2), SYNTHGEN_KILL_SEED moves them.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from synthgen.testing import tiny_recipe

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("SYNTHGEN_KILLS", "2"))
SEED = int(os.environ.get("SYNTHGEN_KILL_SEED", "0"))
# One worker by default: twice as many trainings side by side take ten minutes. SYNTHGEN_KILL_WORKERS="1 2" does both.
WORKERS = [int(n) for n in os.environ.get("SYNTHGEN_KILL_WORKERS", "1").split()]
OPTIONS = ("train.steps=60", "train.width=16")
# What may differ: when things happened, the times of the data's files, the lock, and curves for TensorBoard.
DIFFERS = ("events.jsonl", ".hashes.json", ".lock")


@dataclass(frozen=True)
class Runs:
    """A recipe, how it is run, and what an unbroken run of it left.

    seconds: that each stage took, with `start` before the first (imports, the recipe) and `report` after the last.
    """

    recipe: Path
    workers: int
    seconds: dict[str, float]
    unbroken: dict[str, bytes]

    @property
    def folder(self) -> Path:
        return self.recipe.parent / "runs" / "tiny"


def command(recipe: Path, workers: int) -> list[str]:
    """The command line of a run."""
    options = [word for option in (*OPTIONS, f"run.workers={workers}") for word in ("-S", option)]
    return [sys.executable, "-m", "synthgen", "run", str(recipe), *options]


STARTED: list[subprocess.Popen[str]] = []


def begin(recipe: Path, workers: int) -> subprocess.Popen[str]:
    """Start a run in a session of its own, so that it can be killed with all its workers."""
    process = subprocess.Popen(
        command(recipe, workers),
        cwd=recipe.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell that starts something in the background lets it ignore Ctrl-C, and its children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    STARTED.append(process)
    return process


def finish(recipe: Path, workers: int) -> None:
    """Run to the end."""
    process = begin(recipe, workers)
    _, told = process.communicate(timeout=600)
    assert process.returncode == 0, told


def tree(folder: Path) -> dict[str, bytes]:
    """Every file that must be the same, with its bytes."""
    files = (p for p in sorted(folder.rglob("*")) if p.is_file())
    named = {p.relative_to(folder): p.read_bytes() for p in files}
    return {k.as_posix(): v for k, v in named.items() if not k.name.startswith(DIFFERS) and "logs" not in k.parts}


def assert_same(found: dict[str, bytes], wanted: dict[str, bytes], story: str) -> None:
    """Both trees hold the same files with the same bytes; else say which do not."""
    lost, new = sorted(wanted.keys() - found.keys()), sorted(found.keys() - wanted.keys())
    other = sorted(name for name in wanted.keys() & found.keys() if wanted[name] != found[name])
    same = not (lost or new or other)
    assert same, f"{story}: missing {lost}, left over {new}, other bytes {other}"


def stages(folder: Path) -> list[tuple[str, float]]:
    """The stages that a run has entered, each with the time."""
    events = folder / "events.jsonl"
    found = []
    for line in events.read_text().splitlines() if events.exists() else []:
        with suppress(json.JSONDecodeError):  # a kill may have cut the last line off
            event = json.loads(line)
            if event["what"] in ("stage", "end"):
                found.append((event.get("stage", "report"), event["time"]))
    return found


def moment(runs: Runs, rng: np.random.Generator, number: int) -> tuple[str, float]:
    """A stage and how many seconds into it: by turns uniform over the time that a run takes, and over its stages, of
    which most are short."""
    names, seconds = list(runs.seconds), np.asarray(list(runs.seconds.values()))
    k = int(rng.choice(len(names), p=seconds / seconds.sum() if number % 2 else None))
    return names[k], float(seconds[k] * rng.random())


def killed(runs: Runs, stage: str, seconds: float) -> str | None:
    """Run, and kill everything so long after a stage began: where it fell, or None when the run had ended before."""
    known = len(stages(runs.folder))
    process = begin(runs.recipe, runs.workers)
    while process.poll() is None:
        here = [name for name, _ in stages(runs.folder)[known:]]
        if stage == "start" or stage in here:
            break
        time.sleep(0.005)
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return ["start", *(name for name, _ in stages(runs.folder)[known:])][-1]
    _, told = process.communicate()
    assert process.returncode == 0, told
    return None


@pytest.fixture(scope="module", params=WORKERS, ids=[f"{n} workers" for n in WORKERS])
def runs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    recipe = tiny_recipe(tmp_path_factory.mktemp("resume"))
    folder = recipe.parent / "runs" / "tiny"
    began = time.time()
    finish(recipe, request.param)
    entered = [("start", began), *stages(folder), ("", time.time())]
    seconds = {name: after - at for (name, at), (_, after) in pairwise(entered)}
    return Runs(recipe, request.param, seconds, tree(folder))


@pytest.fixture(autouse=True)
def _from_nothing(runs: Runs) -> Iterator[None]:
    shutil.rmtree(runs.folder, ignore_errors=True)
    yield
    for process in STARTED:
        if process.poll() is None:  # the test failed: nothing of ours goes on behind its back
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def test_a_second_run_from_nothing_gives_the_same_bytes(runs: Runs) -> None:
    finish(runs.recipe, runs.workers)
    assert_same(tree(runs.folder), runs.unbroken, "unbroken")


def test_one_run_killed_in_every_stage_ends_in_the_same_bytes(runs: Runs, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(SEED)
    fell: Counter[str] = Counter()
    for stage, seconds in runs.seconds.items():     # each call goes on where the one before was killed
        where = killed(runs, stage, float(rng.random() * seconds))
        fell.update([where] if where else [])
    finish(runs.recipe, runs.workers)
    assert_same(tree(runs.folder), runs.unbroken, f"killed in {dict(fell)}")
    assert len(fell) >= len(runs.seconds) // 2      # the shortest stages may be over before the signal comes
    with capsys.disabled():
        print(f"\n  one run, {runs.workers} workers, {fell.total()} kills: {dict(sorted(fell.items()))}")


def test_a_run_killed_at_any_moment_goes_on_to_the_same_bytes(runs: Runs, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(SEED)
    fell: Counter[str] = Counter()
    for number in range(KILLS):
        shutil.rmtree(runs.folder, ignore_errors=True)
        story = []
        for again in range(1 + int(rng.random() < 0.5)):  # half of the runs are killed twice
            stage, seconds = moment(runs, rng, number + again)
            where = killed(runs, stage, seconds)
            story.append(f"{seconds:.2f} s into {stage}: {where or 'it had ended'}")
            fell.update([where] if where else [])
        finish(runs.recipe, runs.workers)
        assert_same(tree(runs.folder), runs.unbroken, f"killed {'; '.join(story)}")
    with capsys.disabled():
        took = sum(runs.seconds.values())
        print(f"\n  unbroken {took:.0f} s, {runs.workers} workers, {fell.total()} kills: {dict(sorted(fell.items()))}")


def test_ctrl_c_ends_with_130_and_a_line_that_helps_and_the_same_command_goes_on(runs: Runs) -> None:
    process = begin(runs.recipe, runs.workers)
    while process.poll() is None and "4-train" not in dict(stages(runs.folder)):
        time.sleep(0.1)
    time.sleep(0.3 * runs.seconds["4-train"])
    os.killpg(process.pid, signal.SIGINT)  # what a terminal does: everybody in the group gets it
    _, told = process.communicate(timeout=300)
    assert process.returncode == 130, told
    assert "Traceback" not in told
    assert "Go on with the same command" in told
    finish(runs.recipe, runs.workers)
    assert_same(tree(runs.folder), runs.unbroken, "Ctrl-C")
