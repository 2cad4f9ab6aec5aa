"""Appearance: numbers by hand, seams that see the edge and not the neighbour, valid p, no digit by files' order."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from synthgen.geometry import encode, labels_from_masks
from synthgen.metrics import appearance
from synthgen.metrics.appearance import LOOKS, SEAM, Look, class_profile, look, seam_profiles, whole_profiles
from synthgen.metrics.drift import permutation_test
from synthgen.types import Labels

stats = pytest.importorskip("scipy.stats")
RNG = np.random.default_rng


def disc(size, y, x, r):
    yy, xx = np.mgrid[:size, :size]
    return (yy - y) ** 2 + (xx - x) ** 2 <= r * r


def grey(values):
    return np.repeat(np.clip(np.rint(values), 0, 255).astype(np.uint8)[..., None], 3, 2)


def named(values, names=LOOKS):
    return dict(zip(names, np.asarray(values).tolist(), strict=True))


def test_the_numbers_of_whole_images_by_hand():
    plain = named(look(np.full((20, 30, 3), (100, 60, 20), np.uint8)).whole)
    assert plain == pytest.approx({"luma": 0.299 * 100 + 0.587 * 60 + 0.114 * 20, "contrast": 0, "saturation": 0.8,
                                   "red-green": 40, "yellow-blue": 60, "sharpness": 0, "noise": 0}, abs=1e-9)
    for sigma in (3, 10):
        noisy = named(look(grey(128 + RNG(0).normal(0, sigma, (200, 200)))).whole)
        assert math.expm1(noisy["noise"]) == pytest.approx(sigma, rel=0.05)
        assert noisy["contrast"] == pytest.approx(sigma, rel=0.05)
        # The Laplacian's weights 1, 1, 1, 1, −4 square to 20.
        assert math.expm1(noisy["sharpness"]) == pytest.approx(20 * sigma ** 2, rel=0.1)


def test_an_object_is_measured_inside_its_rim():
    mask = disc(60, 30, 30, 12)
    image = grey(np.where(mask, 150.0, 50.0))
    found = look(image, labels_from_masks(mask[None], [1]))
    assert named(found.inside[0]) == pytest.approx(dict.fromkeys(LOOKS, 0.0) | {"luma": 150})
    assert found.classes.tolist() == [1]
    assert named(found.seam, SEAM) == pytest.approx(dict.fromkeys(SEAM, 0.0) | {"luma": 100})


def test_a_seam_is_the_difference_across_the_outline_and_not_to_the_neighbour():
    one, two = disc(80, 40, 26, 12), disc(80, 40, 52, 12)
    rng = RNG(1)
    image = np.where(one, 120.0, 60.0) + rng.normal(0, 6, (80, 80)) * ~one
    alone = named(look(grey(image), labels_from_masks(one[None], [0])).seam, SEAM)
    assert alone["noise"] == pytest.approx(-math.log1p(6), rel=0.1)
    assert alone["luma"] == pytest.approx(60, abs=2)
    beside = np.where(two, 250.0, image)
    both = look(grey(beside), labels_from_masks(np.stack([one, two]), [0, 0]))
    ignored = labels_from_masks(one[None], [0])
    ignored = Labels(size=ignored.size, classes=ignored.classes, boxes=ignored.boxes, masks=ignored.masks,
                     ignore=encode(two[None])[0])
    assert named(look(grey(beside), ignored).seam, SEAM)["luma"] == pytest.approx(60, abs=2)
    # The mean over the two objects: 60 levels for the one, 190 for the other.
    assert named(both.seam, SEAM)["luma"] == pytest.approx(125, abs=3)


@pytest.mark.parametrize("size", [(1, 1), (2, 9), (3, 3), (9, 2)])
def test_images_of_any_size_and_full_masks_give_finite_numbers(size):
    image = RNG(0).integers(0, 256, (*size, 3)).astype(np.uint8)
    found = look(image, labels_from_masks(np.ones((1, *size), bool), [0]))
    assert np.isfinite(found.whole).all()
    assert np.isnan(found.seam).all()
    assert len(look(image, Labels(size=size)).inside) == 0
    big = look(np.full((40, 40, 3), 7, np.uint8), labels_from_masks(np.ones((1, 40, 40), bool), [0]))
    assert big.inside[0, 0] == pytest.approx(7)
    assert np.isnan(big.seam).all()


def test_what_is_ignored_is_not_an_object():
    mask = disc(40, 20, 20, 10)
    labels = labels_from_masks(mask[None], [0])
    labels = Labels(size=labels.size, classes=labels.classes, boxes=labels.boxes, masks=labels.masks,
                    states=("ignored",))
    assert len(look(grey(np.zeros((40, 40))), labels).inside) == 0


def drawn(rng, n, shift=0.0, objects=4):
    """n looks as random numbers; objects of one image share half of their variance."""
    out = []
    for _ in range(n):
        k = rng.poisson(objects)
        inside = 30 * rng.normal(size=7) + 30 * rng.normal(size=(k, 7)) + shift
        out.append(Look(30 * rng.normal(size=7) + shift, inside, np.zeros(k, np.int64),
                        30 * rng.normal(size=5) if k else np.full(5, np.nan), None))
    return out


@pytest.mark.slow
def test_the_p_is_valid_for_whole_images_objects_and_seams():
    rng = RNG(2)
    p = {"whole": [], "objects": [], "seam": []}
    for _ in range(200):
        a, b = drawn(rng, 10), drawn(rng, 20)
        for name, profile in (("whole", whole_profiles(a, b)[5]), ("objects", class_profile(a, b, 0, "instances")),
                              ("seam", seam_profiles(a, b)[1])):
            p[name].append(permutation_test(profile, rng, 59, resamples=2).p)
    for name, values in p.items():
        rejected = int((np.array(values) <= 0.05).sum())
        assert stats.binomtest(rejected, 200, 0.05).pvalue > 0.001, (name, rejected)


def test_the_largest_distance_of_a_class_equals_scipys_and_names_its_attribute():
    rng = RNG(3)
    a, b = drawn(rng, 12), drawn(rng, 9)
    for x in a:
        x.inside[:, LOOKS.index("saturation")] += 200
    found = permutation_test(class_profile(a, b, 0, "instances"), rng, 59)
    ours, theirs = (np.concatenate([x.inside[:, 2] for x in side]) for side in (a, b))
    assert found.at == "saturation"
    assert found.effect == pytest.approx(stats.wasserstein_distance(ours, theirs) / theirs.std(), rel=0.05)
    assert found.p == 1 / 60


def test_file_order_changes_no_digit_and_a_spread_too_small_to_see_is_not_divided_by():
    rng = RNG(4)
    a, b = drawn(rng, 8), drawn(rng, 6)
    for make in (whole_profiles, seam_profiles, lambda a, b: [class_profile(a, b, 0, "instances")]):
        one = [permutation_test(p, RNG(0), 39) for p in make(a, b)]
        two = [permutation_test(p, RNG(0), 39) for p in make(a[::-1], [b[k] for k in rng.permutation(6)])]
        assert repr(one) == repr(two)
    flat = [look(np.full((9, 9, 3), v, np.uint8)) for v in (100, 100, 101)]
    (luma, *_) = whole_profiles(flat, [look(np.full((9, 9, 3), 100, np.uint8))] * 3)
    assert permutation_test(luma, rng, 19).effect == pytest.approx(1 / 3 / appearance.FLOORS["luma"])


def test_blur_and_noise_move_sharpness_and_noise_the_right_way():
    image = RNG(5).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    plain, soft = named(look(image).whole), named(look(cv2.GaussianBlur(image, (0, 0), 1.0)).whole)
    assert soft["sharpness"] < plain["sharpness"] - 1
    assert soft["noise"] < plain["noise"] - 1
    assert soft["luma"] == pytest.approx(plain["luma"], abs=1)
