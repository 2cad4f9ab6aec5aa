"""How fast `label` is: images/s from folder to written dataset, beside the bare forward pass of the same network.

    python benchmarks/label.py [--model RUN/4-train/model] [--images 24] [--memory]

The peer is the network alone, given the same tiles and views, in batches of eight, already in memory: no file is read,
nothing is padded, averaged, grouped or written. Both run in turn in this process, one thread; ratios are medians over
pairs of CPU seconds. Images are mosaics of the shipped nuclei tiles. --memory: peak memory of a process that labels 20,
and one that labels 200 images of 256 px, and of one image of 4,096 px, one view, with its time. Without --model a
labeler is trained on the shipped seed for 100 steps, so that there are as many objects to group as in life.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch

from synthgen import plugins
from synthgen.answers import answers
from synthgen.formats import Format, Problem, Reading
from synthgen.formats.detect import open_dataset
from synthgen.images import png_bytes
from synthgen.recipe.schema import Label
from synthgen.recipe.shipped import shipped_assets
from synthgen.stages.label import sorted_out
from synthgen.store import read_json
from synthgen.types import Context, Image, Mixture, Origin, Sample
from synthgen_labeler import LabelerTrainer
from synthgen_labeler.inference import NetworkLabeler, load, spans

RULES = Label(accept=0.5, ignore=0.15)
BATCH = 8


def tiles(part: str) -> list[Sample]:
    """The shipped nuclei tiles of a part."""
    found = open_dataset(shipped_assets() / "nuclei" / part, "auto", ["nucleus"], Reading())
    return [s for s in found if not isinstance(s, Problem)]


def trained(folder: Path) -> None:
    """A labeler of 100 steps on the four seed tiles."""
    seed = tiles("seed")
    mixture = Mixture(seed, np.ones(len(seed), bool), np.full(len(seed), 1 / len(seed)))
    with tempfile.TemporaryDirectory() as scratch:
        context = Context(7, "instances", ("nucleus",), Path(scratch))
        LabelerTrainer(steps=100).fit(mixture, [], [], context).save(folder)


def mosaic(side: int, seed: int) -> Image:
    """(side, side, 3): pool tiles side by side, each turned at random."""
    rng, pool = np.random.default_rng(seed), tiles("pool")
    n = -(-side // 128)
    rows = [np.hstack([np.rot90(pool[rng.integers(len(pool))].image, rng.integers(4)) for _ in range(n)])
            for _ in range(n)]
    return np.ascontiguousarray(np.vstack(rows)[:side, :side])


def written(folder: Path, side: int, count: int) -> Path:
    """A folder of such images."""
    folder.mkdir(parents=True)
    for k in range(count):
        (folder / f"{k:05d}.png").write_bytes(png_bytes(mosaic(side, k)))
    return folder


def label(labeler: NetworkLabeler, images: Path, out: Path, tta: bool) -> None:
    """What `synthgen label` does, without its progress line."""
    def labelled():
        readable = (s for s in open_dataset(images, "images", ["nucleus"], Reading()) if not isinstance(s, Problem))
        for item, found in answers(labeler, readable, tta=tta):
            labels = sorted_out(found, RULES)
            yield replace(item, labels=labels, origin=Origin("pseudo", "labeler", known_by="model"))

    writer: Format = plugins.build("formats", "coco", {})
    writer.write(labelled(), out, ["nucleus"])


def batches(images: Path, tta: bool) -> list[torch.Tensor]:
    """The tiles and views that the network must see, in batches of eight."""
    views = []
    for item in open_dataset(images, "images", ["nucleus"], Reading()):
        assert not isinstance(item, Problem)
        H, W = item.image.shape[:2]
        for y0, y1 in spans(H):
            for x0, x1 in spans(W):
                x = torch.from_numpy(item.image[y0:y1, x0:x1].transpose(2, 0, 1).copy()).float() / 255
                views += [x] * (8 if tta else 1)
    return [torch.stack(views[i : i + BATCH]).contiguous(memory_format=torch.channels_last)
            for i in range(0, len(views), BATCH)]


@torch.inference_mode()
def forward(labeler: NetworkLabeler, known: list[torch.Tensor]) -> None:
    """The bare forward pass."""
    for x in known:
        labeler.network(x)


def seconds(work: Callable[[], object]) -> float:
    """CPU seconds of a call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def compare(labeler: NetworkLabeler, side: int, count: int, tta: bool) -> None:
    """One row of the table."""
    with tempfile.TemporaryDirectory() as scratch:
        images = written(Path(scratch) / "images", side, count)
        known = batches(images, tta)
        forward(labeler, known[:1])  # warm
        pairs = [(seconds(lambda: forward(labeler, known)),
                  seconds(lambda k=k: label(labeler, images, Path(scratch) / f"out-{k}", tta))) for k in range(3)]
        objects = len(read_json(Path(scratch) / "out-0" / "annotations.json")["annotations"]) / count
    ratio = statistics.median(bare / whole for bare, whole in pairs)
    rate = count / statistics.median(whole for _, whole in pairs)
    print(f"{side:>5} px  {'8 views' if tta else '1 view ':<7}  {objects:>6.1f} objects  {rate:>6.2f} images/s  "
          f"{ratio:>5.2f} × the bare forward pass", flush=True)


def one_memory(model: Path, side: int, count: int) -> None:
    """Label `count` images in this process, and print seconds and peak memory."""
    labeler = load(model)
    with tempfile.TemporaryDirectory() as scratch:
        images = written(Path(scratch) / "images", side, count)
        start = time.process_time()
        label(labeler, images, Path(scratch) / "out", tta=False)
        spent = time.process_time() - start
    # Not ru_maxrss: what the parent had reached is handed down to it.
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    peak = int(status["VmHWM"].split()[0]) / 1024
    print(f"{count:>5} images of {side:>4} px, 1 view  {spent:>7.1f} CPU s  peak {peak:>6.0f} MiB", flush=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path)
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--count", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--side", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    if asked.count:
        one_memory(asked.model, asked.side, asked.count)
        return
    with tempfile.TemporaryDirectory() as scratch:
        model = asked.model or Path(scratch) / "model"
        if asked.model is None:
            trained(model)
        labeler = load(model)
        for side, count in ((128, asked.images), (512, max(2, asked.images // 8)), (1024, 2)):
            for tta in (True, False):
                compare(labeler, side, count, tta)
        if asked.memory:
            for side, count in ((256, 20), (256, 200), (4096, 1)):
                subprocess.run([sys.executable, __file__, "--model", str(model), "--side", str(side),
                                "--count", str(count)], check=True)


if __name__ == "__main__":
    main()
