"""A run that is killed while its generator learns, or draws, ends in the bytes of an unbroken one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from synthgen.cli import main
from synthgen.testing import tiny_recipe

FLOW = ("generate=[{name: flow, use: diffusion, count: 12, steps: 100, batch: 2, px: 32, widths: [8, 8], "
        "sampling_steps: 8, look_every: 50}]")


def command(recipe: Path, out: Path) -> list[str]:
    return ["run", str(recipe), "-S", FLOW, "-S", f"run.out={out}", "-S", "run.workers=2", "--until", "generate"]


def files(folder: Path) -> dict[str, bytes]:
    parts = [folder / "1-fit" / "flow" / "weights.safetensors", folder / "1-fit" / "flow" / "looks.json",
             *(folder / "1-generate" / "flow" / "shards").glob("*.tar")]
    return {str(p.relative_to(folder)): p.read_bytes() for p in parts}


@pytest.mark.slow
def test_a_run_killed_in_training_and_again_in_sampling_ends_in_the_same_bytes(tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path)
    assert main(command(recipe, tmp_path / "whole")) == 0
    folder = tmp_path / "cut" / "tiny"
    for mark in ("1-fit/flow.part/training/checkpoint.safetensors", "1-generate/flow.part/shards/00000.json"):
        process = subprocess.Popen([sys.executable, "-m", "synthgen", *command(recipe, tmp_path / "cut")],
                                   start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and not (folder / mark).exists():
            time.sleep(0.02)
        assert process.poll() is None, f"it ended before {mark} was there to be killed at"
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert not (folder / "1-generate" / "flow").exists()
    assert main(command(recipe, tmp_path / "cut")) == 0
    assert files(folder) == files(tmp_path / "whole" / "tiny")
