"""A benchmark's labelers, scored once more: on the pool whose truth was kept aside.

    python benchmarks/pool_scores.py RUN

RUN must hold a benchmark (`synthgen benchmark`) of a recipe with `pool_truth`. No arm learned from these labels, and
the pool holds more images than the locked test, so that settings may be chosen by it. Generators that learn from the
pool have seen its images, never their labels. One view per image; intervals over seeds and images together.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from synthgen import plugins
from synthgen.images import hash_image
from synthgen.metrics.accuracy import columns, score_image
from synthgen.metrics.utility import Resamples, Scores, difference, mean
from synthgen.recipe.schema import Label
from synthgen.seeds import rng_of
from synthgen.stages.label import measured, sorted_out
from synthgen.store import Stored, read_json
from synthgen.types import Trainer

METRICS = {"dice": "Dice", "ap50": "AP50", "count_error": "count error"}
OF_IMAGES = {"accuracy": "accuracy"}  # where images have a class and no objects


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--size", default="n-all", help="folder of the labelled size")
    args = parser.parse_args()
    base = args.run / "benchmark"
    truth = {hash_image(s.image): s.labels for s in Stored(base / "0-ingest/pool_truth")}
    pool = [s for s in Stored(base / "0-ingest/pool") if hash_image(s.image) in truth]
    begun = sorted((base / args.size).glob("seed-*"), key=lambda p: int(p.name.split("-")[1]))
    cells = [c for c in begun if (c / "arms").is_dir()]  # others have images, and no labeler yet
    if not cells:
        sizes = ", ".join(sorted(p.name for p in base.glob("n-*"))) or "none"
        parser.error(f"{base / args.size} holds no trainings; --size may be: {sizes}")
    arms = [p.name for p in sorted((cells[0] / "arms").iterdir())
            if all((c / "arms" / p.name / "done.json").is_file() for c in cells)]
    metrics, main_one = METRICS, "ap50"
    rules, found = Label(accept=0.5, ignore=0.15), dict[tuple[str, str], Scores]()
    for arm in arms:
        records = []
        for cell in cells:
            folder = cell / "arms" / arm
            trainer: Trainer = plugins.build("trainers", read_json(folder / "labeler.json")["trainer"], {})
            given = trainer.load(folder).label([s.image for s in pool], tta=False)
            rows = []
            for sample, labels in zip(pool, given, strict=True):
                right = truth[hash_image(sample.image)]
                assert right is not None
                rows.append(score_image(measured(sorted_out(labels, rules)), right))
            records.append(rows)
        of_images = all(r["correct"] is not None for rows in records for r in rows)
        metrics, main_one = (OF_IMAGES, "accuracy") if of_images else (METRICS, "ap50")
        for metric in metrics:
            pairs = [pair for rows in records if (pair := columns(rows, metric)) is not None]
            if len(pairs) == len(cells):  # boxes, for one, know no Dice
                found[arm, metric] = Scores(np.stack([num for num, _ in pairs]), np.stack([den for _, den in pairs]))
    draws = Resamples.draw(len(cells), len(pool), rng_of(0))
    print(f"{len(cells)} seeds, {len(pool)} pool images whose labels were kept aside")
    titles = "".join(title.ljust(24) for title in metrics.values())
    print(f"{'arm':<20}{titles}{metrics[main_one] + ' against real':<26}seed by seed")
    for arm in arms:
        known = [mean(found[arm, m], draws) if (arm, m) in found else None for m in metrics]
        text = "".join(("-" if c is None else f"{c.value:.3f} [{c.interval[0]:.3f}, {c.interval[1]:.3f}]").ljust(24)
                       for c in known)
        gap = ""
        if arm != "real" and "real" in arms:
            d = difference(found[arm, main_one], found["real", main_one], draws)
            gap = f"{d.value:+.3f} [{d.interval[0]:+.3f}, {d.interval[1]:+.3f}]"
        each = found[arm, main_one]
        by_seed = " ".join(f"{v:.3f}" for v in each.num.sum(1) / each.den.sum(1))
        print(f"{arm:<20}{text}{gap:<26}{by_seed}")
    if {"mixed", "mixed-unfiltered"} <= set(arms):
        d = difference(found["mixed", main_one], found["mixed-unfiltered", main_one], draws)
        span = f"[{d.interval[0]:+.3f}, {d.interval[1]:+.3f}]"
        print(f"what the filter does to {metrics[main_one]}: {d.value:+.3f} {span}")


if __name__ == "__main__":
    main()
