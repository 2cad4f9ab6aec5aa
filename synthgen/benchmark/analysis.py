"""What the trainings say: each arm's scores, its difference to the seed alone, and how many real images it equals.

One comparison answers the question, `mixed` against `real`, at 95 % together over the sizes; all others are beside
it, at 95 % together too (Bonferroni), so that no arm is found good by being one of many.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from synthgen.benchmark.arms import Arm, share_of
from synthgen.benchmark.trainings import Bench, Cell, labelled_images, scores
from synthgen.checks import FEW_IMAGES
from synthgen.checks.utility import MAIN, decide
from synthgen.metrics.accuracy import columns
from synthgen.metrics.utility import (
    FEWEST_SEEDS,
    Crossed,
    Resamples,
    Scores,
    difference,
    mean,
    needed,
    real_equivalents,
)
from synthgen.seeds import rng_of, seed_of
from synthgen.stages.evaluate import METRICS
from synthgen.types import Json

LOWER_IS_BETTER = ("count_error",)
PRIMARY = "mixed"


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """Scores of every finished training by size, arm and metric."""

    scores: Mapping[tuple[int | None, str, str], Scores]
    images: int
    seeds: int


def read(bench: Bench) -> Table:
    """The scores of all trainings; every one of them must stand."""
    out: dict[tuple[int | None, str, str], Scores] = {}
    n = 0
    for size in _sizes(bench):
        for arm in bench.arms:
            cells = [cell for cell in bench.cells if cell.size == size]
            records = [scores(bench, cell, arm)["per_image"] for cell in cells]
            n = len(records[0])
            for metric in METRICS[bench.job.recipe.task]:
                pairs = [columns(rows, metric) for rows in records]
                if all(pair is not None for pair in pairs):
                    num, den = (np.stack([pair[k] for pair in pairs if pair is not None]) for k in (0, 1))
                    out[size, arm.name, metric] = Scores(num, den)
    return Table(out, n, len({cell.seed for cell in bench.cells}))


def analyse(bench: Bench) -> dict[str, Any]:
    """Everything that the table, the page and `benchmark.json` say; plain JSON, not a number that is not finite.

    arms: rows by size and arm with {metric: {value, interval}}; comparisons: arm against `real` of the same size, in
    the main metric, with verdict and what would settle it; equivalents: real images that an arm's score is worth.
    """
    recipe = bench.job.recipe
    table = read(bench)
    main = MAIN[recipe.task]
    draws = Resamples.draw(table.seeds, table.images, rng_of(seed_of(recipe.seed, "benchmark", "bootstrap")))
    sizes = _sizes(bench)
    counts = {size: labelled_images(bench, size) for size in sizes}
    beside = [(size, arm) for size in sizes for arm in bench.arms if arm.name not in ("real", PRIMARY)]
    levels = {PRIMARY: 1 - 0.05 / len(sizes), "beside": 1 - 0.05 / max(1, len(beside))}
    rows, comparisons = [], []
    for size in sizes:
        for arm in bench.arms:
            row = _row(bench, size, arm, counts[size])
            for metric in METRICS[recipe.task]:
                found = table.scores.get((size, arm.name, metric))
                if found is not None:
                    most = math.inf if metric in LOWER_IS_BETTER else 1.0
                    row["scores"][metric] = _plain(mean(found, draws), (0.0, most))
            rows.append(row)
            ours, base = (table.scores.get((size, name, main)) for name in (arm.name, "real"))
            if arm.name != "real" and ours is not None and base is not None:
                level = levels[PRIMARY if arm.name == PRIMARY else "beside"]
                found_difference = difference(ours, base, draws, level)
                comparisons.append({"size": size, "labelled": counts[size], "arm": arm.name, "against": "real",
                                    "metric": main, "level": round(level, 4), "primary": arm.name == PRIMARY,
                                    **_compared(found_difference, table, recipe.benchmark.margin, level)})
    return {
        "recipe": recipe.name, "about": bench.about, "task": recipe.task, "metric": main,
        "margin": recipe.benchmark.margin,
        "seeds": sorted({cell.seed for cell in bench.cells}), "test_images": table.images,
        "steps": recipe.train.options.get("steps"), "labelled": [counts[size] for size in sizes],
        "left_out": bench.left_out, "arms": rows, "comparisons": comparisons,
        "equivalents": _equivalents(bench, table, draws, main, sizes, counts),
    }


def _sizes(bench: Bench) -> list[int | None]:
    return list(dict.fromkeys(cell.size for cell in bench.cells))


def _row(bench: Bench, size: int | None, arm: Arm, labelled: int) -> dict[str, Any]:
    shown = scores(bench, Cell(size, bench.cells[0].seed), arm)["images"]
    return {"size": size, "labelled": labelled, "arm": arm.name, "words": arm.words,
            "real_share": share_of(arm, bench.job.recipe), "images": shown, "scores": {}}


def _compared(found: Crossed, table: Table, margin: float, level: float) -> dict[str, Any]:
    """A difference with its verdict and, where it is open, what would settle it."""
    low, high = found.interval
    word, _ = decide(low, high, margin, table.images)
    few = []
    if table.images < FEW_IMAGES:
        few.append(f"{table.images} test images")
    if table.seeds < FEWEST_SEEDS:
        few.append(f"{table.seeds} seed" + "s" * (table.seeds > 1))
        word = "INCONCLUSIVE"
    settle = None
    if word == "INCONCLUSIVE":
        # Either end may settle it: the low one rising past −margin, or the high one sinking below 0.
        ways = [needed(found, room, table.images, table.seeds, level)
                for room in (found.value + margin, -found.value) if room > 0]
        images = min((way.images for way in ways if way.images is not None), default=None)
        seeds = min((way.seeds for way in ways if way.seeds is not None), default=None)
        settle = {"images": images, "seeds": seeds}
    return {**_plain(found, (-1.0, 1.0)), "verdict": word, "too_few": few, "settle": settle,
            "sd_by_images": _finite(math.sqrt(found.by_images)), "sd_by_seeds": _finite(math.sqrt(found.by_seeds))}


def _equivalents(bench: Bench, table: Table, draws: Resamples, main: str, sizes: Sequence[int | None],
                 counts: Mapping[int | None, int]) -> list[Json]:
    """Real-image equivalents of each arm at each size; none with one size, or a metric that is no share of 1."""
    if len(sizes) < 2 or main in LOWER_IS_BETTER or table.seeds < FEWEST_SEEDS or table.images < FEW_IMAGES:
        return []
    real = [table.scores[size, "real", main] for size in sizes]
    labelled = [counts[size] for size in sizes]
    out = []
    for size in sizes:
        for arm in bench.arms:
            if arm.name != "real":
                found = real_equivalents(labelled, real, table.scores[size, arm.name, main], counts[size], draws)
                ends = [min(end, found.reach) for end in found.interval]
                out.append({"arm": arm.name, "labelled": counts[size], "reach": found.reach,
                            "images": round(min(found.images, found.reach), 1),
                            "interval": [round(end, 1) for end in ends]})
    return out


def _plain(found: Crossed, possible: tuple[float, float]) -> dict[str, Any]:
    """The value and its interval, which few images and Student's t may carry past what a metric can be."""
    low, high = possible
    return {"value": _finite(found.value), "interval": [_finite(min(max(end, low), high)) for end in found.interval]}


def _finite(value: float) -> float | None:
    return round(float(value), 6) if math.isfinite(value) else None
