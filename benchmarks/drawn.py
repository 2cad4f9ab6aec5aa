"""What does each generator draw, beside real tiles that it never saw, and what does an unlabelled pool give it? Nuclei.

    python benchmarks/drawn.py [--layouts 96] [--seeds 7 8] [--steps N] [--sheet FILE]

`compose`, and `gan` and `diffusion` each trained on the four seed tiles alone and on these with four unlabelled tiles
of the pool, for the same steps. The other four tiles of the pool and the four of the test are held out: nothing was
trained on them. Of quarters of all images are printed, in three families of features, the AUC of a probe that tells
drawn from held-out ones and the share of held-out ones that the drawn ones cover (at matched numbers), and how far
drawn ones lie from the seed: the median distance of thumbnails to the nearest view of a seed tile's quarter, over that
of the held-out ones. Intervals are over layouts and held-out tiles, four quarters at a time, means over the trainings
of all `--seeds`; that other seed tiles would have given other generators is not in them.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from refine import BASE, SIDE, families, quarters, read, told_apart

from synthgen import plugins
from synthgen.images import png_bytes
from synthgen.metrics.bounds import t_quantile
from synthgen.metrics.copying import nearest, thumbs, views
from synthgen.metrics.diversity import by_reference, coverage
from synthgen.metrics.two_sample import auc
from synthgen.overlay import sheet
from synthgen.seeds import rng_of, seed_of
from synthgen.types import Context, Sample

DRAWS = 200
LEARNING = ("gan", "diffusion")


Halves = tuple[np.ndarray, np.ndarray]  # quarters of drawn images, quarters of held-out tiles


def drawn(use: str, options: dict[str, object], seed: int, pool: list[Sample],
          layouts: int) -> tuple[list[Sample], float]:
    """Samples of a generator that was trained on the seed and on a pool, and the CPU seconds that the training took."""
    generator = plugins.build("generators", use, options)
    with tempfile.TemporaryDirectory() as folder:
        began = time.process_time()
        generator.fit(read("seed", "coco"), pool, Context(seed, "instances", ("nucleus",), Path(folder)))
        took = time.process_time() - began
        return list(generator.sample([seed_of(seed, "drawn", k) & ~0xFF for k in range(layouts)])), took


class Drawn:
    """Features of the quarters of what one generator drew, and of the held-out tiles."""

    def __init__(self, samples: Sequence[Sample], held: dict[str, np.ndarray], far: np.ndarray, seed: np.ndarray):
        parts = quarters([s.image for s in samples])
        self.made, self.held, self.far = families(parts), held, far
        self.distance = nearest(thumbs(parts), seed)[0]
        self.scores = {name: told_apart(self.made[name], held[name])[1:] for name in held}

    def values(self, layouts: np.ndarray, tiles: np.ndarray) -> np.ndarray:
        """All that is printed, in the order of `names`, of these quarters of either side. The probe is one for all."""
        told = [auc(made[layouts], real[tiles]) for made, real in self.scores.values()]
        covered = []
        for family, rows in self.held.items():
            real, made = by_reference(rows[tiles], self.made[family][layouts])
            covered.append(coverage(real, made).value)
        return np.array([*told, *covered, np.median(self.distance[layouts]) / np.median(self.far[tiles])])

    @property
    def names(self) -> list[str]:
        """What `values` are."""
        return [*(f"AUC, {f}" for f in self.held), *(f"covered, {f}" for f in self.held), "distance from the seed"]


def halves(layouts: int, tiles: int) -> list[Halves]:
    """All, and then random halves of layouts and of tiles, four quarters at a time."""
    def four(picks: np.ndarray) -> np.ndarray:
        return (4 * picks[:, None] + np.arange(4)).reshape(-1)

    rng = rng_of(3)
    parts = [(layouts, tiles), *[(layouts // 2, tiles // 2)] * DRAWS]
    return [(four(rng.choice(layouts, a, replace=False)), four(rng.choice(tiles, b, replace=False))) for a, b in parts]


def spread(values: np.ndarray, tiles: int) -> list[str]:
    """Of (1 + DRAWS, V) values of all and of halves, each with its 95 % interval: ± t · sd over the halves
    (delete-half jackknife: Shao & Wu 1989), since where neighbours count an image drawn twice is its own."""
    reach = t_quantile(0.975, tiles - 1) * values[1:].std(0)
    return [f"{v:+.3f} [{v - r:+.3f}, {v + r:+.3f}]" for v, r in zip(values[0], reach, strict=True)]


def told(found: Sequence[Drawn], beside: Sequence[Drawn] | None, parts: list[Halves], tiles: int) -> str:
    """The lines of one generator, means over its trainings; beside: the same without the pool, to take away."""
    own = np.mean([[one.values(*part) for part in parts] for one in found], 0)
    columns = [found[0].names, spread(own, tiles)]
    if beside is not None:
        columns.append(spread(own - np.mean([[one.values(*part) for part in parts] for one in beside], 0), tiles))
    return "\n".join("  " + "  ".join(f"{cell:<24}" for cell in line).rstrip() for line in zip(*columns, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layouts", type=int, default=96)
    parser.add_argument("--seeds", type=int, nargs="+", default=[7, 8])
    parser.add_argument("--steps", type=int, help="of both generators that learn; without: those of their presets")
    parser.add_argument("--sheet", type=Path, help="a PNG with a row of each")
    args = parser.parse_args()
    pool, test = read("pool", "images"), read("test", "coco")
    shown, held_out = pool[::2], [*pool[1::2], *test]
    parts = quarters([s.image for s in held_out])
    held, seed = families(parts), views(quarters([s.image for s in read("seed", "coco")]))
    far = nearest(thumbs(parts), seed)[0]
    print(f"nuclei: 4 seed tiles, {len(shown)} unlabelled, {len(held_out)} held out; {args.layouts} layouts; trainings "
          f"of seeds {', '.join(map(str, args.seeds))}", flush=True)
    rows = [held_out]
    again = {} if args.steps is None else {"steps": args.steps}

    def of(use: str, options: dict[str, object], unlabelled: list[Sample]) -> tuple[list[Drawn], float]:
        made = [drawn(use, options, k, unlabelled, args.layouts) for k in args.seeds]
        rows.append(made[0][0][: len(held_out)])
        return [Drawn(samples, held, far, seed) for samples, _ in made], sum(took for _, took in made) / len(made)

    sizes = halves(args.layouts, len(held_out))
    found, _ = of("compose", {k: v for k, v in BASE.items() if k != "use"}, [])
    print(f"compose\n{told(found, None, sizes, len(held_out))}", flush=True)
    for use in LEARNING:
        alone, took = of(use, {"look_every": 0, **again}, [])
        print(f"{use}, seed alone, trained in {took:.0f} CPU s\n{told(alone, None, sizes, len(held_out))}", flush=True)
        both, took = of(use, {"look_every": 0, **again}, shown)
        print(f"{use}, seed and pool, trained in {took:.0f} CPU s; beside it the difference that the pool makes\n"
              f"{told(both, alone, sizes, len(held_out))}", flush=True)
    if args.sheet:
        pictures = [s.image for row in rows for s in row[: len(held_out)]]
        args.sheet.write_bytes(png_bytes(sheet(pictures, len(held_out), 2 * SIDE)))
        print(f"pictures: {args.sheet}")


if __name__ == "__main__":
    main()
