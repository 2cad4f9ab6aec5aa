"""How often to show which synthetic sample, so that a filter that prefers easy ones does not leave easy ones alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MOST = 20
"""Times that the hardest sample may be shown for each time that the easiest is."""


def by_rank(hardness: Floats) -> Floats:
    """(N,) weights, 1 on average: sorted from easy to hard, the i-th of N weighs 1 + round(20 · i / N), 20 at most.

    hardness: (N,), of each sample's layout; nan = not known, which weighs as the mean of the others. Equals weigh
    alike: they take the mean of their ranks.
    Source: Yang et al. 2023, "FreeMask", NeurIPS; `preprocess/resample.py` of its code, where it is how many images are
    made for the i-th mask.
    """
    known = ~np.isnan(hardness)
    out = np.ones(len(hardness))
    if not known.any():
        return out
    _, at, counts = np.unique(hardness[known], return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[at]
    times = np.minimum(1 + np.round(ranks / known.sum() * MOST), MOST)
    out[known] = times / times.mean()
    return out


def at_least(weights: Floats, hard: NDArray[np.bool_], share: float) -> Floats:
    """(N,) weights of the same sum, those of the hard samples raised until they are `share` of it, by MOST at most.

    Weights that give the hard ones so much already are given back as they are, and so are those of samples of which
    none or all are hard.
    """
    of_hard, of_easy = float(weights[hard].sum()), float(weights[~hard].sum())
    if not of_hard or not of_easy or of_hard >= share * (of_hard + of_easy):
        return weights
    factor = min(share * of_easy / ((1 - share) * of_hard), MOST) if share < 1 else MOST
    raised = np.where(hard, weights * factor, weights)
    return np.asarray(raised * (weights.sum() / raised.sum()), np.float64)
