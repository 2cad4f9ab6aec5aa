"""Are refined composites harder to tell from real tiles than the composites that they were made of? Nuclei.

    python benchmarks/refine.py [--steps 600] [--layouts 96] [--strengths 0.3 0.5]

The same layouts, twice: as `compose` paints them, and taken through `diffusion` in `mode: refine`, trained on the four
seed tiles and the pool's pixels. Printed: how well a probe tells each from real tiles that are not the seed's (AUC in
three families of features), the difference with an interval over layouts and real tiles resampled together, and how the
masks fit their images (rank among shifted outlines, px to the strongest edge) before and after, over layouts. The real
tiles are the pool, whose pixels the network has seen: 8 tiles, in 4 quarters each, left out and resampled as whole
tiles. The interval is that of the scores of one probe: that other tiles would have taught another is not in it.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from synthgen import plugins
from synthgen.formats import Reading
from synthgen.formats.detect import open_dataset
from synthgen.images import png_bytes
from synthgen.metrics.features import handcrafted, spectrum
from synthgen.metrics.mask_shift import mask_fit
from synthgen.metrics.two_sample import RidgeLoo, auc, standardise
from synthgen.overlay import sheet
from synthgen.recipe.shipped import shipped_assets
from synthgen.seeds import rng_of, seed_of
from synthgen.types import Context, Image, Sample

SIDE, RESAMPLES = 64, 2000
BASE = {"use": "compose", "layout": "shape", "blend": ["add", "feather"]}


def read(part: str, form: str) -> list[Sample]:
    found = open_dataset(shipped_assets() / "nuclei" / part, form, ("nucleus",), Reading())
    return [s for s in found if isinstance(s, Sample)]


def quarters(images: Sequence[Image]) -> list[Image]:
    """Four parts of each image, one after the other."""
    return [np.ascontiguousarray(image[y : y + SIDE, x : x + SIDE]) for image in images
            for y in (0, SIDE) for x in (0, SIDE)]


def families(images: Sequence[Image]) -> dict[str, np.ndarray]:
    imagenet = plugins.build("features", "imagenet", {})
    return {"spectrum": spectrum(images), "handcrafted": handcrafted(images), "imagenet": imagenet.features(images)}


def told_apart(made: np.ndarray, real: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """AUC of a ridge probe that sees no part of a tile that it scores, and its scores of synthetic and of real parts.

    Four parts of one tile are alike: a probe that saw three of them would know the tile, not the source. Without the
    rows of a group g the residuals are (I − H_gg)⁻¹ (y − H y)_g, as `RidgeLoo` has it for single rows.
    """
    y = np.repeat([1.0, 0.0], [len(made), len(real)])
    y -= y.mean()
    probe = RidgeLoo(standardise(np.concatenate([made, real]).astype(np.float64)))
    hat = probe.factors[0] if len(probe.factors) == 1 else probe.factors[0] @ probe.factors[1]          # (N, N)
    rest = y - hat @ y
    tiles = [slice(k, k + 4) for k in range(0, len(y), 4)]
    scores = y - np.concatenate([np.linalg.solve(np.eye(4) - hat[g, g], rest[g]) for g in tiles])
    return auc(scores[: len(made)], scores[len(made) :]), scores[: len(made)], scores[len(made) :]


def resampled(before: tuple[np.ndarray, np.ndarray], after: tuple[np.ndarray, np.ndarray]) -> tuple[float, float]:
    """95 % interval of AUC after − AUC before; layouts and real tiles are drawn anew, four parts at a time."""
    rng, drawn = rng_of(1), []
    layouts, tiles = len(before[0]) // 4, len(before[1]) // 4
    for _ in range(RESAMPLES):
        a = (4 * rng.integers(0, layouts, layouts)[:, None] + np.arange(4)).reshape(-1)
        b = (4 * rng.integers(0, tiles, tiles)[:, None] + np.arange(4)).reshape(-1)
        drawn.append(auc(after[0][a], after[1][b]) - auc(before[0][a], before[1][b]))
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(low), float(high)


def fits(samples: Sequence[Sample]) -> np.ndarray:
    """(N, 2): rank among shifted outlines, and px to the strongest edge; nan where there is nothing to measure."""
    found = [mask_fit(s.image, s.labels) for s in samples if s.labels is not None]
    return np.array([[f.rank, abs(f.offset)] if f is not None else [np.nan, np.nan] for f in found])


def paired(difference: np.ndarray) -> str:
    known, rng = difference[np.isfinite(difference)], rng_of(2)
    if not len(known):
        return "not measurable on any layout"
    means = known[rng.integers(0, len(known), (RESAMPLES, len(known)))].mean(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return f"{known.mean():+.3f} [{low:+.3f}, {high:+.3f}] over {len(known)} layouts"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--layouts", type=int, default=96)
    parser.add_argument("--strengths", type=float, nargs="+", default=[0.3, 0.5])
    parser.add_argument("--sheet", type=Path, help="a PNG of a few pairs")
    args = parser.parse_args()
    seed, pool = read("seed", "coco"), read("pool", "images")
    seeds = [seed_of(7, "refine", k) & ~0xFF for k in range(args.layouts)]
    options = {"mode": "refine", "base": BASE, "steps": args.steps, "look_every": 0}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        generator = plugins.build("generators", "diffusion", options)
        began = time.process_time()
        generator.fit(seed, pool, Context(7, "instances", ("nucleus",), folder))
        print(f"nuclei: {len(seed)} seed tiles, {len(pool)} pool tiles, {args.layouts} layouts; {args.steps} steps of "
              f"training in {time.process_time() - began:.0f} CPU s", flush=True)
        generator.save(folder)
        plain = list(generator._base.sample(seeds))  # the same composites that are refined below
        real = families(quarters([s.image for s in pool]))
        before, fit = families(quarters([s.image for s in plain])), fits(plain)
        rows = [plain[:8]]
        for strength in args.strengths:
            again = plugins.build("generators", "diffusion", {**options, "strength": strength})
            again.load(folder)
            began = time.process_time()
            fine = list(again.sample(seeds))
            took = (time.process_time() - began) / len(fine)
            after = families(quarters([s.image for s in fine]))
            rows.append(fine[:8])
            print(f"strength {strength:g}, {took:.2f} CPU s an image")
            for family, known in real.items():
                one, *x = told_apart(before[family], known)
                two, *y = told_apart(after[family], known)
                low, high = resampled((x[0], x[1]), (y[0], y[1]))
                print(f"  {family + ':':<13} AUC {one:.3f} as composed, {two:.3f} refined; difference {two - one:+.3f} "
                      f"[{low:+.3f}, {high:+.3f}]", flush=True)
            moved = fits(fine) - fit
            print(f"  masks: rank {np.nanmean(fit[:, 0]):.3f} as composed, {np.nanmean(fits(fine)[:, 0]):.3f} refined, "
                  f"difference {paired(moved[:, 0])}\n"
                  f"         px to the edge {np.nanmean(fit[:, 1]):.2f}, {np.nanmean(fits(fine)[:, 1]):.2f}, "
                  f"difference {paired(moved[:, 1])}", flush=True)
        if args.sheet:
            args.sheet.write_bytes(png_bytes(sheet([s.image for row in rows for s in row], 8, 2 * SIDE)))
            print(f"pictures: {args.sheet}")


if __name__ == "__main__":
    main()
