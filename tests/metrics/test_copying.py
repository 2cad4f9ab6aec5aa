"""The conformal test for copies: its error rate on real against real, and what it finds."""

from __future__ import annotations

import numpy as np
import pytest

from synthgen.metrics.copying import SIDE, copies, fewest_detectable, nearest, symmetries, thumbs
from synthgen.seeds import rng_of


def images(n: int, seed: int, size: int = 24) -> list[np.ndarray]:
    """Smooth random colour images: a few blobs each."""
    rng = rng_of(seed)
    y, x = np.mgrid[0:size, 0:size]
    out = []
    for _ in range(n):
        grey = sum(rng.uniform(40, 120) * np.exp(-((y - rng.uniform(0, size)) ** 2 + (x - rng.uniform(0, size)) ** 2)
                                                 / rng.uniform(10, 60)) for _ in range(4))
        out.append(np.clip(np.asarray(grey)[..., None] * rng.uniform(0.5, 1, 3) + 20, 0, 255).astype(np.uint8))
    return out


def noisy(image: np.ndarray, seed: int) -> np.ndarray:
    turned = np.rot90(image[:, ::-1], seed % 4)
    return np.clip(turned + rng_of(seed).normal(0, 8, image.shape), 0, 255).astype(np.uint8)


def test_thumbnails_know_neither_brightness_nor_contrast() -> None:
    (image,) = images(1, 0)
    dim = (image * 0.5 + 30).astype(np.uint8)
    assert thumbs([image, dim])[0] == pytest.approx(thumbs([image, dim])[1], abs=0.1)
    assert (thumbs([np.full((9, 5, 3), 7, np.uint8)]) == 0).all()
    assert thumbs([]).shape == (0, SIDE * SIDE * 3)


def test_there_are_eight_symmetries_and_each_is_found() -> None:
    (image,) = images(1, 1)
    views = symmetries(thumbs([image]))
    assert len(np.unique(views, axis=0)) == 8
    for k in range(4):
        distance, _ = nearest(thumbs([np.rot90(image[:, ::-1], k)]), views)
        assert distance[0] == pytest.approx(0, abs=1e-3)


@pytest.mark.slow
def test_real_images_are_called_copies_no_more_often_than_promised() -> None:
    flags = []
    for draw in range(200):
        rows = thumbs(images(120, 1000 + draw))
        found = copies(rows[:20], rows[20:30], rows[30:], rng_of(draw))
        flags.append(bool((found.q <= 0.05).any()))
    assert np.mean(flags) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 200)


@pytest.mark.parametrize("share", [0.05, 0.2])
def test_noisy_turned_copies_are_flagged_and_others_are_not(share: float) -> None:
    caught, innocent = [], []
    for draw in range(10):
        real = images(330, 5000 + draw)
        seed, pool, others = real[:10], real[10:290], real[290:]
        k = round(share * 40)
        synthetic = [noisy(seed[i % 10], i) for i in range(k)] + others[k:]
        found = copies(thumbs(synthetic), thumbs(seed), thumbs(pool), rng_of(draw))
        flagged = found.q <= 0.05
        if k >= fewest_detectable(40, found.null, 0.05):
            caught.append(flagged[:k].mean())
        innocent.append(flagged[k:].mean())
        assert (found.nearest[:k] == np.arange(k) % 10).all()
    assert np.mean(caught or [1]) > 0.95
    assert np.mean(innocent) < 0.03


def test_the_order_of_the_pool_changes_nothing() -> None:
    rows = thumbs(images(80, 3))
    a = copies(rows[:10], rows[10:14], rows[14:], rng_of(1))
    b = copies(rows[:10], rows[10:14], rows[14:][::-1], rng_of(1))
    assert np.array_equal(a.p, b.p)


def test_too_small_a_pool_is_refused_with_the_number_that_is_needed() -> None:
    rows = thumbs(images(30, 4))
    with pytest.raises(ValueError, match="29 are needed"):
        copies(rows[:5], rows[5:15], rows[15:], rng_of(0))


def test_fewest_detectable_is_what_the_procedure_needs() -> None:
    assert fewest_detectable(100, 399, 0.05) == 5
    assert fewest_detectable(10, 100_000, 0.05) == 1
