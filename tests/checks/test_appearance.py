"""Appearance passes images like the real ones, and warns of each planted look in its own attribute."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from synthgen.checks import appearance
from synthgen.checks.appearance import REMEDIES, Appearance
from synthgen.geometry import decode, labels_from_masks
from synthgen.metrics.appearance import LOOKS
from synthgen.types import Evidence, Labels, Sample

RNG = np.random.default_rng
YY, XX = np.mgrid[:48, :48]


def draw(rng, n, name="s"):
    """n images of one or two noisy discs on a noisy ground, colours and blur varying from image to image."""
    out = []
    for k in range(n):
        ground, thing = rng.normal((90, 80, 70), 12), rng.normal((170, 150, 120), 12)
        masks = np.stack([(YY - y) ** 2 + (XX - x) ** 2 <= rng.uniform(7, 9) ** 2
                          for y, x in ((rng.uniform(10, 38), 12), (rng.uniform(10, 38), 35))])
        pixels = np.where(masks.any(0)[..., None], thing, ground) + rng.normal(0, 1, (48, 48, 3)) * rng.uniform(4, 9)
        pixels = cv2.GaussianBlur(pixels, (0, 0), rng.uniform(0.4, 0.6))
        out.append(Sample(f"{name}{k}", np.clip(pixels, 0, 255).astype(np.uint8), labels_from_masks(masks, [0, 0])))
    return out


def changed(samples, how):
    return [replace(s, image=np.clip(how(s.image.astype(np.float64), s), 0, 255).astype(np.uint8)) for s in samples]


def smooth_inside(pixels, sample):
    """Objects without the ground's noise, as if pasted from another camera."""
    inside = decode(sample.labels.masks, sample.labels.size).any(0)
    soft = cv2.GaussianBlur(pixels, (0, 0), 2)
    return np.where(inside[..., None], soft, pixels)


REAL = draw(RNG(2), 70, "r")
PLAIN = draw(RNG(1), 70)
PLANTED = {
    "blur": (lambda x, s: cv2.GaussianBlur(x, (0, 0), 1.2), "whole image: sharpness"),
    "noise": (lambda x, s: x + RNG(0).normal(0, 15, x.shape), "whole image: noise"),
    "brighter": (lambda x, s: x + 30, "whole image: luma"),
    "cast": (lambda x, s: x + np.array([20, -4, 0]), "whole image: red-green"),
    "blue": (lambda x, s: x + np.array([0, 0, 25]), "whole image: yellow-blue"),
    "grey": (lambda x, s: np.repeat(x.mean(2, keepdims=True), 3, 2), "whole image: saturation"),
    "flat": (lambda x, s: (x - x.mean()) * 0.5 + x.mean(), "whole image: contrast"),
    "pasted": (smooth_inside, "seam: noise"),
}


def run(synthetic, seed, pool=(), classes=("a",), task="instances", **options):
    found = Evidence(synthetic, seed, pool, (), classes, task, {})
    return {m.name: m for m in Appearance(**{"permutations": 99, **options})(found, RNG(0))}


def test_images_like_the_real_ones_never_fail_and_name_what_was_measured():
    found = run(PLAIN, REAL)
    assert list(found) == [*(f"whole image: {x}" for x in LOOKS), "objects of class a",
                           *(f"seam: {x}" for x in ("luma", "red-green", "yellow-blue", "sharpness", "noise"))]
    assert {m.verdict for m in found.values()} <= {"pass", "inconclusive"}
    assert all(not m.hard and m.n == (70, 70) and m.p is not None for m in found.values())


@pytest.mark.slow
@pytest.mark.parametrize("kind", PLANTED)
def test_a_planted_look_fails_its_own_attribute_softly(kind):
    how, name = PLANTED[kind]
    found = run(changed(PLAIN, how), REAL)
    m = found[name]
    assert (m.verdict, m.hard) == ("fail", False)
    assert m.interval[0] > 0.5
    assert m.value > m.null[1]
    assert REMEDIES[name.split(": ")[1]] in m.remedy
    assert m.p < 0.05
    if kind == "pasted":
        assert found["whole image: luma"].verdict != "fail"
        assert found["objects of class a"].verdict == "fail"
        assert "blend" in m.remedy


@pytest.mark.slow
def test_with_many_images_like_the_real_ones_everything_passes():
    found = run(draw(RNG(7), 220), draw(RNG(8), 220))
    assert {m.verdict for m in found.values()} == {"pass"}


@pytest.mark.slow
def test_false_alarms_stay_under_the_nominal_level(monkeypatch):
    """40 null draws of 12 against 12 images, 13 measurements each: p's have their own test on 200 draws."""
    everything = draw(RNG(5), 40)
    looks = {id(s.image): appearance.look(s.image, s.labels) for s in everything}
    monkeypatch.setattr(appearance, "look", lambda image, labels: looks[id(image)])
    failed = 0
    for k in range(40):
        order = RNG(k).permutation(40)
        a, b = ([everything[i] for i in part] for part in (order[:12], order[12:24]))
        failed += any(m.verdict == "fail" for m in run(a, b, permutations=19).values())
    assert failed <= 2


def test_whole_images_are_compared_with_the_pool_and_objects_with_the_seed():
    pool = changed([replace(s, labels=None) for s in REAL], lambda x, s: x + 40)
    found = run(PLAIN, REAL[:20], pool)
    assert found["whole image: luma"].verdict == "fail"
    assert "differs from pool" in found["whole image: luma"].why
    assert found["whole image: luma"].n == (70, 70)
    assert "differs from seed" in found["seam: noise"].why
    assert found["seam: noise"].n == (70, 20)


def test_each_class_is_compared_with_its_own_and_a_missing_one_is_skipped():
    both = [replace(s, labels=replace(s.labels, classes=np.array([0, 1]))) for s in PLAIN]
    real = [replace(s, labels=replace(s.labels, classes=np.array([0, 1]))) for s in REAL]

    def dim_second(x, s):
        dim = x.copy()
        dim[:, 24:] = (dim[:, 24:] - 80) * 0.4 + 80
        return dim

    found = run(changed(both, dim_second), real, classes=("a", "b", "c"))
    assert found["objects of class b"].verdict == "fail"
    assert found["objects of class a"].verdict != "fail"
    assert "most in" in found["objects of class b"].why
    assert found["objects of class c"].verdict == "skipped"


def test_classify_looks_at_whole_images_of_each_class():
    def of(samples, k):
        return [replace(s, labels=Labels(size=(48, 48), image_class=k)) for s in samples]

    synthetic = of(PLAIN[:35], 0) + of(changed(PLAIN[35:], lambda x, s: x + 60), 1)
    found = run(synthetic, of(REAL[:35], 0) + of(REAL[35:], 1), classes=("a", "b"), task="classify")
    assert not any(name.startswith("seam") for name in found)
    assert found["images of class b"].verdict == "fail"
    assert found["images of class a"].verdict != "fail"
    assert found["images of class b"].n == (35, 35)


def test_no_image_one_image_and_no_object_are_said_to_be_too_little():
    (m,) = run([], REAL).values()
    assert m.verdict == "skipped"
    found = run(PLAIN[:1], REAL[:1])
    assert {m.verdict for m in found.values()} == {"inconclusive"}
    assert "1 image" in found["whole image: luma"].why
    empty = [replace(s, labels=Labels(size=(48, 48))) for s in PLAIN[:6]]
    found = run(empty, REAL[:6])
    assert found["objects of class a"].verdict == found["seam: noise"].verdict == "skipped"
    assert found["whole image: luma"].verdict != "skipped"
    boxes = [replace(s, labels=replace(s.labels, masks=None)) for s in PLAIN[:6]]
    assert run(boxes, REAL[:6])["seam: noise"].verdict == "skipped"


def test_file_order_changes_no_digit_and_refusing_is_hard():
    one = run(PLAIN[:9], REAL[:7], refuse=True)
    two = run(PLAIN[8::-1], REAL[6::-1], refuse=True)
    assert repr(one) == repr(two)
    assert all(m.hard for m in one.values())


def test_run_lengths_that_do_not_fill_the_image_are_integritys_and_no_crash():
    broken = [replace(s, labels=replace(s.labels, masks=("zz", "0"))) for s in PLAIN[:6]]
    assert run(broken, REAL[:6])["seam: noise"].verdict == "skipped"


@pytest.mark.parametrize("options", [{"max_effect": 0}, {"max_effect": float("inf")}, {"images": 0}, {"size": 3}])
def test_nonsense_options_are_refused(options):
    with pytest.raises(ValueError):
        Appearance(**options)
