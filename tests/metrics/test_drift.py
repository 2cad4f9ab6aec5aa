"""Drift of labels: exact distances, valid under clustering, powerful, and the same for any order of files."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import numpy as np
import pytest

from synthgen.geometry import labels_from_masks
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


def discs(size, *places):
    yy, xx = np.mgrid[:size, :size]
    return labels_from_masks(np.stack([(yy - y) ** 2 + (xx - x) ** 2 <= r * r for y, x, r in places]),
                             [0] * len(places))


def test_masks_touch_by_a_pixels_side_or_by_overlapping_and_not_by_a_corner():
    def met(*boxes, **more):
        masks = np.zeros((len(boxes), 9, 9), bool)
        for mask, (y0, x0, y1, x1) in zip(masks, boxes, strict=True):
            mask[y0:y1, x0:x1] = True
        labels = replace(labels_from_masks(masks, [0] * len(boxes)), **more)
        return drift.attributes(labels, 1, touching=True).touching.tolist()

    assert met((0, 0, 3, 3), (3, 0, 5, 3), (7, 7, 9, 9)) == [True, True, False]
    assert met((0, 0, 3, 3), (3, 3, 5, 5)) == [False, False]
    assert met((0, 0, 3, 3), (4, 0, 6, 3)) == [False, False]
    # The third hides the second's pixels and still meets the first's neighbour.
    assert met((0, 0, 4, 4), (2, 2, 6, 6), (6, 2, 8, 6), (0, 7, 1, 8)) == [True, True, True, False]
    assert met((0, 0, 9, 9), (2, 2, 4, 4)) == [True, True]
    assert met((0, 0, 3, 3), (3, 0, 5, 3), states=("accepted", "ignored")) == [False]
    assert met((0, 0, 9, 9)) == [False]
    assert drift.attributes(Labels(size=(9, 9)), 1, touching=True).touching.tolist() == []
    assert drift.attributes(image([[0, 0, 5, 5]]), 1, touching=True).touching is None


def test_touching_is_compared_where_every_image_has_masks():
    apart, together = discs(60, (15, 15, 8), (45, 45, 8)), discs(60, (15, 15, 8), (15, 30, 8), (45, 45, 8))
    a, b = ([drift.attributes(x, 1, touching=True)] * 8 for x in (together, apart))
    found = results(a, b, np.random.default_rng(0), permutations=199)
    assert found["touching"].effect == pytest.approx(2 / 3)
    assert found["touching"].p == 1 / 200
    assert "touching" not in results([*a, drift.attributes(image([[0, 0, 5, 5]]), 1, touching=True)], b,
                                     np.random.default_rng(0), permutations=19)


def showing(rows):
    return [drift.attributes(image([[0, 0, 5, 5]] * len(row), row), 3) for row in rows]


def test_co_occurrence_sees_what_the_classes_shares_do_not():
    """Both sets show each class in half of the images; in one together, in the other apart."""
    together, apart = showing([[0, 1], []] * 20), showing([[0], [1]] * 20)
    found = results(together, apart, np.random.default_rng(0), permutations=199)
    assert found["class"].effect == pytest.approx(0)
    assert found["co-occurrence"].effect == pytest.approx(1)
    assert found["co-occurrence"].at == "0+1"
    assert found["co-occurrence"].p == 1 / 200
    assert "co-occurrence" not in results(showing([[0]] * 5), showing([[0, 0]] * 5), np.random.default_rng(0),
                                          permutations=19)
    three = showing([[0, 1, 2], [0, 1], [2], []] * 10)
    other = showing([[0, 1, 2], [0], [1, 2], []] * 10)
    assert results(three, other, np.random.default_rng(0), permutations=19)["co-occurrence"].at == "0+1"


@pytest.mark.slow
def test_the_p_of_the_largest_pair_is_valid_although_classes_come_together():
    rng = np.random.default_rng(10)
    p = []
    for _ in range(300):
        shown = rng.random((30, 1)) + 0.5 * rng.random((30, 4)) > 0.8
        rows = [drift.attributes(image([[0, 0, 5, 5]] * s.sum(), np.flatnonzero(s)), 4) for s in shown]
        profile = drift.profiles(rows[:10], rows[10:])[-1]
        p.append(drift.permutation_test(profile, rng, 59, resamples=2).p)
    rejected = int((np.array(p) <= 0.05).sum())
    assert stats.binomtest(rejected, 300, 0.05, alternative="greater").pvalue > 0.001


def test_a_declared_prior_takes_the_references_place():
    rng = np.random.default_rng(11)
    a, b = draw(rng, 60), draw(rng, 20)
    even = results(a, b, rng, permutations=19, prior=[0.5, 0.5])["class"]
    odd = results(a, b, rng, permutations=19, prior=[0.9, 0.1])["class"]
    shares = np.sum([r.class_objects for r in a], 0)
    assert odd.effect == pytest.approx(abs(shares[0] / shares.sum() - 0.9))
    assert even.effect < 0.1 < 0.2 < odd.interval[0]
    assert odd.p == 1 / 1000
    assert results(draw(rng, 1), b, rng, permutations=19, prior=[0.5, 0.5])["class"].interval == (0, math.inf)
    classified = [drift.attributes(Labels(size=(9, 9), image_class=0), 3)] * 8
    (only,) = drift.compare(classified, classified, rng, "classify", 19, [0.5, 0.25, 0.25])
    assert only.effect == pytest.approx(0.5)


def test_the_p_against_a_prior_is_valid_although_objects_of_one_image_are_alike():
    rng = np.random.default_rng(12)
    p = []
    for _ in range(300):
        k = rng.poisson(4, 30)
        of_image = rng.beta(1, 1, 30)                       # an image's objects are mostly of one class
        ones = rng.binomial(k, of_image)
        profile = drift.Profile("class", "share", "objects", 30, np.stack([k - ones, ones], 1).astype(float),
                                k.astype(float), np.full(2, 0.5), (0.0, 0.0))
        p.append(drift.prior_test(profile, [0.5, 0.5], rng, 99).p)
    rejected = int((np.array(p) <= 0.05).sum())
    assert stats.binomtest(rejected, 300, 0.05, alternative="greater").pvalue > 0.001, rejected


def test_new_attributes_are_the_same_for_any_order_of_files():
    rng = np.random.default_rng(13)
    a = [drift.attributes(discs(60, *((rng.uniform(5, 55), rng.uniform(5, 55), 6) for _ in range(4))), 1,
                          touching=True) for _ in range(9)]
    rows = showing([np.flatnonzero(rng.random(3) < 0.5) for _ in range(18)])
    for side, other, more in ((a[:5], a[5:], {}), (rows[:9], rows[9:], {"prior": [0.5, 0.3, 0.2]})):
        one = drift.compare(side, other, np.random.default_rng(0), permutations=39, **more)
        two = drift.compare(side[::-1], other[::-1], np.random.default_rng(0), permutations=39, **more)
        assert repr(one) == repr(two)


def test_a_largest_distance_needs_the_same_objects():
    one = drift.distribution("a", "px", [np.arange(3.0)] * 4, 2)
    two = drift.distribution("b", "px", [np.arange(2.0)] * 4, 2)
    with pytest.raises(ValueError, match="same images and objects"):
        drift.largest_of("both", [one, two])


def test_a_difference_of_means_is_one():
    rng = np.random.default_rng(14)
    values = np.r_[rng.normal(-3, 1, 30), rng.normal(1, 1, 40)]
    found = drift.permutation_test(drift.difference_of_means("x", "px", "px", values, 30), rng, 199)
    assert found.effect == pytest.approx(abs(values[:30].mean() - values[30:].mean()))
    assert found.means == pytest.approx((values[:30].mean(), values[30:].mean()))
    assert found.interval[0] < 4 < found.interval[1]
    assert found.p == 1 / 200
