"""Votes about items → class probabilities: Dawid and Skene's model by EM, and the majority vote beside it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Votes = NDArray[np.integer]

STRENGTH, EXPECTED = 2.0, 0.7  # the prior: votes per class of each function, and the share of them that are right


@dataclass(frozen=True, slots=True, eq=False)
class Consensus:
    """What votes of F functions about N items say of the items' K classes and of the functions.

    posterior: (N, K), rows sum to 1; where nobody voted it is the prior. prior: (K,) share of each class.
    confusion: (F, K, K), row k says what the function votes where k is true. accuracy: (F,) probability that a vote
    of the function is right, averaged over the items that it voted on; nan where it never votes. coverage: (F,) share
    of the items that it voted on. conflicts: (F,) share of its votes that another function contradicts; nan, as above.
    objective: after each round of EM, the log-likelihood plus the log prior density, which never falls.
    """

    posterior: Floats
    prior: Floats
    confusion: Floats
    accuracy: Floats
    coverage: Floats
    conflicts: Floats
    objective: tuple[float, ...]

    def decided(self, bar: float = 0.0) -> NDArray[np.int64]:
        """(N,) int64 the likeliest class of each item, or −1 where its probability is under the bar."""
        best = self.posterior.argmax(1)
        return np.where(self.posterior.max(1) >= bar, best, -1).astype(np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """A model that was fitted: prior (K,), confusion (F, K, K), and how the objective rose."""

    prior: Floats
    confusion: Floats
    objective: tuple[float, ...]


def dawid_skene(votes: Votes, n_classes: int, *, strength: float = STRENGTH, expected: float = EXPECTED,
                rounds: int = 500, tolerance: float = 1e-9) -> Consensus:
    """The posterior of each item's class by Dawid and Skene's model.

    votes: (N, F) int, a class in [0, K) or −1 where the function abstains; abstaining says nothing. EM starts at the
    vote shares. Each row of a confusion matrix has a Dirichlet prior of `strength` pseudo-votes, the share `expected`
    of them right: functions are taken for better than chance until their votes say otherwise, which keeps classes
    from swapping names and rows without votes defined.
    Source: Dawid & Skene 1979, "Maximum likelihood estimation of observer error-rates using the EM algorithm",
    equations 2.3 to 2.5, maximised with the prior.
    Raises: ValueError when votes are not (N, F) or a vote is no class.
    """
    _checked(votes, n_classes)
    rows, which, weights = patterns(votes, n_classes)
    model = fit(rows, weights, n_classes, strength=strength, expected=expected, rounds=rounds, tolerance=tolerance)
    posterior = posterior_of(rows, model.prior, model.confusion)[which]
    return _consensus(votes, posterior, model.prior, model.confusion, model.objective)


def majority(votes: Votes, n_classes: int) -> Consensus:
    """Shares of the votes as the posterior, every function counting the same; uniform where nobody voted.

    confusion holds how often each function votes what, against these shares; nothing is learned from it.
    Raises: as `dawid_skene`.
    """
    _checked(votes, n_classes)
    rows, which, weights = patterns(votes, n_classes)
    shares = _shares(rows, n_classes)
    counts = _counts(rows, weights, shares, n_classes)
    total = counts.sum(2, keepdims=True)
    confusion = np.divide(counts, total, out=np.full_like(counts, 1 / n_classes), where=total > 0)
    prior = weights @ shares / max(weights.sum(), 1)
    return _consensus(votes, shares[which], prior, confusion, ())


def fit(rows: Votes, weights: Floats, n_classes: int, *, prior: Floats | None = None, unseen: int | None = None,
        strength: float = STRENGTH, expected: float = EXPECTED, rounds: int = 500, tolerance: float = 1e-9) -> Fitted:
    """Fit by EM to rows (U, F) of votes that stand for `weights` (U,) items each.

    prior: fixed shares (K,), or learned. unseen: a class that an item is not noticed for when everybody who speaks
    votes it ("nothing there"). Such items are missing from the rows, and their expected number is added in each round
    (Dempster, Laird & Rubin 1977, section 4.2, truncated data); without it, functions that seldom see what is not there
    look as if they never did. It ends after `rounds`, or when the objective rises by less than `tolerance` of itself.
    """
    K = n_classes
    pseudo = np.full((K, K), strength * (1 - expected) / max(K - 1, 1))
    np.fill_diagonal(pseudo, strength * expected if K > 1 else strength)
    posterior = _shares(rows, K)
    speaking, group = np.unique(rows >= 0, axis=0, return_inverse=True)
    seen = np.bincount(group.reshape(-1), weights, len(speaking))  # items by who speaks
    if unseen is None:
        speaking, seen = speaking[:0], seen[:0]
    missing = np.where(speaking, 0 if unseen is None else unseen, -1)  # (G, F)
    missed, of_missed = np.zeros(len(missing)), np.full((len(missing), K), 1 / K)
    objective: list[float] = []
    while True:
        # M step: rates and shares that make the votes likeliest, given what is believed of the items.
        counts = _counts(rows, weights, posterior, K) + _counts(missing, missed, of_missed, K) + pseudo
        confusion = counts / counts.sum(2, keepdims=True)
        shares = weights @ posterior + missed @ of_missed + 1 / K
        share = shares / shares.sum() if prior is None else prior
        # E step: what the votes say of each item, given rates and shares.
        posterior, evidence = _normalised(_log_joint(rows, share, confusion))
        of_missed, absent = _normalised(_log_joint(missing, share, confusion))
        gone = np.minimum(np.exp(absent), 1 - 1e-4)  # share of items that nobody notices
        missed = seen * gone / (1 - gone)
        value = float(weights @ evidence - seen @ np.log1p(-gone) + (pseudo * np.log(confusion)).sum())
        value += float(np.log(share).sum() / K) if prior is None else 0.0
        objective.append(value)
        if len(objective) >= rounds or (len(objective) > 1 and value - objective[-2] <= tolerance * (1 + abs(value))):
            return Fitted(share, confusion, tuple(objective))


def posterior_of(rows: Votes, prior: Floats, confusion: Floats) -> Floats:
    """(U, K) class probabilities of rows (U, F) of votes under a fitted model."""
    return _normalised(_log_joint(rows, prior, confusion))[0]


def patterns(votes: Votes, n_classes: int) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:
    """The different rows (U, F) of votes, (N,) which of them each item has, and (U,) how many items have it."""
    N, F = votes.shape
    base = n_classes + 1
    if F and base**F < 2**62:  # a row as one number is found much faster
        codes = (votes.astype(np.int64) + 1) @ np.array([base**f for f in range(F)], np.int64)
        found, which, counts = np.unique(codes, return_inverse=True, return_counts=True)
        rows = found[:, None] // np.array([base**f for f in range(F)], np.int64) % base - 1
    else:
        rows, which, counts = np.unique(votes.reshape(N, F), axis=0, return_inverse=True, return_counts=True)
    return rows.astype(np.int64), which.reshape(-1).astype(np.int64), counts.astype(np.float64)


def _shares(rows: Votes, n_classes: int) -> Floats:
    """(U, K) share of each row's votes that each class has; uniform where there are none."""
    counts = np.stack([(rows == k).sum(1) for k in range(n_classes)], 1).astype(np.float64)
    total = counts.sum(1, keepdims=True)
    shares: Floats = np.divide(counts, total, out=np.full_like(counts, 1 / n_classes), where=total > 0)
    return shares


def _counts(rows: Votes, weights: Floats, posterior: Floats, n_classes: int) -> Floats:
    """(F, K, K) expected number of items of class k that function f calls l."""
    weighted = posterior * weights[:, None]  # (U, K)
    out = np.zeros((rows.shape[1], n_classes, n_classes))
    for vote in range(n_classes):
        out[:, :, vote] = (rows == vote).T.astype(np.float64) @ weighted
    return out


def _normalised(joint: Floats) -> tuple[Floats, Floats]:
    """Rows of log weights as probabilities, and the log of each row's sum."""
    top = joint.max(1, keepdims=True) if len(joint) else np.zeros((0, 1))
    total: Floats = top[:, 0] + np.log(np.exp(joint - top).sum(1))
    probs: Floats = np.exp(joint - total[:, None])
    return probs, total


def _log_joint(rows: Votes, prior: Floats, confusion: Floats) -> Floats:
    """(U, K) log of prior times the probability of the row's votes; a function that abstains adds nothing."""
    F, K, _ = confusion.shape
    table = np.concatenate([np.log(confusion), np.zeros((F, K, 1))], 2)  # the last column is that of −1
    joint: Floats = np.tile(np.log(prior), (len(rows), 1))
    for f in range(F):
        joint += table[f][:, rows[:, f]].T
    return joint


def _consensus(votes: Votes, posterior: Floats, prior: Floats, confusion: Floats,
               objective: tuple[float, ...]) -> Consensus:
    N, F = votes.shape
    accuracy, coverage, conflicts = np.full(F, np.nan), np.zeros(F), np.full(F, np.nan)
    for f in range(F):
        said = np.flatnonzero(votes[:, f] >= 0)
        coverage[f] = len(said) / max(N, 1)
        if len(said):
            mine = votes[said, f]
            accuracy[f] = posterior[said, mine].mean()
            against = (votes[said] >= 0) & (votes[said] != mine[:, None])
            conflicts[f] = against.any(1).mean()
    return Consensus(posterior, prior, confusion, accuracy, coverage, conflicts, objective)


def _checked(votes: Votes, n_classes: int) -> None:
    if votes.ndim != 2:
        raise ValueError(f"votes must be (items, functions), but have the shape {votes.shape}")
    if n_classes < 1 or (votes.size and not (votes.min() >= -1 and votes.max() < n_classes)):
        raise ValueError(f"votes must be classes 0 to {n_classes - 1}, or −1 for abstaining")
