"""Errors: which labels of the seed look wrong to labelers of the committee that did not learn from them.

`errors.json` is a list of rows as `metrics.label_errors` makes them, the most suspicious first. They are proposals for
people; the run goes on with the labels as they are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from synthgen.answers import answers
from synthgen.metrics.label_errors import SUSPICIOUS, ranked, suspects
from synthgen.stages import Job, Unit, committee, ingest, keys
from synthgen.store import Subset, write_json
from synthgen.types import Labeler, Probabilistic

CODE = 1
NAME = "5-errors"
CHUNK = 16  # images whose probabilities are asked for at a time


def units(job: Job) -> list[Unit]:
    """One unit, where the recipe has folds and does not say `label.errors: false`."""
    if not committee.folds(job) or not job.recipe.label.errors:
        return []
    before = [u for u in ingest.units(job) if u.name in ("0-ingest/seed", "0-ingest/people")]
    return [Unit(NAME, {"code": CODE, "task": job.recipe.task, "after": keys(before + committee.trainings(job))},
                 partial(_make, job))]


def _make(job: Job, folder: Path) -> None:
    rows, asked = [], 0
    members = committee.held_out(job)
    for number, (labeler, unseen) in enumerate(members):
        job.say("label errors", number, len(members))
        told = zip(answers(labeler, unseen, tta=False), _probabilities(labeler, unseen), strict=True)
        for (sample, found), probs in told:
            if sample.labels is not None:
                rows += suspects(sample.id, sample.labels, found, probs, job.recipe.task)
                asked += 1
    job.say("label errors", len(members), len(members))
    write_json(folder / "errors.json", ranked(rows))
    write_json(folder / "summary.json", {
        "images": asked, "labels": len(rows), "suspicious": sum(r["score"] < SUSPICIOUS for r in rows),
        "kinds": dict(Counter(r["kind"] for r in rows if r["score"] < SUSPICIOUS)),
    })  # fmt: skip


def _probabilities(labeler: Labeler, data: Subset) -> Iterator[NDArray[np.float32] | None]:
    """Those of each image, a few held at a time; None for each where the labeler does not tell."""
    for start in range(0, len(data), CHUNK):
        images = [data[k].image for k in range(start, min(start + CHUNK, len(data)))]
        if isinstance(labeler, Probabilistic):
            yield from labeler.probabilities(images)
        else:
            yield from (None for _ in images)
