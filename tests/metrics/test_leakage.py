"""Leakage: Bergsma's V by hand, weights that numbers of images do not move, cover, power, and valid p."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthgen.metrics.leakage import Attribute, _excess, association, class_gain, cramers_v, readable

stats = pytest.importorskip("scipy.stats")
RNG = np.random.default_rng


def bergsma(table):
    """Equations 3 to 5 of the paper, word for word, for an r × k table."""
    t = np.asarray(table, float)
    n, (r, k) = t.sum(), t.shape
    chi2 = stats.chi2_contingency(t, correction=False).statistic
    phi2 = max(0, chi2 / n - (r - 1) * (k - 1) / (n - 1))
    return np.sqrt(phi2 / min(r - (r - 1) ** 2 / (n - 1) - 1, k - (k - 1) ** 2 / (n - 1) - 1))


def codes(*values):
    return Attribute("x", np.concatenate(values).astype(np.int64), int(max(v.max() for v in values)) + 1)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), min_size=2, max_size=6))
def test_v_equals_bergsmas_where_images_are_counted_plainly(columns):
    table = np.array(columns).T
    assert float(cramers_v(table)) == pytest.approx(bergsma(table), abs=1e-6)
    own = table.sum(1)[0] / table.sum()
    assert float(cramers_v(table, own)) == pytest.approx(float(cramers_v(table)), abs=1e-6)


def test_v_is_zero_without_and_one_with_full_association():
    assert float(cramers_v(np.array([[10, 20], [100, 200]]), 0.5)) == 0
    assert float(cramers_v(np.array([[50, 0], [0, 900]]), 0.5)) == pytest.approx(1, abs=1e-9)
    assert float(cramers_v(np.array([[7, 0], [9, 0]]))) == 0
    # By hand: shares ½ and 9/10 at equal weight, ¼ · 0.16 / (0.7 · 0.3), less the bias.
    big = np.array([[50_000, 50_000], [90_000, 10_000]])
    assert float(cramers_v(big, 0.5)) == pytest.approx((0.04 / 0.21) ** 0.5, abs=1e-3)


def test_more_images_of_the_same_kind_move_v_only_where_they_are_counted_plainly():
    few, many = np.array([[300, 700], [600, 400]]), np.array([[300, 700], [60_000, 40_000]])
    assert float(cramers_v(few, 0.5)) == pytest.approx(float(cramers_v(many, 0.5)), abs=0.002)
    assert float(cramers_v(many)) < 0.1 < float(cramers_v(few))


def test_the_bias_correction_leaves_none_on_average():
    rng = RNG(0)
    for n, m, K in ((20, 300, 2), (40, 40, 5)):
        draws = np.stack([rng.multinomial(n, np.full(K, 1 / K), 4000), rng.multinomial(m, np.full(K, 1 / K), 4000)], 1)
        assert _excess(draws.astype(float), 0.5).mean() == pytest.approx(0, abs=0.003)


@pytest.mark.parametrize(("n", "m", "K", "gap"), [(12, 200, 2, 0.0), (12, 200, 2, 0.4), (40, 200, 5, 0.3),
                                                   (8, 100, 10, 0.4)])
def test_the_interval_covers_the_true_v(n, m, K, gap):
    rng = RNG(1)
    p = np.full(K, 1 / K)
    q = p + np.r_[gap, np.full(K - 1, -gap / (K - 1))]
    q = q.clip(0) / q.clip(0).sum()
    true = float(cramers_v(np.round(np.array([p, q]) * 1e7), 0.5))
    covered = 0
    for _ in range(100):
        low, high = association([codes(rng.choice(K, n, p=p), rng.choice(K, m, p=q), np.array([K - 1]))], n, rng,
                                0.5, 19, 400).interval
        covered += low - 1e-9 <= true <= high + 1e-9
    assert covered >= 90


def test_the_p_of_the_largest_of_three_is_valid():
    rng = RNG(2)
    p = []
    for _ in range(300):
        shown = rng.random((60, 3)) < (0.5, 0.2, 0.8)
        found = association([Attribute(str(k), shown[:, k].astype(np.int64), 2) for k in range(3)], 15, rng, 0.5, 59, 9)
        p.append(found.p)
    rejected = int((np.array(p) <= 0.05).sum())
    assert stats.binomtest(rejected, 300, 0.05, alternative="greater").pvalue > 0.001


def test_the_largest_is_named_and_file_order_changes_no_digit():
    rng = RNG(3)
    one, two = rng.integers(0, 2, 80), np.r_[np.zeros(30, int), rng.integers(0, 2, 50)]

    def found(order):
        return association([Attribute("one", one[order], 2), Attribute("two", two[order], 2)], 30, RNG(0))

    first = found(np.arange(80))
    assert first.at == "two"
    assert [name for name, _ in first.by_attribute] == ["two", "one"]
    assert first.interval[0] > 0.3
    assert first.p == 1 / 1000
    assert found(np.r_[rng.permutation(30), 30 + rng.permutation(50)]) == first


def test_one_image_a_side_says_nothing_and_none_is_an_error():
    found = association([Attribute("x", np.array([0, 1]), 2)], 1, RNG(0))
    assert found.interval == (0, 1)
    for n in (0, 2):
        with pytest.raises(ValueError, match="both sources"):
            association([Attribute("x", np.array([0, 1]), 2)], n, RNG(0))
    with pytest.raises(ValueError, match="needs an attribute"):
        association([], 1, RNG(0))


def test_a_level_that_nobody_shows_is_not_certain_never_to_be_shown():
    same = association([Attribute("x", np.zeros(10, np.int64), 2)], 5, RNG(0))
    assert same.v == 0
    assert same.interval[1] > 0.2


def marked(rng, n, d=12, mark=0.0, known=0.0):
    has = np.arange(n) % 2 == 0
    x = rng.normal(size=(n, d))
    x[has, 0] += mark + known
    return x, has


@pytest.mark.slow
def test_no_gain_is_claimed_where_there_is_none_and_a_mark_is_found():
    rng = RNG(4)
    wrong, found, covered = 0, 0, 0
    for _ in range(200):
        real = marked(rng, 24, known=1.0)
        wrong += class_gain(*marked(rng, 24, known=1.0), *real, rng).interval[0] > 0
        gain = class_gain(*marked(rng, 60, mark=5, known=1.0), *marked(rng, 60, known=0.0), rng)
        found += gain.interval[0] > 0.15
        covered += gain.interval[0] <= 0.5 <= gain.interval[1]
    assert stats.binomtest(wrong, 200, 0.05, alternative="greater").pvalue > 0.001
    assert found >= 170                                    # 30 images with and 30 without the mark on each side
    assert covered >= 180


def test_more_synthetic_images_alone_are_no_gain():
    """A probe learns more from 600 images than from 24; matched subsets keep that from looking like a mark."""
    rng = RNG(5)
    gains = [class_gain(*marked(rng, 600, known=1.0), *marked(rng, 24, known=1.0), rng).value for _ in range(30)]
    assert np.mean(gains) == pytest.approx(0, abs=0.06)


def test_file_order_changes_no_digit_of_a_gain_and_few_images_are_refused():
    rng = RNG(6)
    (x, has), (y, real_has) = marked(rng, 60, mark=2), marked(rng, 30)
    one = class_gain(x, has, y, real_has, RNG(0))
    order = rng.permutation(60)
    assert class_gain(x[order], has[order], y[::-1], real_has[::-1], RNG(0)) == one
    assert one.n == (15, 15)
    assert one.interval[0] < one.value < one.interval[1]
    assert not readable(np.arange(30) < 4)
    assert not readable(np.arange(19) < 9)
    with pytest.raises(ValueError, match="20 images a side"):
        class_gain(x[:19], has[:19], y, real_has, RNG(0))
