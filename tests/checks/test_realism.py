"""Realism warns of what can be told apart, passes only with power, and says when the seed itself differs."""

from __future__ import annotations

import math

import numpy as np
import pytest

from synthgen.checks.realism import Realism
from synthgen.metrics.ladder import AUTO, RUNGS, Rung
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


@pytest.mark.slow
def test_what_cannot_be_told_apart_passes_with_many_images():
    found = run(evidence(synthetic=families(300, 10), pool=families(600, 20), seed=families(40, 30)))
    names = "spectrum", "handcrafted", "encoder"
    assert list(found) == ["seed against pool", *(f"{f}: synthetic against pool" for f in names),
                           *(f"{f}: MMD², synthetic against pool" for f in names),
                           *(f"{f}: {d} (reported, not judged)" for f in names for d in ("KID", "FID"))]
    assert [m.verdict for m in found.values()] == ["inconclusive"] + ["pass"] * 6 + ["info"] * 6
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
    assert m.p <= m.q <= 0.03
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
    probes = [m for m in others if m.unit == "AUC"]
    assert len(probes) == 3
    assert all("the seed itself differs" in m.why for m in probes)
    differs = [m for m in others if m.unit == "MMD²" and m.verdict == "warn"]
    assert ["spectrum" in m.name and "the seed itself differs" in m.why for m in differs] == [True]


def test_without_a_pool_the_seed_is_the_reference():
    found = run(evidence(synthetic=families(40, 10), seed=families(20, 30)))
    assert next(iter(found)) == "spectrum: synthetic against seed"


@pytest.mark.slow
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


def test_the_kernel_distance_warns_softly_and_passes_only_with_power():
    data = families(60, 10, handcrafted=1.5)
    found = run(evidence(synthetic=data, pool=families(300, 20), seed=families(60, 30)), max_auc=0.9, refuse=True)
    m = found["handcrafted: MMD², synthetic against pool"]
    assert (m.verdict, m.hard, m.unit) == ("warn", False, "MMD²")
    assert m.p <= m.q <= 0.03
    assert m.value > m.null[1]
    same = found["encoder: MMD², synthetic against pool"]
    assert same.verdict != "warn"
    few = run(evidence(synthetic=families(8, 10), pool=families(12, 20)))["encoder: MMD², synthetic against pool"]
    assert (few.verdict, few.hard) == ("inconclusive", False)
    assert "with 8 and 12 images only" in few.why
    assert "on the smaller side (now 8) would settle it" in few.remedy


def test_what_papers_report_stands_beside_its_null_and_never_decides():
    far = evidence(synthetic=families(30, 10, encoder=9), pool=families(50, 20), seed=families(40, 30))
    found = run(far, max_auc=0.7, refuse=True)
    for name in ("KID", "FID"):
        m = found[f"encoder: {name} (reported, not judged)"]
        assert m.value > 2 * m.null[1]                   # as far as can be, and yet:
        assert (m.verdict, m.hard, m.interval, m.p) == ("info", False, None, None)
        assert "decides nothing" in m.why
        assert "not comparable below 2,048 images a side, and there are 30 and 50" in m.why
        same = found[f"spectrum: {name} (reported, not judged)"]
        assert same.null[0] <= same.value <= same.null[1]


def test_the_order_of_files_changes_no_digit():
    def parts(turn):
        out = {part: families(n, at) for part, n, at in (("synthetic", 25, 10), ("pool", 45, 20), ("seed", 20, 30))}
        return {part: {f: rows[::-1] if turn else rows for f, rows in found.items()} for part, found in out.items()}

    one, two = (run(evidence(**parts(turn))) for turn in (False, True))
    for name, m in one.items():
        other = two[name]
        assert (m.value, m.p, m.null, m.why) == (other.value, other.p, other.null, other.why)
        assert m.interval == other.interval


def rungs_of(**heights):
    return {"spectrum": [Rung(AUTO, heights.get("auto", 0.8)), Rung("hard paste", 0.95)],
            "handcrafted": [Rung(AUTO, 0.8), Rung("hard paste", 0.95)]}


@pytest.mark.slow
@pytest.mark.parametrize(("bound", "verdict", "allowed"), [
    ("auto", "fail", 0.8), (AUTO, "fail", 0.8), ("hard paste", "pass", 0.95)])
def test_a_rung_is_a_bound_made_of_ones_own_real_images(bound, verdict, allowed, monkeypatch):
    monkeypatch.setattr(Realism, "_ladder", staticmethod(lambda evidence, rng: rungs_of()))
    found = evidence(synthetic=families(150, 10, spectrum=1.8), pool=families(400, 20), seed=families(40, 30))
    m = run(found, max_auc=bound, refuse=True)["spectrum: synthetic against pool"]
    assert 0.8 < m.interval[0] < m.interval[1] < 0.95
    assert (m.verdict, m.hard) == (verdict, True)
    assert run(found, max_auc=allowed)["spectrum: synthetic against pool"].verdict == verdict
    # The labeler's features have no ladder; that is said, and passes nothing.
    other = run(found, max_auc=bound, refuse=True)["encoder: synthetic against pool"]
    assert (other.verdict, other.hard) == ("inconclusive", True)
    assert "whose encoder features are not known" in other.why
    assert other.remedy == "give max_auc a number"


@pytest.mark.slow
@pytest.mark.parametrize(("height", "said"), [(0.45, "name a stronger step"), (1.0, "name a weaker step")])
def test_a_rung_that_is_never_or_always_told_is_no_bound(height, said, monkeypatch):
    monkeypatch.setattr(Realism, "_ladder", staticmethod(lambda evidence, rng: rungs_of(auto=height)))
    for shift in (0, 9):
        found = evidence(synthetic=families(150, 10, spectrum=shift), pool=families(400, 20), seed=families(40, 30))
        m = run(found, max_auc="auto", refuse=True)["spectrum: synthetic against pool"]
        assert (m.verdict, m.hard) == ("inconclusive", True)
        assert said in m.why


@pytest.mark.slow
def test_auto_without_a_ladder_passes_nothing():
    found = evidence(synthetic=families(300, 10), pool=families(600, 20), seed=families(40, 30))   # no images at all
    for m in run(found, max_auc="auto", refuse=True).values():
        if m.unit == "AUC" and m.name != "seed against pool":
            assert (m.verdict, m.hard) == ("inconclusive", True)
            assert "JPEG at quality 75, which takes 40 real images: nothing is decided" in m.why
            assert "name more real images in the pool" in m.remedy


def test_a_misspelt_rung_is_told_all_names():
    with pytest.raises(ValueError, match=r"JPEG at quality 75, JPEG at quality 50.*hard paste; 'jpeg75' is none"):
        Realism(max_auc="jpeg75")
    for rung in (*RUNGS, "auto"):
        assert Realism(max_auc=rung, refuse=True).max_auc == rung


@pytest.mark.slow
def test_real_against_real_hardly_ever_warns():
    """The gate tests itself: 40 runs, three tests at 5 % each; more than 15 has odds below 1 in 1000."""
    warned = sum(any(m.verdict in ("warn", "fail") for name, m in run(
        evidence(synthetic=families(30, 100 * k), pool=families(60, 100 * k + 50)), seed=k).items())
        for k in range(40))
    assert warned <= 15, warned
