"""Fields are labels in another form: what is drawn as numbers comes back as the objects that it was."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from synthgen import plugins
from synthgen.formats import Format, Reading
from synthgen.geometry import decode, encode, labels_from_ids, rle_ious
from synthgen.layouts import LayoutName, layout_model, survey
from synthgen.layouts.fields import DITCH, FEWEST, fields, layout_of, scale_of
from synthgen.layouts.painted import labels_of, rasterised
from synthgen.seeds import rng_of
from synthgen.testing import tiny_real
from synthgen.types import Labels, Sample

NUCLEI = Path(__file__).parents[2] / "assets" / "nuclei" / "seed"
SCALE = 4.0


def there_and_back(labels: Labels, classes: int = 1, scale: float = SCALE) -> Labels:
    return labels_of(rasterised(layout_of(fields(labels, classes, scale)[1:], scale)), 0.15)


def of_ids(ids: NDArray[np.int32], classes: int = 1) -> Labels:
    return labels_from_ids(ids, {int(k): (int(k) - 1) % classes for k in np.unique(ids) if k})


def overlaps(labels: Labels, back: Labels) -> NDArray[np.float64]:
    """Of each object, the best IoU with one of its class that came back."""
    assert labels.masks is not None
    assert back.masks is not None
    ious = rle_ious(labels.masks, back.masks, labels.size)
    ious[labels.classes[:, None] != back.classes[None]] = 0
    return ious.max(1, initial=0)


@pytest.fixture(scope="module")
def nuclei() -> list[Sample]:
    coco: Format = plugins.build("formats", "coco", {})
    return [s for s in coco.read(NUCLEI, ["nucleus"], Reading()) if isinstance(s, Sample)]


def test_real_nuclei_come_back_as_they_were_but_for_one_with_a_waist(nuclei: list[Sample]) -> None:
    scale, found, more = scale_of(survey(nuclei)), [], 0
    for sample in nuclei:
        assert sample.labels is not None
        back = there_and_back(sample.labels, scale=scale)
        found += overlaps(sample.labels, back).tolist()
        more += len(back) - len(sample.labels)
    assert sum(iou < 0.95 for iou in found) <= 1
    assert min(found) > 0.5
    assert 0 <= more <= 1


@pytest.mark.slow
@pytest.mark.parametrize("name", get_args(LayoutName))
def test_drawn_layouts_come_back_but_for_slivers(name: LayoutName, nuclei: list[Sample]) -> None:
    seed = survey(nuclei)
    model, scale, found = layout_model(name, seed, (0.7, 1.3), None), scale_of(seed), []
    for k in range(8):
        labels = labels_of(rasterised(model.sample(rng_of(k), (160, 200))), 0.15)
        found += overlaps(labels, there_and_back(labels, scale=scale)).tolist()
    assert np.mean(np.asarray(found) > 0.9) > 0.95
    assert np.mean(found) > 0.96


@st.composite
def discs(draw: st.DrawFn) -> tuple[NDArray[np.int32], int]:
    """Up to seven discs of radius 5…11 one over the other, of one to three classes; of each what is 9 px wide and has
    no thinner waist, or half of that where the frame cuts it."""
    H, W = draw(st.integers(12, 48)), draw(st.integers(12, 48))
    ids = np.zeros((H, W), np.int32)
    y, x = np.mgrid[:H, :W]
    for k in range(draw(st.integers(0, 7))):
        cy, cx, r = draw(st.integers(0, H - 1)), draw(st.integers(0, W - 1)), draw(st.integers(5, 11))
        ids[(y - cy) ** 2 + (x - cx) ** 2 <= r**2] = k + 1
    square = np.ones((9, 9), np.uint8)
    for k in range(1, 8):
        mask = np.pad((ids == k).astype(np.uint8), 9, mode="symmetric")
        _, numbers = cv2.connectedComponents(cv2.erode(mask, square), connectivity=4)
        thick = cv2.dilate((numbers == 1).astype(np.uint8), square)[9:-9, 9:-9]
        ids[(ids == k) & (thick == 0)] = 0
        if np.count_nonzero(ids == k) < 36:  # what the frame leaves
            ids[ids == k] = 0
    return ids, draw(st.integers(1, 3))


@settings(max_examples=60, deadline=None)
@given(discs())
def test_compact_objects_come_back_one_by_one_however_they_touch(drawn: tuple[NDArray[np.int32], int]) -> None:
    ids, classes = drawn
    labels = of_ids(ids, classes)
    back = there_and_back(labels, classes)
    assert sorted(back.classes.tolist()) == sorted(labels.classes.tolist())
    assert overlaps(labels, back).min(initial=1) > 0.8


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 3), st.integers(1, 24), st.integers(1, 24), st.integers(0, 2**32))
def test_whatever_numbers_are_given_objects_are_sound_and_exclusive(K: int, H: int, W: int, seed: int) -> None:
    noise = rng_of(seed).normal(size=(H, W, K)).astype(np.float32)
    values = cv2.blur(noise, (3, 3)).reshape(H, W, K).transpose(2, 0, 1)
    owned = np.zeros((H, W), int)
    for thing in layout_of(values, 2.0).objects:
        h, w = thing.mask.shape
        assert thing.mask.sum() >= FEWEST
        assert cv2.connectedComponents(thing.mask.view(np.uint8), connectivity=4)[0] == 2
        owned[thing.top : thing.top + h, thing.left : thing.left + w] += thing.mask
    assert owned.max(initial=0) <= 1


def test_nothing_is_minus_one_everywhere_and_comes_back_as_nothing() -> None:
    values = fields(of_ids(np.zeros((9, 12), np.int32)), 2, SCALE)
    assert (values[0] == 1).all()
    assert (values[1:] == -1).all()
    assert layout_of(values[1:], SCALE).objects == ()


def test_an_object_that_fills_the_image_comes_back_whole() -> None:
    labels = of_ids(np.ones((9, 12), np.int32))
    assert (fields(labels, 1, SCALE)[1] > 0).all()
    assert there_and_back(labels).masks == labels.masks


@pytest.mark.parametrize(("pixels", "left"), [(1, 0), (3, 0), (4, 1)])
def test_specks_below_four_pixels_are_lost_as_in_other_layouts(pixels: int, left: int) -> None:
    ids = np.zeros((9, 9), np.int32)
    ids[4, 2 : 2 + pixels] = 1
    labels = of_ids(ids)
    assert (fields(labels, 1, SCALE)[1] > 0).sum() == pixels
    assert len(there_and_back(labels)) == left


def test_a_ditch_parts_objects_of_one_class_and_not_of_two() -> None:
    ids = np.repeat([[1, 2]], 8, 0).repeat(8, 1).astype(np.int32)
    one, two = fields(of_ids(ids), 1, SCALE), fields(of_ids(ids, 2), 2, SCALE)
    assert (one[1][:, 7:9] == DITCH).all()
    assert (two[1][:, :8] > 0).all()
    for labels, classes in ((of_ids(ids), 1), (of_ids(ids, 2), 2)):
        assert there_and_back(labels, classes).masks == labels.masks


@pytest.mark.parametrize("gap", [1, 2, 3, 4])
def test_a_gap_between_objects_is_no_ditch(gap: int) -> None:
    ids = np.zeros((8, 20), np.int32)
    ids[:, :8], ids[:, 8 + gap : 17] = 1, 2
    labels = of_ids(ids)
    assert there_and_back(labels).masks == labels.masks


def test_what_is_nothing_but_ditch_is_lost() -> None:
    ids = np.zeros((12, 20), np.int32)
    ids[:, :8], ids[:, 8:10], ids[:, 10:] = 1, 2, 3
    assert len(there_and_back(of_ids(ids))) == 2


def test_ignored_pixels_are_unknown_in_every_channel() -> None:
    ignored = np.zeros((1, 12, 12), bool)
    ignored[0, :3] = True
    labels = of_ids(np.ones((12, 12), np.int32))
    some = Labels(labels.size, labels.classes, labels.boxes, labels.masks, ignore=encode(ignored)[0])
    values = fields(some, 1, SCALE)
    assert (values[:, :3] == 0).all()
    assert (values[0, 3:] == 1).all()


def test_tiny_scenes_of_several_classes_come_back() -> None:
    for sample in tiny_real(4, classes=3):
        assert sample.labels is not None
        assert sample.labels.masks is not None
        back = there_and_back(sample.labels, 3)
        solid = decode(sample.labels.masks, sample.labels.size).sum((1, 2)) >= FEWEST
        assert overlaps(sample.labels, back)[solid].min() > 0.8


def test_a_ditch_that_a_network_left_open_still_parts_two_objects() -> None:
    ids = np.zeros((24, 40), np.int32)
    ids[4:20, 4:20], ids[4:20, 20:36] = 1, 2
    values = fields(of_ids(ids), 1, SCALE)[1:]
    values[0, 10:13, 19:21] = 0.1  # 3 of its 16 px
    found = layout_of(values, SCALE).objects
    assert sorted(o.left for o in found) == [4, 20]
    assert all(abs(np.count_nonzero(o.mask) - 256) <= 2 for o in found)


def test_a_thin_object_with_a_thick_end_comes_back_however_long_it_winds() -> None:
    """A vessel that runs to and fro is longer than the image is high and wide."""
    field = np.full((1, 41, 41), -1, np.float32)
    for k, y in enumerate(range(1, 41, 4)):
        field[0, y, 1:40] = 0.1
        field[0, y : y + 5 if y < 37 else y + 1, 39 if k % 2 == 0 else 1] = 0.1
    field[0, :3, :3] = 1
    (one,) = layout_of(field, 1.0).objects
    assert int(one.mask.sum()) == int((field > 0).sum())


def test_a_steep_outline_is_no_ditch() -> None:
    ids = np.zeros((24, 24), np.int32)
    ids[6:18, 6:18] = 1
    values = np.where(fields(of_ids(ids), 1, SCALE)[1:] > 0, 1.0, -1.0).astype(np.float32)
    (found,) = layout_of(values, SCALE).objects
    assert (found.top, found.left, found.mask.shape) == (6, 6, (12, 12))
    assert found.mask.all()
