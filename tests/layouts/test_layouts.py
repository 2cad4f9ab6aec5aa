"""Whatever the model, a layout can be painted: objects are there, known, and as many as in the seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, get_args

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthgen.errors import DataError
from synthgen.layouts import LayoutName, Survey, layout_model, survey
from synthgen.layouts.resample import transformed
from synthgen.layouts.shape import ShapeModel, rasterised
from synthgen.layouts.survey import axes_of
from synthgen.seeds import rng_of
from synthgen.testing import tiny_real
from synthgen.types import Layout, Sample

MODELS: Sequence[LayoutName] = get_args(LayoutName)
SIZES = [(64, 80), (80, 64), (20, 25), (140, 150)]


@pytest.fixture(scope="module")
def seed() -> Survey:
    return survey(tiny_real(4))


def plain(layout: Layout) -> list[Any]:
    """A layout as values that can be compared."""
    objects = [(o.mask.tobytes(), o.mask.shape, o.top, o.left, o.class_id, o.source) for o in layout.objects]
    return [layout.size, *objects, *(None if o.affine is None else o.affine.tolist() for o in layout.objects)]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("size", SIZES)
def test_every_object_shows_and_comes_from_the_seed(name: LayoutName, size: tuple[int, int], seed: Survey) -> None:
    model = layout_model(name, seed, (0.7, 1.3), None)
    usable = {i.index: i.class_id for i in seed.sources}
    total = 0
    for k in range(8):
        layout = model.sample(rng_of(k), size)
        assert layout.size == size
        for thing in layout.objects:
            assert thing.mask.dtype == bool
            h, w = thing.mask.shape
            y0, x0 = max(-thing.top, 0), max(-thing.left, 0)
            assert thing.mask[y0 : size[0] - thing.top, x0 : size[1] - thing.left].any(), (
                "nothing of it is in the frame"
            )
            assert h > 0 < w
            assert usable[thing.source] == thing.class_id
            assert thing.affine is None or thing.affine.shape == (2, 3)
        total += len(layout.objects)
    assert total > 0


@pytest.mark.parametrize("name", MODELS)
def test_the_same_random_state_gives_the_same_layout(name: LayoutName, seed: Survey) -> None:
    one, two = (layout_model(name, seed, (0.7, 1.3), 0.5) for _ in range(2))
    layouts = [plain(one.sample(rng_of(k), (64, 80))) for k in range(4)]
    assert [plain(two.sample(rng_of(k), (64, 80))) for k in reversed(range(4))] == layouts[::-1]
    assert layouts[0] != layouts[1]


@pytest.mark.parametrize("name", ["resample", "shape"])
@pytest.mark.parametrize("density", [(0.3, 0.5), (1.0, 1.0)])
def test_there_are_as_many_objects_as_the_density_says(
    name: LayoutName, density: tuple[float, float], seed: Survey
) -> None:
    model = layout_model(name, seed, density, 0.0)
    for size in ((64, 80), (128, 80)):
        share = size[0] * size[1] / (64 * 80)
        counts = [len(model.sample(rng_of(k), size).objects) for k in range(12)]
        assert max(counts) <= np.ceil(seed.counts.max() * density[1] * share)
        assert np.mean(counts) >= 0.6 * seed.counts.mean() * np.mean(density) * share, "a full frame may leave some out"


def test_a_seed_of_empty_and_full_images_gives_both(seed_of_masks: Callable[..., Sample]) -> None:
    mask = np.zeros((40, 50), bool)
    mask[10:16, 10:17] = True
    model = layout_model("resample", survey([seed_of_masks([]), seed_of_masks([mask])]), (1, 1), None)
    assert {len(model.sample(rng_of(k), (40, 50)).objects) for k in range(20)} == {0, 1}


@pytest.mark.parametrize("name", ["resample", "warp"])
@pytest.mark.parametrize("size", [(12, 17), (8, 8), (40, 30)])
def test_objects_of_one_pixel_and_of_the_whole_image_can_be_laid_out(
    name: LayoutName, size: tuple[int, int], seed_of_masks: Callable[..., Sample]
) -> None:
    dot = np.zeros((12, 17), bool)
    dot[5, 5] = True
    real = [
        seed_of_masks([np.ones((12, 17), bool)], (12, 17)),
        seed_of_masks([dot], (12, 17), [1]),
        seed_of_masks([], (12, 17)),
    ]
    model = layout_model(name, survey(real), (0.7, 1.3), None)
    seen = set()
    for k in range(80):
        for thing in model.sample(rng_of(k), size).objects:
            assert thing.mask.any()
            seen.add(thing.class_id)
    assert name == "warp" or seen == {0, 1}


@pytest.mark.slow
def test_as_many_objects_touch_as_is_asked_for_and_the_rest_keep_their_distance(seed: Survey) -> None:
    def share_touching(touching: float) -> float:
        model, found = layout_model("resample", seed, (1.0, 1.0), touching), []
        for k in range(30):
            layout = model.sample(rng_of(k), (96, 120))
            ids = np.zeros((96 + 40, 120 + 40), np.int32)
            for number, o in enumerate(layout.objects, 1):
                ids[20 + o.top :, 20 + o.left :][: o.mask.shape[0], : o.mask.shape[1]][o.mask] = number
            ids = ids[20:-20, 20:-20]               # what lies beyond the frame may touch there
            for number in range(1, len(layout.objects) + 1):
                cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
                near = cv2.dilate((ids == number).astype(np.uint8), cross) > 0
                found.append(bool(((ids != number) & (ids > 0) & near).any()))
        return float(np.mean(found))

    assert share_touching(0.0) == 0.0
    for asked in (0.2, 0.4, 0.7):
        assert share_touching(asked) == pytest.approx(asked, abs=0.08)   # each one put against another makes two touch


MASKS = st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**20))


def drawn(shape: tuple[int, int, int]) -> Any:
    """A random mask whose box is tight."""
    h, w, number = shape
    mask = np.random.default_rng(number).random((h, w)) < 0.5
    mask[0, 0] = mask[-1, -1] = True
    return mask


@pytest.mark.slow
@settings(max_examples=120, deadline=None, derandomize=True)
@given(MASKS, st.sampled_from([0.0, 90.0, 180.0, 270.0]), st.booleans())
def test_a_quarter_turn_copies_every_pixel_and_maps_each_back_to_where_it_was(
    shape: tuple[int, int, int], turn: float, mirror: bool
) -> None:
    mask = drawn(shape)
    new, affine = transformed(mask, turn, 1.0, mirror)
    assert np.allclose(affine, np.rint(affine), atol=1e-9)
    assert new.shape == (mask.shape if turn in (0.0, 180.0) else mask.shape[::-1])
    assert new.sum() == mask.sum()
    ys, xs = np.mgrid[: new.shape[0], : new.shape[1]]
    x, y = np.rint(np.tensordot(affine, np.stack([xs, ys, np.ones_like(xs)]), 1)).astype(int)
    assert np.array_equal(new, mask[y, x])
    assert sorted(zip(y.ravel(), x.ravel(), strict=True)) == [
        (i, j) for i in range(mask.shape[0]) for j in range(mask.shape[1])
    ]


@settings(max_examples=120, deadline=None, derandomize=True)
@given(MASKS, st.floats(0, 360), st.floats(0.05, 3), st.booleans())
def test_an_object_never_vanishes_and_its_box_is_its_own(
    shape: tuple[int, int, int], turn: float, scale: float, mirror: bool
) -> None:
    new, affine = transformed(drawn(shape), turn, scale, mirror)
    assert new.any(1)[[0, -1]].all()
    assert new.any(0)[[0, -1]].all()
    assert np.linalg.det(affine[:, :2]) == pytest.approx((-1 if mirror else 1) / scale**2)


@pytest.mark.parametrize("turn", [10, 45, 133, 290])
def test_a_free_turn_keeps_the_area_and_the_centre(turn: float) -> None:
    y, x = np.mgrid[:30, :44]
    mask = ((x - 21.5) / 21) ** 2 + ((y - 14.5) / 14) ** 2 < 1
    new, affine = transformed(mask, turn, 1.1, True)
    cy, cx, _, _ = axes_of(new)
    assert new.sum() == pytest.approx(1.21 * mask.sum(), rel=0.02)
    assert affine @ [cx, cy, 1] == pytest.approx([21.5, 14.5], abs=0.3)


def test_new_outlines_are_in_one_piece_and_as_large_as_the_seeds(ellipses: Callable[..., list[Sample]]) -> None:
    model = ShapeModel(survey(ellipses([0, 20, 45, 100, 160], a=9, b=5)))
    wanted = np.mean([i.area for i in survey(ellipses([0, 20, 45, 100, 160], a=9, b=5)).instances])
    areas = []
    for k in range(40):
        thing = model.draw(rng_of(k))
        count, _ = cv2.connectedComponents(thing.mask.astype(np.uint8), connectivity=4)
        assert count == 2, "background and one piece"
        assert thing.mask.any(1)[[0, -1]].all()
        assert thing.mask.any(0)[[0, -1]].all()
        areas.append(thing.mask.sum())
    assert min(areas) > 0.6 * wanted
    assert max(areas) < 1.6 * wanted
    assert np.mean(areas) == pytest.approx(wanted, rel=0.1)


def test_new_outlines_differ_from_each_other_and_from_the_seed(seed: Survey) -> None:
    model = ShapeModel(seed)
    drawn_masks = {(t.mask.shape, t.mask.tobytes()) for t in (model.draw(rng_of(k)) for k in range(20))}
    own = {(i.mask.shape, i.mask.tobytes()) for i in seed.instances}
    assert len(drawn_masks) > 18
    assert not drawn_masks & own


def test_three_equal_objects_are_enough_for_a_shape_model_and_two_are_not(
    ellipses: Callable[..., list[Sample]],
) -> None:
    assert ShapeModel(survey(ellipses([30] * 3))).draw(rng_of(0)).mask.any()
    with pytest.raises(DataError, match="class number 0 has 2 complete instances in the seed and needs 3"):
        ShapeModel(survey(ellipses([30] * 2)))


def test_objects_that_the_border_cuts_teach_no_outline(seed_of_masks: Callable[..., Sample]) -> None:
    masks = np.zeros((4, 40, 50), bool)
    for k in range(4):
        masks[k, 0:6, 2 + 12 * k : 9 + 12 * k] = True
    with pytest.raises(DataError, match="has 0 complete instances"):
        ShapeModel(survey([seed_of_masks(list(masks))]))


def test_one_pixel_objects_give_small_outlines(seed_of_masks: Callable[..., Sample]) -> None:
    dots = np.zeros((4, 40, 50), bool)
    for k in range(4):
        dots[k, 10, 8 + 9 * k] = True
    model = ShapeModel(survey([seed_of_masks(list(dots))]))
    assert max(model.draw(rng_of(k)).mask.sum() for k in range(20)) <= 4


def test_an_aligned_shape_of_nothing_is_still_one_pixel() -> None:
    assert rasterised(np.full((48, 48), 5.0), 1.0, 0.0, False).tolist() == [[True]]


@pytest.mark.parametrize("size", SIZES)
def test_bent_arrangements_stay_inside_the_frame_and_do_not_overlap(size: tuple[int, int], seed: Survey) -> None:
    model = layout_model("warp", seed, (1, 1), None)
    for k in range(10):
        claimed = np.zeros(size, int)
        for o in model.sample(rng_of(k), size).objects:
            h, w = o.mask.shape
            assert o.top >= 0 <= o.left
            assert o.top + h <= size[0]
            assert o.left + w <= size[1]
            claimed[o.top : o.top + h, o.left : o.left + w] += o.mask
        assert claimed.max(initial=0) <= 1


def test_a_cut_object_does_not_show_its_cut_inside_the_frame(seed_of_masks: Callable[..., Sample]) -> None:
    size = (40, 50)
    cut, whole = np.zeros((2, *size), bool)
    cut[0:12, 20:32], whole[25:33, 8:20] = True, True
    model = layout_model("warp", survey([seed_of_masks([cut, whole])]), (1, 1), None)
    for k in range(20):
        for o in model.sample(rng_of(k), size).objects:
            inside = o.top > 0 and o.left > 0 and o.top + o.mask.shape[0] < 40 and o.left + o.mask.shape[1] < 50
            assert not inside or o.source == 1
