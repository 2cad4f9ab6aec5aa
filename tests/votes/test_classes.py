"""Label models of classes: the edges first, then what they are for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from synthgen.votes.classes import dawid_skene, fit, majority, patterns, posterior_of

MODELS = [dawid_skene, majority]


def planted(n: int, accuracies: list[float], classes: int = 3, silent: float = 0.3, seed: int = 0):
    """Truth (n,) and votes (n, F) of functions that are right so often, and silent at that share of the items."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(classes, size=n)
    votes = np.empty((n, len(accuracies)), int)
    for f, p in enumerate(accuracies):
        wrong = (truth + rng.integers(1, classes, n)) % classes
        votes[:, f] = np.where(rng.random(n) < p, truth, wrong)
        votes[rng.random(n) < silent, f] = -1
    return truth, votes


@pytest.mark.parametrize("model", MODELS)
def test_one_vote_on_one_item_is_believed_but_not_fully_without_reason(model):
    found = model(np.array([[1]]), 3)
    assert found.decided().tolist() == [1]
    assert found.coverage.tolist() == [1.0]


@pytest.mark.parametrize("model", MODELS)
def test_no_items_and_no_functions_are_no_error(model):
    assert model(np.zeros((0, 2), int), 3).posterior.shape == (0, 3)
    assert model(np.zeros((4, 0), int), 3).posterior == pytest.approx(np.full((4, 3), 1 / 3))


@pytest.mark.parametrize("model", MODELS)
def test_one_class_is_certain_whoever_votes(model):
    assert model(np.array([[0, -1], [-1, -1]]), 1).posterior.tolist() == [[1.0], [1.0]]


@pytest.mark.parametrize("model", MODELS)
def test_a_function_that_never_votes_has_no_accuracy_and_changes_nothing(model):
    _, votes = planted(60, [0.9, 0.7])
    beside = model(np.column_stack([votes, np.full(60, -1)]), 3)
    assert np.isnan(beside.accuracy[2])
    assert beside.coverage[2] == 0
    assert beside.posterior == pytest.approx(model(votes, 3).posterior)


def test_where_nobody_votes_the_posterior_is_the_prior_and_the_whole_may_abstain():
    votes = np.array([[0, 0, 0]] * 8 + [[1, 1, 1]] * 2 + [[-1, -1, -1]])
    found = dawid_skene(votes, 2)
    assert found.posterior[-1] == pytest.approx(found.prior)
    assert found.decided(0.95)[-1] == -1
    assert found.decided(0.95)[:10].tolist() == [0] * 8 + [1] * 2


@settings(max_examples=60, deadline=None)
@given(arrays(np.int64, st.tuples(st.integers(0, 12), st.integers(1, 4)), elements=st.integers(-1, 2)))
def test_the_objective_never_falls_and_rows_sum_to_one(votes):
    found = dawid_skene(votes, 3)
    steps = np.diff(found.objective)
    assert (steps >= -1e-9 * (1 + np.abs(found.objective[:-1]))).all()
    assert found.posterior.sum(1) == pytest.approx(np.ones(len(votes)))
    assert found.confusion.sum(2) == pytest.approx(np.ones(found.confusion.shape[:2]))


def test_items_that_nobody_noticed_are_reckoned_with():
    """Two functions that see what is there at known rates, and one that sees much that is not; 0 = nothing there."""
    rng = np.random.default_rng(3)
    there = rng.random(20_000) < 0.2
    rates = [(0.9, 0.01), (0.8, 0.02), (0.7, 0.03), (0.3, 0.1)]
    votes = np.stack([rng.random(len(there)) < np.where(there, hit, alarm) for hit, alarm in rates], 1).astype(int)
    rows, which, weights = patterns(votes[votes.any(1)], 2)
    model = fit(rows, weights, 2, unseen=0)
    assert model.confusion[:, 1, 1] == pytest.approx([hit for hit, _ in rates], abs=0.06)
    believed = posterior_of(rows, model.prior, model.confusion)[which, 1]
    assert believed.mean() == pytest.approx(there[votes.any(1)].mean(), abs=0.03)
    plain = fit(rows, weights, 2)
    assert abs(posterior_of(rows, plain.prior, plain.confusion)[which, 1].mean() - there[votes.any(1)].mean()) > 0.1
    assert np.diff(model.objective).min() > -1e-6 * abs(model.objective[-1])


def test_the_order_of_items_and_functions_changes_nothing():
    _, votes = planted(80, [0.9, 0.7, 0.6])
    found, turned = dawid_skene(votes, 3), dawid_skene(votes[::-1, ::-1], 3)
    assert turned.posterior[::-1] == pytest.approx(found.posterior, abs=1e-6)
    assert turned.accuracy[::-1] == pytest.approx(found.accuracy, abs=1e-6)


def test_accuracies_are_learned_without_any_truth():
    accuracies = [0.95, 0.8, 0.65, 0.4]
    _, votes = planted(3000, accuracies)
    assert dawid_skene(votes, 3).accuracy == pytest.approx(accuracies, abs=0.04)


def test_one_good_function_among_poor_ones_is_found_where_the_majority_is_led_astray():
    truth, votes = planted(2000, [0.95, 0.5, 0.5, 0.5], classes=3, silent=0.0)
    learned, counted = ((model(votes, 3).decided() == truth).mean() for model in MODELS)
    assert learned > 0.94
    assert counted < 0.85


def test_a_vote_that_is_no_class_is_refused():
    with pytest.raises(ValueError, match="classes 0 to 2"):
        dawid_skene(np.array([[3]]), 3)
    with pytest.raises(ValueError, match="items, functions"):
        majority(np.array([1, 2]), 3)
