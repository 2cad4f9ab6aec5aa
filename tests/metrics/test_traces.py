"""A trace that only some classes carry is seen; one that all carry, or none, is not."""

from __future__ import annotations

import numpy as np
import pytest

from synthgen.metrics.traces import classes_asked, source_heterogeneity

K, D = 4, 6


def drawn(rng, n, shift=0.0, marked=()):
    """Features that tell the class; the classes in `marked` carry a shift in a direction of their own."""
    classes = rng.integers(K, size=n)
    x = rng.normal(0, 1, (n, D))
    x[:, 0] += 2 * classes
    x[:, -1] += np.where(np.isin(classes, marked), 3.0, 0.0) + shift
    return x, classes


def found(seed, n=80, permutations=99, level=0.95, **made):
    rng = np.random.default_rng(seed)
    a, a_classes = drawn(rng, n, **made)
    b, b_classes = drawn(rng, n)
    return source_heterogeneity(a, a_classes, b, b_classes, rng, permutations, level)


@pytest.mark.slow
def test_nothing_and_a_trace_of_all_classes_are_no_heterogeneity():
    for shift in (0.0, 2.0):
        each = [found(k, permutations=39, shift=shift) for k in range(200)]
        assert sum(h.interval[0] > 0 for h in each) <= 16          # one-sided 2.5 % of 200, and a wide margin
        assert sum(h.p <= 0.05 for h in each) <= 18                # 5 % of 200 and 2.5 standard errors
        assert np.mean([h.tau for h in each]) < 0.2


def test_a_trace_of_one_class_is_found_and_the_class_is_named():
    each = [found(k, marked=(2,)) for k in range(20)]
    assert sum(h.interval[0] > 0 for h in each) >= 19
    assert np.mean([h.tau for h in each]) > 0.5
    assert {h.by_class[0][0] for h in each} == {2}
    assert max(h.p for h in each) <= 0.05


def test_order_of_rows_changes_no_digit():
    rng = np.random.default_rng(3)
    (a, ca), (b, cb) = drawn(rng, 40, marked=(1,)), drawn(rng, 50)
    one = source_heterogeneity(a, ca, b, cb, np.random.default_rng(0), 19)
    p, q = rng.permutation(40), rng.permutation(50)
    assert source_heterogeneity(a[p], ca[p], b[q], cb[q], np.random.default_rng(0), 19) == one


def test_rare_classes_are_not_asked_about():
    assert classes_asked(np.repeat([0, 1, 2], [9, 5, 4]), np.repeat([0, 1, 2], [5, 5, 9])) == [0, 1]
    with pytest.raises(ValueError, match="at least 2 classes"):
        source_heterogeneity(np.zeros((9, 2)), np.zeros(9, int), np.ones((9, 2)), np.zeros(9, int),
                             np.random.default_rng(0))


def test_features_that_say_nothing_give_no_heterogeneity():
    classes = np.repeat([0, 1], 6)
    h = source_heterogeneity(np.ones((12, 3)), classes, np.ones((12, 3)), classes, np.random.default_rng(0), 19)
    assert (h.tau, h.p) == (0.0, 1.0)
