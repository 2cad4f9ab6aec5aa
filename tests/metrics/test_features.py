"""Features are finite, named, the same for the same pixels, and see what they are meant to see."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from synthgen.metrics import features


def noise(sd, size=64, seed=0):
    grey = 128 + np.random.default_rng(seed).normal(0, sd, (size, size, 1))
    return np.repeat(grey.round().clip(0, 255), 3, axis=2).astype(np.uint8)


@pytest.mark.parametrize("value", [0, 1, 255])
@pytest.mark.parametrize("size", [16, 17, 33, 64])
def test_a_constant_image_gives_finite_flat_features(value, size):
    image = np.full((size, size, 3), value, np.uint8)
    assert features.spectrum([image]) == pytest.approx(np.full((1, 33), np.log10(1 / 12)))
    row = features.handcrafted([image])[0]
    assert np.isfinite(row).all()
    assert row[3:] == pytest.approx(np.zeros(11), abs=1e-12)


def test_shapes_and_names_agree():
    images = [noise(9, seed=k) for k in range(3)]
    assert features.spectrum(images).shape == (3, len(features.SPECTRUM)) == (3, 33)
    assert features.handcrafted(images).shape == (3, len(features.HANDCRAFTED))
    assert features.spectrum([]).shape == (0, 33)


def test_white_noise_of_variance_v_gives_a_flat_spectrum_at_log_v():
    rows = features.spectrum([noise(10, 128, seed) for seed in range(20)])
    assert rows.mean(0)[1:] == pytest.approx(np.full(32, 2.0), abs=0.08)


def test_blur_lowers_high_frequencies_and_sharpness():
    sharp = noise(20)
    soft = cv2.GaussianBlur(sharp, (0, 0), 1)
    a, b = features.spectrum([sharp, soft])
    assert b[-1] < a[-1] - 1
    names = list(features.HANDCRAFTED)
    a, b = features.handcrafted([sharp, soft])
    for name in ("log Laplacian variance", "log mean gradient", "log noise"):
        assert b[names.index(name)] < a[names.index(name)]


def test_the_noise_estimate_is_the_noise():
    row = features.handcrafted_of(noise(6, 128))
    assert np.expm1(row[features.HANDCRAFTED.index("log noise")]) == pytest.approx(6, rel=0.05)


def test_jpeg_blocks_are_seen_wherever_the_crop_lies():
    rng = np.random.default_rng(0)
    smooth = cv2.GaussianBlur(rng.integers(0, 255, (203, 211, 3)).astype(np.uint8), (0, 0), 2)
    smooth = cv2.convertScaleAbs(smooth, alpha=3, beta=-250)
    coded = cv2.imdecode(cv2.imencode(".jpg", smooth, [cv2.IMWRITE_JPEG_QUALITY, 20])[1], 1)
    before, after = (features.handcrafted_of(features.one_path(x, 64))[-1] for x in (smooth, coded))
    assert after > before + 0.2


def test_one_path_crops_at_native_resolution_and_enlarges_only_what_is_too_small():
    image = np.arange(100 * 150 * 3).reshape(100, 150, 3).astype(np.uint8)
    assert (features.one_path(image, 32) == image[32:64, 56:88]).all()
    for shape in ((1, 1, 3), (7, 300, 3), (40, 20, 3)):
        assert features.one_path(np.zeros(shape, np.uint8), 32).shape == (32, 32, 3)
    with pytest.raises(ValueError, match="at least 16"):
        features.one_path(image, 8)


def test_the_common_size_is_the_shortest_side_in_bounds():
    assert features.common_size([(520, 696), (64, 300)]) == 64
    assert features.common_size([(520, 696)]) == 128
    assert features.common_size([(5, 5)]) == 32
    assert features.common_size([]) == 128
