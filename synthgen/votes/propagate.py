"""Labels that spread from few labelled images to their neighbours in feature space: label spreading, sparse."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import cg

from synthgen.votes.classes import Floats

CHUNK = 512  # rows whose distances to all others are held at a time


def spread(features: NDArray[np.floating], labels: NDArray[np.integer], n_classes: int, *, neighbours: int = 10,
           alpha: float = 0.95) -> Floats:
    """(N, K) class probabilities of all rows, from those that are labelled.

    features: (N, D). labels: (N,) int, −1 = unknown. neighbours: of each row in the graph. alpha in [0, 1): how much
    of a row's label comes from its neighbours; labelled rows are softly kept too. Every class weighs the same, however
    many labels it has. A row that no labelled one reaches is uniform.
    Source: Zhou et al. 2004, "Learning with local and global consistency": F = (I − αS)⁻¹ Y, solved by conjugate
    gradients on a symmetric graph of nearest neighbours, so that memory grows with N · neighbours and not with N².
    Raises: ValueError when labels do not fit the rows, or a label is no class.
    """
    labels = np.asarray(labels)
    if labels.shape != (len(features),) or (len(labels) and not (labels.min() >= -1 and labels.max() < n_classes)):
        raise ValueError(f"labels must be one per row, classes 0 to {n_classes - 1} or −1 for unknown")
    N = len(features)
    if N == 0:
        return np.zeros((0, n_classes))
    W = graph(features, neighbours)
    degree = np.asarray(W.sum(1)).ravel()
    scale = sparse.diags_array(1 / np.sqrt(np.where(degree > 0, degree, 1)))
    system = sparse.eye_array(N) - alpha * (scale @ W @ scale)
    out = np.zeros((N, n_classes))
    for k in range(n_classes):
        mine = labels == k
        if mine.any():
            out[:, k], _ = cg(system, mine / mine.sum(), rtol=1e-8, maxiter=2000)
    out = out.clip(0)
    total = out.sum(1, keepdims=True)
    probs: Floats = np.divide(out, total, out=np.full_like(out, 1 / n_classes), where=total > 1e-12)
    return probs


def induced(new: NDArray[np.floating], features: NDArray[np.floating], known: Floats, *,
            neighbours: int = 10) -> Floats:
    """(M, K) class probabilities of rows that were not in the graph: the weighted mean of their nearest neighbours'.

    new: (M, D). features: (N, D), known: (N, K) as `spread` gave it.
    Source: Delalleau, Bengio & Le Roux 2005, "Efficient non-parametric function induction", equation 7.
    """
    out = np.zeros((len(new), known.shape[1]))
    near, distances = _nearest(new, features, min(neighbours, len(features)))
    width = distances[:, -1:] if distances.shape[1] else distances
    weights = np.exp(-(distances / np.where(width > 0, width, 1)) ** 2)
    for row in range(len(new)):
        out[row] = weights[row] @ known[near[row]] / weights[row].sum()
    return out


def graph(features: NDArray[np.floating], neighbours: int) -> sparse.csr_array:
    """Symmetric (N, N) weights exp(−d² / (σᵢσⱼ)) between rows of which one is among the other's nearest.

    σ is a row's distance to its last neighbour, so that dense and thin regions are linked alike (Zelnik-Manor & Perona
    2005, "Self-tuning spectral clustering", equation 2).
    """
    N = len(features)
    count = min(neighbours, N - 1)
    if count <= 0:
        return sparse.csr_array((N, N))
    near, distances = _nearest(features, features, count, itself=False)
    width = np.maximum(distances[:, -1], 1e-12)
    rows = np.repeat(np.arange(N), count)
    columns = near.ravel()
    weights = np.exp(-(distances.ravel() ** 2) / (width[rows] * width[columns]))
    one_way = sparse.csr_array((weights, (rows, columns)), (N, N))
    return one_way.maximum(one_way.T).tocsr()


def _nearest(queries: NDArray[np.floating], features: NDArray[np.floating], count: int,
             itself: bool = True) -> tuple[NDArray[np.int64], Floats]:
    """(M, count) indices of the nearest rows of features, nearest first, and their distances."""
    X = np.asarray(features, np.float64)
    norms = (X**2).sum(1)
    near, far = np.zeros((len(queries), count), np.int64), np.zeros((len(queries), count))
    for start in range(0, len(queries), CHUNK):
        part = np.asarray(queries[start : start + CHUNK], np.float64)
        squared = (part**2).sum(1)[:, None] + norms - 2 * part @ X.T
        if not itself:
            squared[np.arange(len(part)), start + np.arange(len(part))] = np.inf
        best = np.argsort(squared, axis=1, kind="stable")[:, :count]
        near[start : start + CHUNK] = best
        far[start : start + CHUNK] = np.sqrt(np.take_along_axis(squared, best, 1).clip(0))
    return near, far
