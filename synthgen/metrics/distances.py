"""The two distances that papers report, each computed once over all images: KID and the Fréchet distance.

Neither decides anything here. Both depend on the features and, the Fréchet distance above all, on how many images
there are: two halves of one real set are far from 0 at a few hundred images, so a value means nothing without the
value that chance gives at the same sizes. Rows are taken in the order of their contents: file order changes no digit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synthgen.metrics.two_sample import CAP, by_content, mmd2_of, standardise

Floats = NDArray[np.float64]
Rows = NDArray[np.float32]
DIVISIONS = 39  # random divisions behind the null of a Fréchet distance: their range holds 95 %
BLOCK = 1024  # rows held at a time: a block of products is 4 MB of float32


def ordered(*sides: NDArray[np.floating]) -> list[Rows]:
    """Each side's rows as float32, in the order of their contents.

    Raises: ValueError for fewer than 2 rows on a side, unequal columns, or values that are not finite.
    """
    out = [np.ascontiguousarray(side, np.float32) for side in sides]
    shapes = [side.shape for side in out]
    if any(len(shape) != 2 or shape[0] < 2 for shape in shapes) or len({shape[1] for shape in shapes}) > 1:
        raise ValueError(f"a distance needs at least 2 rows on each side and equal columns, not {shapes}")
    if not all(np.isfinite(side).all() for side in out):
        raise ValueError("features hold values that are not finite")
    return [side[by_content(side)] for side in out]


def blocks(n: int) -> Iterator[slice]:
    """Slices of BLOCK rows that make up n."""
    yield from (slice(start, min(start + BLOCK, n)) for start in range(0, n, BLOCK))


def pairs_of_blocks(n: int) -> Iterator[tuple[slice, slice]]:
    """Each unordered pair of blocks once: the upper triangle of an (n, n) matrix, a block with itself included."""
    yield from ((rows, columns) for rows in blocks(n) for columns in blocks(n) if columns.start >= rows.start)


def _cubed(products: Rows, d: int) -> Rows:
    """(x·y / d + 1)³ in place of the products; by multiplication, since `**` is forty times slower."""
    products /= d
    products += 1
    square = products * products
    products *= square
    return products


def sum_of_pairs(x: Rows, kernel: Callable[[Rows, slice, slice], Rows]) -> float:
    """Σ over i ≠ j of a symmetric kernel of the products x_i·x_j: each unordered pair of blocks is made once.

    kernel: (products (b, c), rows, columns) → values (b, c), whose diagonal is left out where rows meet themselves.
    """
    total = 0.0
    for rows, columns in pairs_of_blocks(len(x)):
        values = kernel(x[rows] @ x[columns].T, rows, columns)
        part = float(values.sum(dtype=np.float64))
        total += part - float(values.trace(dtype=np.float64)) if rows == columns else 2 * part
    return total


def kid(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """Kernel distance: the unbiased MMD² of all rows with the kernel (x·y / D + 1)³; 0 in the mean, so often below 0.

    a, b: (n, D) and (m, D) features, used as float32; sums are float64. O((n + m)² D) time, O((n + m) D) memory. There
    are no subsets: the mean over them is noisier, and their spread is no standard error.
    Source: Bińkowski et al. 2018 (ICLR, "Demystifying MMD GANs"), equation 4 and section 4.
    Raises: ValueError for fewer than 2 rows on a side, unequal D, or values that are not finite.
    """
    a, b = ordered(a, b)
    n, m, d = len(a), len(b), a.shape[1]

    def cubic(products: Rows, rows: slice, columns: slice) -> Rows:
        del rows, columns
        return _cubed(products, d)

    across = sum(float(_cubed(a[rows] @ b[columns].T, d).sum(dtype=np.float64))
                 for rows in blocks(n) for columns in blocks(m))
    return (sum_of_pairs(a, cubic) / (n * (n - 1)) + sum_of_pairs(b, cubic) / (m * (m - 1)) - 2 * across / (n * m))


def frechet_distance(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """|μ₁ − μ₂|² + tr S₁ + tr S₂ − 2 tr (S₁S₂)^½: the Fréchet distance of two Gaussians, which is FID's form.

    a, b: (n, D) and (m, D) features; covariances with n − 1, in float64. With any factors S = FᵀF the last trace is
    the nuclear norm ‖F₁F₂ᵀ‖_*, so no root of a product is taken: a factor is the centred rows over √(n − 1) where n ≤ D
    (a 200 × 200 problem for 200 images, whatever D), else a triangular root of the covariance, summed in blocks.
    Biased upwards by an amount that depends on the data (Chong & Forsyth 2020,
    arXiv 1911.07023), so compare with chance at the same n and m, never with a published value.
    Source: Dowson & Landau 1982, equation 4; Heusel et al. 2017, equation 6.
    Raises: ValueError for fewer than 2 rows on a side, unequal D, or values that are not finite.
    """
    a, b = ordered(a, b)
    (mean_a, one), (mean_b, two) = _root(a), _root(b)
    product = one @ two.T if len(one) <= len(two) else two @ one.T
    # Squares of the singular values, twice as fast as these.
    squares = np.asarray(np.linalg.eigvalsh(product @ product.T), np.float64)
    overlap = float(np.sqrt(squares[squares > _rounding(squares)]).sum())
    gap = mean_a - mean_b
    return max(0.0, float(gap @ gap + (one * one).sum() + (two * two).sum() - 2 * overlap))


def _root(x: Rows) -> tuple[Floats, Floats]:
    """The mean (D,), and F (min(n, D) at most, D) with FᵀF the covariance."""
    n, d = x.shape
    mean = x.mean(0, dtype=np.float64)
    if n <= d:
        return mean, (x - mean) / np.sqrt(n - 1)
    covariance = np.zeros((d, d))
    for rows in blocks(n):
        centred = x[rows] - mean
        covariance += centred.T @ centred
    covariance /= n - 1
    return mean, _square_root(covariance)


def _rounding(values: Floats) -> float:
    """What an eigenvalue must exceed to be more than rounding; values ascending."""
    return len(values) * float(np.finfo(np.float64).eps) * max(float(values[-1]), 0.0)


def _square_root(s: Floats) -> Floats:
    """F with FᵀF = s: Cholesky where s is well away from singular, else by eigenvalues, those of rounding left out."""
    try:
        lower = np.linalg.cholesky(s)
        pivots = np.diag(lower) ** 2
        if pivots.min() > 1e-9 * pivots.max():
            return np.asarray(lower.T, np.float64)
    except np.linalg.LinAlgError:
        pass  # singular: columns that are constant or combinations of others
    values, vectors = np.linalg.eigh(s)
    kept = values > _rounding(values)
    return np.asarray((vectors[:, kept] * np.sqrt(values[kept])).T, np.float64)


@dataclass(frozen=True, slots=True)
class Reported:
    """A distance with the middle 95 % of what random divisions of the same images, of the same sizes, give."""

    value: float
    null: tuple[float, float]
    divisions: int


def reported(a: NDArray[np.floating], b: NDArray[np.floating], rng: np.random.Generator,
             permutations: int = 999) -> tuple[Reported, Reported]:
    """KID and the Fréchet distance of standardised features, each with its null; for reading, not for deciding.

    a, b: (n, D) and (m, D) features; columns are standardised over both sets together. The values take all images; the
    nulls permute which images are a's, at most `two_sample.CAP` a side for KID (fewer images only widen its null) and
    DIVISIONS times for the Fréchet distance, of which each takes a root of D × D numbers.
    Raises: as `kid`.
    """
    a, b = ordered(a, b)
    both = np.concatenate([a, b])
    order = by_content(both)
    is_a = order < len(a)
    x = standardise(both[order]).astype(np.float32)
    a, b = x[is_a], x[~is_a]
    few = [side if len(side) <= CAP else side[rng.choice(len(side), CAP, replace=False)] for side in (a, b)]
    rows = np.concatenate(few).astype(np.float64)
    labels = np.arange(len(rows)) < len(few[0])
    cubic = (rows @ rows.T / rows.shape[1] + 1) ** 3
    kids = mmd2_of(cubic, np.array([rng.permutation(labels) for _ in range(permutations)]))
    divisions = (rng.permutation(is_a) for _ in range(DIVISIONS))
    frechets = np.array([frechet_distance(x[side], x[~side]) for side in divisions])
    return (Reported(kid(a, b), _middle(kids), permutations),
            Reported(frechet_distance(a, b), _middle(frechets), DIVISIONS))


def _middle(values: Floats) -> tuple[float, float]:
    low, high = np.quantile(values, (0.025, 0.975))
    return float(low), float(high)
