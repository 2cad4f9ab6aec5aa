"""Drift passes labels like the seed's, warns of each planted shift in its own attribute."""

from __future__ import annotations

import numpy as np
import pytest

from synthgen.checks.drift import Drift
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
    return {m.name: m for m in Drift(**{"permutations": 99, **options})(found, RNG(0))}


def test_labels_like_the_seeds_pass_with_many_images():
    found = run(draw(RNG(1), 200), draw(RNG(2), 200))
    assert list(found) == ["class", "count", "size", "aspect", "place x", "place y", "border"]
    assert {m.verdict for m in found.values()} == {"pass"}
    assert all(not m.hard and m.n == (200, 200) and m.p is not None for m in found.values())


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
