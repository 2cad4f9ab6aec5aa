"""Training goes on where it was, gives the same bytes on one process or two, and keeps every generator's promises."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synthgen.errors import DataError
from synthgen.geometry import id_map, labels_from_ids
from synthgen.neural.watch import Watch, read
from synthgen.testing import check_generator, digest, tiny_context, tiny_real
from synthgen.types import Context, Labels, Sample
from synthgen_gan import PRESETS, Gan

TINY: dict[str, Any] = {"steps": 4, "batch": 4, "px": 32, "widths": (8, 8), "critic": (8, 8), "look_every": 2}
SEEDS = [1 << 10, 2 << 10]


def fitted(context: Context, **options: Any) -> Gan:
    generator = Gan(**{**TINY, **options})
    generator.fit(tiny_real(4), tiny_real(4, seed=5), context)
    return generator


def bytes_of(generator: Gan) -> list[str]:
    return [digest(s) for s in generator.sample(SEEDS)]


def saved(generator: Gan, folder: Path) -> Path:
    folder.mkdir()
    generator.save(folder)
    return folder


def by_class(n: int, classes: int = 2, size: tuple[int, int] = (28, 28)) -> list[Sample]:
    """Class 0 is a bar that stands, class 1 one that lies."""
    out = []
    for k in range(n):
        rng = np.random.default_rng(k)
        image = rng.normal(40, 4, (*size, 3))
        at = int(rng.integers(4, 20))
        image[(slice(at, at + 5), slice(2, -2)) if k % classes else (slice(2, -2), slice(at, at + 5))] += 150
        out.append(Sample(f"bar-{k}", image.clip(0, 255).astype(np.uint8), Labels(size, image_class=k % classes)))
    return out


@pytest.mark.slow
def test_gan_keeps_a_generators_promises() -> None:
    check_generator(Gan(**TINY), tiny_real(3))


@pytest.mark.slow
def test_gan_keeps_them_for_classes_of_images_too() -> None:
    check_generator(Gan(**TINY), by_class(4), "classify")


@pytest.mark.slow
@pytest.mark.parametrize("task", ["instances", "classify"])
def test_two_processes_give_the_bytes_of_one(tmp_path: Path, task: Any) -> None:
    made = []
    for workers in (1, 2):
        folder = tmp_path / str(workers)
        folder.mkdir()
        generator = Gan(**TINY)
        real, pool = (by_class(6), by_class(9)) if task == "classify" else (tiny_real(4), tiny_real(4, seed=5))
        generator.fit(real, pool, replace(tiny_context(folder, task), workers=workers))
        made.append(bytes_of(generator))
    assert made[0] == made[1]


@pytest.mark.slow
@pytest.mark.parametrize("killed_at", [1, 3])
def test_an_interrupted_training_ends_in_the_same_weights(
    tmp_path: Path, killed_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("synthgen_gan.training.EVERY", 1)
    (tmp_path / "whole").mkdir()
    (tmp_path / "cut").mkdir()
    whole = fitted(tiny_context(tmp_path / "whole"))

    def stop(what: str, done: float, total: float) -> None:
        if what == "train" and done == killed_at + 1:  # the checkpoint is written after the step is logged
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fitted(replace(tiny_context(tmp_path / "cut"), log=stop))
    assert (tmp_path / "cut" / "training" / "checkpoint.safetensors").exists()
    assert bytes_of(fitted(tiny_context(tmp_path / "cut"))) == bytes_of(whole)
    assert read(tmp_path / "cut") == read(tmp_path / "whole")


@pytest.mark.slow
def test_training_draws_objects_where_the_masks_are(tmp_path: Path) -> None:
    generator = Gan(steps=80, batch=8, px=32, widths=(8, 16, 16), critic=(16, 16), look_every=0, rate=2e-3,
                    critic_rate=2e-3)
    generator.fit(tiny_real(4), tiny_real(4, seed=5), tiny_context(tmp_path))
    curve = json.loads((tmp_path / "curve.json").read_text())
    likeness = [row[3] for row in curve["step_critic_painter_likeness"]]
    assert likeness[-1] < 0.6 * likeness[0]
    differences = []
    for sample in generator.sample([k << 8 for k in range(6)]):
        assert sample.labels is not None
        inside = id_map(sample.labels) > 0
        if inside.any() and not inside.all():
            differences.append(sample.image[inside].mean() - sample.image[~inside].mean())
    assert np.mean(differences) > 40, "objects of the seed are some 100 grey levels brighter than its ground"


@pytest.mark.slow
def test_classes_can_be_told_apart_in_what_was_learned(tmp_path: Path) -> None:
    generator = Gan(steps=150, batch=16, widths=(8, 16, 16), critic=(16, 16), look_every=0, rate=2e-3, critic_rate=2e-3)
    generator.fit(by_class(12), by_class(40), tiny_context(tmp_path, "classify"))
    right = []
    for sample in generator.sample([k << 8 for k in range(12)]):
        grey = sample.image.mean(-1)
        assert sample.labels is not None
        right.append((grey.mean(0).std() > grey.mean(1).std()) == (sample.labels.image_class == 0))
    assert np.mean(right) >= 0.75


@pytest.mark.slow
def test_a_changed_seed_of_the_run_trains_another_network(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    a = fitted(tiny_context(tmp_path / "a"), look_every=0)
    b = fitted(replace(tiny_context(tmp_path / "b"), seed=12), look_every=0)
    assert bytes_of(a) != bytes_of(b)


@pytest.mark.parametrize(("n", "size"), [(1, (37, 211)), (4, (64, 80)), (1, (9, 12))])
def test_odd_sizes_and_a_single_image_without_a_pool_are_learned_from(
    tmp_path: Path, n: int, size: tuple[int, int]
) -> None:
    generator = Gan(**{**TINY, "look_every": 0}, layout=("resample",))
    generator.fit(tiny_real(n, size=size), [], tiny_context(tmp_path))
    (made,) = generator.sample([5 << 8])
    assert made.image.shape == (*size, 3)
    assert made.origin.known_by == "condition"


def test_an_image_may_be_larger_or_smaller_than_the_crops_it_learned_from(tmp_path: Path) -> None:
    folder = saved(fitted(tiny_context(tmp_path), look_every=0), tmp_path / "saved")
    for size in ((8, 8), (37, 211)):
        other = Gan(**TINY, size=size)
        other.load(folder)
        (made,) = other.sample(SEEDS[:1])
        assert made.image.shape == (*size, 3)
        assert made.labels is not None
        assert made.labels.size == size


def test_an_image_without_objects_is_learned_from_and_drawn(tmp_path: Path) -> None:
    ground = np.full((64, 80, 3), 60, np.uint8)
    empty = Sample("empty", ground, labels_from_ids(np.zeros((64, 80), np.int32), {}, reviewed="human"))
    generator = Gan(**{**TINY, "look_every": 0}, layout=("resample",), density=(0.01, 0.01))
    generator.fit([*tiny_real(1), empty, replace(empty, id="other")], [], tiny_context(tmp_path))
    made = list(generator.sample([k << 8 for k in range(8)]))
    assert any(s.labels is not None and len(s.labels) == 0 for s in made)


def test_a_class_that_the_seed_does_not_show_is_never_drawn(tmp_path: Path) -> None:
    generator = Gan(**{**TINY, "look_every": 0})
    generator.fit(tiny_real(2), [], tiny_context(tmp_path, classes=4))
    made = [s.labels for s in generator.sample([k << 8 for k in range(4)]) if s.labels is not None]
    assert {int(c) for labels in made for c in labels.classes} == {0, 1}


def test_a_class_of_images_that_the_seed_does_not_hold_is_never_drawn(tmp_path: Path) -> None:
    generator = Gan(**{**TINY, "look_every": 0})
    generator.fit(by_class(4), [], tiny_context(tmp_path, "classify", classes=5))
    drawn = {s.labels.image_class for s in generator.sample([k << 8 for k in range(8)]) if s.labels is not None}
    assert drawn == {0, 1}


def test_a_training_that_only_copies_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("synthgen.neural.watch.COPYING", 1e9)
    with pytest.raises(DataError, match=r"gan never made sound samples: copying.*name a pool"):
        fitted(tiny_context(tmp_path))


@pytest.mark.slow
def test_an_alarm_ends_the_training_before_its_last_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alarms = iter(["", "copying: as the test wants"])
    monkeypatch.setattr(Watch, "alarm", property(lambda self: next(alarms)))
    monkeypatch.setattr(Watch, "best", property(lambda self: 2))
    fitted(tiny_context(tmp_path), steps=8)
    found = read(tmp_path)
    assert found is not None
    assert found["ended"] == "copying: as the test wants"
    assert [look["step"] for look in found["looks"]] == [2, 4]


def test_a_task_with_boxes_alone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="gan does not do task detect"):
        Gan(**TINY).fit(tiny_real(2), [], tiny_context(tmp_path, "detect"))


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no gan model"):
        Gan().load(tmp_path)


def test_a_pickle_in_the_weights_place_is_not_read(tmp_path: Path) -> None:
    import pickle

    folder = saved(fitted(tiny_context(tmp_path), look_every=0), tmp_path / "saved")
    (folder / "weights.safetensors").write_bytes(pickle.dumps({"weight": 1}))
    with pytest.raises(DataError, match="no gan model"):
        Gan(**TINY).load(folder)


def test_options_of_sampling_alone_can_be_changed_after_training(tmp_path: Path) -> None:
    folder = saved(fitted(tiny_context(tmp_path), look_every=0), tmp_path / "saved")
    other = Gan(**{**TINY, "layout": ("warp",)}, noise=False)
    other.load(folder)
    (made,) = other.sample(SEEDS[:1])
    assert made.meta["layout"] == "warp"
    assert set(Gan.SAMPLING) <= set(Gan.__dataclass_fields__)


def test_every_preset_builds_networks_that_its_crops_fit() -> None:
    import torch

    from synthgen_gan.critic import Critic
    from synthgen_gan.network import Painter, Shape, multiple_of

    for name, preset in PRESETS.items():
        assert preset.px % multiple_of(preset.widths, preset.critic) == 0, name
        shape = Shape(3, 5, 0, preset.widths, preset.critic, preset.px, -2.0, 2.0)
        with torch.device("meta"):
            Painter(shape), Critic(shape)


def test_a_density_that_ends_before_it_begins_is_an_error() -> None:
    with pytest.raises(ValueError, match="lower end"):
        Gan(density=(2.0, 1.0))
