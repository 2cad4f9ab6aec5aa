"""What labelers say of a labelled image, in numbers: of its pixels, its instances, and all of it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synthgen.checks.agreement import METRIC
from synthgen.geometry import cropped
from synthgen.metrics import consistency as rule
from synthgen.metrics.accuracy import score_image, value_of
from synthgen.metrics.consistency import Floats
from synthgen.types import Labeler, Labels, Probabilistic, Sample, Task


@dataclass(frozen=True, slots=True, eq=False)
class Opinion:
    """What labelers say of one labelled image, on average over them.

    target: (H, W) int64 as `rule.target_of`; None for boxes and for classify. loss: (H, W) float32 cross-entropy of the
    label, nats; None where it is not known. found: (N,) in [0, 1], how well they find each instance. agrees: in [0, 1],
    their labels against these in the task's metric; for classify the probability of the image's class. unsure: their
    entropy, nats; nan where they do not tell.
    """

    target: NDArray[np.int64] | None
    loss: NDArray[np.float32] | None
    found: Floats
    agrees: float
    unsure: float


def tells_pixels(labelers: Sequence[Labeler]) -> bool:
    """Whether all of them say how sure they are, and not only what they see."""
    return all(isinstance(labeler, Probabilistic) for labeler in labelers)


def opinions(labelers: Sequence[Labeler], samples: Sequence[Sample], task: Task) -> Iterator[Opinion]:
    """What labelers say of each labelled sample, in order. labelers: at least one."""
    soft = task != "detect" and tells_pixels(labelers)  # boxes give no pixel a class
    heard = [_opinions_of(labeler, samples, task, soft) for labeler in labelers]
    return (_mean(each) for each in zip(*heard, strict=True))


def _opinions_of(labeler: Labeler, samples: Sequence[Sample], task: Task, soft: bool) -> Iterator[Opinion]:
    images = [sample.image for sample in samples]
    probabilities = labeler.probabilities(images) if soft and isinstance(labeler, Probabilistic) else None
    for sample, pred in zip(samples, labeler.label(images, tta=False), strict=True):
        labels = sample.labels
        assert labels is not None
        probs = None if probabilities is None else next(probabilities)
        unsure = math.nan if probs is None else rule.entropy(probs)
        if task == "classify":
            same = pred.image_class == labels.image_class and labels.image_class is not None
            p = float(probs[labels.image_class or 0]) if probs is not None else pred.image_score * same
            yield Opinion(None, None, np.zeros(0), p, unsure)
            continue
        found = rule.found(pred, labels, task)
        target = rule.target_of(labels) if task != "detect" else None
        agrees = value_of([score_image(pred, labels)], "ap50" if target is None else METRIC[task])
        if probs is None or target is None:
            yield Opinion(target, None, found, agrees, unsure)
            continue
        # Not found is what neither a prediction lies over nor whose pixels are held for its class.
        found = np.maximum(found, held(probs, labels))
        yield Opinion(target, rule.cross_entropy(probs, target), found, agrees, unsure)


def held(probs: NDArray[np.float32], labels: Labels) -> Floats:
    """(N,) mean probability of its class over each instance's pixels. It tells apart what the best IoU calls 0 alike:
    an object that is not there, and one that was cut in two or taken for a part of its neighbour. Labelers that learned
    from a few images do that to some real objects too; by IoU alone these set the bar at 0, and nothing is below it
    (`benchmarks/agreement_filter.py` compares the two)."""
    out = np.zeros(len(labels))
    for i, (c, rle) in enumerate(zip(labels.classes.tolist(), labels.masks or (), strict=True)):
        part, mask = cropped(rle, labels.size)
        inside = probs[c + 1][part][mask]
        out[i] = float(inside.mean(dtype=np.float64)) if inside.size else 0.0
    return out


def _mean(heard: Sequence[Opinion]) -> Opinion:
    losses = [o.loss for o in heard if o.loss is not None]
    return Opinion(heard[0].target, np.mean(losses, 0, dtype=np.float32) if losses else None,
                   np.mean([o.found for o in heard], 0), float(np.mean([o.agrees for o in heard])),
                   float(np.mean([o.unsure for o in heard])))
