"""What labelers that never saw an image say of it: synthetic labels against the held-out folds' labelers."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from synthgen.metrics.accuracy import score_image
from synthgen.stages import Job, ingest, train
from synthgen.store import Subset
from synthgen.types import Dataset, Json, Labeler, Labels

MOST = 120  # synthetic images that are asked about; more would decide nothing new


def agreement_of(job: Job, synthetic: Dataset) -> Mapping[str, Mapping[str, Json]]:
    """{"synthetic": {"per_image", "ids"}, "real": {"per_image"}}: records of `score_image`, the labels as the truth.

    Each fold's labeler learned from the seed without one part of it: it is asked about that part, and about its share
    of the synthetic images. These show objects of the whole seed, also of the part that the labeler did not see, and
    of the part that it did; for composites the agreement is therefore on the kind side. Empty without folds.
    """
    folds = [k for k in range(train.folds(job)) if not (job.work.path(f"4-train/fold-{k}") / "skipped.json").exists()]
    if not folds or not len(synthetic):
        return {}
    seed = ingest.part(job, "seed")
    picks = np.linspace(0, len(synthetic) - 1, min(len(synthetic), MOST)).round().astype(int).tolist()
    made, ids, real = [], [], []
    for turn, k in enumerate(folds):
        labeler = train.load(job, f"4-train/fold-{k}")
        for sample in Subset(seed, train.fold_members(seed, k, job.recipe.train.calibration_folds)):
            assert sample.labels is not None
            real.append(_scored(labeler, sample.image, sample.labels))
        for number in picks[turn :: len(folds)]:
            sample = synthetic[number]
            if sample.labels is not None:
                made.append(_scored(labeler, sample.image, sample.labels))
                ids.append(sample.id)
        job.say("agreement", turn + 1, len(folds))
    return {"synthetic": {"per_image": made, "ids": ids}, "real": {"per_image": real}}


def _scored(labeler: Labeler, image: np.ndarray, truth: Labels) -> Json:
    return score_image(next(iter(labeler.label([image], tta=False))), truth)
