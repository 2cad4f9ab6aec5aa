"""STAPLE: pixels by several functions."""

from __future__ import annotations

import numpy as np
import pytest

from synthgen.votes.pixels import staple, staple_shared


def disc(size: int = 40, radius: int = 10, dx: int = 0) -> np.ndarray:
    y, x = np.mgrid[:size, :size]
    return (y - size // 2) ** 2 + (x - size // 2 - dx) ** 2 <= radius**2


def test_one_pixel_one_function():
    assert staple(np.ones((1, 1, 1), bool)).probability[0].item() > 0.5
    assert staple(np.zeros((1, 1, 1), bool)).probability[0].item() < 0.5


def test_no_images_and_no_functions_are_no_error():
    assert staple_shared([]).probability == ()
    assert staple(np.zeros((0, 3, 4), bool)).probability[0].shape == (3, 4)


def test_functions_that_agree_are_believed_everywhere():
    found = staple(np.stack([disc()] * 3))
    assert ((found.probability[0] > 0.5) == disc()).all()
    assert found.sensitivity.min() > 0.99


def test_known_rates_are_recovered_from_noisy_masks():
    rng = np.random.default_rng(0)
    truth = rng.random((200, 200)) < 0.4
    sensitivity, specificity = [0.95, 0.8, 0.6], [0.9, 0.97, 0.8]
    masks = np.stack([np.where(truth, rng.random(truth.shape) < p, rng.random(truth.shape) > q)
                      for p, q in zip(sensitivity, specificity, strict=True)])
    found = staple(masks)
    assert found.sensitivity == pytest.approx(sensitivity, abs=0.06)
    assert found.specificity == pytest.approx(specificity, abs=0.06)
    best = max((m == truth).mean() for m in masks)
    assert ((found.probability[0] > 0.5) == truth).mean() >= best


def test_rates_shared_over_images_tell_whom_to_believe_where_two_disagree():
    rng = np.random.default_rng(1)
    images = [np.stack([disc(), disc(), disc() ^ (rng.random((40, 40)) < 0.3)]) for _ in range(5)]
    known = [np.ones_like(m) for m in images]
    known[4][0] = False                               # in the last image the second and the noisy third are alone
    found = staple_shared(images, known)
    assert ((found.probability[4] > 0.5) == disc()).all()


def test_pixels_that_nobody_knows_get_the_prior():
    masks, known = np.stack([disc()] * 2), np.ones((2, 40, 40), bool)
    known[:, :5] = False
    found = staple(masks, known)
    assert found.probability[0][:5] == pytest.approx(np.full((5, 40), found.prior))


def test_images_by_different_numbers_of_functions_are_refused():
    with pytest.raises(ValueError, match="every function"):
        staple_shared([np.zeros((1, 2, 2), bool), np.zeros((2, 2, 2), bool)])
