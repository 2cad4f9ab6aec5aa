"""The promise holds: bounds against exact distributions, certificates against simulated audits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, hypergeom

from synthgen.metrics.certificate import (
    audit_needed,
    certify,
    faultless_audit,
    most_loss,
    most_wrong,
    risk_coverage,
)


@given(st.integers(1, 60), st.data())
def test_most_wrong_is_the_largest_number_that_the_exact_distribution_does_not_refute(
    size: int, data: st.DataObject
) -> None:
    seen = data.draw(st.integers(0, size))
    wrong = data.draw(st.integers(0, seen))
    chance = {K: hypergeom.cdf(wrong, size, K, seen) for K in range(wrong, size - (seen - wrong) + 1)}
    # A chance of just 0.1 may be rounded to either side: none of 1 seen, with 18 of 20 wrong.
    surely, perhaps = ([K for K, p in chance.items() if p > 0.1 + e] for e in (1e-9, -1e-9))
    assert max(surely) <= most_wrong(wrong, seen, size, 0.9) <= max(perhaps)


def test_a_chance_that_is_just_allowed_is_not_refuted() -> None:
    assert most_wrong(0, 1, 20, 0.9) == 18


def test_nothing_seen_refutes_nothing_and_everything_seen_leaves_no_doubt() -> None:
    assert most_wrong(0, 0, 40, 0.9) == 40
    assert most_wrong(3, 40, 40, 0.9) == 3
    assert most_loss([], 40, 0.9) == 1
    assert most_loss([0.25, 0.5], 2, 0.9) == 0.375


def test_the_textbook_numbers_of_a_faultless_audit_are_met_in_a_large_pool() -> None:
    """22 items without an error show at most 10 % at 90 % confidence, 45 at most 5 % (binomial)."""
    assert most_wrong(0, 22, 10**6, 0.9) / 10**6 <= 0.1 < most_wrong(0, 21, 10**6, 0.9) / 10**6
    assert most_wrong(0, 45, 10**6, 0.9) / 10**6 <= 0.05 < most_wrong(0, 44, 10**6, 0.9) / 10**6


@pytest.mark.parametrize("n", [10, 40])
def test_the_betting_bound_is_below_the_truth_in_no_more_than_its_share_of_draws(n: int) -> None:
    rng = np.random.default_rng(4)
    population = np.where(rng.random(300) < 0.6, 0.0, rng.random(300))
    below = sum(most_loss(rng.permutation(population)[:n], 300, 0.9) < population.mean() for _ in range(300))
    assert below <= 0.1 * 300


def test_the_betting_bound_shrinks_with_the_audit_and_is_not_above_one() -> None:
    rng = np.random.default_rng(5)
    losses = rng.random(200) * 0.2
    bounds = [most_loss(losses[:n], 10_000, 0.9) for n in (1, 10, 50, 200)]
    assert bounds == sorted(bounds, reverse=True)
    assert bounds[0] <= 1
    assert losses.mean() < bounds[-1] < 0.2


@pytest.mark.parametrize("of", ["accepted", "output"])
@pytest.mark.parametrize("n", [20, 60, 150])
def test_the_promise_is_broken_in_no_more_than_its_share_of_audits(n: int, of: str) -> None:
    rng = np.random.default_rng(6)
    size = 800
    doubt = rng.random(size)
    wrong = (rng.random(size) < 0.02 + 0.3 * doubt**2).astype(float)
    order = np.argsort(doubt)
    broken, any_ = 0, 0
    for _ in range(150):
        audit = rng.permutation(size)[:n]
        best = certify(doubt, audit, wrong[audit], 0.08, 0.9, of).best
        if best is not None:
            any_ += 1
            among = size if of == "output" else best.accepted
            broken += wrong[order[: best.accepted]].sum() / among > 0.08
    assert broken <= 0.1 * 150
    assert any_ > 30 or (n == 20 and of == "accepted")


@pytest.mark.slow
@pytest.mark.parametrize("n", [40, 60, 120])
def test_pools_made_to_break_the_promise_do_not(n: int) -> None:
    size, draws, asked = 400, 1500, 0.08
    rng = np.random.default_rng(n)
    place = np.arange(size)
    pools = {}
    for start in (0.35, 0.5, 0.65, 0.8, 0.95):
        at = int(start * size)
        # All wrong ones right below a coverage at which the sequence may start, one more than it may accept there …
        wrong = np.zeros(size)
        wrong[at - int(asked * at) - 1 : at] = 1
        pools[f"a wall at {start}"] = wrong
        # … or spread evenly up to there, so that every step on the way is just wrong.
        wrong = np.zeros(size)
        wrong[np.linspace(0, at - 1, int(asked * at) + 1).astype(int)] = 1
        pools[f"even up to {start}"] = wrong
    pools["just wrong everywhere"] = (place % 12 == 0).astype(float)
    for name, wrong in pools.items():
        broken = 0
        for _ in range(draws):
            audit = rng.permutation(size)[:n]
            best = certify(place / size, audit, wrong[audit], asked, 0.9).best
            broken += best is not None and wrong[: best.accepted].mean() > asked
        assert broken <= binom.ppf(0.9995, draws, 0.1), name


def test_an_order_that_knows_nothing_is_certified_for_all_or_for_nothing_with_the_error_of_all() -> None:
    audit = np.arange(100)
    found = certify(np.zeros(400), audit, np.zeros(100), 0.05, 0.9)
    assert found.best is not None
    assert found.best.coverage == 1
    assert certify(np.zeros(400), audit, np.ones(100), 0.05, 0.9).best is None


def test_the_sequence_ends_at_the_first_step_that_fails() -> None:
    doubt = np.arange(1000) / 1000
    losses = (doubt > 0.7).astype(float)
    audit = np.arange(0, 1000, 4)
    found = certify(doubt, audit, losses[audit], 0.05, 0.9)
    assert [s.passed for s in found.steps] == [True] * (len(found.steps) - 1) + [False]
    assert found.best is not None
    assert 0.65 <= found.best.coverage <= 0.75
    assert found.steps[0].coverage == 0.3


def test_a_pool_of_nothing_and_an_audit_of_nothing_certify_nothing() -> None:
    assert certify([], [], [], 0.1, 0.9).best is None
    assert certify(np.zeros(10), [], [], 0.1, 0.9).best is None


def test_an_audit_of_the_whole_pool_certifies_what_is_true() -> None:
    best = certify(np.arange(8.0), np.arange(8), [0, 0, 0, 0, 0, 0, 1, 1], 0.1, 0.9).best
    assert best is not None
    assert best.accepted == 6


def test_the_planned_audit_certifies_about_as_often_as_planned() -> None:
    rng = np.random.default_rng(7)
    doubt = rng.random(2000)
    wrong = (rng.random(2000) < 0.01 + 0.1 * doubt).astype(float)
    n = audit_needed(doubt[:60], wrong[:60], 0.1, 0.9, 2000, rng)
    assert n is not None
    passed = 0
    for _ in range(60):
        audit = rng.permutation(2000)[:n]
        passed += certify(doubt, audit, wrong[audit], 0.1, 0.9).best is not None
    assert passed >= 0.6 * 60


def test_no_audit_helps_where_half_of_the_surest_labels_are_wrong() -> None:
    rng = np.random.default_rng(8)
    assert audit_needed(rng.random(40), np.tile([0.0, 1.0], 20), 0.05, 0.9, 300, rng) is None


def test_a_faultless_audit_needs_more_images_for_less_error() -> None:
    sizes = [faultless_audit(10_000, e, 0.9) for e in (0.2, 0.1, 0.05, 0.02)]
    assert None not in sizes
    assert sizes == sorted(s for s in sizes if s is not None)
    assert faultless_audit(0, 0.1, 0.9) is None


def test_augrc_of_a_perfect_order_of_a_random_one_and_of_no_error() -> None:
    losses = np.repeat([0.0, 1.0], [900, 100])
    assert risk_coverage(np.arange(1000), losses)[2] == pytest.approx(0.1 * 0.1 / 2, rel=0.02)
    assert risk_coverage(np.random.default_rng(0).random(1000), losses)[2] == pytest.approx(0.05, rel=0.2)
    assert risk_coverage(np.arange(3), np.zeros(3))[2] == 0
