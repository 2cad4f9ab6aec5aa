"""The core of masks: what remains when they are eroded, and by how much, so that few of its pixels are wrong.

Borders are where masks are wrong first. Of an image's labelled pixels those further than a margin from the border of
their mask are its core; the false-positive proportion is the share of them that is not so labelled in truth. Needed are
the final masks alone, so that it works for any labeler.

A margin is a choice among some, and its loss, the mean false-positive proportion of the images that have a core, need
not fall with it: where an object is labelled that is none, a larger margin leaves it a larger share of the core. So
margins are tested in a fixed sequence, from the largest that the audit can show down to 0, each at the whole δ, up to
the first that fails; which needs no monotony (Angelopoulos et al. 2021, "Learn then Test", arXiv:2110.01052, section
3.2). Where a margin in between is worse than smaller ones the sequence ends early: it then promises less than it could,
and never more. Which images have a core is known of the whole pool, and those of them that were drawn are a random
sample of them, so that `most_loss` bounds their mean.

After Mossina & Friedrich 2025, "Controlling False Positives in Image Segmentation via Conformal Prediction",
arXiv:2511.15406, where erosion is conformalised with other images in mind; here the pool is finite and given.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from synthgen.geometry import decode
from synthgen.metrics.certificate import SLACK, most_loss
from synthgen.types import Labels, Mask, Rle

MARGINS = 16  # px: larger margins are not tried
LEAST = 0.25  # nor such as leave less of the pool's labelled pixels: the more is gone, the fewer images the rest is of


def core_pixels(labels: Labels, truth: Labels | None = None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(MARGINS + 1,) px in the core at margins of 0, 1, … px, and how many of these are wrong by `truth` (0 without).

    What is accepted counts, class by class, the objects of a class together: between two that touch there is no border.
    At a margin of m stays what is further than m px (Euclidean, pixel centres) from the next pixel that is not of the
    class; the frame of the image is no border. With a truth, pixels of which it says nothing (its ignored pixels and
    objects) are left out of both.
    Raises: ValueError for a truth of another size, and for labels or a truth with objects but no masks.
    """
    every, wrong = np.zeros(MARGINS + 1, np.int64), np.zeros(MARGINS + 1, np.int64)
    if truth is not None and truth.size != labels.size:
        raise ValueError(f"the labels are for an image of {labels.size}, the truth for one of {truth.size}")
    unsaid = _union(truth, "ignored") if truth is not None else np.zeros(labels.size, bool)
    if truth is not None and truth.ignore is not None:
        unsaid |= decode([truth.ignore], truth.size)[0]
    for c in np.unique(labels.classes):
        mask = _union(labels, "accepted", int(c))
        depth = _depth(mask)
        said = mask & ~unsaid
        every += _beyond(depth[said])
        if truth is not None:
            wrong += _beyond(depth[said & ~_union(truth, "accepted", int(c))])
    return every, wrong


def _union(labels: Labels, state: str, of_class: int | None = None) -> Mask:
    """(H, W) bool, where an object of this state, and class, lies."""
    if labels.masks is None and len(labels):
        raise ValueError("masks are needed, and these labels have boxes alone")
    rles: list[Rle] = [m for m, s, c in zip(labels.masks or (), labels.states or (), labels.classes, strict=True)
                       if s == state and of_class in (None, c)]
    return np.asarray(decode(rles, labels.size).any(0), np.bool_)


def _depth(mask: Mask) -> NDArray[np.float32]:
    """(H, W) px from each pixel of the mask to the next that is none of it; inf where there is no such pixel."""
    if mask.all():
        return np.full(mask.shape, np.inf, np.float32)
    return np.asarray(cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE), np.float32)


def _beyond(depth: NDArray[np.float32]) -> NDArray[np.int64]:
    """(MARGINS + 1,) how many of these depths are greater than 0, 1, …"""
    return np.asarray((depth[None] > np.arange(MARGINS + 1)[:, None]).sum(1), np.int64)


@dataclass(frozen=True, slots=True)
class Trial:
    """One margin that was tried. images: of the pool with a core; seen: of these, in the audit; loss: their mean
    false-positive proportion there; bound: what that of all with a core is at most; passed: bound ≤ the level asked."""

    margin: int
    images: int
    seen: int
    loss: float
    bound: float
    passed: bool


def smallest_margin(pixels: ArrayLike, audit: ArrayLike, wrong: ArrayLike, max_error: float,
                    confidence: float) -> tuple[Trial, ...]:
    """The margins that were tried, falling. All passed but, it may be, the last; the last that did is the smallest at
    which the mean false-positive proportion of the images with a core is shown to be at most `max_error`.

    pixels: (N, M) px in the core of each image of the pool at margins of 0 … M − 1 px. audit: (n,) int, indices of the
    images that were drawn, in the order in which they were drawn. wrong: (n, M) their false-positive proportions, in
    [0, 1]. The promise is false with at most 1 − `confidence`, over draws of the audit.

    Where the sequence starts depends on the masks of the pool and on which images were drawn, never on the answers: at
    the largest margin with LEAST of the pixels at which an audit with half of `max_error` on each image would pass, or,
    where there is none, one without an error.
    """
    px, x = np.asarray(pixels, np.int64), np.asarray(wrong, np.float64)
    core = px > 0
    inside = core[np.asarray(audit, np.int64)]
    sizes, seen, total = core.sum(0), inside.sum(0), px.sum(0)
    usable = [m for m in range(px.shape[1]) if seen[m] and total[m] >= LEAST * total[0]][::-1]

    def first(error: float) -> int | None:
        """The first margin, falling, at which an audit with this error on each image would pass."""
        return next((m for m in usable if most_loss(np.full(seen[m], error), int(sizes[m]), confidence) <= max_error),
                    None)

    start = first(SLACK * max_error)
    start = first(0.0) if start is None else start
    trials: list[Trial] = []
    for m in [] if start is None else range(start, -1, -1):
        losses = x[inside[:, m], m]
        bound = most_loss(losses, int(sizes[m]), confidence)
        trials.append(Trial(m, int(sizes[m]), len(losses), float(losses.mean()), bound, bound <= max_error))
        if not trials[-1].passed:
            break
    return tuple(trials)
