"""Intervals over seeds and images together, what would settle them, and real-image equivalents."""

from __future__ import annotations

import numpy as np
import pytest

from synthgen.metrics.bounds import t_quantile
from synthgen.metrics.utility import (
    Crossed,
    Resamples,
    Scores,
    difference,
    mean,
    needed,
    power_law,
    real_equivalents,
)


def draws(S, N, seed=0, resamples=800):
    return Resamples.draw(S, N, np.random.default_rng(seed), resamples)


def planted(rng, S, N, by_seed, by_image, rest, level=0.7):
    """Scores with known effects of seeds and images, whose expectation is `level`."""
    num = level + rng.normal(0, by_seed, (S, 1)) + rng.normal(0, by_image, (1, N)) + rng.normal(0, rest, (S, N))
    return Scores(num, np.ones((S, N)))


@pytest.mark.slow
@pytest.mark.parametrize(("S", "N", "by_seed", "by_image"), [(5, 8, 0.02, 0.1), (5, 200, 0.02, 0.1),
                                                            (3, 20, 0.05, 0.05), (5, 4, 0.02, 0.1)])
def test_the_interval_covers_the_truth_whether_seeds_or_images_scatter(S, N, by_seed, by_image):
    hits = 0
    for k in range(200):
        a = planted(np.random.default_rng(k), S, N, by_seed, by_image, 0.05)
        b = Scores(np.full((S, N), 0.7), np.ones((S, N)))
        low, high = difference(a, b, draws(S, N, 10_000 + k)).interval
        hits += low <= 0 <= high
    assert hits >= 181           # 95 % of 200, less two standard errors and a half


def test_resampling_images_alone_would_be_too_sure():
    rng = np.random.default_rng(1)
    a = planted(rng, 5, 500, 0.05, 0.01, 0.01)
    found = mean(a, draws(5, 500))
    assert found.by_seeds > 20 * found.by_images
    assert found.interval[1] - found.interval[0] > 0.05


def test_a_comparison_is_paired():
    rng = np.random.default_rng(2)
    a = planted(rng, 5, 40, 0.1, 0.3, 0.0)
    b = Scores(a.num - 0.02, a.den)
    found = difference(a, b, draws(5, 40))
    assert found.value == pytest.approx(0.02)
    assert found.interval[1] - found.interval[0] < 0.11          # though each arm alone scatters over ±0.2
    with pytest.raises(ValueError, match="same seeds and images"):
        difference(a, Scores(b.num[:4], b.den[:4]), draws(5, 40))


def test_swapping_the_arms_mirrors_the_difference():
    rng = np.random.default_rng(3)
    a, b = planted(rng, 4, 30, 0.03, 0.1, 0.05), planted(rng, 4, 30, 0.03, 0.1, 0.05)
    there, back = difference(a, b, draws(4, 30)), difference(b, a, draws(4, 30))
    assert there.value == pytest.approx(-back.value)
    np.testing.assert_allclose(there.interval, [-back.interval[1], -back.interval[0]], atol=1e-9)


def test_one_image_says_nothing_and_one_seed_nothing_of_training():
    one = Scores(np.full((5, 1), 0.5), np.ones((5, 1)))
    assert mean(one, draws(5, 1)).interval == (-np.inf, np.inf)
    found = mean(Scores(np.linspace(0, 1, 9)[None], np.ones((1, 9))), draws(1, 9))
    assert np.isnan(found.by_seeds)
    assert np.isfinite(found.interval).all()


def test_a_metric_is_a_ratio_of_sums_and_nothing_to_find_is_right():
    s = Scores(np.array([[2.0, 0.0]]), np.array([[4.0, 0.0]]))
    assert s.means(np.array([[1.0, 1.0]]), np.ones((1, 1)))[0] == 0.5
    assert s.means(np.array([[0.0, 2.0]]), np.ones((1, 1)))[0] == 1.0


def test_what_is_needed_brings_the_half_width_down_to_the_room():
    found = Crossed(0.0, (-0.1, 0.1), by_images=4e-4, by_seeds=1e-4)
    way = needed(found, 0.03, images=20, seeds=5)
    assert way.images is not None

    def half(images, seeds):
        return np.sqrt(t_quantile(0.975, images - 1) ** 2 * 4e-4 * 20 / images
                       + t_quantile(0.975, seeds - 1) ** 2 * 1e-4 * 5 / seeds)

    assert half(way.images, 5) <= 0.03 < half(way.images - 1, 5)
    assert way.seeds is None                                    # the images alone are wider than the room
    more = needed(found, 0.045, images=20, seeds=5)
    assert more.seeds is not None
    assert half(20, more.seeds) <= 0.045 < half(20, more.seeds - 1)
    assert needed(found, 0.0, 20, 5) == needed(found, -1, 20, 5)
    assert needed(found, 0.02, 20, 3).images is None            # three seeds alone are wider than that


def test_a_power_law_is_recovered():
    sizes = np.array([4, 10, 25])
    a, b = power_law(sizes, 0.8 * sizes[None] ** -0.3)
    assert (a[0], b[0]) == (pytest.approx(0.8), pytest.approx(0.3))
    with pytest.raises(ValueError, match="two different sizes"):
        power_law([4, 4], np.ones((1, 2)))


def _at(error, rng, S=5, N=400):
    """An arm whose images are right with probability 1 − error."""
    return Scores((rng.random((S, N)) > error).astype(float), np.ones((S, N)))


def test_an_arm_as_good_as_more_images_is_said_to_be_worth_them():
    rng = np.random.default_rng(4)
    sizes = [10, 40, 160]
    real = [_at(0.8 * n**-0.4, rng) for n in sizes]
    found = real_equivalents(sizes, real, _at(0.8 * 40**-0.4, rng), 10, draws(5, 400))
    assert found.interval[0] < 40 < found.interval[1]
    assert 20 < found.images < 80
    itself = real_equivalents(sizes, real, real[0], 10, draws(5, 400))
    assert itself.interval[0] <= 10 <= itself.interval[1]


def test_where_more_images_do_not_help_no_number_is_made_up():
    S, N = 3, 50
    flat = [Scores(np.full((S, N), 0.5), np.ones((S, N))) for _ in range(2)]
    better = Scores(np.full((S, N), 0.9), np.ones((S, N)))
    worse = Scores(np.full((S, N), 0.1), np.ones((S, N)))
    above = real_equivalents([4, 8], flat, better, 4, draws(S, N))
    assert above.images > above.reach == 32
    assert real_equivalents([4, 8], flat, worse, 4, draws(S, N)).images < 1


def test_scores_of_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"\(seeds, images\) twice"):
        Scores(np.ones((2, 3)), np.ones((3, 2)))


def test_rare_errors_are_not_taken_for_none():
    """0.94 against 0.99 right, with images that every seed gets alike: few images show no difference at all."""
    for N, S in ((10, 3), (20, 5), (50, 5)):
        covered = 0
        for k in range(100):
            rng = np.random.default_rng(k)
            right = [np.repeat((rng.random(N) < p)[None], S, 0).astype(float) for p in (0.94, 0.99)]
            a, b = (Scores(each, np.ones((S, N))) for each in right)
            low, high = difference(a, b, draws(S, N, 10_000 + k, 400)).interval
            covered += low <= -0.05 <= high
            assert low < -0.02, "with so few images nobody can say that less than 0.02 is lost"
        assert covered >= 90


def test_where_nothing_differs_the_interval_is_not_nothing():
    same = Scores(np.full((5, 6), 0.8), np.ones((5, 6)))
    low, high = difference(same, same, draws(5, 6)).interval
    assert low < -0.1
    assert high > 0.1
