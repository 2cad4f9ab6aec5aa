"""Realism warns of what can be told apart, passes only with power, and says when the seed itself differs."""

from __future__ import annotations

import math

import numpy as np
import pytest

from synthgen.checks.realism import Realism
from synthgen.types import Evidence, Sample

RNG = np.random.default_rng


def rows(n, shift=0.0, d=6, seed=0):
    return (RNG(seed).normal(size=(n, d)) + shift * (np.arange(d) == 0)).astype(np.float32)


def evidence(**features):
    synthetic = [Sample(f"s{k}", np.zeros((2, 2, 3), np.uint8))
                 for k in range(len(next(iter(features.get("synthetic", {"": ()}).values()))))]
    return Evidence(synthetic, (), (), (), ("a",), "instances", features)


def run(found, seed=0, **options):
    options = {"permutations": 99, **options}
    return {m.name: m for m in Realism(**options)(found, RNG(seed))}


def families(n, seed, **shifts):
    names = ("spectrum", "handcrafted", "encoder")
    return {f: rows(n, shifts.get(f, 0), seed=seed + k) for k, f in enumerate(names)}


def test_what_cannot_be_told_apart_passes_with_many_images():
    found = run(evidence(synthetic=families(300, 10), pool=families(600, 20), seed=families(40, 30)))
    assert list(found) == ["seed against pool", "spectrum: synthetic against pool",
                           "handcrafted: synthetic against pool", "encoder: synthetic against pool"]
    assert [m.verdict for m in found.values()] == ["inconclusive", "pass", "pass", "pass"]
    m = found["spectrum: synthetic against pool"]
    assert m.n == (300, 600)
    assert m.interval[0] < m.value < m.interval[1]
    assert m.null[0] < 0.5 < m.null[1]
    assert 0.5 < m.detectable < 0.6


def test_a_detectable_family_warns_and_shows_the_most_telling_samples():
    data = families(60, 10, handcrafted=2.0)
    found = run(evidence(synthetic=data, pool=families(300, 20), seed=families(60, 30)))
    m = found["handcrafted: synthetic against pool"]
    assert (m.verdict, m.hard) == ("warn", False)
    assert m.p <= 0.03
    assert "colour" in m.remedy
    assert len(m.worst) == 12
    top = [int(name[1:]) for name in m.worst]
    assert data["handcrafted"][top, 0].mean() > data["handcrafted"][:, 0].mean() + 0.5
    assert found["encoder: synthetic against pool"].verdict != "warn"


def test_few_images_are_inconclusive_and_say_how_many_would_do():
    found = run(evidence(synthetic=families(10, 10), pool=families(12, 20)))
    m = found["spectrum: synthetic against pool"]
    assert m.verdict == "inconclusive"
    assert "would settle it" in m.remedy or "are needed" in m.remedy


def test_a_seed_unlike_the_pool_is_said_first_and_repeated():
    found = run(evidence(synthetic=families(80, 10, spectrum=3), pool=families(300, 20),
                         seed=families(40, 30, spectrum=3)))
    first, *others = found.values()
    assert (first.name, first.verdict) == ("seed against pool", "warn")
    assert "label a few random images of the pool" in first.remedy
    assert all("the seed itself differs" in m.why for m in others)


def test_without_a_pool_the_seed_is_the_reference():
    found = run(evidence(synthetic=families(40, 10), seed=families(20, 30)))
    assert next(iter(found)) == "spectrum: synthetic against seed"


def test_a_bound_fails_passes_or_stays_open():
    far = evidence(synthetic=families(60, 10, encoder=4), pool=families(200, 20), seed=families(40, 30))
    found = run(far, max_auc=0.8)
    assert found["encoder: synthetic against pool"].verdict == "fail"
    assert not found["encoder: synthetic against pool"].hard
    assert found["spectrum: synthetic against pool"].verdict == "pass"
    assert run(far, max_auc=0.8, refuse=True)["encoder: synthetic against pool"].hard
    assert run(far, max_auc=0.5001)["spectrum: synthetic against pool"].verdict == "inconclusive"
    assert run(far, max_auc=1.0)["encoder: synthetic against pool"].verdict == "pass"


def test_near_copies_are_said_not_folded():
    pool = {"encoder": rows(60, d=100, seed=1)}
    copies = {"encoder": pool["encoder"] + 1e-4}
    m = run(evidence(synthetic=copies, pool=pool))["encoder: synthetic against pool"]
    assert m.value < 0.3
    assert "near-copies" in m.why


def test_nothing_to_compare_is_skipped():
    for features in ({}, {"synthetic": families(9, 1)},
                     {"synthetic": families(3, 1), "pool": families(9, 2)}):
        (m,) = run(evidence(**features)).values()
        assert (m.verdict, math.isnan(m.value)) == ("skipped", True)


@pytest.mark.parametrize("options", [{"max_auc": 0.5}, {"max_auc": 0.2}, {"max_auc": 1.1}, {"refuse": True},
                                     {"max_auc": math.nan}, {"alpha": 0}, {"bound": 0.8}])
def test_a_bound_on_the_wrong_side_is_refused(options):
    with pytest.raises(ValueError):
        Realism(**options)


def test_real_against_real_hardly_ever_warns():
    """The gate tests itself: 40 runs, two tests at 5 % each; more than 11 has odds below 1 in 1000."""
    warned = sum(any(m.verdict in ("warn", "fail") for name, m in run(
        evidence(synthetic=families(30, 100 * k), pool=families(60, 100 * k + 50)), seed=k).items())
        for k in range(40))
    assert warned <= 11, warned
