"""Copies, collapse and adherence are seen in samples."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from synthgen.geometry import labels_from_ids
from synthgen.neural.watch import Watch, read
from synthgen.testing import tiny_context, tiny_real
from synthgen.types import Labels, Member, Sample


class Knows:
    """Gives the labels that it was told of each image's bytes."""

    def __init__(self, samples: list[Sample]) -> None:
        self.known = {s.image.tobytes(): s.labels for s in samples}

    def label(self, images, *, tta=True):  # type: ignore[no-untyped-def]
        for image in images:
            yield self.known.get(image.tobytes()) or Labels(image.shape[:2])


def watch(tmp_path: Path, known: list[Sample] | None = None) -> Watch:
    context = tiny_context(tmp_path)
    real, pool = tiny_real(4), tiny_real(12, seed=5)
    if known is not None:
        member = Member(Knows([*real, *known]), ("real-000000", "real-000001"))  # type: ignore[arg-type]
        context = replace(context, committee=lambda: [member])
    return Watch(real, pool, context, (64, 80))


def test_other_real_images_are_neither_copies_nor_a_collapse(tmp_path: Path) -> None:
    seen = watch(tmp_path)
    look = seen.look(10, tiny_real(8, seed=9))
    assert look.distance == pytest.approx(1, abs=0.1)
    assert look.diversity == pytest.approx(1, abs=0.15)
    assert seen.alarm == ""


@pytest.mark.parametrize("turn", [0, 2])
def test_noisy_turned_copies_of_the_seed_raise_the_alarm(tmp_path: Path, turn: int) -> None:
    rng = np.random.default_rng(0)
    copies = [replace(s, image=np.clip(np.rot90(s.image, turn) + rng.normal(0, 8, s.image.shape), 0, 255)
                      .astype(np.uint8)) for s in tiny_real(4)]
    seen = watch(tmp_path)
    assert seen.look(10, copies).distance < 0.5
    assert seen.alarm.startswith("copying: at step 10")
    assert seen.best is None


def test_a_pool_that_repeats_the_seed_measures_no_distance(tmp_path: Path) -> None:
    seen = Watch(tiny_real(4), tiny_real(4), tiny_context(tmp_path), (64, 80))
    assert np.isnan(seen.look(10, tiny_real(8, seed=9)).distance)
    assert seen.alarm == ""


def test_a_crop_of_the_seed_is_a_copy_too(tmp_path: Path) -> None:
    pool = tiny_real(12, size=(128, 160), seed=5)
    seen = Watch(tiny_real(4, size=(128, 160)), pool, tiny_context(tmp_path), (64, 80))
    crops = [replace(s, image=s.image[32:96, 40:120], labels=None) for s in tiny_real(4, size=(128, 160))]
    assert seen.look(10, crops).distance < 0.3


def test_samples_that_became_all_alike_raise_the_alarm_and_early_ones_do_not(tmp_path: Path) -> None:
    seen = watch(tmp_path)
    alike = [tiny_real(1, seed=9)[0]] * 6
    seen.look(10, alike)
    assert seen.alarm == ""
    seen.look(20, tiny_real(6, seed=9))
    seen.look(30, alike)
    assert seen.alarm.startswith("collapse: at step 30")
    assert seen.best == 20


def test_the_latest_step_that_adheres_as_well_as_the_best_is_taken(tmp_path: Path) -> None:
    good = tiny_real(4, seed=9)
    wrong = [replace(s, labels=labels_from_ids(np.zeros((64, 80), np.int32), {})) for s in tiny_real(4, seed=10)]
    seen = watch(tmp_path, known=good)
    assert seen.real_adherence == 1
    assert seen.look(10, good).adherence == 1
    assert seen.look(20, good).adherence == 1
    assert seen.look(30, [*good[:1], *(replace(g, labels=w.labels) for g, w in zip(good[1:], wrong, strict=False))]
                     ).adherence < 0.9
    assert seen.best == 20


def test_looks_come_back_from_a_checkpoint_and_are_written_for_the_report(tmp_path: Path) -> None:
    seen = watch(tmp_path)
    seen.look(10, tiny_real(4, seed=9))
    again = watch(tmp_path)
    again.restore(seen.as_json())
    assert again.as_json() == seen.as_json()
    again.write(tmp_path, "")
    found = read(tmp_path)
    assert found is not None
    assert found["best"] == 10
    assert found["looks"][0]["adherence"] is None, "there is no committee, and that is no number"


def test_two_objects_labelled_as_one_are_seen_where_objects_are_asked_for(tmp_path: Path) -> None:
    ids = np.zeros((64, 80), np.int32)
    ids[20:40, 10:30], ids[20:40, 30:50] = 1, 2
    image = np.full((64, 80, 3), 50, np.uint8)
    true = Sample("two", image, labels_from_ids(ids, {1: 0, 2: 0}))
    merged = Sample("one", image, labels_from_ids((ids > 0).astype(np.int32), {1: 0}))
    member = Member(Knows([true]), ())  # type: ignore[arg-type]
    context = replace(tiny_context(tmp_path), committee=lambda: [member])
    pixels, objects = (Watch(tiny_real(2), [], context, (64, 80), objects=asked) for asked in (False, True))
    assert pixels.look(1, [merged]).adherence == 1
    assert objects.look(1, [merged]).adherence <= 0.5
    assert objects.look(2, [true]).adherence == 1


def test_labels_of_nothing_that_are_agreed_to_are_no_adherence(tmp_path: Path) -> None:
    empty = Sample("none", np.full((64, 80, 3), 50, np.uint8), Labels((64, 80)))
    member = Member(Knows([empty]), ())  # type: ignore[arg-type]
    context = replace(tiny_context(tmp_path), committee=lambda: [member])
    seen = Watch(tiny_real(2), [], context, (64, 80))
    assert seen.look(1, [empty, empty]).adherence == 0
