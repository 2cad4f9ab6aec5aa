"""Intervals and corrections against known values and an independent library."""

from __future__ import annotations

import math

import numpy as np
import pytest

from synthgen.metrics import bounds

stats = pytest.importorskip("scipy.stats")


@pytest.mark.parametrize(("k", "n"), [(0, 1), (1, 1), (0, 60), (3, 60), (30, 60), (60, 60), (7, 3000)])
@pytest.mark.parametrize("level", [0.8, 0.95, 0.999])
def test_clopper_pearson_equals_scipy(k, n, level):
    theirs = stats.binomtest(k, n).proportion_ci(level, "exact")
    assert bounds.clopper_pearson(k, n, level) == pytest.approx((theirs.low, theirs.high), abs=1e-10)


def test_no_observations_say_nothing():
    assert bounds.clopper_pearson(0, 0) == (0, 1)
    with pytest.raises(ValueError, match="k = 3"):
        bounds.clopper_pearson(3, 2)


@pytest.mark.parametrize("df", [1, 2, 7, 49, 5000])
def test_t_quantile_equals_scipy(df):
    for p in (0.6, 0.975, 0.9995):
        assert bounds.t_quantile(p, df) == pytest.approx(stats.t.ppf(p, df), rel=1e-8)


def test_holm_and_bh_give_the_textbook_values():
    p = [0.01, 0.04, 0.03, 0.005]
    assert bounds.holm(p) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert bounds.bh(p) == pytest.approx([0.02, 0.04, 0.04, 0.02])
    assert bounds.bh(p) == pytest.approx(stats.false_discovery_control(p))
    assert bounds.holm([]).shape == bounds.bh([]).shape == (0,)
    assert bounds.holm([0.9, 0.8]) == pytest.approx([1, 1])


def test_a_ratio_is_made_anew_in_each_resample():
    """Two images, 0/0 and 9/10: resamples give 0/0 → 1 or 9/10, never the mean of ratios."""
    value, (low, high) = bounds.ratio_interval([0, 9], [0, 10], np.random.default_rng(0))
    assert value == pytest.approx(0.9)
    assert (low, high) == pytest.approx((0.9, 1.0))


def test_the_ratio_interval_covers_and_narrows():
    rng = np.random.default_rng(1)
    hits, widths = 0, []
    for _ in range(150):
        size = rng.poisson(8, 12) + 1
        found = rng.binomial(size, 0.7)
        _, (low, high) = bounds.ratio_interval(found, size, rng, resamples=500)
        hits += low <= 0.7 <= high
        widths.append(high - low)
    assert stats.binomtest(hits, 150, 0.95).pvalue > 0.001, f"covered {hits} of 150"
    _, (low, high) = bounds.ratio_interval(np.tile(found, 20), np.tile(size, 20), rng)
    assert high - low < np.mean(widths) / 3


def test_pairing_removes_what_both_arms_share():
    rng = np.random.default_rng(2)
    hard = rng.uniform(0, 100, 30)                       # images differ far more than the arms do
    ones = np.ones(30)
    mixed = hard + 1 + rng.normal(0, 0.1, 30)
    difference, (low, high) = bounds.paired_difference(mixed, ones, hard, ones, rng)
    assert 0.9 < low < difference < high < 1.1


def test_one_image_gives_the_limits_and_unequal_arms_are_refused():
    rng = np.random.default_rng(3)
    assert bounds.ratio_interval([1], [2], rng, limits=(0, 1)) == (0.5, (0, 1))
    assert bounds.ratio_interval([], [], rng)[1] == (-math.inf, math.inf)
    with pytest.raises(ValueError, match="same images"):
        bounds.paired_difference([1, 2], [1, 1], [1], [1], rng)


def test_resamples_have_as_many_images_as_there_are():
    chunks = list(bounds.resample_weights(7, 100, np.random.default_rng(0)))
    assert np.concatenate(chunks).shape == (100, 7)
    assert (np.concatenate(chunks).sum(1) == 7).all()


@pytest.mark.parametrize(("n", "said"), [(0, "0"), (7, "7"), (46, "46"), (100, "100"), (101, "110"), (2241, "2,300"),
                                         (99_001, "100,000")])
def test_what_should_be_planned_for_is_told_in_two_figures_and_never_too_low(n, said):
    assert bounds.planned(n) == said
