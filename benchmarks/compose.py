"""How fast `compose` is: images/s beside a plain Pillow paste loop, and beside copying and encoding the image.

    python benchmarks/compose.py [--images 30] [--memory]

Two rows per size: the blend `feather` alone, so that each image has a layout of its own, and the three blends that
`compose` has unless told otherwise, so that three images share one. Peer (a): a Pillow loop that only
alpha-composites the same cut-outs at the same places and tracks the same visible masks with numpy; it is given
both, and so spared what a layout costs (its share of our time stands last), the warps, harmonised colours and noise.
Limit (b): copying a background and encoding it as the PNG that a shard holds. All three run in turn in this
process, one thread; the ratios are medians over pairs. --memory: peak memory and time of 1,000 and of 10,000
images of 128 px through the shard writer, each in a process of its own.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import PIL.Image

from synthgen.formats import Problem, Reading
from synthgen.formats.detect import open_dataset
from synthgen.geometry import encode
from synthgen.images import png_bytes
from synthgen.recipe.shipped import shipped_assets
from synthgen.stages.generate import sample_seed, samples
from synthgen.store import write_shard
from synthgen.types import Context, Layout, Sample
from synthgen_compose import Compose
from synthgen_compose.bank import RIM
from synthgen_compose.render import Blend, warped

OBJECTS = 20
BLENDS: tuple[tuple[Blend, ...], ...] = (("feather",), Compose().blend)


def seed_tiles() -> list[Sample]:
    """The shipped nuclei tiles."""
    found = open_dataset(shipped_assets() / "nuclei/seed", "coco", ["nucleus"], Reading())
    return [s for s in found if not isinstance(s, Problem)]


def compositor(size: int, blends: tuple[Blend, ...] = BLENDS[0]) -> Compose:
    """A fitted compositor that puts about 20 objects on an image of this size."""
    made = Compose(layout="resample", blend=blends, size=(size, size))
    made.fit(seed_tiles(), [], Context(7, "instances", ("nucleus",), Path()))
    fitted = made._fitted
    assert fitted is not None
    per_image = float(np.mean(fitted.survey.counts)) / (128 * 128) * size * size
    made.density = (OBJECTS / per_image, OBJECTS / per_image)
    made.fit(seed_tiles(), [], Context(7, "instances", ("nucleus",), Path()))
    return made


def pillow_loop(
    background: np.ndarray, layout: Layout, cutouts: list[tuple[PIL.Image.Image, np.ndarray]]
) -> tuple[np.ndarray, tuple[str, ...]]:
    """The peer: paste each cut-out with its alpha, and keep every visible mask up to date in whole-image arrays."""
    H, W = layout.size
    picture = PIL.Image.fromarray(background)
    masks: list[np.ndarray] = []
    for thing, (rgba, inside) in zip(layout.objects, cutouts, strict=True):
        picture.paste(rgba, (thing.left - RIM, thing.top - RIM), rgba)
        mask = np.zeros((H, W), bool)
        h, w = inside.shape
        y0, y1, x0, x1 = max(thing.top, 0), min(thing.top + h, H), max(thing.left, 0), min(thing.left + w, W)
        mask[y0:y1, x0:x1] = inside[y0 - thing.top : y1 - thing.top, x0 - thing.left : x1 - thing.left]
        for other in masks:
            other &= ~mask
        masks.append(mask)
    return np.asarray(picture), encode(np.stack(masks)) if masks else ()


def cut_for_pillow(made: Compose, layout: Layout) -> list[tuple[PIL.Image.Image, np.ndarray]]:
    """Cut-outs already warped, as RGBA: the peer is spared that work."""
    fitted = made._fitted
    assert fitted is not None
    out = []
    for thing in layout.objects:
        assert thing.source is not None
        pixels = warped(thing, fitted.cutouts[thing.source])
        alpha = cv2.GaussianBlur(np.pad(thing.mask, RIM).astype(np.float32) * 255, (0, 0), 1.0)
        rgba = np.dstack([np.clip(pixels, 0, 255), alpha]).astype(np.uint8)
        out.append((PIL.Image.fromarray(rgba, "RGBA"), thing.mask))
    return out


def seconds(work: Callable[[], object]) -> float:
    """CPU seconds of a call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def compare(size: int, images: int, blends: tuple[Blend, ...]) -> None:
    """One row of the table: `images` layouts, each under all blends."""
    made = compositor(size, blends)
    fitted = made._fitted
    assert fitted is not None
    n = len(blends)
    seeds = [[sample_seed(7, "bench", n * k + j, n) for j in range(n)] for k in range(images + 3)]
    list(made.sample([seed for several in seeds[:3] for seed in several]))  # warm: backgrounds, caches
    background = next(iter(made.sample(seeds[0]))).image
    ours, layouts, theirs, limit, counts = [], [], [], [], []
    for k in range(3, images + 3):
        rng = np.random.default_rng(seeds[k][0])
        layout = fitted.layouts.sample(rng, (size, size))
        cutouts = cut_for_pillow(made, layout)
        counts.append(len(layout.objects))
        ours.append(seconds(lambda k=k: list(made.sample(seeds[k]))) / n)
        layouts.append(seconds(lambda rng=rng: fitted.layouts.sample(rng, (size, size))) / n)
        theirs.append(seconds(lambda layout=layout, cutouts=cutouts: pillow_loop(background, layout, cutouts)))
        limit.append(seconds(lambda: png_bytes(background.copy())))
    rate = 1 / statistics.median(ours)
    a = statistics.median(t / o for t, o in zip(theirs, ours, strict=True))
    b = statistics.median(o / x for o, x in zip(ours, limit, strict=True))
    share = sum(layouts) / sum(ours)
    print(
        f"{size:>5} px  blends: {n}  {statistics.mean(counts):>4.1f} objects  {rate:>5.1f} images/s  "
        f"{a:>4.2f} × (a) Pillow loop  {b:>5.2f} × the time of (b) copy + PNG  layout {share:>4.0%}",
        flush=True,
    )


def one_memory(count: int) -> None:
    """Make `count` images of 128 px into shards, and print seconds and peak memory."""
    made = compositor(128)
    with tempfile.TemporaryDirectory() as folder:
        start = time.process_time()
        for number in range(0, count, 250):
            write_shard(Path(folder), number // 250, samples(made, 7, "bench", number, min(number + 250, count)))
        spent = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{count:>6} images  {spent:>7.1f} CPU s  {1000 * spent / count:>6.2f} ms each  peak {peak:>6.0f} MiB",
        flush=True,
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=30)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--count", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    cv2.setNumThreads(1)
    if asked.count:
        one_memory(asked.count)
        return
    for size in (128, 512, 1024):
        for blends in BLENDS:
            compare(size, asked.images, blends)
    if asked.memory:
        for count in (1000, 10_000):
            subprocess.run([sys.executable, __file__, "--count", str(count)], check=True)


if __name__ == "__main__":
    main()
