"""What labelers that never saw an image say of it: synthetic labels against the held-out folds' labelers."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from synthgen.answers import answers
from synthgen.metrics.accuracy import score_image
from synthgen.stages import Job, committee
from synthgen.types import Dataset, Json, Labels, Sample

MOST = 120  # synthetic images that are asked about; more would decide nothing new


def agreement_of(job: Job, synthetic: Dataset) -> Mapping[str, Mapping[str, Json]]:
    """{"synthetic": {"per_image", "ids"}, "real": {"per_image"}}: records of `score_image`, the labels as the truth.

    Each fold's labeler learned from the seed without one part of it: it is asked about that part, and about its share
    of the synthetic images. These show objects of the whole seed, also of the part that the labeler did not see, and
    of the part that it did; for composites the agreement is therefore on the kind side. Empty without folds.
    """
    asked = committee.held_out(job)
    if not asked or not len(synthetic):
        return {}
    picks = np.linspace(0, len(synthetic) - 1, min(len(synthetic), MOST)).round().astype(int).tolist()
    made, ids, real = [], [], []
    for turn, (labeler, unseen) in enumerate(asked):
        real += [_scored(found, sample) for sample, found in answers(labeler, unseen, tta=False)]
        mine = (synthetic[number] for number in picks[turn :: len(asked)])
        for sample, found in answers(labeler, (s for s in mine if s.labels is not None), tta=False):
            made.append(_scored(found, sample))
            ids.append(sample.id)
        job.say("agreement", turn + 1, len(asked))
    return {"synthetic": {"per_image": made, "ids": ids}, "real": {"per_image": real}}


def _scored(found: Labels, sample: Sample) -> Json:
    assert sample.labels is not None
    return score_image(found, sample.labels)
