"""Learning boxes from the pool: how sure is sure enough, what is taught, and that a training from it goes on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from synthgen.seeds import rng_of
from synthgen.testing import tiny_context, tiny_real
from synthgen.types import Labels, Mixture, Sample
from synthgen_labeler import LabelerTrainer, fitting
from synthgen_labeler.boxes import Found, box_target
from synthgen_labeler.inference import d4, merged_boxes
from synthgen_labeler.network import Shape, build
from synthgen_labeler.pseudo_boxes import BoxConsistency, boxes_in_labels, taught
from synthgen_labeler.thresholds import DOUBTED, LEAST_SURE, SURE, CountThresholds
from synthgen_labeler.watch import windows
from tests.labeler.test_boxes import boxes_alone, mixture, raw_of
from tests.labeler.test_training import SMALL, KilledError

# --- how sure is sure enough


@settings(max_examples=15, deadline=None, derandomize=True)
@given(st.floats(0.3, 30), st.integers(0, 10**6))
def test_thresholds_come_to_where_boxes_are_as_many_as_labels_let_expect(expected: float, seed: int) -> None:
    thresholds, rng = CountThresholds([expected / 1000]), rng_of(seed)
    kept = []
    for step in range(600):
        scores = torch.from_numpy(rng.random(rng.poisson(4 * expected)))  # uniform: 1 − t of them lie over t
        thresholds.update([scores], 1000)
        if step >= 200:
            kept.append([float((scores >= t).sum()) for t in thresholds.each()])
    sure, doubted = np.mean(kept, 0)
    error = 4 * np.sqrt(4 * expected / 400) + 0.05 * expected
    assert sure == pytest.approx(SURE * expected, abs=error)
    assert doubted == pytest.approx(DOUBTED * expected, abs=error)


def test_where_there_is_nothing_thresholds_stop_at_a_least_score_and_doubt_never_passes_certainty() -> None:
    thresholds = CountThresholds([0.01, 0.0])
    for _ in range(200):
        thresholds.update([torch.zeros(0), torch.tensor([0.9, 0.8])], 1000)
    sure, doubted = thresholds.each()
    assert sure[0] == pytest.approx(LEAST_SURE)
    assert sure[1] > 0.9  # a class that the labels do not have is never learned from the pool
    assert (doubted <= sure).all()


# --- what is taught


def found(boxes: list[list[float]], heights: list[float], steady: list[float] | None = None) -> Found:
    n = len(boxes)
    return Found(np.array(boxes, np.float32).reshape(n, 4), np.zeros(n, np.int64), np.array(heights),
                 np.array(steady or [1.0] * n))


def test_sure_boxes_are_taught_doubted_ones_say_nothing_and_the_rest_is_background() -> None:
    valid = np.ones((40, 60), bool)
    valid[:, 50:] = False
    here = found([[4, 4, 16, 16], [10, 10, 30, 30], [40, 20, 58, 36], [2, 26, 8, 32]], [0.9, 0.5, 0.8, 0.1])
    target = taught(here, np.array([0.7]), np.array([0.3]), 1, valid)
    assert target.heat[0, 9, 9] == pytest.approx(1)
    assert target.heat[0, 20, 20] < 1e-3
    assert target.valid[4:16, 4:16].all()  # a doubted box reaches into it
    assert not target.valid[17:30, 17:30].any()
    assert not target.valid[:, 50:].any()  # padding stays padding under a box
    assert target.valid[26:32, 2:8].all()


class Seeing(torch.nn.Module):
    """A teacher that knows boxes: bright rectangles, whatever symmetry they are shown in."""

    def __init__(self) -> None:
        super().__init__()
        self.shape = Shape(1, boxes=True, scale=6.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        outs = []
        for image in x:
            ys, xs = np.nonzero(image[0].numpy() > 0.5)
            box = np.array([[xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]], np.float32)
            target = box_target(box, np.array([0]), 1, np.ones(image.shape[-2:], bool))
            heat = torch.logit(torch.from_numpy(target.heat), 1e-4)
            outs.append(torch.cat([heat, raw_of(torch.from_numpy(target.sides), 6.0)]))
        return torch.stack(outs)


def test_what_the_teacher_sees_in_all_views_becomes_the_target_of_its_image() -> None:
    weak = torch.zeros(2, 3, 64, 64)
    weak[0, :, 20:28, 8:50], weak[1, :, 40:60, 30:38] = 1, 1
    term = BoxConsistency([1.0], [1.0], [1 / 64**2], 10, 2)
    network: Any = Seeing()
    target = term.answer(network, {"weak": weak, "valid": torch.ones(2, 64, 64, dtype=torch.bool)})
    assert {k: (tuple(v.shape), v.dtype) for k, v in target.items()} == {
        "heat": ((2, 1, 64, 64), torch.float32), "valid": ((2, 64, 64), torch.bool)}
    for k, middle in enumerate(([24, 29], [50, 34])):
        assert target["heat"][k, 0, middle[0] - 1 : middle[0] + 1, middle[1] - 1 : middle[1] + 1].min() == 1
        assert (target["heat"][k] == 1).sum() == 4
    assert term.facts(3) == {"step": 3, "named": [1.0], "kept": [1.0],
                             "threshold": [round(float(term.thresholds.each()[0][0]), 4)]}


def test_views_of_a_batch_are_merged_as_those_of_one_image() -> None:
    network = build(Shape(2, boxes=True, width=8), "random", 3).eval()
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        outs = [network(d4(x, k)) for k in (0, 2, 4, 6)]
        both = merged_boxes(outs, (0, 2, 4, 6), 2, 16.0)
        apart = [merged_boxes([o[i : i + 1] for o in outs], (0, 2, 4, 6), 2, 16.0) for i in range(2)]
    assert torch.equal(both, torch.cat(apart))
    assert both.shape == (2, 7, 32, 32)


def test_what_labels_let_expect_is_counted_in_boxes() -> None:
    pixels = np.zeros((10, 10, 3), np.uint8)
    box = np.array([[1, 1, 4, 4], [5, 5, 9, 9]], np.float32)
    samples = [Sample("a", pixels, Labels((10, 10), np.array([1, 1]), box)), Sample("b", pixels, Labels((10, 10))),
               Sample("c", pixels, Labels((10, 10), np.array([0]), box[:1]))]
    each = Mixture(samples, np.array([True, True, False]), np.full(3, 1 / 3))
    assert boxes_in_labels(each, 2, 32) == ([0.0, 0.5], [0.0, 1.0], [0.0, 0.01])
    assert boxes_in_labels(each, 2, 5)[0] == [0.0, 0.25]  # two of eight windows


def test_windows_cover_an_image_and_none_reaches_over_its_border() -> None:
    seen = np.zeros((70, 33), int)
    for place in windows((70, 33), 32):
        assert seen[place].shape == (32, 32)
        seen[place] += 1
    assert seen.min() == 1
    assert list(windows((20, 33), 64)) == [(slice(0, 64), slice(0, 64))]


# --- trainings


def trained(folder: Path, images: Any, dies_at: int | None = None, **options: Any) -> dict[str, bytes]:
    def log(what: str, done: float, total: float) -> None:
        if done == dies_at:
            raise KilledError

    folder.mkdir(exist_ok=True)
    context = replace(tiny_context(folder, "detect"), log=log)
    trainer = LabelerTrainer(**{**SMALL, "pool": 1.0, "pool_from": 0.25, **options})
    trainer.fit(mixture(), [], images, context).save(folder)
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir()) if p.is_file()}


@pytest.mark.slow
def test_a_killed_training_of_boxes_on_the_pool_goes_on_to_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = [replace(s, labels=None) for s in tiny_real(3, seed=5)]
    plain = trained(tmp_path / "plain", pool)
    assert trained(tmp_path / "labelled", [boxes_alone(s) for s in tiny_real(3, seed=5)]) == plain
    assert plain["weights.safetensors"] != trained(tmp_path / "off", [], pool=0.0)["weights.safetensors"]
    monkeypatch.setattr(fitting, "CHECKPOINT_EVERY", 3)
    for dies_at in (5, 7):
        with pytest.raises(KilledError):
            trained(tmp_path / "x", pool, dies_at)
    assert trained(tmp_path / "x", pool) == plain
    assert json.loads(plain["pool.json"])["stopped_at"] is None
