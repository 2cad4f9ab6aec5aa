"""How much of the real variety do synthetic images reach? Coverage of real images, and the order-2 Vendi score.

Both change with the number of images, so both are taken at matched n: the larger set counts as if it were as small as
the smaller one. Instead of drawing such subsets again and again, the mean over all of them is written in closed form.
Rows are taken in the order of their contents: the order of files changes no digit.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synthgen.metrics.bounds import clopper_pearson, resample_weights, t_quantile, tails
from synthgen.metrics.distances import Rows, blocks, ordered, pairs_of_blocks, sum_of_pairs
from synthgen.metrics.two_sample import by_content

Floats = NDArray[np.float64]
Interval = tuple[float, float]
CAP = 2000  # rows per side for intervals and nulls: more are drawn from
FEWEST = 40  # real images for a split-half null: 20 in each half


def by_reference(real: NDArray[np.floating], synthetic: NDArray[np.floating]) -> tuple[Rows, Rows]:
    """Both sets in standard deviations of the real one, per column; a column constant there is scaled by both sets."""
    both = np.concatenate([real, synthetic]).astype(np.float64)
    first, second = (np.asarray(side[by_content(side)], np.float64) for side in (real, synthetic))
    mean, sd = first.mean(0), first.std(0)
    flat = 1e-9 * (1 + np.abs(both).max(0, initial=0))
    sd = np.where(sd > flat, sd, np.concatenate([first, second]).std(0))
    scaled = np.where(sd > flat, (both - mean) / np.where(sd > flat, sd, 1), 0).astype(np.float32)
    return scaled[: len(real)], scaled[len(real) :]


def neighbours(n: int) -> int:
    """The k of coverage: 5, and 3 under 40 images a side, where the fifth neighbour is no longer near."""
    return 5 if n >= 40 else 3


@dataclass(frozen=True, slots=True, eq=False)
class Coverage:
    """The share of real images with a synthetic image nearer than their k-th real neighbour, at matched n.

    value: in [0, 1]. covered: (n,) per real image, as given, the share of matched subsets in which it is covered.
    gap: (n,) distance to the nearest of all synthetic images. k: the neighbour that sets the radius.
    """

    value: float
    covered: Floats
    gap: Floats
    k: int


def coverage(real: NDArray[np.floating], synthetic: NDArray[np.floating], k: int | None = None) -> Coverage:
    """Coverage, its mean over all subsets of min(n, m) images of the larger side.

    real (n, D), synthetic (m, D): features, used as float32. k: None = `neighbours(min(n, m))`. A real image counts as
    covered when a synthetic one lies in the closed ball to its k-th nearest other real image; closed, so that equal
    constant sets cover each other. O(n (n + m) D) time in blocks, O((n + m) D) memory.
    Matched n: with n ≤ m, a random n of the m synthetic images hold none of the c in the ball with probability
    C(m − c, n) / C(m, n); with n > m, the ball to the k-th of a random m − 1 of the other n − 1 real images holds the
    nearest synthetic image when at most k − 1 of the q nearer real ones are drawn: both hypergeometric.
    Source: Naeem et al. 2020 (ICML, arXiv 2002.09797), equation 6.
    Raises: ValueError for k < 1, min(n, m) <= k, unequal D, or values that are not finite.
    """
    k = neighbours(min(len(real), len(synthetic))) if k is None else k
    if k < 1 or min(len(real), len(synthetic)) <= k:
        raise ValueError(f"coverage by the {k}-th neighbour needs k of at least 1 and more than k images on each side, "
                         f"not {len(real)} and {len(synthetic)}")
    x, y = ordered(real, synthetic)
    order = by_content(np.ascontiguousarray(real, np.float32))
    x, y = _centred(x, y)
    squares, others = (x * x).sum(1), (y * y).sum(1)
    n, m = len(x), len(y)
    gap = np.empty(n, np.float32)
    if n <= m:
        radius, near = _nearest(x, squares, k)[:, -1], np.empty(n, np.int64)
        for rows in blocks(n):
            across = _squared(x[rows], squares[rows], y, others)
            near[rows], gap[rows] = (across <= radius[rows, None]).sum(1), across.min(1)
        share = 1 - _at_most(0, near, m, n)
    else:
        for rows in blocks(n):
            gap[rows] = _squared(x[rows], squares[rows], y, others).min(1)
        share = _at_most(k - 1, _nearer(x, squares, gap), n - 1, m - 1)
    out = np.empty((2, len(x)))
    out[:, order] = share, np.sqrt(gap)
    return Coverage(float(share.mean()), out[0], out[1], k)


def _between(x: Rows, squares: Rows) -> Iterator[tuple[slice, slice, Rows]]:
    """Squared distances between different rows, each unordered pair of blocks once; a row's own is ∞."""
    for rows, columns in pairs_of_blocks(len(x)):
        square = _squared(x[rows], squares[rows], x[columns], squares[columns])
        if rows == columns:
            np.fill_diagonal(square, np.inf)
        yield rows, columns, square


def _nearest(x: Rows, squares: Rows, k: int) -> Rows:
    """(n, k) squared distances to the k nearest other rows; the last column is the k-th."""
    best = np.full((len(x), k), np.inf, np.float32)
    for rows, columns, square in _between(x, squares):
        for part, found in ((rows, square), (columns, square.T))[: 1 if rows == columns else 2]:
            best[part] = np.partition(np.hstack([best[part], found]), k - 1, axis=1)[:, :k]
    return best


def _nearer(x: Rows, squares: Rows, limit: Rows) -> NDArray[np.int64]:
    """(n,) number of other rows nearer to each row than its squared limit."""
    count = np.zeros(len(x), np.int64)
    for rows, columns, square in _between(x, squares):
        count[rows] += (square < limit[rows, None]).sum(1)
        if rows != columns:
            count[columns] += (square < limit[columns]).sum(0)
    return count


def _centred(*sides: Rows) -> list[Rows]:
    """The first side's mean taken from all: distances stay, and float32 holds more of their digits near 0."""
    mean = sides[0].mean(0, dtype=np.float64).astype(np.float32)
    return [side - mean for side in sides]


def _squared(x: Rows, x_squares: Rows, y: Rows, y_squares: Rows) -> Rows:
    """(b, m) squared distances, |x − y|² = |x|² + |y|² − 2xy."""
    out = x @ y.T
    out *= -2
    out += x_squares[:, None]
    out += y_squares
    return np.asarray(np.maximum(out, 0, out=out), np.float32)


def _matched(own: Rows, across: Rows, k: int) -> Floats:
    """(b,) chance that each of b real images is covered. own (b, n): to real ones, itself at ∞; across (b, m)."""
    n, m = own.shape[1], across.shape[1]
    if n <= m:
        radius = np.partition(own, k - 1, axis=1)[:, k - 1]
        return 1 - _at_most(0, (across <= radius[:, None]).sum(1), m, n)
    nearer = (own < across.min(1)[:, None]).sum(1)
    return _at_most(k - 1, nearer, n - 1, m - 1)


def _at_most(most: int, marked: NDArray[np.int64], total: int, draws: int) -> Floats:
    """P(at most `most` of the marked are among the draws without replacement): the hypergeometric distribution."""
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, total + 1)))])  # ln n!

    def choose(n: NDArray[np.int64], r: NDArray[np.int64] | int) -> Floats:
        valid = (n >= r) & (n >= 0) & (np.asarray(r) >= 0)
        n, r = np.where(valid, n, 0), np.where(valid, r, 0)
        return np.asarray(np.where(valid, logs[n] - logs[r] - logs[n - r], -np.inf), np.float64)

    all_ways = float(choose(np.array([total]), draws)[0])
    ways = [np.exp(choose(marked, j) + choose(total - marked, draws - j) - all_ways) for j in range(most + 1)]
    return np.asarray(np.clip(np.sum(ways, 0), 0, 1), np.float64)


@dataclass(frozen=True, slots=True)
class Spread:
    """What a value is worth: its 95 % interval, and the middle 95 % of what two parts of the real set score at the
    sizes used; None where there are fewer than FEWEST real images."""

    interval: Interval
    null: Interval | None


def coverage_spread(real: NDArray[np.floating], synthetic: NDArray[np.floating], found: Coverage,
                    rng: np.random.Generator, draws: int = 100) -> Spread:
    """The interval of a `coverage` over images, and its split-half null.

    The interval: value ± t · sd over random halves of both sides (the delete-half jackknife, whose factor is 1; valid
    for statistics that are not smooth: Shao & Wu 1989, Annals of Statistics 17:1176), and never narrower than the
    exact binomial one of that share of min(n, m) images, so that no value of 0 or 1 looks certain. A bootstrap would
    not do: a repeated image is its own neighbour. Fewer than 2 (k + 1) images on a side: (0, 1).
    The null: `draws` times two disjoint random parts of the real set, of min(n, m, N / 2) images each.
    """
    x, y = (_capped(side, rng) for side in ordered(real, synthetic))
    n, m, k = len(x), len(y), found.k
    x, y = _centred(x, y)
    squares = (x * x).sum(1)
    own = _squared(x, squares, x, squares)
    np.fill_diagonal(own, np.inf)
    null = None
    if n >= FEWEST:
        half = min(n // 2, m)
        scores = [float(_matched(own[np.ix_(one, one)], own[np.ix_(one, two)], k).mean())
                  for one, two in _parts(n, half, half, draws, rng) if half > k]
        null = _middle(np.array(scores)) if scores else None
    if min(n, m) < 2 * (k + 1):
        return Spread((0.0, 1.0), null)
    across = _squared(x, squares, y, (y * y).sum(1))
    halves = []
    for _ in range(draws):
        rows = np.sort(rng.choice(n, n // 2, replace=False))
        columns = np.sort(rng.choice(m, m // 2, replace=False))
        halves.append(float(_matched(own[np.ix_(rows, rows)], across[np.ix_(rows, columns)], k).mean()))
    few = min(len(real), len(synthetic))
    reach = t_quantile(0.975, few - 1) * float(np.std(halves))
    low, high = clopper_pearson(round(found.value * few), few)
    return Spread((max(0.0, min(low, found.value - reach)), min(1.0, max(high, found.value + reach))), null)


def _capped(rows: Rows, rng: np.random.Generator) -> Rows:
    """At most CAP rows, drawn without looking, in their order."""
    return rows if len(rows) <= CAP else rows[np.sort(rng.choice(len(rows), CAP, replace=False))]


def _parts(n: int, first: int, second: int, draws: int, rng: np.random.Generator
           ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    for _ in range(draws):
        order = rng.permutation(n)
        yield np.sort(order[:first]), np.sort(order[first : first + second])


def _middle(values: Floats) -> Interval:
    low, high = np.quantile(values, (0.025, 0.975))
    return float(low), float(high)


def half_median(reference: NDArray[np.floating], rng: np.random.Generator) -> float:
    """Half the median distance between two rows of the reference: the bandwidth for `vendi2`; 1 for equal rows.

    At the whole median every pair counts as alike and the score stays near e, whatever the set holds.
    """
    (x,) = (_capped(side, rng) for side in ordered(reference))
    (x,) = _centred(x)
    squares = (x * x).sum(1)
    distance = np.sqrt(_squared(x, squares, x, squares)[np.triu_indices(len(x), 1)])
    median = float(np.median(distance))
    return (median if median > 0 else float(distance.mean()) or 2.0) / 2


def vendi2(x: NDArray[np.floating], bandwidth: float, at: int | None = None) -> float:
    """Order-2 Vendi score 1 / ‖K/n‖_F²: how many different images there are, in effect; from 1 to n.

    x: (N, D) features. K: RBF kernel exp(−|x − y|² / 2 bandwidth²). at: the number of images n that it is stated for,
    at most N; then the mean of K² over pairs of different rows stands for that of any n of them. Of order 2 because
    order 1 does not settle below 20,000 images. O(N² D) time in blocks; no eigenvalues are needed.
    Source: Ospanov & Farnia 2024, arXiv 2410.21719; Jalali et al. 2023 (RKE), definition 1 with α = 2.
    Raises: ValueError for fewer than 2 rows, values that are not finite, bandwidth <= 0, or at outside 1 … N.
    """
    (rows,) = ordered(x)
    n = len(rows) if at is None else at
    if not bandwidth > 0 or not 1 <= n <= len(rows):
        raise ValueError(f"the Vendi score needs a bandwidth above 0 and from 1 to {len(rows)} images, not "
                         f"{bandwidth:g} and {n}")
    (rows,) = _centred(rows)
    squares = (rows * rows).sum(1)

    def squared_kernel(products: Rows, first: slice, second: slice) -> Rows:
        products *= -2
        products += squares[first][:, None]
        products += squares[second]
        np.maximum(products, 0, out=products)
        products /= np.float32(-(bandwidth**2))
        return np.asarray(np.exp(products, out=products), np.float32)

    return float(_score(np.array(sum_of_pairs(rows, squared_kernel) / (len(rows) * (len(rows) - 1))), n))


def _score(alike: Floats, n: int) -> Floats:
    """The score of n images whose pairs have a mean squared kernel `alike`: ‖K/n‖_F² = 1/n + (1 − 1/n) alike."""
    return np.asarray(1 / (1 / n + (1 - 1 / n) * alike), np.float64)


@dataclass(frozen=True, slots=True)
class VendiRatio:
    """The synthetic set's order-2 Vendi score over the real one's at matched n; the two scores; interval and null."""

    value: float
    scores: tuple[float, float]
    spread: Spread


def vendi_ratio(synthetic: NDArray[np.floating], real: NDArray[np.floating], rng: np.random.Generator,
                resamples: int = 999) -> VendiRatio:
    """`vendi2` of both sets at min(n, m) images, with the real set's `half_median`, as a ratio; 1 = as diverse.

    synthetic (m, D), real (n, D): features in one scale. interval: 95 %, bootstrap over images, both sets resampled; a
    pair of one image with itself is left out of every resample, since it would count as likeness.
    null: the ratio between two disjoint random parts of the real set.
    Raises: ValueError for fewer than 2 rows on a side, unequal columns, or values that are not finite.
    """
    y, x = (_capped(side, rng) for side in ordered(synthetic, real))
    bandwidth, matched = half_median(x, rng), min(len(synthetic), len(real))
    likeness = [_likeness(side, bandwidth) for side in (y, x)]
    alike = [_alike(kernel, np.ones((1, len(kernel)))) for kernel in likeness]
    scores = [float(_score(a, matched)[0]) for a in alike]
    drawn = [_score(np.concatenate([_alike(kernel, w) for w in resample_weights(len(kernel), resamples, rng)]), matched)
             for kernel in likeness]
    ends = np.quantile(drawn[0] / drawn[1], tails(min(len(x), len(y))))
    null = None
    if len(x) >= FEWEST:
        half = min(len(x) // 2, len(y))
        sides = np.zeros((2, resamples, len(x)))
        for row, (one, two) in enumerate(_parts(len(x), half, half, resamples, rng)):
            sides[0, row, one], sides[1, row, two] = 1, 1
        first, second = (_score(_alike(likeness[1], side), half) for side in sides)
        null = _middle(first / second)
    return VendiRatio(scores[0] / scores[1], (scores[0], scores[1]), Spread((float(ends[0]), float(ends[1])), null))


def _likeness(x: Rows, bandwidth: float) -> Floats:
    """(N, N) float64 squared kernel with 0 on the diagonal."""
    (x,) = _centred(x)
    squares = (x * x).sum(1)
    out = np.exp(-_squared(x, squares, x, squares).astype(np.float64) / bandwidth**2)
    np.fill_diagonal(out, 0)
    return np.asarray(out, np.float64)


def _alike(kernel: Floats, weights: Floats) -> Floats:
    """(B,) weighted mean of the kernel over pairs of different images; all of one image: 1."""
    pairs = weights.sum(1) ** 2 - (weights**2).sum(1)
    total = ((weights @ kernel) * weights).sum(1)
    return np.asarray(np.where(pairs > 0, total / np.where(pairs > 0, pairs, 1), 1.0), np.float64)
