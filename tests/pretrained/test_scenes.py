"""What a sample shall be, before any pixel is drawn; no torch in here."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from synthgen.checks.integrity import defects
from synthgen.errors import DataError
from synthgen.geometry import decode, encode, id_map, labels_from_masks
from synthgen.seeds import rng_of
from synthgen.testing import tiny_real
from synthgen.types import Labels, Sample
from synthgen_pretrained.scenes import ClassScenes, ObjectScenes, Scene, Wishes

WISHES = Wishes("resample", (0.7, 1.3), None, 1.0, 0.15)


def scenes(real: list[Sample], mode: Any, n: int = 8, **wishes: Any) -> list[Scene]:
    found = ObjectScenes(real, mode, replace(WISHES, **wishes))
    return [found.draw(rng_of(k)) for k in range(n)]


def block(size: tuple[int, int], *corners: tuple[int, int, int, int]) -> Sample:
    masks = np.zeros((len(corners), *size), bool)
    for mask, (y0, x0, y1, x1) in zip(masks, corners, strict=True):
        mask[y0:y1, x0:x1] = True
    return Sample(f"blocks-{len(corners)}", np.zeros((*size, 3), np.uint8), labels_from_masks(masks, [0] * len(masks)))


@pytest.mark.parametrize("layout", ["resample", "warp", "shape"])
@pytest.mark.parametrize("repaint", [0.0, 0.5, 1.0])
def test_what_is_changed_and_what_is_kept_never_meet_and_every_label_is_one_of_them(
        layout: str, repaint: float) -> None:
    for scene in scenes(tiny_real(4), "inpaint-objects", layout=layout, repaint=repaint):
        assert scene.changed is not None
        assert scene.changed.any()
        assert not (scene.changed & scene.kept).any()
        assert not defects(scene.labels, 2, "instances")
        ids = id_map(scene.labels)
        for k in range(1, ids.max() + 1):
            own = ids == k
            assert scene.changed[own].all() != scene.kept[own].all()


def test_all_objects_are_painted_anew_by_default_and_none_but_new_ones_at_zero() -> None:
    (real,) = tiny_real(1)
    known = id_map(real.labels) > 0
    for scene in scenes([real], "inpaint-objects"):
        assert not scene.kept.any()
        assert scene.changed[known].all()
    for scene in scenes([real], "inpaint-objects", repaint=0.0, density=(2.5, 2.5)):
        new = decode(scene.labels.masks, scene.labels.size)[len(real.labels):].any(0)
        assert np.array_equal(new, scene.changed)
        assert scene.kept.any()


def test_a_sample_is_never_the_seed_image_itself() -> None:
    full = block((24, 24), (0, 0, 24, 24))  # no room for a new one, and none shall be painted anew
    for scene in scenes([full], "inpaint-objects", repaint=0.0):
        assert scene.changed.all()


def test_an_empty_image_is_filled_up_and_a_crowded_one_is_not() -> None:
    crowded = block((40, 40), *((y, x, y + 6, x + 6) for y in range(1, 39, 8) for x in range(1, 39, 8)))
    empty = replace(block((40, 40)), id="empty")
    counts: dict[str, list[int]] = {}
    for scene in scenes([crowded, empty], "inpaint-objects", 24, density=(0.5, 0.5)):
        counts.setdefault(scene.parents[0], []).append(len(scene.labels))
    assert max(counts["blocks-25"]) == 25
    assert 0 < np.mean(counts["empty"]) <= 12.5


def test_around_the_objects_all_is_painted_and_labels_stay_the_persons() -> None:
    real = tiny_real(3)
    by_id = {s.id: s for s in real}
    for scene in scenes(real, "inpaint-background"):
        known = by_id[scene.parents[0]]
        assert scene.labels.masks == known.labels.masks
        assert list(scene.labels.classes) == list(known.labels.classes)
        assert np.array_equal(scene.kept, id_map(known.labels) > 0)
        assert scene.base is known.image
        assert scene.changed is None


@pytest.mark.parametrize("mode", ["inpaint-objects", "inpaint-background"])
def test_what_the_seed_ignores_is_kept_and_stays_ignored(mode: str) -> None:
    sample = block((48, 48), (4, 4, 12, 12), (30, 6, 40, 14))
    crowd = np.zeros((48, 48), bool)
    crowd[20:44, 24:44] = True
    crowded = replace(sample, labels=replace(sample.labels, ignore=encode(crowd[None])[0]))
    for scene in scenes([crowded], mode, density=(2, 3)):
        ignored = decode([scene.labels.ignore], (48, 48))[0]
        assert ignored[crowd].mean() > 0.8  # a new object may press a little into it
        assert scene.kept[crowd & ignored].all()


def test_a_layout_on_an_empty_frame_keeps_nothing_and_names_who_lent_outlines() -> None:
    real = tiny_real(3)
    for scene in scenes(real, "controlnet"):
        assert scene.base is None
        assert not scene.kept.any()
        assert scene.painted.size == scene.size
        assert set(scene.parents) <= {s.id for s in real}
        assert len(set(scene.parents)) == len(scene.parents) > 0
        assert sorted(scene.shown) == sorted(scene.labels.classes)


def test_images_without_labels_or_with_boxes_alone_are_no_ground() -> None:
    real = tiny_real(2)
    boxes = replace(real[0], id="boxes", labels=replace(real[0].labels, masks=None, amodal=None))
    bare = replace(real[0], id="bare", labels=None)
    for mode in ("inpaint-objects", "inpaint-background", "controlnet"):
        for scene in scenes([bare, boxes, *real], mode):
            assert set(scene.parents) <= {s.id for s in real}


def test_classes_come_in_equal_shares_whatever_the_seed_holds() -> None:
    real = [replace(s, labels=Labels(s.labels.size, image_class=int(k == 9))) for k, s in enumerate(tiny_real(10))]
    for mode, kinds in (("text", 3), ("image", 2)):
        found = ClassScenes(real, mode, 3)
        drawn = [found.draw(rng_of(k)) for k in range(600)]
        counts = np.bincount([s.labels.image_class for s in drawn], minlength=kinds)
        # Six standard deviations of a fair draw.
        assert np.abs(counts - 600 / kinds).max() < 6 * np.sqrt(600 / kinds)
        assert all((s.base is None) == (mode == "text") for s in drawn)


def test_a_seed_without_classes_is_refused_and_doubtful_ones_are_left_out() -> None:
    with pytest.raises(DataError, match="not one seed image has a class"):
        ClassScenes(tiny_real(2), "text", 2)
    one, two = (replace(s, labels=Labels(s.labels.size, image_class=0)) for s in tiny_real(2))
    doubtful = replace(two, labels=replace(two.labels, image_state="to_review"))
    assert ClassScenes([one, doubtful], "image", 2).real == [one]


def test_a_fine_tuning_is_shown_what_the_mode_would_paint() -> None:
    (real,) = tiny_real(1)
    known = id_map(real.labels) > 0
    inside = ObjectScenes([real], "inpaint-objects", WISHES).example(0)
    outside = ObjectScenes([real], "inpaint-background", WISHES).example(0)
    assert np.array_equal(inside.changed, known)
    assert np.array_equal(outside.changed, ~known)
