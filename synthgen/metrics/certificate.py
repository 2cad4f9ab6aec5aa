"""How wrong the labels of a pool are, from a random part of it that somebody looked at: bounds that hold.

An audit is drawn from the pool uniformly and without replacement, before any label is looked at. The images of the
pool stand in an order of doubt, which may be any function of the model's answers. The C surest of them are accepted for
the largest C whose mean loss is shown to be at most ε with confidence 1 − δ. Losses are per image and in [0, 1]: the
unit is the image, since pixels and objects of one image err together.

The frame is that of PAC labels (Candès, Ilyas & Zrnic 2025, arXiv:2506.10908): the pool is finite and given, nothing
is supposed to be independent or alike, and the only chance is the draw of the audit. The labels and
their order may not depend on the answers; the answers are never trained on. The steps over the coverage are
tested in a fixed sequence, each at the whole δ (Angelopoulos et al. 2021, "Learn then Test", arXiv:2110.01052, section
3.2): the procedure ends at the first that fails, so that the first wrong one is wrongly passed with at most δ.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

STEPS = 20  # coverages that are tried: 5 %, 10 %, …, 100 %
START = 0.3  # share of the pool from which the sequence starts at the earliest: few audited images are a matter of luck
SLACK = 0.5  # and where an audit with half the error that is asked for would pass
MOST_PLANNED = 2000  # images: a larger audit is not planned for
ROUNDING = 1e-12  # a chance that is just allowed refutes nothing, whatever its last bit
_GRID = 2000  # candidates for the mean of losses that are not 0 or 1


@lru_cache(maxsize=1 << 14)
def most_wrong(wrong: int, seen: int, size: int, confidence: float) -> int:
    """The largest number of wrong items among `size` that is not refuted by `wrong` of `seen` items, drawn without
    replacement: P(at most `wrong` are drawn | the number) > 1 − confidence. Never less than the truth with probability
    `confidence`.

    Source: the exact test of the hypergeometric distribution, inverted (Konijn 1973, "Statistical Theory of Sample
    Survey Design and Analysis", chapter 4); by bisection, since the probability falls with the number.
    Raises: ValueError unless 0 <= wrong <= seen <= size.
    """
    if not 0 <= wrong <= seen <= size:
        raise ValueError(f"wrong <= seen <= size is needed, not {wrong}, {seen}, {size}")
    low, high = wrong, size - (seen - wrong)  # these are possible; what is not refuted reaches from `wrong` up
    while low < high:
        middle = (low + high + 1) // 2
        if _at_most(wrong, size, middle, seen) > 1 - confidence - ROUNDING:
            low = middle
        else:
            high = middle - 1
    return low


def _at_most(k: int, size: int, marked: int, drawn: int) -> float:
    """P(at most k marked ones among those drawn): the hypergeometric distribution, summed. scipy's own takes a hundred
    times as long for one value, and a certificate asks for hundreds."""
    from scipy.special import gammaln  # here: `plan` imports this module, and scipy takes its time

    i = np.arange(max(0, drawn - (size - marked)), min(k, drawn, marked) + 1)

    def choose(n: int, of: ArrayLike) -> Floats:
        of = np.asarray(of, np.float64)
        return np.asarray(gammaln(n + 1) - gammaln(of + 1) - gammaln(n - of + 1))

    return float(np.exp(choose(marked, i) + choose(size - marked, drawn - i) - choose(size, drawn)).sum())


def most_loss(losses: ArrayLike, size: int, confidence: float) -> float:
    """The largest mean loss of `size` items that is not refuted by the losses of those drawn, in [0, 1].

    losses: (n,) in [0, 1], in the order in which they were drawn at random without replacement. For losses that are all
    0 or 1 the exact test of `most_wrong` takes the place of what follows.

    A player bets against "the mean is m or more": capital Π (1 − λ_t (x_t − m_t)) cannot grow by more than chance
    when that is true, where m_t is the mean that the items not yet drawn must then have; m is refuted when the
    capital ever reaches 1 / (1 − confidence) (Ville). λ_t is the predictable plug-in.
    Source: Waudby-Smith & Ramdas 2024, "Estimating means of bounded random variables by betting", J. R. Stat. Soc. B
    86:1, equations 15, 24 and, without replacement, 33; used by PAC labels for losses that are not 0 or 1.
    Raises: ValueError for losses outside [0, 1], or more of them than items.
    """
    x = np.asarray(losses, np.float64)
    n = len(x)
    if n > size or (n and (x.min() < 0 or x.max() > 1)):
        raise ValueError(f"{n} losses in [0, 1] of {size} items are needed")
    if n == 0 or size == 0:
        return 1.0 if size else 0.0
    if np.isin(x, (0.0, 1.0)).all():
        return most_wrong(int(x.sum()), n, size, confidence) / size
    if n == size:
        return float(x.mean())
    t = np.arange(n)
    before = np.concatenate([[0.0], np.cumsum(x)[:-1]])  # (n,) Σ of the losses before t
    apart = np.concatenate([[0.25], (x - (0.5 + np.cumsum(x)) / (t + 2)) ** 2])
    variance = np.cumsum(apart)[:-1] / (t + 1)
    stake = np.sqrt(2 * math.log(1 / (1 - confidence)) / (n * np.maximum(variance, 1e-6)))
    m = np.linspace(0, 1, _GRID + 1)[:, None]  # (G, 1)
    left = (size * m - before) / (size - t)  # (G, n) the mean of what is not yet drawn, if m is true
    stakes = np.minimum(stake, 0.9 / np.maximum(1 - np.clip(left, 0, 1), 1e-12))
    growth = np.log(np.maximum(1 - stakes * (x - np.clip(left, 0, 1)), 1e-300))
    refuted = np.cumsum(growth, 1).max(1) >= -math.log(1 - confidence)
    refuted |= (left > 1).any(1)  # more loss than the items that are left could bear
    possible = ~refuted | (left < 0).any(1)  # the losses already seen make up for it alone
    return min(1.0, float(m[possible].max()) + 1 / _GRID)  # the truth may lie between two candidates


@dataclass(frozen=True, slots=True)
class Step:
    """One coverage that was tried. accepted: images of the pool that are at least so sure; seen: of these, in the
    audit; loss: their mean loss there; bound: what the mean loss of all accepted ones is at most, as if this coverage
    were the only one; passed: bound ≤ ε. Of the last step that passed ε alone is promised: the audit that bounds it
    also chose it, and its bound is too small somewhat more often than 1 − confidence."""

    coverage: float
    accepted: int
    seen: int
    loss: float
    bound: float
    passed: bool


@dataclass(frozen=True, slots=True)
class Certified:
    """The outcome: the steps in the order in which they were tried, and the last one that passed, or None."""

    steps: tuple[Step, ...]
    best: Step | None


def certify(doubt: ArrayLike, audit: ArrayLike, losses: ArrayLike, max_error: float, confidence: float,
            of: str = "accepted") -> Certified:
    """The largest coverage at which the labels' mean loss is at most `max_error` with `confidence`.

    doubt: (N,) of all images of the pool; the smallest are the surest, ties go by index. audit: (n,) int, indices of
    the images that were drawn, in the order in which they were drawn. losses: (n,) in [0, 1], of the model's labels of
    these. of: `accepted`, the loss is a mean over the accepted images; `output`, a mean over the whole pool, where the
    images that are not accepted are labelled by people and have none (PAC labels' own promise, weaker and wider).

    The sequence starts at the first coverage from START on at which an audit with half of `max_error` would pass; where
    the audit is too small for that, at the first that a faultless one could certify. Which coverages are tried depends
    on the places of the audit in the order, never on its losses. Each step is an exact test; that the sequence as a
    whole keeps the promise, though its start moves with the places, is shown by simulation alone, on pools made to
    break it (`test_pools_made_to_break_the_promise_do_not`): a start fixed beforehand would be proven, and certifies
    small audits far more seldom.
    """
    order = np.argsort(np.asarray(doubt, np.float64), kind="stable")
    size = len(order)
    rank = np.empty(size, np.int64)
    rank[order] = np.arange(size)
    places, x = rank[np.asarray(audit, np.int64)], np.asarray(losses, np.float64)
    steps: list[Step] = []
    best = None
    for count in coverages(size, places, max_error, confidence, of):
        inside = places < count
        seen = x[inside]
        bound = most_loss(seen, count, confidence) * (count / size if of == "output" else 1.0)
        mean = float(seen.mean()) if len(seen) else float("nan")
        step = Step(count / size, count, len(seen), mean, bound, len(seen) > 0 and bound <= max_error)
        steps.append(step)
        if not step.passed:
            break
        best = step
    return Certified(tuple(steps), best)


def coverages(size: int, places: Ints, max_error: float, confidence: float, of: str = "accepted") -> list[int]:
    """Numbers of accepted images to try, rising; empty when no audit of this size could certify any.

    places: (n,) ranks of the audit's images in the order of doubt.
    """
    every = [max(1, round(size * (k + 1) / STEPS)) for k in range(STEPS)] if size else []
    counts = list(dict.fromkeys(every))

    def first(error: float) -> int | None:
        """The first coverage at which an audit with this share of wrong ones would pass."""
        for k, count in enumerate(counts):
            if count < START * size:
                continue
            seen = int((places < count).sum())
            wrong = most_wrong(int(error * seen), seen, count, confidence)
            if wrong / (size if of == "output" else count) <= max_error:
                return k
        return None

    start = first(SLACK * max_error)
    start = first(0.0) if start is None else start
    return [] if start is None else counts[start:]


def audit_needed(doubt: ArrayLike, losses: ArrayLike, max_error: float, confidence: float, size: int,
                 rng: np.random.Generator, *, of: str = "accepted", power: float = 0.8,
                 draws: int = 60) -> int | None:
    """The smallest audit, of those tried, that certifies something with probability `power`, if the pool is like what
    was seen; None when none up to the whole pool, or up to MOST_PLANNED images of it, does.

    doubt, losses: (n,) of the images that were looked at. Pools of `size` images are drawn from them with replacement,
    audits from these pools; sizes grow by a quarter. A plan, not a promise: it takes the observed error for the true
    one. Without any image looked at it is what a faultless audit needs.
    """
    doubt, losses = np.asarray(doubt, np.float64), np.asarray(losses, np.float64)
    n = faultless_audit(size, max_error, confidence)
    if not len(losses) or n is None:
        return n
    most, population = min(size, MOST_PLANNED), min(size, 4 * MOST_PLANNED)
    while n is not None and n <= most:
        passed = 0
        for _ in range(draws):
            pool = rng.integers(len(losses), size=population)
            audit = rng.permutation(population)[:n]
            found = certify(doubt[pool], audit, losses[pool][audit], max_error, confidence, of)
            passed += found.best is not None
        if passed >= power * draws:
            return n
        n = most if n < most < n * 5 / 4 else math.ceil(n * 5 / 4)
    return None


def faultless_audit(size: int, max_error: float, confidence: float) -> int | None:
    """The smallest number of audited images that certifies the whole pool when all of them are right: no smaller audit
    certifies any part. None for an empty pool."""
    low, high = 1, size
    if not size:
        return None

    def enough(n: int) -> bool:
        return most_wrong(0, n, size, confidence) / size <= max_error

    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle + 1, high)
    return low


def risk_coverage(doubt: ArrayLike, losses: ArrayLike) -> tuple[Floats, Floats, float]:
    """(n,) coverages k / n, (n,) mean loss of the k surest images, and AUGRC: the mean over coverages of the
    generalised risk, (1 / n) Σ of the losses of the k surest. 0 is best; a random order has half the mean loss.

    Source: Traub et al. 2024, "Overcoming Common Flaws in the Evaluation of Selective Classification Systems",
    NeurIPS, arXiv:2407.01032, equation 6.
    """
    order = np.argsort(np.asarray(doubt, np.float64), kind="stable")
    x = np.asarray(losses, np.float64)[order]
    n = len(x)
    summed, k = np.cumsum(x), np.arange(1, n + 1)
    return k / max(n, 1), summed / k, float((summed / n).mean()) if n else float("nan")
