"""Diversity passes what reaches the real variety, fails what lost a part, and names the real images left alone."""

from __future__ import annotations

import math

import numpy as np
import pytest

from synthgen.checks import verdict_of
from synthgen.checks.diversity import Diversity
from synthgen.types import Evidence, Sample

RNG = np.random.default_rng


def modes(n, seed, kinds=3, d=6):
    """n images, evenly of the first `kinds` of three far-off kinds."""
    return (RNG(seed).normal(size=(n, d)) + 12 * np.eye(3, d)[np.arange(n) % kinds]).astype(np.float32)


def named(prefix, n):
    return [Sample(f"{prefix}{k}", np.zeros((2, 2, 3), np.uint8)) for k in range(n)]


def evidence(**rows):
    """Rows per dataset, in one family of features."""
    parts = {part: named(part[0], len(found)) for part, found in rows.items()}
    return Evidence(parts.get("synthetic", ()), parts.get("seed", ()), parts.get("pool", ()), (), ("a",), "instances",
                    {part: {"spectrum": found} for part, found in rows.items()})


def run(found, seed=0, **options):
    return {m.name: m for m in Diversity(**{"resamples": 199, **options})(found, RNG(seed))}


COVER, WORTH = "spectrum: coverage of the pool", "spectrum: effective number against the pool"


def test_all_kinds_of_real_images_pass_beside_their_split_half_null():
    found = run(evidence(synthetic=modes(150, 1), pool=modes(240, 2), seed=modes(20, 3)))
    assert list(found) == [COVER, WORTH]
    for m in found.values():
        assert (m.verdict, m.hard, m.n) == ("pass", False, (150, 240))
        assert m.interval[0] <= m.value <= m.interval[1]
        assert m.null[0] - 0.05 <= m.value <= m.null[1] + 0.05
        assert "at least 0.6 wanted, and two parts of the real images score" in m.why
    assert found[COVER].value > 0.9


@pytest.mark.parametrize("refuse", [False, True])
def test_a_missing_kind_fails_and_its_images_are_named(refuse):
    found = run(evidence(synthetic=modes(150, 1, kinds=1), pool=modes(240, 2)), refuse=refuse)
    for m in found.values():
        assert (m.verdict, m.hard) == ("fail", refuse)
        assert m.interval[1] < 0.6
        assert m.remedy
    m = found[COVER]
    assert len(m.worst) == 12
    assert all(name.startswith("p") and int(name[1:]) % 3 for name in m.worst)           # of the two missing kinds
    assert "real images have no synthetic neighbour, the most isolated listed as worst" in m.why
    assert verdict_of(list(found.values())) == ("fail" if refuse else "warn")
    assert not run(evidence(synthetic=modes(150, 1, kinds=1), pool=modes(240, 2)), show=0)[COVER].worst


def test_the_most_isolated_comes_first():
    """Kinds, not single images: an outlier's own fifth neighbour is as far as any synthetic image."""
    pool = modes(60, 2)
    pool[20:30] += 300
    pool[40:50] += 500
    m = run(evidence(synthetic=modes(60, 1), pool=pool), show=20)[COVER]
    assert set(m.worst[:10]) == {f"p{k}" for k in range(40, 50)}
    assert set(m.worst[10:]) == {f"p{k}" for k in range(20, 30)}


def test_images_that_repeat_each_other_fail_the_effective_number():
    few = np.repeat(modes(15, 1), 10, axis=0) + RNG(0).normal(size=(150, 6)).astype(np.float32) * 0.01
    m = run(evidence(synthetic=few, pool=modes(240, 2)), min_ratio=0.9)[WORTH]
    assert m.value < 0.9
    assert m.verdict in ("fail", "inconclusive")
    one = run(evidence(synthetic=np.repeat(few[:1], 150, axis=0), pool=modes(240, 2)))[WORTH]
    assert one.verdict == "fail"
    assert "are worth 1.0 different ones" in one.why


def test_what_straddles_the_bound_is_inconclusive_and_says_how_many_would_do():
    found = run(evidence(synthetic=modes(12, 1, kinds=2), pool=modes(12, 2)))
    m = found[COVER]
    assert m.verdict == "inconclusive"
    assert m.interval[0] < 0.6 < m.interval[1]
    assert "on the smaller side" in m.remedy
    assert m.null is None
    assert "12 real images are too few for two parts" in m.why


def test_without_a_pool_the_seed_is_the_reference():
    found = run(evidence(synthetic=modes(60, 1), seed=modes(60, 2, kinds=3), pool=modes(3, 4)))
    assert list(found) == ["spectrum: coverage of the seed", "spectrum: effective number against the seed"]


def test_a_subsample_names_nobody():
    data = evidence(synthetic=modes(60, 1, kinds=1), pool=modes(60, 2))
    data.features["pool"]["spectrum"] = modes(60, 2)[:50]
    assert run(data)[COVER].worst == ()


def test_the_order_of_files_changes_no_digit():
    one = evidence(synthetic=modes(40, 1, kinds=2), pool=modes(60, 2))
    two = evidence(synthetic=modes(40, 1, kinds=2)[::-1], pool=modes(60, 2)[::-1])
    for m, other in zip(run(one).values(), run(two).values(), strict=True):
        assert (m.value, m.interval, m.null, m.why) == (other.value, other.interval, other.null, other.why)
        assert [f"p{59 - int(name[1:])}" for name in m.worst] == list(other.worst)


def test_nothing_to_compare_is_skipped_and_five_images_decide_nothing():
    for rows in ({}, {"synthetic": modes(9, 1)}, {"synthetic": modes(4, 1), "pool": modes(9, 2)}):
        (m,) = run(evidence(**rows)).values()
        assert (m.verdict, math.isnan(m.value), m.hard) == ("skipped", True, False)
    assert {m.verdict for m in run(evidence(synthetic=modes(5, 1), pool=modes(5, 2))).values()} == {"inconclusive"}


@pytest.mark.slow
def test_real_against_real_hardly_ever_fails():
    """20 runs of 40 against 60 real images, each in both measures."""
    verdicts = [m.verdict for k in range(20) for m in run(evidence(
        synthetic=modes(40, 100 + k), pool=modes(60, 200 + k)), seed=k, resamples=99).values()]
    assert verdicts.count("fail") == 0
    assert verdicts.count("pass") >= 36


@pytest.mark.parametrize("options", [{"min_ratio": 0}, {"min_ratio": 1}, {"min_ratio": math.nan}, {"resamples": 3},
                                     {"least": 0.5}])
def test_nonsense_bounds_are_refused(options):
    with pytest.raises(ValueError):
        Diversity(**options)
