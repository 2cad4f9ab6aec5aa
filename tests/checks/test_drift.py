"""Drift passes labels like the seed's, warns of each planted shift in its own attribute."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from synthgen.checks import run_checks
from synthgen.checks.drift import Drift
from synthgen.errors import RecipeError
from synthgen.geometry import labels_from_masks
from synthgen.types import Evidence, Labels, Sample

RNG = np.random.default_rng


def draw(rng, n, side=10.0, per_image=6, cls=0.5, place=50.0, stretch=1.0):
    out = []
    for k in range(n):
        count = rng.poisson(per_image)
        size = side * np.exp(0.3 * rng.normal(size=(count, 1))) * np.array([stretch, 1]) ** 0.5
        corner = rng.uniform(place - 50, place + 30, (count, 2)).clip(0, 99)
        boxes = np.hstack([corner, (corner + size).clip(corner + 1, 100)])
        labels = Labels(size=(100, 100), boxes=boxes, classes=(rng.random(count) < cls).astype(int))
        out.append(Sample(f"s{k}", np.zeros((100, 100, 3), np.uint8), labels))
    return out


def run(synthetic, seed, classes=("a", "b"), task="detect", **options):
    found = Evidence(synthetic, seed, (), (), classes, task, {})
    return {m.name: m for m in Drift(**{"permutations": 399, **options})(found, RNG(0))}


def test_labels_like_the_seeds_pass_with_many_images():
    found = run(draw(RNG(1), 200), draw(RNG(2), 200))
    assert list(found) == ["class", "count", "size", "aspect", "place x", "place y", "border", "co-occurrence",
                           "class coverage"]
    assert {m.verdict for m in found.values()} == {"pass"}
    assert all(not m.hard and m.n == (200, 200) for m in found.values())
    assert [name for name, m in found.items() if m.p is None] == ["class coverage"]


@pytest.mark.parametrize(("name", "planted"), [
    ("class", {"cls": 0.95}), ("count", {"per_image": 14}), ("size", {"side": 25}),
    ("aspect", {"stretch": 6}), ("place x", {"place": 75}), ("place y", {"place": 75})])
def test_a_planted_shift_fails_its_own_attribute_softly(name, planted):
    found = run(draw(RNG(1), 120, **planted), draw(RNG(2), 120))
    m = found[name]
    assert (m.verdict, m.hard) == ("fail", False)
    assert m.value > m.null[1]
    assert m.interval[0] > 0
    assert m.remedy
    assert f"{name}: synthetic differs" in m.why
    assert found["count" if name != "count" else "place x"].verdict == "pass"


def test_a_small_seed_is_inconclusive_and_says_how_many_would_do():
    found = run(draw(RNG(1), 200), draw(RNG(2), 10, per_image=2))
    assert found["size"].verdict == "inconclusive"
    assert "on the smaller side (now 10)" in found["size"].remedy


def test_four_images_decide_nothing_and_say_so():
    m = run(draw(RNG(1), 200, side=60), draw(RNG(2), 4))["size"]
    assert m.verdict == "inconclusive"
    assert "4 images" in m.why


def test_meant_shifts_can_be_left_out_and_any_drift_can_refuse():
    found = run(draw(RNG(1), 60, cls=1), draw(RNG(2), 60), skip=("class",), refuse=True)
    assert "class" not in found
    assert all(m.hard for m in found.values())


def test_one_class_has_no_class_shares_and_no_labels_are_skipped():
    assert "class" not in run(draw(RNG(1), 20, cls=0), draw(RNG(2), 20, cls=0), classes=("a",))
    (m,) = run(draw(RNG(1), 20), []).values()
    assert m.verdict == "skipped"
    empty = Sample("e", np.zeros((9, 9, 3), np.uint8), Labels(size=(9, 9)))
    found = run([empty] * 6, draw(RNG(2), 6))
    assert found["size"].verdict == "skipped"
    assert found["count"].verdict != "skipped"


@pytest.mark.parametrize("options", [{"max_effect": 0}, {"max_effect": -1}, {"max_share": 1},
                                     {"max_share": 0}, {"max_effect": float("inf")}, {"skip": ["colour"]}])
def test_nonsense_bounds_are_refused(options):
    with pytest.raises(ValueError):
        Drift(**options)


def masked(rng, n, together):
    """Images of two squares, side by side or apart."""
    out = []
    for k in range(n):
        masks = np.zeros((2, 60, 60), bool)
        y, x = rng.integers(0, 40, 2)
        masks[0, y:y + 8, x:x + 6] = masks[1, y:y + 8, x + (6 if rng.random() < together else 9):][:, :6] = True
        out.append(Sample(f"m{k}", np.zeros((60, 60, 3), np.uint8), labels_from_masks(masks, [0, 0])))
    return out


@pytest.mark.slow
def test_objects_that_touch_more_often_fail_touching_and_boxes_are_not_asked():
    found = run(masked(RNG(1), 120, 0.9), masked(RNG(2), 120, 0.2), task="instances", classes=("a",))
    m = found["touching"]
    assert (m.verdict, m.hard) == ("fail", False)
    assert "touch" in m.remedy
    same = run(masked(RNG(1), 150, 0.4), masked(RNG(2), 150, 0.4), task="instances", classes=("a",))
    assert same["touching"].verdict == "pass"
    assert "touching" not in run(masked(RNG(1), 9, 0.4), masked(RNG(2), 9, 0.4), classes=("a",), skip=("touching",))


def test_run_lengths_that_do_not_fill_the_image_are_left_to_integrity():
    broken = [Sample(s.id, s.image, replace(s.labels, masks=("zz", "0"))) for s in masked(RNG(1), 6, 0.4)]
    (m,) = run(broken, masked(RNG(2), 6, 0.4), task="instances", classes=("a",)).values()
    assert "0 synthetic" in m.why


def test_classes_that_no_longer_come_together_are_named():
    together = [sample for k in range(60) for sample in shown(f"t{k}", [0, 1], [])]
    apart = [sample for k in range(60) for sample in shown(f"a{k}", [0], [1])]
    m = run(apart, together, classes=("cat", "dog"))["co-occurrence"]
    assert m.verdict == "fail"
    assert "most for cat with dog" in m.why


def shown(name, *rows):
    return [Sample(f"{name}-{k}", np.zeros((9, 9, 3), np.uint8),
                   Labels(size=(9, 9), boxes=[[0, 0, 4, 4]] * len(row), classes=row)) for k, row in enumerate(rows)]


def test_a_dropped_class_fails_coverage_by_name():
    seed = shown("r", *[[0, 1, 2]] * 10)
    found = run(shown("s", *[[0, 0, 1]] * 40, *[[2]] * 4), seed, classes=("a", "b", "c", "d"))
    m = found["class coverage"]
    assert (m.verdict, m.hard, m.value) == ("fail", False, 1)
    assert "too few show c (4)" in m.why
    enough = run(shown("s", *[[0, 1]] * 40, *[[2]] * 5), seed, classes=("a", "b", "c"))
    assert enough["class coverage"].verdict == "pass"
    assert run(shown("s", *[[0, 1]] * 40, [2]), seed, classes=("a", "b", "c"),
               min_class_images=1)["class coverage"].verdict == "pass"
    assert run(shown("s", [0, 1]), seed, classes=("a", "b", "c"))["class coverage"].verdict == "inconclusive"
    assert "class coverage" not in run(seed, seed, classes=("a", "b", "c"), skip=("class coverage",))
    assert run(shown("s", *[[0]] * 9), seed, classes=("a", "b", "c"), refuse=True)["class coverage"].hard


def test_a_declared_prior_is_what_the_classes_are_compared_with():
    ours, seed = draw(RNG(1), 200, cls=0.5), draw(RNG(2), 40, cls=0.95)
    assert run(ours, seed)["class"].verdict == "fail"
    m = run(ours, seed, prior={"a": 0.5, "b": 0.5})["class"]
    assert (m.verdict, m.n) == ("pass", (200, 0))
    assert "the declared prior" in m.why
    wrong = run(ours, seed, prior={"b": 1.0})["class"]
    assert wrong.verdict == "fail"
    assert wrong.value == pytest.approx(0.5, abs=0.05)
    assert "prior" in wrong.remedy


@pytest.mark.parametrize(("prior", "said"), [({"a": 0.5}, "sum to 1"), ({"a": 1.5, "b": -0.5}, "between 0 and 1"),
                                             ({"a": float("nan")}, "between 0 and 1"), ({}, "sum to 1")])
def test_a_prior_that_is_no_distribution_is_refused(prior, said):
    with pytest.raises(ValueError, match=said):
        Drift(prior=prior)


def test_a_prior_with_a_class_that_there_is_not_is_an_error_that_names_it():
    with pytest.raises(RecipeError, match=r"'cow'.*classes are a, b"):
        run(draw(RNG(1), 9), draw(RNG(2), 9), prior={"cow": 1.0})
    (m,) = run_checks([("drift", Drift(prior={"cow": 1.0}))], Evidence((), (), (), (), ("a",), "detect", {}), 0)
    assert (m.verdict, m.hard) == ("error", True)


@pytest.mark.slow
def test_false_alarms_stay_under_the_nominal_level():
    """200 null draws with bounds so low that only each attribute's own 95 % interval can save it."""
    failed = Counter()
    for k in range(200):
        rng = RNG(k)
        a, b = draw(rng, 10, per_image=2), draw(rng, 10, per_image=2)
        found = run(a, b, permutations=199, max_effect=0.05, max_share=0.02)
        failed.update(m.name for m in found.values() if m.verdict == "fail" and m.name != "class coverage")
    assert max(failed.values(), default=0) <= 10, failed
