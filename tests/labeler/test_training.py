"""Training gets somewhere, and a kill costs steps but changes no byte."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from synthgen.augment import DENSE, Augment
from synthgen.errors import DataError
from synthgen.geometry import encode, labels_from_ids
from synthgen.metrics.accuracy import dice, score_image
from synthgen.seeds import rng_of
from synthgen.testing import tiny_context, tiny_real
from synthgen.types import Labels, Mixture, Origin, Sample
from synthgen_labeler import LabelerTrainer, fitting
from synthgen_labeler.data import Batches, Plan, truth_of
from synthgen_labeler.views import window

pytestmark = pytest.mark.slow  # trains, or runs the whole line again and again

SMALL: dict[str, Any] = {"weights": "random", "steps": 8, "batch": 2, "crop": 32, "width": 8}


def mixture(n: int = 3, **known: Any) -> Mixture:
    return Mixture(tiny_real(n), np.arange(n) < 2, np.full(n, 0.5), 0.5, **known)


class KilledError(BaseException):
    """Stands for SIGKILL."""


def trained(
    folder: Path, dies_at: int | None = None, task: Any = "instances", data: Mixture | None = None, **options: Any
) -> dict[str, bytes]:
    """The files of a training that is killed after step `dies_at`, or not at all."""

    def log(what: str, done: float, total: float) -> None:
        if done == dies_at:
            raise KilledError

    folder.mkdir(exist_ok=True)
    context = replace(tiny_context(folder, task), log=log)
    LabelerTrainer(**{**SMALL, **options}).fit(data or mixture(), [], [], context).save(folder)
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir()) if p.is_file()}


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return trained(tmp_path_factory.mktemp("straight"))


def test_a_training_leaves_the_labeler_and_its_curve_and_no_checkpoint(straight: dict[str, bytes]) -> None:
    assert sorted(straight) == ["curve.json", "labeler.json", "weights.safetensors"]
    assert json.loads(straight["curve.json"])["step_loss"][-1][0] == 8


@pytest.mark.parametrize("dies_at", [1, 3, 4, 5, 8])
def test_a_killed_training_goes_on_to_the_same_bytes(
    dies_at: int, straight: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitting, "CHECKPOINT_EVERY", 3)
    with pytest.raises(KilledError):
        trained(tmp_path / "x", dies_at)
    # The step is told before its checkpoint is written.
    assert (tmp_path / "x" / fitting.CHECKPOINT).exists() == (dies_at > 3)
    assert trained(tmp_path / "x") == straight


@pytest.mark.slow
def test_a_training_killed_again_and_again_ends_in_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"weights": "imagenet", "steps": 24}
    plain = trained(tmp_path / "plain", **options)
    monkeypatch.setattr(fitting, "CHECKPOINT_EVERY", 4)
    for dies_at in (6, 7, 13, 14, 22):
        with pytest.raises(KilledError):
            trained(tmp_path / "x", dies_at, **options)
    assert trained(tmp_path / "x", **options) == plain


@pytest.mark.slow
def test_a_killed_class_training_goes_on_to_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = mixture()
    data = replace(
        data, samples=[replace(s, labels=Labels(s.labels.size, image_class=k % 2)) for k, s in enumerate(data.samples)]
    )
    plain = trained(tmp_path / "plain", task="classify", data=data)
    monkeypatch.setattr(fitting, "CHECKPOINT_EVERY", 3)
    with pytest.raises(KilledError):
        trained(tmp_path / "x", 5, task="classify", data=data)
    assert trained(tmp_path / "x", task="classify", data=data) == plain


def test_ctrl_c_in_a_training_is_a_keyboard_interrupt_and_the_checkpoint_stays(
    straight: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitting, "CHECKPOINT_EVERY", 3)

    def log(what: str, done: float, total: float) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        LabelerTrainer(**SMALL).fit(mixture(), [], [], replace(tiny_context(tmp_path), log=log))
    assert (tmp_path / fitting.CHECKPOINT).exists()
    assert trained(tmp_path) == straight


def test_another_seed_trains_another_labeler(straight: dict[str, bytes], tmp_path: Path) -> None:
    labeler = LabelerTrainer(**SMALL).fit(mixture(), [], [], replace(tiny_context(tmp_path), seed=12))
    labeler.save(tmp_path)
    assert (tmp_path / "weights.safetensors").read_bytes() != straight["weights.safetensors"]


@pytest.mark.slow
def test_a_short_training_learns(tmp_path: Path) -> None:
    real, test = tiny_real(6, classes=1), tiny_real(3, classes=1, seed=9)
    data = Mixture(real, np.ones(6, bool), np.full(6, 1 / 6))
    reached = []
    for steps in (1, 60):
        context = tiny_context(tmp_path / str(steps), classes=1)
        context.folder.mkdir()
        labeler = LabelerTrainer(steps=steps, batch=4, crop=64, width=16, decay=0.9).fit(data, [], [], context)
        found = labeler.label([s.image for s in test], tta=False)
        reached.append(dice([score_image(mine, s.labels) for mine, s in zip(found, test, strict=True)]))
    curve = json.loads((tmp_path / "60" / "curve.json").read_text())["step_loss"]
    assert curve[-1][1] < 0.8 * curve[0][1]
    assert reached[1] > 0.6
    assert reached[1] > reached[0] + 0.3 or np.isnan(reached[0])


@pytest.mark.parametrize(
    ("task", "data", "said"),
    [
        ("instances", Mixture([], np.zeros(0, bool), np.zeros(0)), "nothing to train on"),
    ],
)
def test_what_it_cannot_train_is_refused_in_words(task: Any, data: Mixture, said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=said):
        LabelerTrainer(**SMALL).fit(data, [], [], tiny_context(tmp_path, task))


def batches(start: Callable[[], int] = lambda: 0, steps: int = 5) -> Batches:
    return Batches(mixture(), Augment(DENSE), Plan(steps, 3, 32, True, 7), start)


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_batch_t_depends_on_t_alone() -> None:
    whole = list(batches())
    resumed = list(batches(lambda: 3))
    assert (len(whole), len(resumed)) == (5, 2)
    assert all(same(a, b) for a, b in zip(whole[3:], resumed, strict=True))
    assert same(batches().batch(4), whole[4])
    assert not same(whole[0], whole[1])


def test_a_batch_has_the_shapes_that_it_promises() -> None:
    batch = batches().batch(0)
    assert {k: (tuple(v.shape), v.dtype) for k, v in batch.items()} == {
        "image": ((3, 3, 32, 32), torch.float32),
        "classes": ((3, 32, 32), torch.int64),
        "centre": ((3, 32, 32), torch.float32),
        "offset": ((3, 2, 32, 32), torch.float32),
        "edge": ((3, 32, 32), torch.float32),
    }
    assert 0 <= float(batch["image"].min()) <= float(batch["image"].max()) <= 1


@pytest.mark.parametrize("size", [(1, 1), (20, 90), (90, 20), (32, 32), (70, 80)])
def test_a_window_is_as_large_as_asked_for_and_what_is_missing_is_ignored(size: tuple[int, int]) -> None:
    image, ids = np.full((*size, 3), 9, np.uint8), np.ones(size, np.int32)
    out, out_ids = window(image, ids, 32, rng_of(1))
    assert out.shape == (32, 32, 3)
    assert (out_ids == 1).sum() == min(size[0], 32) * min(size[1], 32)
    assert ((out_ids == -1) == (out[..., 0] == 0)).all()
    loose, _ = window(image, ids, 32, rng_of(1), pad=False)
    assert loose.shape[:2] == (min(size[0], 32), min(size[1], 32))


def test_what_is_not_accepted_or_ignored_is_not_taught() -> None:
    (sample,) = tiny_real(1)
    states = ("ignored", "to_review") + ("accepted",) * (len(sample.labels) - 2)
    corner = np.zeros((1, 64, 80), bool)
    corner[0, 60:, 70:] = True
    labels = replace(sample.labels, states=states, ignore=encode(corner)[0])
    _, ids, classes, image_class = truth_of(replace(sample, labels=labels))
    assert {1, 2}.isdisjoint(ids.ravel().tolist())
    assert (ids == -1).any()
    assert set(ids[60:, 70:].ravel().tolist()) <= {-1, *range(3, len(states) + 1)}
    assert len(classes) == len(states)
    assert image_class == -1


def test_ignored_pixels_under_a_synthetic_mask_are_not_taught_and_under_a_persons_they_are() -> None:
    (sample,) = tiny_real(1)
    assert sample.labels is not None
    everything = encode(np.ones((1, 64, 80), bool))[0]
    labels = replace(sample.labels, ignore=everything)
    _, ids, _, _ = truth_of(replace(sample, labels=labels))
    assert set(np.unique(ids)) == {-1, *range(1, len(labels) + 1)}
    _, ids, _, _ = truth_of(replace(sample, labels=labels, origin=Origin("synthetic")))
    assert set(np.unique(ids)) == {-1}


def test_the_tone_lifts_dim_objects_and_leaves_bright_ones() -> None:
    def toned(grey: int) -> float:
        (sample,) = tiny_real(1)
        return LabelerTrainer().tone_for([Sample("x", np.full_like(sample.image, grey), sample.labels)])

    assert toned(20) < toned(60) < 1
    assert toned(150) == 1
    assert toned(0) == 0.4
    assert LabelerTrainer().tone_for([]) == 1
    assert LabelerTrainer(tone=0.7).tone_for(tiny_real(1)) == 0.7


def test_centres_may_be_as_close_as_a_quarter_of_a_usual_object() -> None:
    ids = np.zeros((64, 64), np.int32)
    ids[2:22, 2:22], ids[30:50, 30:50] = 1, 2           # 400 px each: as large as a disc of 22.6 px
    sample = Sample("x", np.zeros((64, 64, 3), np.uint8), labels_from_ids(ids, {1: 0, 2: 0}))
    assert LabelerTrainer().radius_for([sample]) == 6
    assert LabelerTrainer(radius=2).radius_for([sample]) == 2
    assert LabelerTrainer().radius_for([Sample("empty", sample.image, Labels((64, 64)))]) == 3
