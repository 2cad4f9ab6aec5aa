"""Mix: which samples are shown how often. An index, no copies; the source of each sample is kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from synthgen.stages import Job, Unit, filter, ingest, keys, screen  # noqa: A004 - the stage is called so
from synthgen.stages.weights import augment_of, classes_of, scaled, weights_of
from synthgen.store import Joined, Subset, read_json, write_json
from synthgen.types import Json, Mixture

CODE = 1


def units(job: Job) -> list[Unit]:
    """One unit."""
    before = ingest.labelled(job) + filter.units(job) + screen.taken_out(job)
    return [
        Unit(
            "3-mix",
            {"code": CODE, "task": job.recipe.task, **job.recipe.mix.model_dump(mode="json"), "after": keys(before)},
            partial(_make, job),
        )
    ]


def mixture(job: Job) -> Mixture:
    """The mix that was written."""
    index = read_json(job.work.path("3-mix") / "index.json")
    seed, kept = ingest.part(job, "seed"), screen.kept(job)
    rows = index["samples"]
    picked = Joined(
        Subset(seed, [r["k"] for r in rows if r["kind"] == "real"]),
        _Part(kept, [r["k"] for r in rows if r["kind"] == "synthetic"]),
    )
    flags = np.asarray([r["kind"] == "real" for r in rows], bool)
    weights = np.asarray([r["weight"] for r in rows], np.float64)
    mix = job.recipe.mix
    return Mixture(picked, flags, weights, mix.real, mix.synthetic_until, augment_of(mix))


class _Part(Subset):
    """Some samples of a subset."""

    def __init__(self, subset: Subset, indices: Sequence[int]) -> None:
        super().__init__(subset.stored, [subset.indices[k] for k in indices], subset.changed)


def _make(job: Job, folder: Path) -> None:
    seed, kept = ingest.part(job, "seed"), screen.kept(job)
    rows: list[dict[str, Json]] = []
    for kind, part in (("real", seed), ("synthetic", kept)):
        labels = [part.labels(k) for k in range(len(part))]
        weights = weights_of([classes_of(x) for x in labels], job.recipe.mix)
        if kind == "synthetic":
            weights = scaled(weights, filter.times_shown(job, kept))
        for k in range(len(part)):
            about = part.about(k)
            rows.append(
                {
                    "id": about["id"],
                    "kind": kind,
                    "k": k,
                    "maker": about["origin"]["maker"],
                    "classes": {str(c): n for c, n in sorted(classes_of(labels[k]).items())},
                    "weight": float(weights[k]),
                }
            )
    write_json(
        folder / "summary.json",
        {
            "real": len(seed),
            "synthetic": len(kept),
            "real_share": job.recipe.mix.real,
            "classes": {kind: _census(rows, kind, job.recipe.classes) for kind in ("real", "synthetic")},
        },
    )
    write_json(folder / "index.json", {"samples": rows})


def _census(rows: Sequence[Mapping[str, Json]], kind: str, names: Sequence[str]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for row in rows:
        if row["kind"] == kind:
            for c, n in row["classes"].items():
                total[names[int(c)]] += n
    return {name: total[name] for name in names}
