"""What is written comes back the same, or the report of losses says what does not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from synthgen.formats import Format, Reading
from synthgen.formats.coco import Coco
from synthgen.formats.cvat import Cvat
from synthgen.formats.labelstudio import LabelStudio
from synthgen.formats.masks import Masks
from synthgen.formats.shards import Shards
from synthgen.formats.voc import Voc
from synthgen.formats.yolo import Yolo
from synthgen.geometry import encode, labels_from_masks
from synthgen.store import labels_to_json
from synthgen.types import Sample

EXACT: dict[str, Format] = {"coco": Coco(), "coco polygons": Coco(segmentation="polygon"), "masks": Masks(),
                            "shards": Shards(), "voc": Voc(), "cvat": Cvat(), "labelstudio": LabelStudio()}
Make: TypeAlias = Callable[..., Sample]
Read: TypeAlias = Callable[..., Any]


@pytest.mark.parametrize("name", EXACT)
def test_every_shape_comes_back_exactly(name: str, any_masks: Any, sample: Make, read: Read, class_names: Any,
                                        tmp_path: Path) -> None:
    one = sample(any_masks, classes=[k % 3 for k in range(len(any_masks))])
    losses = EXACT[name].write([one], tmp_path / "out", class_names)
    (found,), problems = read(EXACT[name], tmp_path / "out")
    assert problems == []
    assert [loss for loss in losses if name != "coco polygons" or "holes" not in loss.what] == []
    assert labels_to_json(found.labels) == labels_to_json(one.labels)   # type: ignore[arg-type]  # it has labels
    assert np.array_equal(found.image, one.image)
    assert EXACT[name].classes(tmp_path / "out") == list(class_names)


def test_solid_outlines_come_back_exactly_from_yolo(solid_masks: Any, sample: Make, read: Read, masks_of: Any,
                                                    class_names: Any, tmp_path: Path) -> None:
    one = sample(solid_masks, classes=[k % 3 for k in range(len(solid_masks))])
    assert Yolo().write([one], tmp_path / "out", class_names) == []
    (found,), problems = read(Yolo(), tmp_path / "out")
    assert problems == []
    assert np.array_equal(masks_of(found), masks_of(one)) or not solid_masks
    assert found.labels.classes.tolist() == one.labels.classes.tolist()  # type: ignore[union-attr]
    assert found.labels.empty == one.labels.empty                        # type: ignore[union-attr]
    assert Yolo().classes(tmp_path / "out") == list(class_names)


@pytest.mark.slow
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(1, 12), st.integers(1, 12), st.sampled_from([0.1, 0.5, 0.9]), st.integers(0, 2**32))
def test_any_pixels_come_back_or_yolo_reports_a_loss(h: int, w: int, share: float, seed: int) -> None:
    mask = np.random.default_rng(seed).random((1, h, w)) < share
    mask[0, 0, 0] = True
    one = Sample("0", np.zeros((h, w, 3), np.uint8), labels_from_masks(mask, [0], reviewed="human"))
    with TemporaryDirectory() as folder:
        losses = Yolo().write([one], Path(folder) / "out", ["a"])
        (found,) = Yolo().read(Path(folder) / "out", ["a"], Reading())
    assert isinstance(found, Sample)
    assert found.labels is not None
    assert one.labels is not None
    assert bool(losses) == (found.labels.masks != one.labels.masks)


@pytest.mark.slow
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 4), st.integers(0, 2**32))
@pytest.mark.parametrize("name", ["coco", "coco polygons", "shards", "cvat", "labelstudio"])
def test_any_overlapping_pixels_come_back_exactly(name: str, h: int, w: int, n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    masks = rng.random((n, h, w)) < rng.random((n, 1, 1))
    masks[:, 0, 0] = True
    one = Sample("0", np.zeros((h, w, 3), np.uint8), labels_from_masks(masks, [0] * n, reviewed="human"))
    with TemporaryDirectory() as folder:
        EXACT[name].write([one], Path(folder) / "out", ["a"])
        (found,) = EXACT[name].read(Path(folder) / "out", ["a"], Reading())
    assert isinstance(found, Sample)
    assert labels_to_json(found.labels) == labels_to_json(one.labels)   # type: ignore[arg-type]  # it has labels


FACTS: dict[str, Any] = {
    "scores": [0.25, 1.0], "visible": [0.5, float("nan")], "truncated": [True, False],
    "states": ("to_review", "ignored"), "reviewed": "model",
}


@pytest.mark.parametrize("name", ["coco", "shards", "masks", "voc", "cvat", "labelstudio"])
def test_what_is_known_of_instances_comes_back(name: str, sample: Make, read: Read, tmp_path: Path,
                                               class_names: Any) -> None:
    a, b = np.zeros((2, 9, 9), bool)
    a[2:4, 2:4], b[5:7, 5:8] = True, True
    ignored = np.zeros((1, 9, 9), bool)
    ignored[0, 8] = True
    one = sample([a, b], ignore=encode(ignored)[0], **FACTS)
    assert EXACT[name].write([one], tmp_path / "out", class_names) == []
    (found,), problems = read(EXACT[name], tmp_path / "out")
    assert problems == []
    assert labels_to_json(found.labels) == labels_to_json(one.labels)   # type: ignore[arg-type]  # it has labels


def test_what_yolo_cannot_hold_is_reported(sample: Make, tmp_path: Path, class_names: Any) -> None:
    a, b = np.zeros((2, 9, 9), bool)
    a[2:4, 2:4], b[5:7, 5:8] = True, True
    one = sample([a, b], file="x/é.jpg", **FACTS)
    said = {
        loss.what.split(":")[0]: (loss.count, loss.example)
        for loss in Yolo().write([one], tmp_path, class_names)
    }
    assert said == {
        "scores": (1, "é"), "states": (2, "é"), "visible fractions": (1, "é"),
        "truncated flags that differ from touching the border": (1, "é"), "origin and reviewer": (1, "é"),
    }
    detect = {
        loss.what.split(":")[0] for loss in Yolo(kind="detect").write([one], tmp_path / "d", class_names)
    }
    assert detect == {*said, "masks"}
