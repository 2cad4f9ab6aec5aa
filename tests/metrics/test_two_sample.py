"""The probe is exact where it claims to be, valid under the null, powerful under a shift."""

from __future__ import annotations

import time

import numpy as np
import pytest

from synthgen.metrics import two_sample
from synthgen.metrics.two_sample import RidgeLoo, auc, auc_interval, mmd2_u, probe_auc, standardise

stats = pytest.importorskip("scipy.stats")
metrics = pytest.importorskip("sklearn.metrics")


@pytest.mark.parametrize(("n", "d"), [(12, 3), (12, 12), (12, 40), (3, 1)])
def test_the_closed_form_equals_refitting_without_each_row(n, d):
    rng = np.random.default_rng(0)
    x = standardise(rng.normal(size=(n, d)))
    y = rng.integers(0, 2, n) - 0.5
    penalty = 1.0 * (x * x).sum() / n
    explicit = []
    for i in range(n):
        rest = np.arange(n) != i
        w = np.linalg.solve(x[rest].T @ x[rest] + penalty * np.eye(d), x[rest].T @ y[rest])
        explicit.append(x[i] @ w)
    assert RidgeLoo(x).scores(y[:, None])[:, 0] == pytest.approx(np.array(explicit), abs=1e-10)


def test_many_columns_at_once_equal_one_by_one():
    rng = np.random.default_rng(1)
    for d in (4, 30):
        loo = RidgeLoo(standardise(rng.normal(size=(20, d))))
        y = rng.normal(size=(20, 5))
        assert loo.scores(y) == pytest.approx(np.hstack([loo.scores(y[:, [k]]) for k in range(5)]))


def test_auc_equals_sklearn_with_ties():
    rng = np.random.default_rng(2)
    for _ in range(20):
        a, b = rng.integers(0, 6, rng.integers(1, 9)), rng.integers(0, 6, rng.integers(1, 9))
        truth = np.r_[np.ones(len(a)), np.zeros(len(b))]
        assert auc(a, b) == pytest.approx(metrics.roc_auc_score(truth, np.r_[a, b]))


@pytest.mark.slow
def test_the_permutation_p_is_uniform_under_the_null():
    rng = np.random.default_rng(3)
    draws = ((rng.normal(size=(15, 8)), rng.normal(size=(60, 8))) for _ in range(300))
    p = np.array([probe_auc(a, b, rng, 99).p for a, b in draws])
    for alpha in (0.05, 0.2, 0.5):
        assert stats.binomtest(int((p <= alpha).sum()), 300, alpha).pvalue > 0.001, alpha


@pytest.mark.parametrize("d", [14, 200])
def test_a_shift_is_found_and_the_interval_excludes_chance(d):
    rng = np.random.default_rng(4)
    found = 0
    for _ in range(10):
        shifted = rng.normal(size=(40, d)) + 2.5 * (np.arange(d) < 2)
        probe = probe_auc(shifted, rng.normal(size=(150, d)), rng, 99)
        found += probe.p <= 0.05 and probe.interval[0] > 0.5
    assert found >= 9


@pytest.mark.slow
def test_the_interval_covers_the_probes_own_auc_near_chance():
    """Scores share training rows: without widening, coverage at the null was 0.83 instead of 0.95."""
    rng = np.random.default_rng(5)
    covered = 0
    for _ in range(200):
        low, high = probe_auc(rng.normal(size=(20, 14)), rng.normal(size=(100, 14)), rng, 99).interval
        covered += low <= 0.5 <= high
    assert covered >= 182, covered                    # 0.91, a lower limit of what 200 draws at 0.95 give


def test_file_order_and_column_scale_change_nothing():
    rng = np.random.default_rng(6)
    a, b = rng.normal(size=(20, 5)), rng.normal(size=(30, 5)) + 0.5
    first = probe_auc(a, b, np.random.default_rng(0), 19)
    second = probe_auc(a[::-1], b[rng.permutation(30)], np.random.default_rng(0), 19)
    assert (first.auc, first.p, first.null) == (second.auc, second.p, second.null)
    assert first.interval == second.interval
    assert second.scores[:20] == pytest.approx(first.scores[:20][::-1])
    scaled = probe_auc(a * 1000 + 7, b * 1000 + 7, np.random.default_rng(0), 19)
    assert (scaled.auc, scaled.p) == pytest.approx((first.auc, first.p))


def test_the_same_generator_gives_the_same_numbers():
    a, b = np.random.default_rng(7).normal(size=(2, 20, 5))
    one, two = (probe_auc(a, b, np.random.default_rng(1), 49) for _ in range(2))
    assert (one.p, one.null, one.interval) == (two.p, two.null, two.interval)


def test_constant_features_are_chance_and_copies_score_below_it():
    rng = np.random.default_rng(8)
    flat = probe_auc(np.full((9, 3), 7.1), np.full((11, 3), 7.1), rng, 99)
    assert (flat.auc, flat.p) == (0.5, 1.0)
    a = rng.normal(size=(20, 100))
    copies = probe_auc(a, a + 1e-6, rng, 99)
    assert copies.auc < 0.2
    assert copies.p > 0.9


def test_bad_input_is_refused():
    rng = np.random.default_rng(9)
    with pytest.raises(ValueError, match="at least 2"):
        probe_auc(np.zeros((1, 3)), np.zeros((5, 3)), rng)
    with pytest.raises(ValueError, match="equal columns"):
        probe_auc(np.zeros((5, 3)), np.zeros((5, 4)), rng)
    with pytest.raises(ValueError, match="finite"):
        probe_auc(np.full((5, 3), np.nan), np.zeros((5, 3)), rng)


@pytest.mark.parametrize(("n", "expected"), [(20, 0.66), (50, 0.60), (100, 0.575), (200, 0.556)])
def test_the_smallest_detectable_auc_is_the_published_table(n, expected):
    assert two_sample.smallest_detectable_auc(n, 1000) == pytest.approx(expected, abs=0.005)
    assert two_sample.smallest_detectable_auc(2, 2) <= 1


def test_the_auc_interval_keeps_its_width_at_the_ends():
    low, high = auc_interval(1.0, 8, 400)
    assert high == pytest.approx(1)
    assert 0.5 < low < 0.95
    low, high = auc_interval(0.5, 20, 1000)
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(1021 / (12 * 20 * 1000)), rel=0.1)


def test_mmd_is_its_definition_and_powerful():
    rng = np.random.default_rng(10)
    a, b = rng.normal(size=(6, 3)), rng.normal(size=(9, 3)) + 1
    x = standardise(np.r_[a, b])

    def k(u, v):
        return np.exp(-((u - v) ** 2).sum() / 2)

    aa = np.mean([k(x[i], x[j]) for i in range(6) for j in range(6) if i != j])
    bb = np.mean([k(x[i], x[j]) for i in range(6, 15) for j in range(6, 15) if i != j])
    ab = np.mean([k(x[i], x[j]) for i in range(6) for j in range(6, 15)])
    assert mmd2_u(a, b, rng, 19, bandwidth=1).value == pytest.approx(aa + bb - 2 * ab)
    assert mmd2_u(rng.normal(size=(40, 4)) + 1, rng.normal(size=(60, 4)), rng, 99).p == 0.01
    assert mmd2_u(np.ones((5, 2)), np.ones((5, 2)), rng, 19).p == 1


@pytest.mark.slow
@pytest.mark.parametrize("few", [False, True])
def test_the_p_over_five_bandwidths_is_uniform_under_the_null(few, monkeypatch):
    """Testing five bandwidths at 5 % each would reject far more often; drawing from large sets keeps it exact too."""
    if few:
        monkeypatch.setattr(two_sample, "CAP", 12)
    rng = np.random.default_rng(12)
    draws = ((rng.normal(size=(12, 4)), rng.normal(size=(30, 4))) for _ in range(300))
    p = np.array([mmd2_u(a, b, rng, 99).p for a, b in draws])
    for alpha in (0.05, 0.2, 0.5):
        assert stats.binomtest(int((p <= alpha).sum()), 300, alpha).pvalue > 0.001, alpha


def test_several_bandwidths_see_what_the_median_does_not():
    """Three far-off clusters that are wide in one set and tight in the other: the median distance lies between them."""
    rng = np.random.default_rng(13)
    alone = together = 0
    for _ in range(15):
        a, b = (5 * np.array([[0, 0], [1, 0], [0, 1]])[rng.integers(3, size=60)] + sd * rng.normal(size=(60, 2))
                for sd in (0.5, 0.2))
        x = standardise(np.r_[a, b])
        distance = np.linalg.norm(x[:, None] - x, axis=2)
        alone += mmd2_u(a, b, rng, 99, float(np.median(distance[np.triu_indices(120, 1)]))).p <= 0.05
        found = mmd2_u(a, b, rng, 99)
        together += found.p <= 0.05 and found.scale < 0.5
    assert together >= 11 > 4 >= alone, (together, alone)


def test_mmd_changes_no_digit_with_file_order_nothing_with_scale_or_a_constant_column():
    rng = np.random.default_rng(14)
    a, b = rng.normal(size=(20, 5)), rng.normal(size=(30, 5)) + 0.5
    first = mmd2_u(a, b, np.random.default_rng(0), 49)
    assert mmd2_u(a[::-1], b[rng.permutation(30)], np.random.default_rng(0), 49) == first
    flat = [np.hstack([x * 1000 + 7, np.full((len(x), 1), 3.3)]) for x in (a, b)]
    other = mmd2_u(*flat, np.random.default_rng(0), 4999)
    assert other.value == pytest.approx(first.value)
    assert other.shifted == pytest.approx(first.shifted, rel=1e-6)
    assert other.p == pytest.approx(mmd2_u(a, b, np.random.default_rng(1), 4999).p, abs=0.02)
    assert mmd2_u(b, a, np.random.default_rng(0), 49).value == pytest.approx(first.value)


def test_large_sets_are_drawn_from_by_the_generator_alone(monkeypatch):
    monkeypatch.setattr(two_sample, "CAP", 25)
    rng = np.random.default_rng(15)
    a, b = rng.normal(size=(80, 3)), rng.normal(size=(40, 3)) + 2
    found = mmd2_u(a, b, np.random.default_rng(0), 49)
    assert (found.n, found.p) == ((25, 25), 0.02)
    assert mmd2_u(a[::-1], b[::-1], np.random.default_rng(0), 49) == found
    assert mmd2_u(a, b, np.random.default_rng(1), 49).value != found.value


def test_the_shift_that_mmd_is_measured_by_is_the_shift_it_says():
    rng = np.random.default_rng(16)
    a = rng.normal(size=(400, 3))
    a[:, 1] += a[:, 0]
    a[:, 2] += a[:, 0]
    x = standardise(a)
    along = np.linalg.eigh(x.T @ x)[1][:, -1]
    moved = x + two_sample.SHIFT * (x @ along).std() * along
    found = mmd2_u(a[:200], a[200:], rng, 99)
    planted = mmd2_u(x, moved, rng, 19)
    assert stats.norm.cdf(two_sample.SHIFT / np.sqrt(2)) == pytest.approx(0.65)
    assert found.shifted == pytest.approx(planted.value, rel=0.15)
    assert found.value < found.detectable < found.shifted                              # 200 a side would show it


@pytest.mark.parametrize(("a", "b", "said"), [
    (np.zeros((1, 3)), np.zeros((5, 3)), "at least 2"), (np.zeros((5, 3)), np.zeros((5, 4)), "equal columns"),
    (np.full((5, 3), np.inf), np.zeros((5, 3)), "not finite")])
def test_mmd_refuses_bad_input(a, b, said):
    with pytest.raises(ValueError, match=said):
        mmd2_u(a, b, np.random.default_rng(0))


@pytest.mark.slow
def test_four_hundred_against_four_thousand_takes_seconds():
    rng = np.random.default_rng(11)
    start = time.perf_counter()
    probe_auc(rng.normal(size=(400, 33)), rng.normal(size=(4000, 33)), rng, 999)
    assert time.perf_counter() - start < 30            # about 2 s on one free core; the machine may be shared
