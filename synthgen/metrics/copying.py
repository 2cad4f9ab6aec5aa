"""Is a synthetic image nearer to a seed image than real images are? A conformal test for each image, in several spaces.

Spaces see different copies: thumbnails those of the picture as a whole, whatever was done to its pixels; an encoder's
features those whose content moved or was painted anew. Named copying, not privacy: that no image is a near copy says
nothing about what an attacker could infer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from synthgen.metrics.bounds import bh
from synthgen.types import Image

Floats = NDArray[np.float64]
SIDE = 16  # px of a thumbnail
CROP, MOVE = 0.88, 0.07  # of the image's sides
VIEWED = 200  # seed images whose crops and moved copies are looked at; 0.4 MB each
FEW, APART, PERMUTATIONS = 4, 0.1, 199  # seed images, level and permutations of the test whether it is like the pool
FEWEST = 19  # real images that the null needs: 1 / (1 + 19) = 0.05
_CHUNK = 512


@dataclass(frozen=True, slots=True, eq=False)
class Copies:
    """For m synthetic images: space (m,) index of the space in which each is most surprisingly near to the seed, and
    there ratio (m,) distance to the nearest seed image over that to the nearest held-out real one, and nearest (m,)
    index of the seed image; p (m,) conformal over all spaces; q (m,) after Benjamini–Hochberg; null: real images behind
    p; spaces: their names; apart: those that were left out, since seed and pool differ in them.
    """

    space: NDArray[np.int64]
    ratio: Floats
    p: Floats
    q: Floats
    nearest: NDArray[np.int64]
    null: int
    spaces: tuple[str, ...]
    apart: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Space:
    """One way in which images can be alike, as distances of float32 rows. synthetic (m, D) and pool (N, D): images as
    they are. seed: (v·n, D), the seed images under v views, image j under view i at i·n + j. held: the same of the pool
    images with these indices."""

    name: str
    synthetic: NDArray[np.float32]
    pool: NDArray[np.float32]
    seed: NDArray[np.float32]
    n: int
    held: Callable[[NDArray[np.int64]], NDArray[np.float32]]

    def ratios(self, held: NDArray[np.int64], rest: NDArray[np.int64]) -> tuple[Floats, Floats, NDArray[np.int64]]:
        """Of the pool images `rest` and of the synthetic ones, the ratio of distances to the seed and to the pool
        images `held`; and the seed image that each synthetic one is nearest to."""
        others = self.held(held)

        def ratio(rows: NDArray[np.float32]) -> tuple[Floats, NDArray[np.int64]]:
            near, index = nearest(rows, self.seed)
            return near / np.maximum(nearest(rows, others)[0], 1e-9), index % self.n

        return ratio(self.pool[rest])[0], *ratio(self.synthetic)


def whole(synthetic: Iterable[Image], seed: Sequence[Image], pool: Sequence[Image]) -> Space:
    """Images by their `thumbs`, over the `views` of the seed; of a seed of over VIEWED images flips and turns alone."""
    rows, small = thumbs(synthetic), thumbs(pool)
    if len(seed) > VIEWED:
        return Space("thumbnails (flips and turns alone: the seed is large)", rows, small, symmetries(thumbs(seed)),
                     len(seed), lambda held: symmetries(small[held]))
    return Space("thumbnails", rows, small, views(seed), len(seed), lambda held: views([pool[k] for k in held]))


def encoded(family: str, synthetic: NDArray[np.float32], seed: NDArray[np.float32],
            pool: NDArray[np.float32]) -> Space:
    """An encoder's features, (m, D), (n, D) and (N, D), each column in units of its spread over all images; as the
    images lie, not turned.

    Over all: were it the spread over the pool, pool images would lie nearer to each other for having made the measure,
    and images that are no copies would be called so too often.
    """
    every = np.concatenate([synthetic, seed, pool]).astype(np.float64)
    # From their middle, since `nearest` looks in single precision.
    rows = ((every - every.mean(0)) / np.maximum(every.std(0), 1e-6)).astype(np.float32)
    made, source, known = np.split(rows, [len(synthetic), len(synthetic) + len(seed)])
    return Space(f"{family} features", made, known, source, len(seed), lambda held: known[held])


def thumbs(images: Iterable[Image]) -> NDArray[np.float32]:
    """(N, 768) float32: images shrunk by area to 16 × 16, with mean 0 and sd 1, so that brightness and contrast cancel;
    a constant image is all 0."""
    rows = []
    for image in images:
        small = cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float64)
        centred = small - small.mean()
        rows.append(centred / max(float(centred.std()), 1.0))
    return np.array(rows, np.float32).reshape(-1, SIDE * SIDE * 3)


def views(images: Sequence[Image]) -> NDArray[np.float32]:
    """(144N, 768): thumbnails of images, of nine crops of each and of it moved eight ways, all under the eight
    symmetries of the square; rows k, N + k, 2N + k … are image k's.

    Nobody copies only to the pixel: a generator that learned from crops gives crops back.
    """
    # One image after the other: the looks of all at once would be some hundred times what is kept of them.
    looks = np.array([thumbs([image, *_crops(image), *_moved(image)]) for image in images], np.float32)
    return np.concatenate([symmetries(look) for look in looks.reshape(-1, 18, SIDE * SIDE * 3).swapaxes(0, 1)])


def _crops(image: Image) -> list[Image]:
    """The nine crops of CROP of the image's sides in its corners, at its edges and in its middle."""
    H, W = image.shape[:2]
    h, w = max(round(H * CROP), 1), max(round(W * CROP), 1)
    return [image[round((H - h) * i / 2) :, round((W - w) * j / 2) :][:h, :w] for i, j in np.ndindex(3, 3)]


def _moved(image: Image) -> list[Image]:
    """The image moved by MOVE of its sides, straight and aslant; what comes in repeats its edge."""
    H, W = image.shape[:2]
    dy, dx = max(round(H * MOVE), 1), max(round(W * MOVE), 1)
    wide = np.pad(image, ((dy, dy), (dx, dx), (0, 0)), mode="edge")
    return [wide[i * dy :, j * dx :][:H, :W] for i, j in np.ndindex(3, 3) if (i, j) != (1, 1)]


def symmetries(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """(8N, D): every thumbnail of SIDE × SIDE under the eight symmetries of the square; rows k, N + k, 2N + k … are
    image k's."""
    grid = rows.reshape(-1, SIDE, SIDE, rows.shape[1] // SIDE**2)
    turned = [np.rot90(view, k, (1, 2)) for view in (grid, grid[:, :, ::-1]) for k in range(4)]
    return np.concatenate(turned).reshape(-1, rows.shape[1])


def nearest(a: NDArray[np.float32], b: NDArray[np.float32]) -> tuple[Floats, NDArray[np.int64]]:
    """(n,) Euclidean distance of each row of a to the nearest row of b, and its index; in slices, so memory is flat."""
    index = np.empty(len(a), np.int64)
    half = (b.astype(np.float32) ** 2).sum(1) / 2
    columns = np.ascontiguousarray(b.T, np.float32)
    for start in range(0, len(a), _CHUNK):
        # |x − b|² = |x|² + |b|² − 2xb is least where |b|² / 2 − xb is; in single precision, which finds the place …
        index[start : start + _CHUNK] = (half - a[start : start + _CHUNK].astype(np.float32) @ columns).argmin(1)
    # … and the distance there is exact, which a difference of squares is not for near copies.
    return np.linalg.norm(a.astype(np.float64) - b[index], axis=1), index


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


def copies(spaces: Sequence[Space], rng: np.random.Generator) -> Copies:
    """How surprisingly near to the seed each synthetic image lies, in the space where that is most surprising.

    spaces: all of the same m synthetic, n seed and N pool images. As many random pool images as the seed has are held
    out; the ratio of the distances to seed and to them is compared with the ratios of the other pool images. Where seed
    and pool were drawn alike, a synthetic image that is no copy is exchangeable with these, and so is any one number
    made of an image and the multiset of all (Vovk, Gammerman & Shafer 2005, §2.2): here the least, over spaces, of the
    rank of its ratio among theirs and its own (the min-p of Westfall & Young 1993, as a full conformal test). Then
    p = (1 + #{real number ≤ its own}) / (1 + #real), valid at any number of spaces and images.
    Where the seed was taken elsewhere than the pool, images of its kind are nearer to it without being copies: by
    thumbnails hardly, by encoders' features all of them. So every space but the first is used only if seed and held-out
    images are not told apart in it (`drawn_alike`), which the images compared have no part in.
    Raises: ValueError when the pool has fewer than n + FEWEST images.
    """
    n, N = spaces[0].n, len(spaces[0].pool)
    if n + FEWEST > N:
        raise ValueError(f"{N} pool images: {n + FEWEST} are needed, {n} to stand for the seed and {FEWEST} "
                         "to compare with")
    # The order of files decides nothing.
    order = np.lexsort(spaces[0].pool.T)[rng.permutation(N)]
    held, rest = order[:n], order[n:]
    used = [spaces[0], *(s for s in spaces[1:] if drawn_alike(s.seed[:n], s.pool[held], rng))]
    null, mine, index = (np.array(side) for side in zip(*(s.ratios(held, rest) for s in used), strict=True))
    p, space = least_of(null, mine)
    at = (space, np.arange(len(space)))
    return Copies(space, mine[at], p, bh(p), index[at], N - n, tuple(s.name for s in used),
                  tuple(s.name for s in spaces if s not in used))


def drawn_alike(a: NDArray[np.float32], b: NDArray[np.float32], rng: np.random.Generator) -> bool:
    """Whether two sets of n rows are not told apart: permutation test of the energy distance at level APART.

    2 E|X − Y| − E|X − X'| − E|Y − Y'| (Székely & Rizzo 2004, "Testing for equal distributions in high dimension"), of
    equal sets −zᵀDz / n² for labels z = ±1. Fewer than FEW rows a side tell nothing, which counts as no.
    """
    n = len(a)
    if n < FEW:
        return False
    # Sorted: file order decides nothing; and of large sets a part is enough.
    both = np.concatenate([side[np.lexsort(side.T)][np.linspace(0, n - 1, min(n, VIEWED)).astype(int)]
                           for side in (a, b)]).astype(np.float64)
    far = np.sqrt(np.maximum(((both**2).sum(1)[:, None] + (both**2).sum(1) - 2 * both @ both.T), 0))
    z = np.repeat([1.0, -1.0], len(both) // 2)
    labels = np.stack([z, *(rng.permutation(z) for _ in range(PERMUTATIONS))])
    energy = -np.einsum("bi,ij,bj->b", labels, far, labels, optimize=True)
    return bool((energy >= energy[0] - 1e-9 * abs(energy[0])).mean() > APART)


def least_of(null: Floats, mine: Floats) -> tuple[Floats, NDArray[np.int64]]:
    """(m,) conformal p of the least rank over S spaces, and the space that gave it. null: (S, N). mine: (S, m)."""
    N, p, space = null.shape[1], np.empty(mine.shape[1]), np.empty(mine.shape[1], np.int64)
    ranks = np.stack([np.searchsorted(np.sort(row), row, "right") for row in null])  # among the null, itself included
    for k, x in enumerate(mine.T[:, :, None]):
        own = 1 + (null <= x).sum(1)
        space[k] = own.argmin()
        p[k] = (1 + ((ranks + (x <= null)).min(0) <= own.min()).sum()) / (1 + N)
    return p, space


def fewest_detectable(m: int, null: int, q: float, spaces: int = 1) -> int:
    """The number of copies among m images from which on all of them can be flagged: in one of several spaces k copies
    have p = spaces / (1 + null) at best, and Benjamini–Hochberg flags them when that is ≤ q·k / m."""
    return max(1, math.ceil(m * spaces / (q * (1 + null)) - 1e-9))
