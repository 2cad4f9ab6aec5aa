"""Masks of several functions → the probability of each pixel: STAPLE."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synthgen.votes.classes import Floats, fit, patterns, posterior_of

Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Staple:
    """What F functions' masks say of each pixel, and of the functions.

    probability: (H, W) that the pixel belongs to the object; of several images, one array each. sensitivity: (F,)
    share of the object's pixels that the function marks. specificity: (F,) share of the others that it leaves.
    prior: share of marked pixels, fixed before the fit.
    """

    probability: tuple[Floats, ...]
    sensitivity: Floats
    specificity: Floats
    prior: float


def staple(masks: Bools, known: Bools | None = None) -> Staple:
    """STAPLE of one image. masks: (F, H, W) bool; known: (F, H, W) bool, where the function says anything."""
    return staple_shared([masks], None if known is None else [known])


def staple_shared(masks: Sequence[Bools], known: Sequence[Bools] | None = None) -> Staple:
    """STAPLE of many images by the same F functions, whose sensitivity and specificity are shared over the images.

    masks: per image (F, H, W) bool. known: the same shapes; False where a function says nothing. Pixels with the same
    votes have the same probability, so that the fit costs 3^F rows at most. The prior is the share of marked pixels
    among the known ones; each rate has the prior of `dawid_skene`, since one tile of a cautious function is few votes.
    Source: Warfield, Zou & Wells 2004, "Simultaneous truth and performance level estimation (STAPLE)", equations 14
    to 19: Dawid and Skene's model with two classes and pixels for items.
    Raises: ValueError when the images do not have the same number of functions.
    """
    if len({m.shape[0] for m in masks}) > 1:
        raise ValueError("every image must have a mask of every function; say `known` where one is silent")
    votes = [votes_of(m, None if known is None else known[k]) for k, m in enumerate(masks)]
    F = masks[0].shape[0] if masks else 0
    every = np.concatenate(votes) if votes else np.zeros((0, F), np.int8)
    rows, which, weights = patterns(every, 2)
    prior, sensitivity, specificity = rates(rows, weights)
    per_row = probabilities(rows, prior, sensitivity, specificity)
    ends = np.cumsum([len(v) for v in votes])[:-1]
    parts = np.split(per_row[which], ends) if votes else []
    images = tuple(part.reshape(m.shape[1:]) for part, m in zip(parts, masks, strict=True))
    return Staple(images, sensitivity, specificity, prior)


def votes_of(masks: Bools, known: Bools | None = None) -> NDArray[np.int8]:
    """(P, F) int8 votes of each pixel: 1 marked, 0 not, −1 not known."""
    votes = masks.astype(np.int8) if known is None else np.where(known, masks, -1).astype(np.int8)
    return votes.reshape(len(masks), int(np.prod(masks.shape[1:]))).T


def rates(rows: NDArray[np.integer], weights: Floats) -> tuple[float, Floats, Floats]:
    """(prior, sensitivity (F,), specificity (F,)) from rows (U, F) of votes that stand for `weights` (U,) pixels."""
    said = ((rows >= 0).T @ weights).sum()
    share = float(((rows == 1).T @ weights).sum() / said) if said else 0.5
    prior = float(np.clip(share, 1e-6, 1 - 1e-6))
    model = fit(rows, weights, 2, prior=np.array([1 - prior, prior]))
    return prior, model.confusion[:, 1, 1], model.confusion[:, 0, 0]


def probabilities(rows: NDArray[np.integer], prior: float, sensitivity: Floats, specificity: Floats) -> Floats:
    """(U,) probability that pixels with these votes belong to the object."""
    absent, present = (np.stack(pair, 1) for pair in
                       ((specificity, 1 - specificity), (1 - sensitivity, sensitivity)))
    confusion = np.clip(np.stack([absent, present], 1), 1e-12, 1)  # (F, 2, 2)
    return posterior_of(rows, np.array([1 - prior, prior]), confusion)[:, 1]
