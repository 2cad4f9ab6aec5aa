"""A run that is killed while its generator learns, or draws, ends in the bytes of an unbroken one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from synthgen.cli import main
from synthgen.recipe.load import load
from synthgen.run import job_of
from synthgen.stages import generate
from synthgen.store import Stored
from synthgen.testing import tiny_recipe
from synthgen.types import Json, silent

FLOW = ("generate=[{{name: flow, use: diffusion, mode: {}, count: 12, steps: 100, batch: 2, px: 32, widths: [8, 8], "
        "sampling_steps: 8, look_every: 50}}]")


def command(recipe: Path, out: Path, mode: str = "condition") -> list[str]:
    return ["run", str(recipe), "-S", FLOW.format(mode), "-S", f"run.out={out}", "-S", "run.workers=2",
            "--until", "generate"]


def files(folder: Path) -> dict[str, bytes]:
    parts = [folder / "1-fit" / "flow" / "weights.safetensors", folder / "1-fit" / "flow" / "looks.json",
             *(folder / "1-generate" / "flow" / "shards").glob("*.tar")]
    return {str(p.relative_to(folder)): p.read_bytes() for p in parts}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*few-shot:RuntimeWarning")
@pytest.mark.parametrize("mode", ["condition", "joint"])
def test_a_run_killed_in_training_and_again_in_sampling_ends_in_the_same_bytes(tmp_path: Path, mode: str) -> None:
    recipe = tiny_recipe(tmp_path)
    assert main(command(recipe, tmp_path / "whole", mode)) == 0
    folder = tmp_path / "cut" / "tiny"
    for mark in ("1-fit/flow.part/training/checkpoint.safetensors", "1-generate/flow.part/shards/00000.json"):
        process = subprocess.Popen([sys.executable, "-m", "synthgen", *command(recipe, tmp_path / "cut", mode)],
                                   start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and not (folder / mark).exists():
            time.sleep(0.02)
        assert process.poll() is None, f"it ended before {mark} was there to be killed at"
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert not (folder / "1-generate" / "flow").exists()
    assert main(command(recipe, tmp_path / "cut", mode)) == 0
    assert files(folder) == files(tmp_path / "whole" / "tiny")


def tiny_flow(recipe: Path, **options: object) -> dict[str, Json]:
    """What is fingerprinted of a generator's training."""
    said = json.dumps([{"name": "flow", "use": "diffusion", "count": 4, **options}])
    job = job_of(load(recipe, [f"generate={said}"]), silent)
    return dict(generate.fit_unit(job, job.recipe.generate[0]).needs)


def test_a_layout_that_is_learned_is_trained_for_and_one_that_is_drawn_is_not(tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path)
    drawn, bent = tiny_flow(recipe, layout=["shape"]), tiny_flow(recipe, layout=["warp", "resample"])
    learned = tiny_flow(recipe, layout=["warp", "diffusion"])
    assert drawn == bent == tiny_flow(recipe)
    assert learned != drawn
    assert learned == tiny_flow(recipe, layout=["diffusion"], density=[1.0, 1.0])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*few-shot:RuntimeWarning")
def test_joint_samples_are_filtered_previewed_and_warned_of(tmp_path: Path) -> None:
    recipe, out = tiny_recipe(tmp_path), tmp_path / "out"
    line = [*command(recipe, out, "joint")[:-1], "filter"]
    assert main(line) == 0
    folder = out / "tiny"
    events = [json.loads(row) for row in (folder / "events.jsonl").read_text().splitlines()]
    (said,) = [e for e in events if e["what"] == "warning"]
    assert said["generator"] == "flow"
    assert "few-shot" in said["why"]
    made = Stored(folder / "1-generate" / "flow" / "shards")
    assert {s.origin.known_by for s in made} == {"joint"}
    asked = (folder / "2-filter" / "agreement.jsonl").read_text().splitlines()
    assert len(asked) == len(made)  # labelers were asked about every one: its label was predicted, not known
    sheet = tmp_path / "sheet.png"
    assert main(["preview", *line[1:-2], "-n", "4", "-o", str(sheet)]) == 0
    assert sheet.stat().st_size > 1000
