"""Layouts, conditions and crops for networks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from synthgen.errors import DataError
from synthgen.geometry import id_map
from synthgen.neural.crops import Crops, from_pool
from synthgen.neural.scene import Scene, Wishes, load_scene
from synthgen.testing import tiny_real
from synthgen.types import Labels, Sample


def scene(**wishes: object) -> Scene:
    return Scene(tiny_real(4), tiny_real(4, seed=5), "instances", 2, Wishes(**wishes))  # type: ignore[arg-type]


def by_class(n: int = 6) -> list[Sample]:
    rng = np.random.default_rng(0)
    return [Sample(f"c{k}", rng.integers(0, 256, (28, 28, 3), np.uint8), Labels((28, 28), image_class=k % 3))
            for k in range(n)]


def test_the_condition_is_that_of_the_labels() -> None:
    made = scene()
    drawn = made.draw(77 << 8)
    assert drawn.condition.shape == (made.channels, *drawn.labels.size)
    np.testing.assert_array_equal(drawn.condition[1:3].any(0), id_map(drawn.labels) > 0)
    assert set(drawn.parents) == {f"real-{k:06d}" for k in range(4)}


def test_seeds_that_differ_in_the_low_bits_share_the_layout_and_others_do_not() -> None:
    made = scene()
    np.testing.assert_array_equal(made.draw(5 << 8).condition, made.draw(5 << 8 | 1).condition)
    assert (made.draw(5 << 8).condition.shape != made.draw(6 << 8).condition.shape
            or (made.draw(5 << 8).condition != made.draw(6 << 8).condition).any())


def test_a_scene_comes_back_from_its_folder(tmp_path: Path) -> None:
    made = scene(layouts=("warp",))
    made.save(tmp_path)
    again = load_scene(tmp_path, made.wishes)
    np.testing.assert_array_equal(again.draw(3 << 8).condition, made.draw(3 << 8).condition)
    assert again.tones == made.tones


def test_images_without_masks_are_no_seed() -> None:
    bare = [replace(s, labels=None) for s in tiny_real(2)]
    with pytest.raises(DataError, match="not one seed image has masks"):
        Scene(bare, [], "instances", 2, Wishes())


def test_of_classes_that_the_seed_lacks_nothing_is_drawn() -> None:
    made = Scene(by_class(), [], "classify", 5, Wishes())
    kinds = [made.draw(k << 8).labels.image_class for k in range(60)]
    assert set(kinds) == {0, 1, 2}
    assert min(kinds.count(k) for k in range(3)) >= 10


def test_a_crops_condition_is_turned_with_its_picture() -> None:
    made = scene()
    made.any_angle = True
    crops = Crops(made, [], 32, seed=1)
    batch = crops.batch(0, 0, 64, drop=0.0)
    inside, ground = batch.condition[:, 1:3].any(1), batch.condition[:, 1:3].sum(1) == 0
    bright = [batch.clean[k].mean(0)[inside[k]].mean() - batch.clean[k].mean(0)[ground[k]].mean()
              for k in range(64) if inside[k].any() and ground[k].any()]
    assert min(bright) > 0.3, "objects are brighter than the ground, so wherever the mask is the picture is bright"


def test_crops_of_the_pool_say_nothing_and_take_half_the_batch() -> None:
    made = scene()
    crops = Crops(made, [s.image for s in from_pool(tiny_real(4, seed=5), 1)], 32, seed=1)
    batch = crops.batch(3, 1, 200, drop=0.0)
    unknown = ~batch.condition.any((1, 2, 3))
    assert unknown.sum() == 100


def test_a_batch_depends_on_step_and_part_alone() -> None:
    made = scene()
    one, two = Crops(made, [], 32, seed=1), Crops(made, [], 32, seed=1)
    one.batch(0, 0, 4, 0.1)
    np.testing.assert_array_equal(one.batch(1, 0, 4, 0.1).clean, two.batch(1, 0, 4, 0.1).clean)
    assert (one.batch(1, 0, 4, 0.1).clean != one.batch(1, 1, 4, 0.1).clean).any()


def test_smaller_images_are_mirrored_and_nothing_is_known_of_the_mirror_image() -> None:
    made = Scene(tiny_real(3, size=(21, 90)), [], "instances", 2, Wishes(layouts=("resample",)))
    batch = Crops(made, [], 32, seed=1).batch(0, 0, 8, 0.0)
    assert not batch.condition[:, :, 21:].any()
    np.testing.assert_array_equal(batch.clean[:, :, 21:], batch.clean[:, :, 10:21][:, :, ::-1])
