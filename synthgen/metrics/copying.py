"""Is a synthetic image nearer to a seed image than real images are? A conformal test for each image.

Named copying, not privacy: that no image is a near copy says nothing about what an attacker could infer.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from synthgen.metrics.bounds import bh
from synthgen.types import Image

Floats = NDArray[np.float64]
SIDE = 16  # px of a thumbnail
FEWEST = 19  # real images that the null needs: 1 / (1 + 19) = 0.05
_CHUNK = 2048


@dataclass(frozen=True, slots=True, eq=False)
class Copies:
    """For m synthetic images: ratio (m,) distance to the nearest seed image over that to the nearest held-out real one;
    p (m,) conformal; q (m,) after Benjamini–Hochberg; nearest (m,) index of the seed image; null: real images behind p.
    """

    ratio: Floats
    p: Floats
    q: Floats
    nearest: NDArray[np.int64]
    null: int


def thumbs(images: Iterable[Image]) -> NDArray[np.float32]:
    """(N, 768) float32: images shrunk by area to 16 × 16, with mean 0 and sd 1, so that brightness and contrast cancel;
    a constant image is all 0."""
    rows = []
    for image in images:
        small = cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float64)
        centred = small - small.mean()
        rows.append(centred / max(float(centred.std()), 1.0))
    return np.array(rows, np.float32).reshape(-1, SIDE * SIDE * 3)


def symmetries(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """(8N, 768): every thumbnail under the eight symmetries of the square; rows k, N + k, 2N + k … are image k's."""
    grid = rows.reshape(-1, SIDE, SIDE, 3)
    turned = [np.rot90(view, k, (1, 2)) for view in (grid, grid[:, :, ::-1]) for k in range(4)]
    return np.concatenate(turned).reshape(-1, rows.shape[1])


def nearest(a: NDArray[np.float32], b: NDArray[np.float32]) -> tuple[Floats, NDArray[np.int64]]:
    """(n,) Euclidean distance of each row of a to the nearest row of b, and its index; in slices, so memory is flat."""
    distance, index = np.empty(len(a)), np.empty(len(a), np.int64)
    squares = (b.astype(np.float64) ** 2).sum(1)
    for start in range(0, len(a), _CHUNK):
        x = a[start : start + _CHUNK].astype(np.float64)
        # |x − b|² = |x|² + |b|² − 2xb
        square = (x**2).sum(1)[:, None] + squares - 2 * x @ b.T.astype(np.float64)
        index[start : start + _CHUNK] = square.argmin(1)
        distance[start : start + _CHUNK] = np.sqrt(np.maximum(square.min(1), 0))
    return distance, index


def doubles(rows: NDArray[np.float32], alike: float = 0.995) -> NDArray[np.bool_]:
    """(N,) whether another thumbnail of the set correlates with this one by at least `alike`; constant ones never do.

    Thumbnails have mean 0 and sd 1, so that the correlation is their product over the number of pixels.
    """
    out = np.zeros(len(rows), bool)
    for start in range(0, len(rows), _CHUNK):
        product = rows[start : start + _CHUNK].astype(np.float64) @ rows.T.astype(np.float64) / rows.shape[1]
        product[np.arange(len(product)), np.arange(start, start + len(product))] = 0
        out[start : start + _CHUNK] = (product >= alike).any(1)
    return out


def copies(synthetic: NDArray[np.float32], seed: NDArray[np.float32], pool: NDArray[np.float32],
           rng: np.random.Generator) -> Copies:
    """How surprisingly near to the seed each synthetic image lies, over flips and quarter turns.

    synthetic (m, D), seed (n, D), pool (N, D): thumbnails. As many random pool images as the seed has are held out; the
    ratio of the distances to seed and to them is compared with the ratios of the other pool images, none of which the
    generator has seen: p = (1 + #{real ratio ≤ ratio}) / (1 + #real), valid at any number when a synthetic image that
    is no copy is exchangeable with them (Vovk, Gammerman & Shafer 2005, §2.2).
    Raises: ValueError when the pool has fewer than n + FEWEST images.
    """
    n = len(seed)
    if len(pool) < n + FEWEST:
        raise ValueError(f"{len(pool)} pool images: {n + FEWEST} are needed, {n} to stand for the seed and {FEWEST} "
                         "to compare with")
    pool = pool[np.lexsort(pool.T)]                     # the order of files decides nothing
    order = rng.permutation(len(pool))
    held, rest = symmetries(pool[order[:n]]), pool[order[n:]]
    shown = symmetries(seed)

    def ratio(rows: NDArray[np.float32]) -> tuple[Floats, NDArray[np.int64]]:
        near, index = nearest(rows, shown)
        far, _ = nearest(rows, held)
        return near / np.maximum(far, 1e-9), index % n

    null = np.sort(ratio(rest)[0])
    mine, index = ratio(synthetic)
    p = (1 + np.searchsorted(null, mine, "right")) / (1 + len(null))
    return Copies(mine, p, bh(p), index, len(null))


def fewest_detectable(m: int, null: int, q: float) -> int:
    """The number of copies among m images from which on all of them can be flagged: k copies have p = 1 / (1 + null) at
    best, and Benjamini–Hochberg flags them when that is ≤ q·k / m."""
    return max(1, math.ceil(m / (q * (1 + null)) - 1e-9))
