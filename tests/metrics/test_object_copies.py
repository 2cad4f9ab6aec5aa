"""Copies of single objects: what is near, what chance gives, and that turning and moving an object hides nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from synthgen import plugins
from synthgen.checks.copying import MORE_NEAR, Copying
from synthgen.formats import Reading
from synthgen.formats.detect import open_dataset
from synthgen.geometry import labels_from_ids
from synthgen.metrics.object_copies import FEWEST, Objects, cut_objects, nearness
from synthgen.recipe.shipped import shipped_assets
from synthgen.seeds import rng_of
from synthgen.types import Context, Evidence, Image, Labels, Mask, Origin, Sample

SIDE, CELL = 96, 32


def thing(rng: np.random.Generator) -> tuple[Image, Mask]:
    """An ellipse with a texture of its own, on a square of CELL px."""
    inside = np.zeros((CELL, CELL), np.uint8)
    axes = (int(rng.integers(8, 13)), int(rng.integers(4, 8)))
    cv2.ellipse(inside, (CELL // 2, CELL // 2), axes, float(rng.uniform(0, 180)), 0, 360, 1, -1)
    coarse = rng.integers(60, 255, (6, 6, 3)).astype(np.uint8)
    return np.asarray(cv2.resize(coarse, (CELL, CELL), interpolation=cv2.INTER_CUBIC), np.uint8), inside > 0


def turned(one: tuple[Image, Mask], degrees: float, rng: np.random.Generator) -> tuple[Image, Mask]:
    around = cv2.getRotationMatrix2D(((CELL - 1) / 2, (CELL - 1) / 2), degrees, 1.0)
    image = cv2.warpAffine(one[0], around, (CELL, CELL), borderMode=cv2.BORDER_REPLICATE).astype(np.float64)
    image = np.clip(0.7 * image + 20 + rng.normal(0, 4, image.shape), 0, 255).astype(np.uint8)
    return image, cv2.warpAffine(one[1].astype(np.uint8), around, (CELL, CELL)) > 0


def picture(name: str, things: list[tuple[Image, Mask]]) -> Sample:
    image, ids = np.full((SIDE, SIDE, 3), 30, np.uint8), np.zeros((SIDE, SIDE), np.int32)
    for k, (pixels, inside) in enumerate(things):
        y, x = CELL * (k // 3), CELL * (k % 3)
        image[y : y + CELL, x : x + CELL][inside] = pixels[inside]
        ids[y : y + CELL, x : x + CELL][inside] = k + 1
    labels = labels_from_ids(ids, {k + 1: 0 for k in range(len(things))})
    return Sample(name, image, labels, Origin("synthetic", "gan", known_by="condition"))


def pictures(name: str, seed: int, n: int) -> list[Sample]:
    rng = rng_of(seed)
    return [picture(f"{name}-{k}", [thing(rng) for _ in range(9)]) for k in range(n)]


def copies_of(real: int, seed: int, n: int, share: float = 1.0) -> list[Sample]:
    """The objects of `pictures("seed", real, …)`, shuffled, turned anyhow, dimmed and with noise."""
    rng = rng_of(real)
    source = [thing(rng) for _ in range(5 * 9)]
    rng = rng_of(seed)

    def one() -> tuple[Image, Mask]:
        if rng.random() >= share:
            return thing(rng)
        return turned(source[int(rng.integers(len(source)))], float(rng.uniform(0, 360)), rng)

    return [picture(f"copy-{k}", [one() for _ in range(9)]) for k in range(n)]


def test_real_objects_of_their_own_are_as_near_as_chance_has_it() -> None:
    values = []
    for k in range(8):
        seed, other = cut_objects(pictures("seed", k, 5)), cut_objects(pictures("new", 100 + k, 12))
        found = nearness(other, seed, rng_of(0))
        assert found.interval[0] <= found.value <= found.interval[1]
        values.append(found.value)
    # NEAR of 45 is the second smallest: 2 / 46 is expected of new ones.
    assert float(np.mean(values)) == pytest.approx(2 / 46, abs=0.03)


def test_twins_that_are_each_others_nearest_count_as_one_distance() -> None:
    """Of 24 objects in 12 pairs the bar is the smallest of 12 distances, and not the smallest or second of 24."""
    rows = np.zeros((24, 1024), np.float32)
    for k in range(12):
        rows[2 * k :, k] = 100
        rows[2 * k + 1, 500] = 1 + k
    seed = Objects(rows, np.tile([0, 1, 2], 8), 3)
    found = nearness(seed, seed, rng_of(0))
    assert found.chance == pytest.approx((1 - 0.975 ** (1 / 12), 1 - 0.025 ** (1 / 12)))


def test_objects_turned_moved_and_dimmed_are_still_copies() -> None:
    found = nearness(cut_objects(copies_of(1, 7, 12)), cut_objects(pictures("seed", 1, 5)), rng_of(0))
    assert found.value == pytest.approx(4 / 5, abs=0.05)  # a copy is near in all comparisons but the one without it
    assert found.interval[0] > found.chance[1]


def test_the_value_grows_with_the_share_that_is_copied() -> None:
    seed = cut_objects(pictures("seed", 1, 5))
    values = [nearness(cut_objects(copies_of(1, 7, 20, share)), seed, rng_of(0)).value for share in (0, 0.3, 0.6, 1)]
    assert values == sorted(values)
    assert values[1] == pytest.approx(0.7 * values[0] + 0.3 * values[3], abs=0.08)


def test_the_order_of_files_changes_no_digit() -> None:
    one, other = copies_of(1, 7, 6, 0.5), pictures("seed", 1, 5)
    a = nearness(cut_objects(one), cut_objects(other), rng_of(0))
    b = nearness(cut_objects(one[::-1]), cut_objects(other[::-1]), rng_of(0))
    assert (a.value, a.interval, a.chance) == (b.value, b.interval, b.chance)


def test_objects_at_the_border_small_ones_and_images_without_labels_are_left_out() -> None:
    ids = np.zeros((40, 40), np.int32)
    ids[0:12, 5:20], ids[20:25, 20:25], ids[28:38, 5:20] = 1, 2, 3
    sample = Sample("x", rng_of(0).integers(0, 255, (40, 40, 3)).astype(np.uint8),
                    labels_from_ids(ids, {1: 0, 2: 0, 3: 0}))
    found = cut_objects([replace(sample, labels=None), sample])
    assert (len(found.rows), found.image.tolist(), found.images) == (1, [1], 2)
    boxes = replace(sample, labels=Labels((40, 40), np.zeros(1, np.int64), np.array([[5, 28, 20, 38]], np.float32)))
    assert cut_objects([boxes]).rows.shape == found.rows.shape
    assert cut_objects([]).rows.shape == (0, 1024)


def test_of_real_nuclei_those_of_other_tiles_are_no_copies_and_the_seeds_own_painted_anew_are(tmp_path: Path) -> None:
    def tiles(part: str) -> list[Sample]:
        found = open_dataset(shipped_assets() / "nuclei" / part, "coco", ["nucleus"], Reading())
        return [s for s in found if isinstance(s, Sample)]

    seed = cut_objects(tiles("seed"))
    fresh = nearness(cut_objects([*tiles("pool-truth"), *tiles("test")]), seed, rng_of(0))
    assert fresh.value < fresh.chance[1]
    made = plugins.build("generators", "compose", {"layout": "resample", "blend": ["feather"]})
    made.fit(tiles("seed"), [], Context(7, "instances", ("nucleus",), tmp_path))
    again = nearness(cut_objects(made.sample([k << 8 for k in range(12)])), seed, rng_of(0))
    assert again.interval[0] > again.chance[1] + MORE_NEAR  # turned by any angle, in other light, partly covered


def test_too_few_seed_objects_or_images_are_refused() -> None:
    few = pictures("seed", 1, 2)
    with pytest.raises(ValueError, match=f"{FEWEST} seed objects in 3 images are needed, not 18 in 2"):
        nearness(cut_objects(few), cut_objects(few), rng_of(0))
    assert isinstance(cut_objects(few), Objects)


def measured(synthetic: list[Sample], seed: list[Sample], task: str = "instances") -> list[tuple[str, bool, str]]:
    evidence = Evidence(synthetic, seed, [], (), ("thing",), task, {})  # type: ignore[arg-type]
    return [(m.verdict, m.hard, m.why) for m in Copying()(evidence, rng_of(0)) if "seed objects" in m.name]


def test_the_check_warns_of_copied_objects_and_skips_where_it_cannot_tell() -> None:
    seed = pictures("seed", 1, 5)
    ((verdict, hard, why),) = measured(copies_of(1, 7, 12), seed)
    assert (verdict, hard) == ("fail", False)
    assert "of 108 synthetic objects are as near to one of a seed image as 5% of such objects" in why
    assert measured(pictures("new", 9, 30), seed)[0][0] == "pass"
    ((verdict, _, why),) = measured(copies_of(1, 7, 12), seed[:2])
    assert verdict == "skipped"
    assert "there are 108 synthetic and 18 in 2 seed images" in why
    assert measured(copies_of(1, 7, 2), seed, "classify") == []
    by_construction = [replace(s, origin=replace(s.origin, known_by="construction")) for s in copies_of(1, 7, 12)]
    assert measured(by_construction, seed) == []  # composites declare what they re-use
