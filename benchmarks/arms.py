"""What the synthetic data are worth: the same steps on seed only, synthetic only and mixed, several seeds.

    python benchmarks/arms.py nuclei --seeds 3 [--arms real mixed synthetic] [--folder runs/arms] [-S train.steps=400]

Each seed makes its own synthetic samples and its own trainings; all arms of a seed start from the same weights. The
locked test is opened once per training, after it. Prints one row per training, then per arm the mean over seeds and
its 95 % interval (Student's t over seeds; test images are the same in all). Trainings stand in --folder and are
reused when the script is called again.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
from pathlib import Path

from synthgen.metrics.accuracy import METRICS as KNOWN
from synthgen.metrics.accuracy import score_image, value_of
from synthgen.metrics.bounds import t_quantile
from synthgen.recipe.load import load
from synthgen.run import job_of, run
from synthgen.stages import Job, filter, ingest, keys, mix, train  # noqa: A004
from synthgen.stages.evaluate import METRICS
from synthgen.store import read_json, write_json
from synthgen.types import silent
from synthgen.work import in_parallel

ARMS = {"real": {"synthetic": False}, "mixed": {}, "synthetic": {"real": False}}


def job(recipe: str, overrides: tuple[str, ...], folder: str, seed: int) -> Job:
    """The job of one seed, in a run folder of its own."""
    return job_of(load(recipe, (*overrides, f"seed={seed}", f"run.out={folder}/seed-{seed}")))


def one(recipe: str, overrides: tuple[str, ...], folder: str, seed: int, arm: str) -> None:
    """Train one arm of one seed and score it on the test; runs in a process of its own, with one thread."""
    from dataclasses import replace

    here = replace(job(recipe, overrides, folder, seed), threads=1)
    sides = ARMS[arm]
    # An arm that mixes nothing does not depend on how is mixed.
    before = {"real": ingest.units, "synthetic": filter.units, "mixed": mix.units}[arm](here)
    needs = {"arm": arm, "after": keys(before), "train": here.recipe.train.options}

    def make(place: Path) -> None:
        mixture = mix.mixture(here, synthetic=sides.get("synthetic", True), real=sides.get("real", True))
        train.fit(here, mixture, [], place, arm)
        labeler = train.trainer(here).load(place)
        rows = []
        for sample in ingest.part(here, "test"):
            assert sample.labels is not None
            rows.append(score_image(next(iter(labeler.label([sample.image]))), sample.labels))
        write_json(place / "scores.json", rows)

    made = here.work.once(f"arms/{arm}", needs, make)
    rows = read_json(made / "scores.json")
    said = "  ".join(f"{m} {value_of(rows, m):.3f}" for m in METRICS[here.recipe.task])
    print(f"seed {seed}  {arm:<10} {said}", flush=True)


def main() -> None:
    """Run everything that is missing and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("recipe")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=list(ARMS))
    parser.add_argument("--folder", default="runs/arms")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("-S", dest="overrides", action="append", default=[])
    asked = parser.parse_args()
    overrides = tuple(asked.overrides)
    for seed in range(asked.seeds):
        settings = (*overrides, f"seed={seed}", f"run.out={asked.folder}/seed-{seed}")
        run(load(asked.recipe, settings), silent, until="mix")
    jobs = [
        (one, (asked.recipe, overrides, asked.folder, seed, arm)) for seed in range(asked.seeds) for arm in asked.arms
    ]
    in_parallel(jobs, asked.workers, silent, "arms")
    first = job(asked.recipe, overrides, asked.folder, 0)
    metrics = [m for m in METRICS[first.recipe.task] if m in KNOWN]
    n = len(ingest.part(first, "test"))
    print(f"\n{asked.recipe}: mean over {asked.seeds} seeds [95 % over seeds]; {n} test images")
    places = [job(asked.recipe, overrides, asked.folder, seed).work for seed in range(asked.seeds)]
    for arm in asked.arms:
        cells = []
        for metric in metrics:
            values = [value_of(read_json(place.path(f"arms/{arm}") / "scores.json"), metric) for place in places]
            half = math.nan
            if len(values) > 1:
                half = t_quantile(0.975, len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
            mean = statistics.mean(values)
            cells.append(f"{metric} {mean:.3f} [{mean - half:.3f}, {mean + half:.3f}]")
        print(f"  {arm:<10} " + "   ".join(cells))


if __name__ == "__main__":
    main()
