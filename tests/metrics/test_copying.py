"""The conformal test for copies: its error rate on real against real, and what it finds."""

from __future__ import annotations

import tracemalloc
from typing import Any

import cv2
import numpy as np
import pytest

from synthgen.metrics.copying import (
    SIDE,
    Copies,
    Space,
    copies,
    drawn_alike,
    encoded,
    fewest_detectable,
    least_of,
    nearest,
    symmetries,
    thumbs,
    views,
    whole,
)
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


def by_thumbs(synthetic: list[Any], seed: list[Any], pool: list[Any], rng: np.random.Generator) -> Copies:
    return copies([whole(synthetic, seed, pool)], rng)


def by_both(synthetic: list[Any], seed: list[Any], pool: list[Any], rng: np.random.Generator) -> Copies:
    """By thumbnails, and by colour and spectrum, which stand in for an encoder that does not mind where things lie."""
    sides = [synthetic, seed, pool]
    power = [np.stack([np.r_[np.abs(np.fft.fft2(x.mean(2)))[:6, :6].reshape(-1), x.mean((0, 1))] for x in side])
             for side in sides]
    a, b, c = (side.astype(np.float32) for side in power)
    return copies([whole(*sides), encoded("spectral", a, b, c)], rng)


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


def share_within(level: float, found: list[Copies]) -> tuple[float, float]:
    """How often p is at most `level`, over draws, and three standard errors: images of one draw share their null."""
    share = np.array([(one.p <= level + 1e-9).mean() for one in found])
    return float(share.mean()), 3 * float(share.std()) / np.sqrt(len(share))


@pytest.mark.slow
def test_real_images_are_called_copies_no_more_often_than_promised() -> None:
    found = []
    for draw in range(200):
        rows = images(70, 1000 + draw)
        found.append(by_thumbs(rows[:12], rows[12:17], rows[17:], rng_of(draw)))
    assert np.mean([(one.q <= 0.05).any() for one in found]) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 200)
    for k in (2, 5, 10):  # of so few images hardly any is ever flagged: what is promised is p itself
        share, error = share_within(k / 49, found)
        assert abs(share - k / 49) <= error


def test_what_few_images_have_is_no_sign_of_a_copy() -> None:
    found = []
    for draw in range(100):
        rows = np.maximum(rng_of(draw).normal(-2, 1, (54, 300)), 0).astype(np.float32)  # active in one of 44
        found.append(copies([encoded("sparse", rows[:20], rows[20:24], rows[24:])], rng_of(draw)))
    share, error = share_within(3 / 27, found)
    assert abs(share - 3 / 27) <= error


def test_a_copy_is_found_where_its_seed_image_alone_has_a_feature() -> None:
    rng = rng_of(0)
    seed, pool, synthetic = (rng.normal(size=(n, 64)).astype(np.float32) for n in (5, 300, 10))
    for rows in (seed, pool, synthetic):
        rows[:, 0] = 0
    seed[3, 0] = 1e3
    synthetic[0] = seed[3] + rng.normal(0, 0.1, 64)
    found = copies([encoded("encoder", synthetic, seed, pool)], rng_of(0))
    assert (found.q <= 0.05).tolist() == [True] + 9 * [False]


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.05, 0.2])
def test_noisy_turned_copies_are_flagged_and_others_are_not(share: float) -> None:
    caught, innocent = [], []
    for draw in range(10):
        real = images(330, 5000 + draw)
        seed, pool, others = real[:10], real[10:290], real[290:]
        k = round(share * 40)
        synthetic = [noisy(seed[i % 10], i) for i in range(k)] + others[k:]
        found = by_thumbs(synthetic, seed, pool, rng_of(draw))
        flagged = found.q <= 0.05
        if k >= fewest_detectable(40, found.null, 0.05):
            caught.append(flagged[:k].mean())
        innocent.append(flagged[k:].mean())
        assert (found.nearest[:k] == np.arange(k) % 10).all()
    assert np.mean(caught or [1]) > 0.95
    assert np.mean(innocent) < 0.03


def test_the_order_of_the_pool_changes_nothing() -> None:
    rows = images(80, 3)
    a = by_thumbs(rows[:10], rows[10:14], rows[14:], rng_of(1))
    b = by_thumbs(rows[:10], rows[10:14], rows[14:][::-1], rng_of(1))
    assert np.array_equal(a.p, b.p)


def test_too_small_a_pool_is_refused_with_the_number_that_is_needed() -> None:
    rows = images(30, 4)
    with pytest.raises(ValueError, match="29 are needed"):
        by_thumbs(rows[:5], rows[5:15], rows[15:], rng_of(0))


def test_fewest_detectable_is_what_the_procedure_needs() -> None:
    assert fewest_detectable(100, 399, 0.05) == 5
    assert fewest_detectable(10, 100_000, 0.05) == 1
    assert fewest_detectable(100, 399, 0.05, spaces=3) == 15


@pytest.mark.slow
def test_two_spaces_together_keep_the_promise_of_one() -> None:
    found = []
    for draw in range(200):
        real = images(70, 9000 + draw)
        found.append(by_both(real[:12], real[12:17], real[17:], rng_of(draw)))
    for k in (2, 5, 10):
        share, error = share_within(k / 49, found)
        assert k / 49 - error - 2 / 49 <= share <= k / 49 + error  # ranks of two spaces tie


def test_a_copy_whose_pixels_moved_is_found_by_features_and_a_plain_one_by_either() -> None:
    real = images(430, 77)
    seed, pool, others = real[:10], real[10:410], real[410:]
    moved = [np.roll(np.roll(image, 9 + k, 0), 7, 1) for k, image in enumerate(seed[:5])]
    synthetic = [*moved, noisy(seed[6], 4), *others]
    found = by_both(synthetic, seed, pool, rng_of(0))
    flagged = found.q <= 0.05
    assert flagged[:6].all()
    assert not flagged[6:].any()
    assert {found.spaces[k] for k in found.space[:5]} == {"spectral features"}
    assert found.nearest[:6].tolist() == [0, 1, 2, 3, 4, 6]
    alone = by_thumbs(synthetic, seed, pool, rng_of(0)).q <= 0.05
    assert not alone[:5].any()


@pytest.mark.parametrize("change", ["cropped", "moved"])
def test_crops_and_shifts_of_the_seed_are_copies(change: str) -> None:
    real = images(330, 21, size=32)
    seed, pool, others = real[:10], real[10:300], real[300:]
    if change == "cropped":
        made = [cv2.resize(image[k % 4 : 28 + k % 4, 1:29], (32, 32)) for k, image in enumerate(seed[:6])]
    else:
        made = [np.roll(image, (2, -2), (0, 1)) for image in seed[:6]]
    found = by_thumbs([*made, *others], seed, pool, rng_of(0))
    flagged = found.q <= 0.05
    assert flagged[:6].mean() > 0.8
    assert flagged[6:].mean() < 0.05


def test_views_of_images_of_any_size() -> None:
    real = [np.zeros((1, 1, 3), np.uint8), *images(1, 0, size=9), np.zeros((3, 50, 3), np.uint8)]
    assert views(real).shape == (144 * 3, SIDE * SIDE * 3)
    assert np.array_equal(views(real)[: 8 * 3], symmetries(thumbs(real)))


def test_one_space_gives_the_plain_conformal_p_and_ties_count_against_it() -> None:
    null = rng_of(0).integers(0, 9, 30).astype(float)
    mine = np.array([-1.0, 3.0, 8.0, 20.0])
    p, space = least_of(null[None], mine[None])
    assert p.tolist() == [(1 + (null <= x).sum()) / 31 for x in mine]
    assert (space == 0).all()


def test_the_least_rank_over_spaces_is_uniform_when_nothing_was_copied() -> None:
    rng = rng_of(3)
    p = [least_of(both[:, 1:], both[:, :1])[0][0] for both in rng.normal(size=(2000, 3, 201))]
    for level in (0.05, 0.1, 0.25):
        share = np.mean(np.array(p) <= level)
        assert abs(share - level + 1 / 201) <= 3 / 201 + 3 * np.sqrt(level / 2000)  # ranks of three spaces tie


@pytest.mark.slow
def test_features_of_a_small_pool_call_no_more_than_the_level_copies() -> None:
    shares = []
    for draw in range(300):
        rows = rng_of(draw).normal(size=(41, 100)).astype(np.float32)
        found = copies([encoded("random", rows[:20], rows[20:21], rows[21:])], rng_of(draw))
        shares.append((found.p <= 0.1).mean())
    assert np.mean(shares) <= 0.1 + 3 * np.std(shares) / np.sqrt(300)


@pytest.mark.parametrize("column", [(5.0, 5.0, 5.0), (0.01, 0.0, 0.0)], ids=["constant", "not met in real images"])
def test_a_column_that_says_nothing_of_real_images_hides_no_copy(column: tuple[float, float, float]) -> None:
    rows = rng_of(0).normal(size=(75, 50)).astype(np.float32)
    sides = [rows[:5], rows[5:15], rows[15:]]
    sides[0][0] = sides[1][3] + 0.01
    sides = [np.c_[side, np.full(len(side), value, np.float32)] for side, value in zip(sides, column, strict=True)]
    found = copies([encoded("random", *sides)], rng_of(1))
    assert found.p[0] == pytest.approx(1 / 51)
    assert found.nearest[0] == 3


def test_the_looks_of_one_image_at_a_time_are_in_memory() -> None:
    def peak(n: int) -> int:
        tracemalloc.start()
        views(Lazy(n))
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    assert peak(8) - peak(2) < 1000 * 1000 * 3  # no further image is kept; each was 10 MB


class Lazy(list[np.ndarray]):
    """Images that are made when they are asked for."""

    def __init__(self, n: int) -> None:
        super().__init__([np.zeros((1000, 1000, 3), np.uint8)] * n)

    def __iter__(self) -> Any:
        return (image.copy() for image in super().__iter__())


def _of_a_family(rng: np.random.Generator, shift: float, n: int = 10, D: int = 64) -> list[Space]:
    """Thumbnails that tell nothing, and features of 40 honest images of the seed's kind, which lies `shift` spreads
    from the pool's in every column."""
    honest, seed = rng.normal(shift, 1, (40, D)), rng.normal(shift, 1, (n, D))
    pool = rng.normal(0, 1, (200, D))
    made, source, known = (x.astype(np.float32) for x in (honest, seed, pool))
    blind = [rng.normal(size=(len(x), 8)).astype(np.float32) for x in (made, source, known)]
    return [encoded("blind", *blind), encoded("telling", made, source, known)]


def test_a_seed_from_elsewhere_makes_no_copies_of_honest_images_by_features() -> None:
    flagged, left_out = 0, 0
    for draw in range(20):
        rng = rng_of(draw)
        found = copies(_of_a_family(rng, 1.0), rng)
        flagged += int((found.q <= 0.05).sum())
        left_out += found.apart == ("telling features",)
    assert left_out == 20
    assert flagged <= 0.05 * 20 * 40


def test_a_seed_like_the_pool_keeps_its_features_mostly() -> None:
    kept = 0
    for draw in range(100):
        rng = rng_of(draw)
        kept += drawn_alike(*rng.normal(size=(2, 10, 64)).astype(np.float32), rng)
    assert 80 <= kept <= 98  # the test's level is a tenth


def test_whether_seed_and_pool_are_alike_does_not_depend_on_the_order_of_files_and_needs_four_images() -> None:
    a, b = (rng_of(k).normal(k / 4, 1, (12, 32)).astype(np.float32) for k in (0, 1))
    assert drawn_alike(a, b, rng_of(0)) == drawn_alike(a[::-1], b[::-1], rng_of(0))
    assert not drawn_alike(a[:3], a[3:6], rng_of(0))
