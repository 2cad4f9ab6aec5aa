"""Coverage and the Vendi ratio see lost variety, keep still under what must not matter, and know their own spread."""

from __future__ import annotations

import numpy as np
import pytest

from synthgen.metrics import distances, diversity
from synthgen.metrics.diversity import by_reference, coverage, coverage_spread, half_median, vendi2, vendi_ratio

RNG = np.random.default_rng


def rows(n, d=6, seed=0):
    return RNG(seed).normal(size=(n, d)).astype(np.float32)


def modes(n, seed, kinds=3, of=3, d=6):
    """n images, evenly of the first `kinds` of `of` far-off kinds."""
    return (RNG(seed).normal(size=(n, d)) + 12 * np.eye(of, d)[np.arange(n) % kinds]).astype(np.float32)


def slow_coverage(real, synthetic, k):
    """Equation 6 as it stands, at equal numbers."""
    covered = 0
    for i, x in enumerate(real):
        radius = np.sort(np.linalg.norm(np.delete(real, i, 0) - x, axis=1))[k - 1]
        covered += np.linalg.norm(synthetic - x, axis=1).min() <= radius
    return covered / len(real)


@pytest.mark.parametrize("k", [1, 3, 5])
def test_coverage_is_its_definition_and_agrees_with_its_authors(k, capsys):
    prdc = pytest.importorskip("prdc")
    real, synthetic = rows(80, seed=1), rows(80, seed=2) + 0.5
    found = coverage(real, synthetic, k)
    assert found.value == pytest.approx(slow_coverage(real, synthetic, k))
    assert found.value == pytest.approx(prdc.compute_prdc(real, synthetic, k)["coverage"])
    capsys.readouterr()                                                                # prdc prints
    assert set(found.covered.tolist()) <= {0.0, 1.0}
    assert 0 < found.value < 1


@pytest.mark.parametrize(("n", "m"), [(12, 40), (40, 12), (12, 13), (13, 12)])
def test_the_closed_form_is_the_mean_over_matched_subsets(n, m):
    real, synthetic = rows(n, seed=3), rows(m, seed=4) + 0.7
    rng, few, drawn = RNG(0), min(n, m), []
    for _ in range(400):
        some = real[rng.choice(n, few, replace=False)], synthetic[rng.choice(m, few, replace=False)]
        drawn.append(slow_coverage(*some, 3))
    error = np.std(drawn) / np.sqrt(400)
    assert coverage(real, synthetic, 3).value == pytest.approx(np.mean(drawn), abs=4 * error + 1e-9)


def test_blocks_and_the_order_of_rows_change_nothing(monkeypatch):
    real, synthetic = rows(90, seed=1), rows(60, seed=2) + 0.5
    whole, score, other = coverage(real, synthetic), vendi2(real, 2.0), coverage(synthetic, real)
    order = RNG(0).permutation(90)
    turned = coverage(real[order], synthetic[::-1])
    assert turned.value == whole.value
    assert (turned.covered == whole.covered[order]).all()
    assert (turned.gap == whole.gap[order]).all()
    assert vendi2(real[order], 2.0) == score
    assert by_reference(real, synthetic)[0][order].tobytes() == by_reference(real[order], synthetic[::-1])[0].tobytes()
    for one, two in ((coverage_spread(real, synthetic, whole, RNG(1), 9),
                      coverage_spread(real[order], synthetic[::-1], turned, RNG(1), 9)),
                     (vendi_ratio(synthetic, real, RNG(1), 99), vendi_ratio(synthetic[::-1], real[order], RNG(1), 99))):
        assert one == two
    monkeypatch.setattr(distances, "BLOCK", 16)
    assert coverage(real, synthetic).value == pytest.approx(whole.value)
    assert coverage(synthetic, real).covered == pytest.approx(other.covered)
    assert vendi2(real, 2.0) == pytest.approx(score, rel=1e-5)


def test_scale_and_constant_columns_do_not_matter():
    real, synthetic = rows(50, seed=1), rows(70, seed=2) + 0.5
    found, score = coverage(real, synthetic), vendi2(real, 1.5)
    for change in (lambda x: 64 * x, lambda x: x - 8, lambda x: np.hstack([x, np.full((len(x), 2), 3, np.float32)])):
        assert coverage(change(real), change(synthetic)).value == pytest.approx(found.value, abs=1e-6)
    assert vendi2(64 * real, 64 * 1.5) == pytest.approx(score, rel=1e-4)
    assert half_median(64 * real, RNG(0)) == pytest.approx(64 * half_median(real, RNG(0)), rel=1e-5)
    ours = by_reference(5 * real + 2, 5 * synthetic + 2)
    assert ours[1] == pytest.approx(by_reference(real, synthetic)[1], abs=1e-4)


def test_identical_sets_are_covered_and_equal_even_when_constant():
    for real in (rows(30), np.full((30, 4), 7.1, np.float32)):
        assert coverage(real, real).value == 1
        assert vendi_ratio(real, real, RNG(0), 99).value == pytest.approx(1)
    assert coverage(rows(30), rows(30) + 1000).value == 0


def test_a_set_that_shows_one_kind_of_three_covers_a_third_and_is_worth_a_third():
    real, synthetic = modes(120, 1), modes(120, 2, kinds=1)
    found = coverage(real, synthetic)
    assert found.value == pytest.approx(1 / 3, abs=0.04)
    assert (found.covered.reshape(-1, 3)[:, 1:] == 0).all()                            # the two kinds that are missing
    assert found.gap.reshape(-1, 3)[:, 1:].min() > found.gap.reshape(-1, 3)[:, 0].max()
    spread = coverage_spread(real, synthetic, found, RNG(0), 60)
    assert spread.interval[0] < found.value < spread.interval[1] < 0.6
    assert spread.null is not None
    assert spread.null[0] > 0.8
    ratio = vendi_ratio(synthetic, real, RNG(0))
    assert ratio.spread.interval[1] < 0.6
    assert ratio.spread.null is not None
    assert ratio.spread.null[0] < 1 < ratio.spread.null[1]


def test_the_vendi_score_counts_what_differs():
    far = (1000 * np.eye(12)).astype(np.float32)
    assert vendi2(far, 1.0) == pytest.approx(12)
    assert vendi2(np.repeat(far[:4], 5, axis=0), 1.0) == pytest.approx(4)              # four kinds of five each
    assert vendi2(np.zeros((9, 2)), 1.0) == pytest.approx(1)
    kernel = np.exp(-((rows(40)[:, None].astype(float) - rows(40)[None]) ** 2).sum(2) / (2 * 1.5**2))
    assert vendi2(rows(40), 1.5) == pytest.approx(1 / np.square(kernel / 40).sum(), rel=1e-5)
    order1 = np.linalg.eigvalsh(kernel / 40)
    assert vendi2(rows(40), 1.5) == pytest.approx(1 / np.square(order1).sum(), rel=1e-5)
    drawn = [vendi2(rows(40)[RNG(k).choice(40, 10, replace=False)], 1.5) for k in range(400)]
    assert vendi2(rows(40), 1.5, at=10) == pytest.approx(np.mean(drawn), rel=0.02)     # stated for 10 of the 40


def test_between_sets_of_one_kind_the_ratio_is_one_and_its_null_holds_it():
    ratios = [vendi_ratio(rows(60, seed=2 * k), rows(100, seed=2 * k + 1), RNG(k), 199) for k in range(60)]
    values = np.array([r.value for r in ratios])
    assert np.exp(np.log(values).mean()) == pytest.approx(1, abs=0.03)
    held = sum(r.spread.interval[0] <= 1 <= r.spread.interval[1] for r in ratios)
    assert held >= 51, held                                                            # of 60 at 0.95; less: 1 in 1000


def test_the_interval_of_coverage_holds_what_other_draws_give():
    def draw(k):
        return rows(50, 3, 2 * k), (rows(70, 3, 2 * k + 1) + np.float32(1.2))

    truth = np.mean([coverage(*draw(k)).value for k in range(1000, 1200)])
    assert 0.3 < truth < 0.9
    held = 0
    for k in range(60):
        found = coverage(*draw(k))
        low, high = coverage_spread(*draw(k), found, RNG(k), 30).interval
        held += low <= truth <= high
    assert held >= 51, held


def test_few_images_have_no_null_and_a_wide_interval():
    real, synthetic = rows(6, seed=1), rows(30, seed=2)
    spread = coverage_spread(real, synthetic, coverage(real, synthetic), RNG(0), 9)
    assert spread == diversity.Spread((0.0, 1.0), None)
    assert vendi_ratio(synthetic, real, RNG(0), 99).spread.null is None
    low, high = coverage_spread(rows(60), rows(60) + 99, coverage(rows(60), rows(60) + 99), RNG(0), 9).interval
    assert low == 0
    assert 0.03 < high < 0.1                                                           # none of 60 is not never


def test_bad_input_is_refused():
    for wrong in ((rows(3), rows(9)), (rows(9), rows(3)), (rows(9), rows(9), 0)):
        with pytest.raises(ValueError, match="more than k images"):
            coverage(*wrong)
    with pytest.raises(ValueError, match="equal columns"):
        coverage(rows(9, 2), rows(9, 3))
    with pytest.raises(ValueError, match="not finite"):
        coverage(np.full((9, 2), np.inf), rows(9, 2))
    for bandwidth, at in ((0.0, None), (float("nan"), None), (1.0, 0), (1.0, 10)):
        with pytest.raises(ValueError, match="bandwidth above 0 and from 1 to 9"):
            vendi2(rows(9), bandwidth, at)
