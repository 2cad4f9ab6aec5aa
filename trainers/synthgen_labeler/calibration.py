"""Temperature scaling (Guo, Pleiss, Sun & Weinberger, ICML 2017) on images that a sibling had not seen.

Of boxes Platt's scaling (1999), which also moves the middle: a centre's height is no probability, and of a labeler of
few steps hardly any is over one half, right as most may be.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize

from synthgen.geometry import areas, box_ious, decode, encode, only_accepted, rle_ious
from synthgen.metrics.accuracy import match
from synthgen.types import Boxes, Dataset, Labels
from synthgen_labeler.inference import BoxLabeler, CompactLabeler, NetworkLabeler, labeler_of

LOW, HIGH = 0.2, 5.0  # temperatures beyond these say that there was too little to fit on
BIAS = 6.0  # at most: nine in ten of what scored 0.02
FEWEST = 10


def calibrate(labeler: NetworkLabeler, held_out: Sequence[tuple[NetworkLabeler, Dataset]]) -> NetworkLabeler:
    """The labeler with a temperature fitted on (labeler, unseen samples) pairs, for averaged views and for one;
    unchanged with fewer than FEWEST.

    An instance counts as right when it covers a true one with IoU ≥ 0.5 (of masks, or for `detect` of boxes), a class
    when it is the true one.
    """
    scales = [_scale(labeler.settings.task, held_out, tta) for tta in (True, False)]
    if scales[0] is None:
        return labeler
    temperature, bias = scales[0]
    settings = replace(labeler.settings, temperature=temperature, bias=bias, one_view=scales[1])
    return labeler_of(labeler.network, settings, labeler.device, labeler.threads)


def _scale(
    task: str, held_out: Sequence[tuple[NetworkLabeler, Dataset]], tta: bool
) -> tuple[float, float] | None:
    """Temperature and bias; None where too little was seen, or the task's scores are not scaled."""
    bias = 0.0
    if task == "classify":
        logits, truth = [], []
        for other, data in held_out:
            settings = replace(other.settings, temperature=float("nan"), one_view=None)
            raw = CompactLabeler(other.network, settings, other.device, other.threads)
            logits.append(np.log(np.clip(raw.class_probs([x.image for x in data], tta), 1e-6, 1)))
            truth += [x.labels.image_class for x in data if x.labels is not None]
        if len(truth) < FEWEST:
            return None
        z, y = np.concatenate(logits), np.asarray(truth)
        temperature = best_temperature(lambda t: _nll_classes(z / t, y))
    elif task in ("instances", "detect"):
        views = 8 if tta else 1
        pairs = [_scored_boxes(other, data, views) if isinstance(other, BoxLabeler) else _scored(other, data, views)
                 for other, data in held_out]
        raw_scores, right = (
            (np.concatenate(column) for column in zip(*pairs, strict=True)) if pairs else (np.zeros(0), np.zeros(0))
        )
        if len(raw_scores) < FEWEST:
            return None
        p = np.clip(raw_scores, 1e-4, 1 - 1e-4)
        z = np.log(p / (1 - p))
        # Platt's smoothed targets (1999): with all right, an infinite certainty would fit best.
        up, n = right.sum(), len(right)
        target = np.where(right > 0, (up + 1) / (up + 2), 1 / (n - up + 2))
        if task == "detect":
            temperature, bias = platt(z, target)
        else:
            temperature = best_temperature(lambda t: _nll(z / t, target))
    else:
        return None
    return round(temperature, 4), round(bias, 4)


def best_temperature(loss: Callable[[float], float]) -> float:
    """The temperature in [LOW, HIGH] with the smallest loss, on a logarithmic grid of 129."""
    grid = np.exp(np.linspace(np.log(LOW), np.log(HIGH), 129))
    return float(grid[int(np.argmin([loss(float(t)) for t in grid]))])


def platt(z: NDArray[np.float64], target: NDArray[np.float64]) -> tuple[float, float]:
    """Temperature in [LOW, HIGH] and bias of sigmoid(z / T + b) of the smallest loss. z: logits. target: in [0, 1]."""
    found = minimize(
        lambda x: _nll(x[0] * z + x[1], target), x0=[1.0, 0.0], method="L-BFGS-B",
        bounds=[(1 / HIGH, 1 / LOW), (-BIAS, BIAS)],
    )
    return 1 / float(found.x[0]), float(found.x[1])


def _nll(z: NDArray[np.float64], target: NDArray[np.float64]) -> float:
    return float(np.mean(np.logaddexp(0, -z) * target + np.logaddexp(0, z) * (1 - target)))


def _nll_classes(z: NDArray[np.float64], y: NDArray[np.int64]) -> float:
    return float(torch.nn.functional.cross_entropy(torch.from_numpy(z), torch.from_numpy(y)))


def _scored(labeler: NetworkLabeler, data: Dataset, views: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Raw scores of all instances found in samples, and 1 where one matches a true one."""
    assert isinstance(labeler, CompactLabeler)
    scores, right = [np.zeros(0)], [np.zeros(0)]
    for sample in data:
        if sample.labels is None or sample.labels.masks is None:
            continue
        found, _ = labeler.groups(sample.image, views)
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


def _scored_boxes(labeler: BoxLabeler, data: Dataset, views: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Raw scores of all boxes found in samples, and 1 where one matches a true one."""
    scores, right = [np.zeros(0)], [np.zeros(0)]
    for sample in data:
        if sample.labels is None:
            continue
        found, labels = labeler.boxes(sample.image, views), only_accepted(sample.labels)
        same = found.classes[:, None] == labels.classes[None]
        # One to one, as they are judged: a second box on the same object is wrong.
        hits, _ = match(np.where(same, box_ious(found.boxes, labels.boxes), 0), np.ones(len(labels), bool), 0.5)
        said = (hits >= 0) | ~_ignored(found.boxes, labels)
        scores.append(found.scores[said])
        right.append((hits >= 0)[said].astype(float))
    return np.concatenate(scores), np.concatenate(right)


def _ignored(boxes: Boxes, labels: Labels) -> NDArray[np.bool_]:
    """(N,) bool: boxes over pixels of which most say nothing."""
    if labels.ignore is None:
        return np.zeros(len(boxes), bool)
    away = decode([labels.ignore], labels.size)[0]
    parts = [away[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)] for x0, y0, x1, y1 in boxes.astype(int).tolist()]
    return np.asarray([part.size > 0 and part.mean() > 0.5 for part in parts], bool)
