"""What each preset of the generators that learn takes: time and memory, on the device at hand. Nuclei.

    python benchmarks/generators.py [--device cuda] [--steps 20] [--samples 4]

Each preset in a process of its own: the time of a step is the difference between a training of twice `--steps` and one
of `--steps`, so that loading and surveying are not in it; `whole training` is that, times the preset's steps, looks at
samples left out. Drawing is timed at the size of the seed's tiles (128 px), one sample after the other, after one that
is not. Peak memory is the process's (on a GPU: what torch held there). On a device for which a preset is not meant its
row says so.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from synthgen import plugins
from synthgen.formats import Reading
from synthgen.formats.detect import open_dataset
from synthgen.recipe.shipped import shipped_assets
from synthgen.types import Context, Sample

GENERATORS = ("gan", "diffusion")
CPU, GPU = ("cpu-demo", "cpu-small"), ("gpu-64", "gpu-128", "gpu-256")


def read(part: str, form: str) -> list[Sample]:
    found = open_dataset(shipped_assets() / "nuclei" / part, form, ("nucleus",), Reading())
    return [s for s in found if isinstance(s, Sample)]


def fitted(use: str, options: dict[str, Any], device: str) -> tuple[Any, float]:
    """A generator trained in a folder that is gone, and the seconds that it took."""
    generator = plugins.build("generators", use, options)
    seed, pool = read("seed", "coco"), read("pool", "images")
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        generator.fit(seed, pool, Context(7, "instances", ("nucleus",), Path(folder), device))
        return generator, time.perf_counter() - began


def measure(use: str, preset: str, device: str, steps: int, samples: int, pipe: Connection) -> None:
    """Seconds per step, per sample, and MiB at the peak, through a pipe."""
    options = {"preset": preset, "look_every": 0}
    fitted(use, {**options, "steps": 2}, device)  # imports and caches are nobody's step
    _, short = fitted(use, {**options, "steps": steps}, device)
    generator, long = fitted(use, {**options, "steps": 2 * steps}, device)
    list(generator.sample([0]))
    began = time.perf_counter()
    list(generator.sample(range(1, samples + 1)))
    each = (time.perf_counter() - began) / samples
    if device == "cpu":
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    else:
        import torch

        peak = torch.cuda.max_memory_allocated() / 2**20
    pipe.send(((long - short) / steps, each, peak))


def row(use: str, preset: str, device: str, steps: int, samples: int) -> str:
    import importlib

    known = importlib.import_module(f"synthgen_{use}").PRESETS[preset]
    head = f"{use:<10} {preset:<10} {known.px:>4} {known.steps:>7,}"
    if preset in (GPU if device == "cpu" else CPU):
        return f"{head}   not measured: meant for {'a GPU' if device == 'cpu' else 'the CPU'}, and this ran on {device}"
    mine, its = get_context("spawn").Pipe(False)
    child = get_context("spawn").Process(target=measure, args=(use, preset, device, steps, samples, its))
    child.start()
    its.close()
    try:
        step, each, peak = mine.recv()
    except EOFError:
        return f"{head}   failed: the process ended with {child.exitcode}"
    child.join()
    return (f"{head} {step:>10.3f} s {step * known.steps / 60:>10.1f} min {each:>10.2f} s {peak:>10,.0f} MiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--samples", type=int, default=4)
    args = parser.parse_args()
    print("generator  preset       px   steps       a step whole training     a sample    at the peak")
    for use in GENERATORS:
        for preset in (*CPU, *GPU):
            print(row(use, preset, args.device, args.steps, args.samples), flush=True)


if __name__ == "__main__":
    main()
