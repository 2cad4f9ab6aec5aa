"""Temperature scaling (Guo, Pleiss, Sun & Weinberger, ICML 2017) on images that a sibling had not seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from synthgen.geometry import areas, encode, rle_ious
from synthgen.types import Dataset
from synthgen_labeler.inference import CompactLabeler

LOW, HIGH = 0.2, 5.0  # temperatures beyond these say that there was too little to fit on
FEWEST = 10


def calibrate(labeler: CompactLabeler, held_out: Sequence[tuple[CompactLabeler, Dataset]]) -> CompactLabeler:
    """The labeler with a temperature fitted on (labeler, unseen samples) pairs; unchanged with fewer than FEWEST.

    An instance counts as right when it covers a true one with IoU ≥ 0.5, a class when it is the true one.
    """
    s = labeler.settings
    if s.task == "classify":
        logits, truth = [], []
        for other, data in held_out:
            raw = CompactLabeler(
                other.network, replace(other.settings, temperature=float("nan")), other.device, other.threads
            )
            logits.append(np.log(np.clip(raw.class_probs([x.image for x in data]), 1e-6, 1)))
            truth += [x.labels.image_class for x in data if x.labels is not None]
        if len(truth) < FEWEST:
            return labeler
        z, y = np.concatenate(logits), np.asarray(truth)
        temperature = best_temperature(lambda t: _nll_classes(z / t, y))
    elif s.task == "instances":
        pairs = [_scored(other, data) for other, data in held_out]
        raw_scores, right = (
            (np.concatenate(column) for column in zip(*pairs, strict=True)) if pairs else (np.zeros(0), np.zeros(0))
        )
        if len(raw_scores) < FEWEST:
            return labeler
        p = np.clip(raw_scores, 1e-4, 1 - 1e-4)
        z = np.log(p / (1 - p))
        # Platt's smoothed targets (1999): with all right, an infinite certainty would fit best.
        up, n = right.sum(), len(right)
        target = np.where(right > 0, (up + 1) / (up + 2), 1 / (n - up + 2))
        temperature = best_temperature(
            lambda t: float(np.mean(np.logaddexp(0, -z / t) * target + np.logaddexp(0, z / t) * (1 - target)))
        )
    else:
        return labeler
    return CompactLabeler(
        labeler.network, replace(s, temperature=round(temperature, 4)), labeler.device, labeler.threads
    )


def best_temperature(loss: Callable[[float], float]) -> float:
    """The temperature in [LOW, HIGH] with the smallest loss, on a logarithmic grid of 129."""
    grid = np.exp(np.linspace(np.log(LOW), np.log(HIGH), 129))
    return float(grid[int(np.argmin([loss(float(t)) for t in grid]))])


def _nll_classes(z: NDArray[np.float64], y: NDArray[np.int64]) -> float:
    return float(torch.nn.functional.cross_entropy(torch.from_numpy(z), torch.from_numpy(y)))


def _scored(labeler: CompactLabeler, data: Dataset) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Raw scores of all instances found in samples, and 1 where one matches a true one."""
    scores, right = [np.zeros(0)], [np.zeros(0)]
    for sample in data:
        if sample.labels is None or sample.labels.masks is None:
            continue
        found, _ = labeler.groups(sample.image)
        n = len(found.scores)
        if not n:
            continue
        rles = encode(np.stack([found.ids == k + 1 for k in range(n)]))
        big = areas(sample.labels.masks, sample.labels.size) >= labeler.settings.min_area
        ious = rle_ious(rles, [m for m, b in zip(sample.labels.masks, big, strict=True) if b], sample.labels.size)
        scores.append(found.scores)
        same = found.classes[:, None] == sample.labels.classes[big][None]
        right.append(((ious >= 0.5) & same).any(1).astype(float) if ious.size else np.zeros(n))
    return np.concatenate(scores), np.concatenate(right)
