"""Core: how far the pool's masks must be eroded so that few of an image's remaining pixels are wrong.

The second promise of a certificate, from the same audit. Nothing is eroded in what goes out: the margin is said, and
the promise holds for who applies it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np

from synthgen.errors import DataError
from synthgen.metrics.core import MARGINS, core_pixels, smallest_margin
from synthgen.metrics.looks import confidence_at
from synthgen.people import looks
from synthgen.recipe.schema import Certify
from synthgen.stages import Job, audit, ingest
from synthgen.types import Json, Labels

KIND = "core pixels"  # of promise, by which its looks are counted


def facts(job: Job, rules: Certify, answers: audit.Answers, settled: Sequence[Labels]) -> Json:
    """What `certificate.json` says under `pixels`: the margin, or None as margin, and what it rests on.

    settled: of the whole pool, in its order, as `label.settled`; all of it is judged, whatever the certificate accepts,
    since what it accepts follows from the same answers.
    Raises: DataError for labels or an answer with boxes alone.
    """
    assert rules.pixels is not None
    for k, given in [*enumerate(settled), *zip(answers.drawn, answers.labels, strict=True)]:
        if given is not None and given.masks is None and len(given):
            name = ingest.part(job, "pool").entries[k].id
            raise DataError(f"label.certify.pixels promises something of masks, and there are only boxes for {name}: "
                            "give masks, or leave label.certify.pixels out")
    pixels = np.stack([core_pixels(labels)[0] for labels in settled])
    wrong = np.ones((len(answers.drawn), MARGINS + 1))  # where a person could not say
    for row, k, right in zip(wrong, answers.drawn, answers.labels, strict=True):
        if right is not None:
            every, bad = core_pixels(settled[k], right)
            row[:] = bad / np.maximum(every, 1)
    beside = job.work.folder / ingest.PEOPLE
    seen = audit.look(job, [KIND, rules.pixels, rules.confidence], answers, settled)
    number = looks.number_of(beside, KIND, seen)
    sure = confidence_at(number, rules.confidence)
    trials = smallest_margin(pixels, answers.drawn, wrong, rules.pixels, sure)
    if trials:
        looks.write_down(beside, KIND, seen)
    best = next((t for t in reversed(trials) if t.passed), None)
    total = int(pixels[:, 0].sum())
    return {
        "max_error": rules.pixels,
        "margin": best.margin if best else None,
        "images": best.images if best else 0,
        "kept": round(int(pixels[:, best.margin].sum()) / total, 6) if best and total else None,
        "bound": round(best.bound, 6) if best else None,
        "observed": round(best.loss, 6) if best else None,
        "audited": best.seen if best else 0,
        "look": looks.told(number, sure, counted=bool(trials)),
        "steps": [{k: round(v, 6) if isinstance(v, float) else v for k, v in asdict(t).items()} for t in trials],
    }
