"""Class masks: their parts are moved apart, and what comes out has one mask for each class again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from synthgen import plugins
from synthgen.geometry import areas, decode, encode, labels_from_ids, labels_from_masks
from synthgen.layouts.regions import hold_regions, one_of_each, parted
from synthgen.seeds import rng_of
from synthgen.testing import tiny_context
from synthgen.types import Labels, Sample

COLOURS = ((200, 60, 60), (60, 180, 60))
SIDE = 96


def picture(k: int) -> Sample:
    """Discs of one colour and squares of another on grey, three of each apart; the labels are class masks."""
    rng = rng_of(k)
    image = np.clip(120 + rng.normal(0, 4, (SIDE, SIDE, 3)), 0, 255).astype(np.uint8)
    ids = np.zeros((SIDE, SIDE), np.int32)
    for spot, cell in enumerate(rng.permutation(9)[:6]):
        y, x, kind = 16 + 32 * (int(cell) // 3), 16 + 32 * (int(cell) % 3), spot % 2
        mark = np.zeros((SIDE, SIDE), np.uint8)
        if kind:
            cv2.rectangle(mark, (x - 8, y - 8), (x + 8, y + 8), 1, -1)
        else:
            cv2.circle(mark, (x, y), int(rng.integers(7, 12)), 1, -1)
        ids[mark > 0] = kind + 1
        image[mark > 0] = COLOURS[kind]
    return Sample(f"p{k}", image, labels_from_ids(ids, {1: 0, 2: 1}))


def right(sample: Sample) -> list[float]:
    """Of each class the share of its pixels that have its colour."""
    labels = sample.labels
    assert labels is not None
    assert labels.masks is not None
    near = [np.abs(sample.image.astype(int) - colour).max(-1) < 60 for colour in COLOURS]
    masks = decode(labels.masks, labels.size)
    return [float(near[c][m].mean()) for c, m in zip(labels.classes.tolist(), masks, strict=True)]


@pytest.mark.parametrize("layout", ["warp", "shape", "resample"])
def test_what_is_labelled_a_class_shows_it(layout: str, tmp_path: Path) -> None:
    made: Any = plugins.build("generators", "compose", {"layout": layout, "blend": ["feather"]})
    real = [picture(k) for k in range(6)]
    context = replace(tiny_context(tmp_path), task="segment", classes=("red", "green"))
    made.fit(real, [], context)
    samples = list(made.sample([k << 8 for k in range(12)]))
    shares = [share for sample in samples for share in right(sample)]
    assert np.mean(shares) > 0.9, shares
    for sample in samples:
        assert sample.labels is not None
        assert len(set(sample.labels.classes.tolist())) == len(sample.labels) <= 2
    made.save(tmp_path / "kept")
    again: Any = plugins.build("generators", "compose", {"layout": layout, "blend": ["feather"]})
    again.load(tmp_path / "kept")
    (one,) = again.sample([3 << 8])
    assert (one.image == samples[3].image).all()
    assert one.labels.masks == samples[3].labels.masks  # type: ignore[union-attr]


def test_class_masks_are_told_from_objects() -> None:
    real = [picture(k) for k in range(3)]
    assert hold_regions(real, "segment")
    assert not hold_regions(real, "instances")
    assert not hold_regions([parted(sample) for sample in real], "segment")  # objects: classes come twice
    one = np.zeros((20, 20), np.int32)
    one[4:9, 4:9] = 1
    assert not hold_regions([Sample("x", np.zeros((20, 20, 3), np.uint8), labels_from_ids(one, {1: 0}))], "segment")


def test_parts_are_the_whole_and_specks_are_ignored() -> None:
    sample = parted(picture(1))
    labels, whole = sample.labels, picture(1).labels
    assert labels is not None
    assert whole is not None
    assert whole.masks is not None
    assert len(labels) == 6
    assert one_of_each(labels).masks == whole.masks
    mask = np.zeros((1, 20, 20), bool)
    mask[0, 2:8, 2:8] = mask[0, 15, 15] = True
    few = parted(Sample("x", np.zeros((20, 20, 3), np.uint8), labels_from_masks(mask, [0]))).labels
    assert few is not None
    assert len(few) == 1
    assert few.ignore is not None
    assert int(areas([few.ignore], few.size)[0]) == 1


def test_masks_without_a_pixel_have_no_parts() -> None:
    nothing = labels_from_masks(np.zeros((1, 20, 20), bool), [0])
    labels = parted(Sample("x", np.zeros((20, 20, 3), np.uint8), nothing)).labels
    assert labels is not None
    assert len(labels) == 0


def test_together_things_show_as_much_as_they_do_apart() -> None:
    masks = np.zeros((3, 20, 20), bool)
    masks[0, 0:4, 0:5], masks[1, 10:12, 0:5], masks[2, 15:18, 15:18] = True, True, True
    apart = replace(labels_from_masks(masks, [1, 1, 0]), visible=np.array([1, 0.5, 1], np.float32))
    found = one_of_each(apart)
    assert found.classes.tolist() == [0, 1]
    assert found.visible is not None
    assert found.visible.tolist() == pytest.approx([1, 30 / 40])
    assert found.masks == encode(np.stack([masks[2], masks[0] | masks[1]]))
    empty = Labels((4, 4), empty="confirmed")
    assert one_of_each(empty) is empty
