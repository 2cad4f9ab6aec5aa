"""How often which sample is shown, and the seed alone as something to learn from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from synthgen.recipe.schema import Mix
from synthgen.stages import Job, ingest
from synthgen.store import Subset
from synthgen.types import Json, Labels, Mixture


def of_seed(job: Job, without: Sequence[str] = ()) -> Mixture:
    """The seed alone, but for the images named; weighed as they are beside all of them."""
    seed, mix = ingest.part(job, "seed"), job.recipe.mix
    weights = weights_of([classes_of(seed.labels(k)) for k in range(len(seed))], mix)
    rows = [k for k, entry in enumerate(seed.entries) if entry.id not in set(without)]
    return Mixture(Subset(seed, rows), np.ones(len(rows), bool), weights[rows], 1.0, 0.0, augment_of(mix))


def augment_of(mix: Mix) -> tuple[Mapping[str, Json], ...] | None:
    """The transforms that the recipe names; None = the trainer's own choice."""
    return {"default": None, "none": ()}.get(mix.augment, ()) if isinstance(mix.augment, str) else mix.augment


def classes_of(labels: Labels | None) -> Counter[int]:
    """How many instances of each class an image shows; its own class counts as one."""
    if labels is None:
        return Counter()
    counts = Counter(int(c) for c in labels.classes)
    if labels.image_class is not None:
        counts[labels.image_class] += 1
    return counts


def weights_of(counts: Sequence[Mapping[int, int]], mix: Mix) -> NDArray[np.float64]:
    """(N,) sampling weights that sum to 1. balance: an image weighs as the rarest class it shows, by inverse frequency
    of images (repeat factors without a threshold, after Gupta, Dollár & Girshick, LVIS, CVPR 2019, §B)."""
    n = len(counts)
    if n == 0:
        return np.zeros(0)
    if mix.per_class == "none":
        return np.full(n, 1 / n)
    images = Counter(c for row in counts for c in row)
    raw = np.asarray([max((1 / images[c] for c in row), default=1 / n) for row in counts])
    return np.asarray(raw / raw.sum(), np.float64)


def scaled(weights: NDArray[np.float64], times: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N,) weights that sum to 1, each as many times as large as `times` says beside the others."""
    both = weights * times
    return both / both.sum() if len(both) else both
