"""Drift of labels: exact distances, valid under clustering, powerful, and the same for any order of files."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import numpy as np
import pytest

from synthgen.metrics import drift
from synthgen.types import Labels

stats = pytest.importorskip("scipy.stats")


def image(boxes, classes=None, size=(100, 100), **more):
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    classes = np.zeros(len(boxes), int) if classes is None else classes
    return Labels(size=size, boxes=boxes, classes=classes, **more)


def draw(rng, n, scale=10.0, per_image=5.0, classes=2):
    """n images whose objects are alike within an image: half of the variance of log size is the image's."""
    out = []
    for _ in range(n):
        k = rng.poisson(per_image)
        side = scale * np.exp(0.2 * rng.normal() + 0.2 * rng.normal(size=(k, 1)))
        corner = rng.uniform(0, 60, (k, 2))
        found = image(np.hstack([corner, corner + side]), rng.integers(0, classes, k))
        out.append(drift.attributes(found, classes))
    return out


def results(a, b, rng, **more):
    return {r.name: r for r in drift.compare(a, b, rng, **more)}


def test_attributes_of_an_image_by_hand():
    found = drift.attributes(image([[0, 10, 20, 15], [50, 50, 60, 70], [1, 1, 2, 2]], [1, 0, 0],
                                   states=("accepted", "accepted", "ignored")), 3)
    assert found.class_objects.tolist() == [1, 1, 0]
    assert found.class_pixels.tolist() == [200, 100, 0]
    assert found.size == pytest.approx([10, 200 ** 0.5])
    assert found.aspect == pytest.approx([math.log(4), -math.log(2)])
    assert found.x.tolist() == pytest.approx([0.1, 0.55])
    assert found.y.tolist() == pytest.approx([0.125, 0.6])
    assert found.border.tolist() == [True, False]
    empty = drift.attributes(image([]), 3)
    assert (empty.class_objects.tolist(), len(empty.size)) == ([0, 0, 0], 0)


def test_distances_equal_scipys_wasserstein_and_the_total_variation():
    rng = np.random.default_rng(0)
    a, b = draw(rng, 12), draw(rng, 9, scale=14)
    found = results(a, b, rng, permutations=19)

    def pooled(side, name):
        return np.concatenate([getattr(r, name) for r in side])

    for name in ("size", "aspect"):
        ours, theirs = pooled(a, name), pooled(b, name)
        expected = stats.wasserstein_distance(ours, theirs) / (theirs.std() or 1)
        assert found[name].effect == pytest.approx(expected, rel=1e-6, abs=1e-9)
    n_a, n_b = (pooled(side, "class_objects").reshape(-1, 2).sum(0) for side in (a, b))
    assert found["class"].effect == pytest.approx(abs(n_a / n_a.sum() - n_b / n_b.sum()).sum() / 2)
    counts = [[len(r.size) for r in side] for side in (a, b)]
    assert found["count"].effect == pytest.approx(stats.wasserstein_distance(*counts) / np.std(counts[1]))
    assert found["size"].means == pytest.approx((pooled(a, "size").mean(), pooled(b, "size").mean()))


def test_a_fine_grid_of_quantiles_stays_close_to_the_exact_distance():
    rng = np.random.default_rng(1)
    a, b = draw(rng, 150), draw(rng, 120, scale=11)
    ours, theirs = (np.concatenate([r.size for r in side]) for side in (a, b))
    assert len(np.unique(np.r_[ours, theirs])) > 2 * drift.GRID
    expected = stats.wasserstein_distance(ours, theirs) / theirs.std()
    assert results(a, b, rng, permutations=19)["size"].effect == pytest.approx(expected, abs=0.02)


@pytest.mark.slow
def test_the_p_is_valid_although_objects_of_one_image_are_alike():
    rng = np.random.default_rng(2)
    p = {"size": [], "count": [], "class": []}
    for _ in range(200):
        for profile in drift.profiles(draw(rng, 10), draw(rng, 20)):
            if profile.name in p:
                p[profile.name].append(drift.permutation_test(profile, rng, 59, resamples=2).p)
    for name, values in p.items():
        rejected = int((np.array(values) <= 0.05).sum())
        assert stats.binomtest(rejected, 200, 0.05).pvalue > 0.001, (name, rejected)


@pytest.mark.slow
def test_the_interval_covers_the_true_distance():
    """Sizes are normal with sd 1 within and between images alike; the shift is 0 or 1 reference sd."""
    rng = np.random.default_rng(3)

    def side(n, shift):
        return [replace(r, size=100 + shift + rng.normal(size=6)) for r in draw(rng, n, per_image=3)]

    for shift in (0.0, 1.0):
        covered = 0
        for _ in range(40):
            profile = next(x for x in drift.profiles(side(30, shift), side(30, 0)) if x.name == "size")
            low, high = drift.permutation_test(profile, rng, 19, 200).interval
            covered += low <= shift <= high
        assert covered >= 35, (shift, covered)


def test_a_shift_is_found_in_its_own_attribute():
    rng = np.random.default_rng(4)
    found = results(draw(rng, 60, scale=16), draw(rng, 40), rng, permutations=199)
    assert found["size"].p == 1 / 200
    assert found["size"].interval[0] > 0.5
    assert found["size"].effect > found["size"].detectable
    assert found["count"].p > 0.01
    more = results(draw(rng, 60, per_image=9), draw(rng, 40), rng, permutations=199)
    assert more["count"].p == 1 / 200


def test_file_order_changes_no_digit():
    rng = np.random.default_rng(5)
    a, b = draw(rng, 15), draw(rng, 10)
    one = drift.compare(a, b, np.random.default_rng(0), permutations=39)
    b = [b[k] for k in rng.permutation(10)]
    two = drift.compare(a[::-1], b, np.random.default_rng(0), permutations=39)
    assert one == two


def test_sides_without_objects_give_nan_and_equal_sides_zero():
    rng = np.random.default_rng(6)
    empty = [drift.attributes(image([]), 2)] * 6
    found = results(empty, draw(rng, 6), rng, permutations=19)
    assert math.isnan(found["size"].effect)
    assert found["count"].effect > 0
    same = draw(rng, 8)
    for r in drift.compare(same, same, rng, permutations=19):
        assert r.effect == pytest.approx(0)
        assert r.p > 0.5
    with pytest.raises(ValueError, match="both sides"):
        drift.compare([], same, rng)


def test_one_image_has_no_interval():
    rng = np.random.default_rng(7)
    found = results(draw(rng, 1, per_image=50), draw(rng, 5), rng, permutations=19)
    assert found["size"].interval == (0, math.inf)


def test_classify_compares_image_classes_and_segment_pixels():
    rng = np.random.default_rng(8)
    a = [drift.attributes(Labels(size=(9, 9), image_class=c), 2) for c in [0] * 30 + [1] * 10]
    b = [drift.attributes(Labels(size=(9, 9), image_class=c), 2) for c in [0] * 10 + [1] * 30]
    (only,) = drift.compare(a, b, rng, "classify", 99)
    assert (only.name, only.effect) == ("class", pytest.approx(0.5))
    assert only.p == 0.01
    big = [drift.attributes(image([[0, 0, 90, 90], [95, 95, 96, 96]], [0, 1]), 2)] * 5
    small = [drift.attributes(image([[0, 0, 1, 1], [5, 5, 95, 95]], [0, 1]), 2)] * 5
    assert results(big, small, rng, task="instances", permutations=19)["class"].effect == pytest.approx(0)
    assert results(big, small, rng, task="segment", permutations=19)["class"].effect > 0.9


@pytest.mark.slow
def test_four_hundred_against_four_thousand_takes_seconds():
    rng = np.random.default_rng(9)
    a, b = draw(rng, 400), draw(rng, 400) * 10
    start = time.perf_counter()
    drift.compare(a, b, rng)
    assert time.perf_counter() - start < 60            # several seconds on one free core
