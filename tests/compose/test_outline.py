"""Objects of which only boxes are known: cut out along an outline that fits the box, and pasted as boxes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from synthgen.checks.integrity import defects
from synthgen.geometry import decode, rle_boxes, rle_ious
from synthgen.seeds import rng_of
from synthgen.testing import check_generator, digest, tiny_context, tiny_real
from synthgen.types import Labels, Sample
from synthgen_compose import Compose
from synthgen_compose.outline import outlined


def boxes_alone(sample: Sample) -> Sample:
    assert sample.labels is not None
    return replace(sample, labels=replace(sample.labels, masks=None))


def test_every_outline_fits_its_box_and_most_are_near_the_true_ones() -> None:
    found = []
    for sample in tiny_real(6, size=(96, 128)):
        mine = outlined(boxes_alone(sample))
        assert mine.labels is not None
        assert mine.labels.masks is not None
        assert sample.labels is not None
        assert np.array_equal(rle_boxes(mine.labels.masks, mine.labels.size), np.round(sample.labels.boxes))
        found += np.diag(rle_ious(mine.labels.masks, sample.labels.masks or (), sample.labels.size)).tolist()
    assert np.median(found) > 0.8  # the ellipse in the box alone: 0.75
    assert digest(outlined(boxes_alone(sample))) == digest(mine)


@pytest.mark.parametrize("box", [
    (0, 0, 64, 48), (3, 3, 4, 4), (60, 0, 64, 48), (10, 10, 30, 12), (2, 4, 60, 6), (-5, -5, 6, 7)])
@pytest.mark.parametrize("kind", ["flat", "noise"])
def test_an_outline_there_always_is(box: tuple[int, ...], kind: str) -> None:
    image = np.full((48, 64, 3), 90, np.uint8) if kind == "flat" else rng_of(0).integers(0, 256, (48, 64, 3), np.uint8)
    labels = Labels((48, 64), np.array([0]), np.array([box], np.float32))
    mine = outlined(Sample("x", image, labels)).labels
    assert mine is not None
    assert mine.masks is not None
    (mask,) = decode(mine.masks, mine.size)
    x0, y0, x1, y1 = (int(v) for v in np.clip(box, 0, [64, 48, 64, 48]))
    assert mask[y0:y1, x0:x1].any()
    assert mask.sum() == mask[y0:y1, x0:x1].sum()
    assert rle_boxes(mine.masks, mine.size).tolist() == [[x0, y0, x1, y1]]


def test_what_has_masks_or_no_labels_stays_as_it_is() -> None:
    sample = tiny_real(1)[0]
    empty = replace(sample, labels=Labels(sample.image.shape[:2], empty="confirmed"))
    for one in (sample, replace(sample, labels=None), empty):
        assert outlined(one) is one


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"layout": "shape"}, {"layout": "resample", "background": ("keep",)}])
def test_composites_of_boxes_have_boxes_alone_and_keep_a_generators_promises(options: dict[str, str]) -> None:
    check_generator(Compose(**options), [boxes_alone(s) for s in tiny_real(3)], "detect")


def test_the_boxes_are_those_of_the_same_composites_with_masks(tmp_path: Path) -> None:
    real = [outlined(boxes_alone(s)) for s in tiny_real(3)]
    made = {}
    for task in ("instances", "detect"):
        compose = Compose(layout="shape")
        compose.fit(real, [], tiny_context(tmp_path, task))
        made[task] = list(compose.sample(range(0, 4 << 8, 1 << 8)))
    for masks, boxes in zip(made["instances"], made["detect"], strict=True):
        assert np.array_equal(masks.image, boxes.image)
        assert masks.labels is not None
        assert boxes.labels is not None
        assert boxes.labels.masks is None
        assert np.array_equal(masks.labels.boxes, boxes.labels.boxes)
        assert defects(boxes.labels, 2, "detect") == set()
