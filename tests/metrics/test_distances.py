"""KID and the Fréchet distance are what their definitions say, agree with other people's code, and know chance."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthgen.metrics import distances
from synthgen.metrics.distances import frechet_distance, kid, reported

linalg = pytest.importorskip("scipy.linalg")
RNG = np.random.default_rng


def rows(n, d=8, seed=0, shift=0.0):
    return (RNG(seed).normal(size=(n, d)) + shift * (np.arange(d) < 2)).astype(np.float32)


def slow_kid(a, b):
    a, b = a.astype(np.float64), b.astype(np.float64)

    def mean(x, y, same):
        values = [(u @ v / len(u) + 1) ** 3 for i, u in enumerate(x) for j, v in enumerate(y) if not (same and i == j)]
        return np.mean(values)

    return mean(a, a, True) + mean(b, b, True) - 2 * mean(a, b, False)


def slow_frechet(a, b):
    one, two = (np.cov(x.astype(np.float64), rowvar=False) for x in (a, b))
    root = linalg.sqrtm(one @ two).real
    gap = a.mean(0, dtype=np.float64) - b.mean(0, dtype=np.float64)
    return gap @ gap + np.trace(one + two - 2 * root)


@given(st.integers(2, 9), st.integers(2, 9), st.integers(1, 5), st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_kid_is_its_definition_at_any_size(n, m, d, seed):
    a, b = rows(n, d, seed), rows(m, d, seed + 1, 0.5)
    assert kid(a, b) == pytest.approx(slow_kid(a, b), rel=1e-4, abs=1e-5)


def test_blocks_leave_no_seam(monkeypatch):
    a, b = rows(70, seed=1), rows(45, seed=2, shift=1)
    whole = kid(a, b), frechet_distance(a, b)
    monkeypatch.setattr(distances, "BLOCK", 16)
    assert (kid(a, b), frechet_distance(a, b)) == pytest.approx(whole, rel=1e-5)


@pytest.mark.parametrize(("n", "m", "d"), [(60, 90, 12), (12, 90, 12), (13, 14, 12), (400, 300, 64)])
def test_the_frechet_distance_is_that_of_the_matrix_root(n, m, d):
    mix = RNG(9).normal(size=(d, d)).astype(np.float32)
    a, b = rows(n, d, 1) @ mix, rows(m, d, 2, 1.0)
    assert frechet_distance(a, b) == pytest.approx(slow_frechet(a, b), rel=1e-6)


@pytest.mark.parametrize(("n", "m"), [(5, 8), (8, 200), (200, 8)])
def test_fewer_images_than_columns_give_the_same_distance_by_the_short_way(n, m):
    # 40 columns of which the last 35 are combinations of the first 5: a root of D × D and one of n × m must agree.
    mix = RNG(3).normal(size=(5, 40))
    a, b = (x.astype(np.float64) @ mix for x in (rows(n, 5, 1), rows(m, 5, 2, 1.0)))
    basis = np.linalg.qr(mix.T)[0]                                                     # (40, 5), distances kept
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(a @ basis, b @ basis), rel=1e-4)


@pytest.mark.parametrize(("n", "d"), [(30, 6), (6, 30)])
def test_a_set_is_at_no_frechet_distance_from_itself_and_a_shift_adds_its_square(n, d):
    a = rows(n, d)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-5)
    moved = a + np.float32(2)
    assert frechet_distance(a, moved) == pytest.approx(4 * d, rel=1e-5)
    # Twice as far from the mean is twice the sd in every direction: the distance is the trace of the covariance.
    twice = 2 * a - a.mean(0)
    assert frechet_distance(a, twice) == pytest.approx(np.var(a, axis=0, ddof=1, dtype=np.float64).sum(), rel=1e-4)


def test_the_order_of_rows_changes_no_digit_and_the_order_of_sets_only_rounding():
    a, b = rows(50, seed=1), rows(70, seed=2, shift=0.5)
    turned = a[::-1], b[RNG(5).permutation(70)]
    for distance in (kid, frechet_distance):
        assert distance(a, b) == distance(*turned)
        assert distance(a, b) == pytest.approx(distance(b, a), rel=1e-5)
    assert reported(a, b, RNG(0), 49) == reported(*turned, RNG(0), 49)


def test_scale_and_constant_columns_do_what_algebra_says():
    a, b = rows(50, seed=1), rows(70, seed=2, shift=0.5)
    assert frechet_distance(3 * a, 3 * b) == pytest.approx(9 * frechet_distance(a, b), rel=1e-5)
    flat = [np.hstack([x, np.full((len(x), 1), 7, np.float32)]) for x in (a, b)]
    assert frechet_distance(*flat) == pytest.approx(frechet_distance(a, b), rel=1e-5)
    # KID divides by the number of columns: each column twice changes nothing, and an empty one acts as a smaller scale.
    assert kid(np.hstack([a, a]), np.hstack([b, b])) == pytest.approx(kid(a, b), rel=1e-4)
    empty = [np.hstack([x, np.zeros((len(x), 1), np.float32)]) for x in (a, b)]
    shrunk = np.float32(np.sqrt(8 / 9))
    assert kid(*empty) == pytest.approx(kid(shrunk * a, shrunk * b), rel=1e-4)
    # Standardised features have no scale, and a constant column is only a further division.
    assert reported(a * 10 + 3, b * 10 + 3, RNG(0), 49)[1].value == pytest.approx(
        reported(a, b, RNG(0), 49)[1].value, rel=1e-3)


def test_kid_is_nought_in_the_mean_and_a_shift_is_beyond_chance():
    values = np.array([kid(rows(20, 6, 2 * k), rows(50, 6, 2 * k + 1)) for k in range(300)])
    assert abs(values.mean()) < 3.5 * values.std() / np.sqrt(300)
    near, far = reported(rows(40, seed=1), rows(60, seed=2), RNG(0), 199), reported(
        rows(40, seed=1, shift=1.5), rows(60, seed=2), RNG(0), 199)
    for same, other in zip(near, far, strict=True):
        assert same.null[0] <= same.value <= same.null[1]
        assert other.value > other.null[1]
    # Two halves of one set are far from 0: what makes an FID without its null worthless at this size.
    assert near[1].null[0] > 0.5


@pytest.mark.slow
def test_kid_and_fid_agree_with_torchmetrics():
    torch = pytest.importorskip("torch")
    fid = pytest.importorskip("torchmetrics.image.fid")
    kernel = pytest.importorskip("torchmetrics.image.kid")
    a, b = rows(300, 32, 1), rows(300, 32, 2, 0.3)
    identity = torch.nn.Identity()
    identity.num_features = 32
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")                                                # it warns that it keeps features
        theirs = {"kid": kernel.KernelInceptionDistance(identity, subsets=1, subset_size=300),
                  "fid": fid.FrechetInceptionDistance(identity)}
    for metric in theirs.values():
        metric.update(torch.from_numpy(a).double(), real=True)
        metric.update(torch.from_numpy(b).double(), real=False)
    assert kid(a, b) == pytest.approx(float(theirs["kid"].compute()[0]), rel=1e-4)
    assert frechet_distance(a, b) == pytest.approx(float(theirs["fid"].compute()), rel=1e-6)


@pytest.mark.parametrize(("a", "b", "said"), [
    (np.zeros((1, 3)), np.zeros((5, 3)), "at least 2 rows"), (np.zeros((5, 3)), np.zeros((5, 4)), "equal columns"),
    (np.zeros(5), np.zeros(5), "at least 2 rows"), (np.full((5, 3), np.nan), np.zeros((5, 3)), "not finite")])
def test_bad_input_is_refused(a, b, said):
    for distance in (kid, frechet_distance):
        with pytest.raises(ValueError, match=said):
            distance(a, b)
