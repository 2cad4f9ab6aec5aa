"""Labels follow from the painted pixels, exactly: the promise that the compositor exists for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, get_args
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import synthgen_compose
from synthgen.geometry import areas, decode, rle_boxes, touches_border
from synthgen.layouts import LayoutName
from synthgen.layouts.painted import Painted, labels_of
from synthgen.store import labels_to_json
from synthgen.testing import tiny_context, tiny_real
from synthgen.types import Labels, Placed, Sample
from synthgen_compose import Compose
from synthgen_compose.bank import RIM, Cutout
from synthgen_compose.render import Blend, stamped

LAYOUTS, BLENDS = get_args(LayoutName), get_args(Blend)
SEEDS = st.integers(0, 2**63 - 1)
SIZES = st.sampled_from([None, (40, 52), (90, 70)])


@dataclass
class Recorded:
    """The objects of one canvas in the order in which they were painted, each in a colour of its own."""

    colours: list[tuple[int, int, int]] = field(default_factory=list)
    things: list[Placed] = field(default_factory=list)


@contextmanager
def one_colour_each() -> Iterator[list[Recorded]]:
    """Every object is painted in one colour, which no other object of its image and no background has."""
    record: list[Recorded] = []
    frames: list[Any] = []

    def coloured(frame: Any, thing: Placed, cutout: Cutout, *how: Any) -> Any:
        if not frames or frames[-1] is not frame:
            frames.append(frame)
            record.append(Recorded())
        k = len(record[-1].things)
        colour = (1 + k % 200, 250, 255 - k // 200)
        record[-1].colours.append(colour)
        record[-1].things.append(thing)
        return stamped(frame, thing, replace(cutout, patch=np.full_like(cutout.patch, colour)), *how)

    with patch.object(synthgen_compose, "stamped", coloured):
        yield record


@lru_cache
def fitted(layout: LayoutName, background: str, min_visible: float, size: tuple[int, int] | None) -> Compose:
    plain: dict[str, Any] = {"blend": ("hard",), "noise": False, "match": 0.0, "gain_sd": 0.0}
    made = Compose(
        layout=layout,
        background=(background,),
        min_visible=min_visible,
        size=size,
        touching=0.6,
        density=(1.0, 1.6),
        **plain,
    )
    made.fit(tiny_real(3), [], tiny_context(Path()))
    return made


def painted(generator: Compose, seed: int) -> tuple[Sample, Recorded]:
    with one_colour_each() as record:
        (sample,) = generator.sample([seed])
    return sample, record[0] if record else Recorded()


def whole(thing: Placed, size: tuple[int, int]) -> Any:
    """(H, W) bool: what of an object lies in the frame."""
    out = np.zeros((size[0] + 2 * 400, size[1] + 2 * 400), bool)
    h, w = thing.mask.shape
    out[400 + thing.top : 400 + thing.top + h, 400 + thing.left : 400 + thing.left + w] = thing.mask
    return out[400 : 400 + size[0], 400 : 400 + size[1]]


@pytest.mark.slow
@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.sampled_from(LAYOUTS), SIZES, st.sampled_from([0.0, 0.15, 0.7]), SEEDS)
def test_labels_are_what_was_painted_to_the_pixel(
    layout: LayoutName, size: tuple[int, int] | None, min_visible: float, seed: int
) -> None:
    sample, by = painted(fitted(layout, "inpaint", min_visible, size), seed)
    labels, frame = sample.labels, sample.image.shape[:2]
    assert size is None or frame == size
    modal, amodal = decode(labels.masks, frame), decode(labels.amodal, frame)
    ignored = decode([labels.ignore], frame)[0] if labels.ignore else np.zeros(frame, bool)
    kept = 0
    for colour, thing in zip(by.colours, by.things, strict=True):
        shows = (sample.image == colour).all(-1)
        visible = shows.sum() / thing.mask.sum()
        # What the frame cuts off is not hidden by anybody: it does not count against min_visible.
        if not shows.any() or shows.sum() / whole(thing, frame).sum() < min_visible:
            assert ignored[shows].all(), "what is too little to label is ignored, not background"
            continue
        # Labels stand in the order of painting.
        assert np.array_equal(modal[kept], shows)
        assert np.array_equal(amodal[kept], whole(thing, frame))
        assert not (modal[kept] & ~amodal[kept]).any()
        assert labels.visible[kept] == pytest.approx(visible, abs=1e-6)
        assert labels.classes[kept] == thing.class_id
        kept += 1
    assert kept == len(labels)
    assert not (ignored & modal.any(0)).any()
    objects = (sample.image[..., 1] == 250) if len(by.things) else np.zeros(frame, bool)
    assert np.array_equal(objects, modal.any(0) | ignored), "an object's pixel is labelled or ignored"
    assert np.array_equal(labels.boxes, rle_boxes(labels.masks, frame))
    assert labels.truncated.tolist() == touches_border(labels.boxes, frame).tolist()
    assert labels.empty == ("unknown" if kept else "confirmed")


@settings(max_examples=15, deadline=None, derandomize=True)
@given(SEEDS)
def test_objects_of_a_kept_background_stay_labelled_where_nothing_covers_them(seed: int) -> None:
    sample, by = painted(fitted("resample", "keep", 0.0, None), seed)
    modal = decode(sample.labels.masks, sample.labels.size)
    new = (sample.image[..., 1] == 250) if len(by.things) else np.zeros(sample.labels.size, bool)
    (parent,) = [s for s in tiny_real(3) if s.id == sample.origin.parents[0]]
    own = int(areas(parent.labels.masks, parent.labels.size).sum())
    kept = [mask for mask in modal if not new[mask].any()]
    assert sum(int(mask.sum()) for mask in kept) >= own - new.sum()
    assert not (modal.sum(0) > 1).any()
    for shows in [(sample.image == colour).all(-1) for colour in by.colours]:
        assert not shows.any() or any(np.array_equal(m, shows) for m in modal)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_same_layout_under_several_blends_has_the_same_labels(layout: LayoutName) -> None:
    made = Compose(layout=layout, blend=BLENDS)
    made.fit(tiny_real(3), [], tiny_context(Path()))
    assert made.variants == len(BLENDS)
    for base in (0, 7 << 8):
        samples = list(made.sample([base + k for k in range(len(BLENDS))]))
        assert [s.meta["blend"] for s in samples] == list(BLENDS)
        assert len({str(labels_to_json(s.labels)) for s in samples}) == 1
        assert len({s.image.tobytes() for s in samples}) == len(BLENDS)
        assert len({s.origin.parents for s in samples}) == 1


def thing(shape: tuple[int, int], top: int, left: int, class_id: int = 0) -> Placed:
    return Placed(np.ones(shape, bool), top, left, class_id, 0, np.asarray([[1.0, 0, 0], [0, 1, 0]]))


def labels_after(*things: Placed, min_visible: float = 0.15, size: tuple[int, int] = (20, 24)) -> Labels:
    on = Painted(np.zeros(size, np.int32))
    for one in things:
        side = (one.mask.shape[0] + 2 * RIM, one.mask.shape[1] + 2 * RIM)
        middle = (side[0] / 2, side[1] / 2)
        grey = np.full((*side, 3), 99, np.float32)
        cutout = Cutout(grey, middle, np.full(72, 3.0), 0.0, np.zeros(3, np.float32))
        stamped(on, one, cutout)
    return labels_of(on, min_visible)


def test_an_empty_canvas_is_known_to_be_empty() -> None:
    labels = labels_after()
    assert (len(labels), labels.empty, labels.ignore) == (0, "confirmed", None)


def test_an_object_covered_but_for_a_sliver_is_ignored_there_and_nowhere_else() -> None:
    labels = labels_after(thing((5, 10), 2, 2), thing((5, 9), 2, 3, 1))
    assert labels.classes.tolist() == [1]
    ignored = decode([labels.ignore], labels.size)[0]
    assert ignored.sum() == 5
    assert ignored[2:7, 2].all()


def test_an_object_of_which_enough_shows_keeps_its_label_and_its_whole() -> None:
    labels = labels_after(thing((5, 10), 2, 2), thing((5, 8), 2, 4, 1))
    assert labels.visible.tolist() == pytest.approx([0.2, 1])
    assert areas(labels.masks, labels.size).tolist() == [10, 40]
    assert areas(labels.amodal, labels.size).tolist() == [50, 40]
    assert labels.ignore is None


def test_an_object_wholly_covered_is_neither_labelled_nor_ignored() -> None:
    labels = labels_after(thing((3, 3), 4, 4), thing((5, 5), 3, 3, 1), min_visible=0.0)
    assert labels.classes.tolist() == [1]
    assert labels.ignore is None


def test_an_object_outside_the_frame_paints_nothing() -> None:
    for top, left in ((-9, 2), (20, 2), (2, -9), (2, 24), (-5, 2), (2, 29)):
        assert len(labels_after(thing((5, 5), top, left))) == 0


def test_the_visible_share_counts_what_lies_outside_the_frame() -> None:
    labels = labels_after(thing((6, 10), -3, -5))
    assert labels.visible.tolist() == pytest.approx([3 * 5 / 60])
    assert labels.truncated.tolist() == [True]
    assert areas(labels.amodal, labels.size).tolist() == [15]


def test_one_pixel_and_the_full_frame_are_objects_too() -> None:
    labels = labels_after(thing((20, 24), 0, 0), thing((1, 1), 19, 23, 1))
    assert areas(labels.masks, labels.size).tolist() == [20 * 24 - 1, 1]
    assert labels.boxes.tolist() == [[0, 0, 24, 20], [23, 19, 24, 20]]
    assert labels.truncated.all()


@pytest.mark.parametrize("blend", BLENDS)
def test_a_blend_changes_pixels_near_the_object_only(blend: Blend) -> None:
    made = Compose(layout="resample", blend=(blend,), density=(0.3, 0.5))
    made.fit(tiny_real(3), [], tiny_context(Path()))
    with one_colour_each() as record:
        (sample,) = made.sample([5 << 8])
    with patch.object(synthgen_compose, "paint", lambda *a: None):
        (bare,) = made.sample([5 << 8])
    near = np.zeros(sample.labels.size, bool)
    for one in record[0].things:
        y0, x0 = max(one.top - RIM, 0), max(one.left - RIM, 0)
        near[y0 : max(one.top + one.mask.shape[0] + RIM, 0), x0 : max(one.left + one.mask.shape[1] + RIM, 0)] = True
    assert not near.all()
    assert np.array_equal(sample.image[~near], bare.image[~near])
