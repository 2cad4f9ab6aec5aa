"""Reliable images first: how steady labels are, which images come when, and that a kill changes nothing."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from synthgen.augment import DENSE
from synthgen.testing import tiny_real
from synthgen.types import Sample
from synthgen_labeler import LabelerTrainer, fitting
from synthgen_labeler.reliable import COARSE, Reliable, _agreement
from synthgen_labeler.unlabelled import PoolPlan, Unlabelled
from tests.labeler.test_pool import KilledError, pool_of, trained

SIDE = 32


def grey(levels: list[int]) -> list[Sample]:
    return [Sample(str(k), np.full((SIDE, SIDE, 3), v, np.uint8)) for k, v in enumerate(levels)]


def views(pool: list[Sample], all_from: int = 0) -> Unlabelled:
    return Unlabelled(pool, DENSE, PoolPlan(10, 2, SIDE, True, 2, 7, all_from))


class Wavering:
    """Labels the upper part of an image as class 0: as much of it as the image is bright, less where `wrong`, which is
    how much of a dark image it gets wrong."""

    def __init__(self) -> None:
        self.shape, self.wrong = SimpleNamespace(classes=1, boxes=False, dense=True), 0.0

    def __call__(self, x: Tensor) -> Tensor:
        out = torch.zeros(len(x), 5, SIDE, SIDE)
        out[:, 0] = 0.5
        for k, image in enumerate(x):
            bright = float(image.mean())
            rows = round(SIDE * (1 - self.wrong * (1 - bright)))
            out[k, 1, :rows] = 1
        return out


def ranked(pool: list[Sample], share: float, wrong: tuple[float, float, float]) -> Reliable:
    found = Reliable(10, np.arange(len(pool)), share, SIDE, True, 1)
    teacher: Any = Wavering()
    for step in range(1, 10):
        if step in found.moments:
            teacher.wrong = wrong[found.moments.index(step)]
        found.look(teacher, views(pool), step)
    return found


def test_images_whose_labels_no_longer_change_come_first() -> None:
    found = ranked(grey([0, 255, 128, 200]), 0.5, (0.9, 0.5, 0.0))
    assert found.moments == [3, 6, 9]
    assert found.first().tolist() == [1, 3]
    steady = found.get_buffer("steady")
    assert float(steady[1]) == 1.0
    assert (steady[[0, 2]] < steady[3]).all()
    assert found.facts() == {"ranked": 4, "first": 2, "steady_all": round(float(steady.mean()), 4),
                             "steady_first": round(float(steady[[1, 3]].mean()), 4)}


def test_labels_that_were_wrong_and_stay_so_are_steady() -> None:
    assert ranked(grey([0, 255]), 1.0, (0.5, 0.5, 0.5)).get_buffer("steady").tolist() == [1.0, 1.0]


def test_steadiness_is_the_mean_iou_of_the_classes_that_either_map_shows() -> None:
    one, last = torch.zeros(4, 4, dtype=torch.uint8), torch.zeros(4, 4, dtype=torch.uint8)
    one[:2], last[:1] = 1, 1
    assert _agreement(one, last) == pytest.approx((4 / 8 + 8 / 12) / 2)
    assert _agreement(one, torch.full((4, 4), 2, dtype=torch.uint8)) == 0.0
    assert _agreement(last * 0, last * 0) == 1.0


def test_of_whole_images_it_is_what_two_distributions_share() -> None:
    assert _agreement(torch.tensor([0.5, 0.5, 0.0]), torch.tensor([0.25, 0.5, 0.25])) == pytest.approx(0.75)


def test_before_it_is_known_nobody_is_told_which_images_are_reliable() -> None:
    with pytest.raises(RuntimeError, match="before they are known"):
        Reliable(10, np.arange(2), 0.5, SIDE, True, 1).first()


def test_the_reliable_share_is_shown_first_and_then_all_equally_often() -> None:
    pool = grey([0, 255, 128, 200])
    shown = views(pool, all_from=16)
    shown.reliable = ranked(pool, 0.5, (0.9, 0.5, 0.0))
    before = Counter(k for step in range(10, 16) for k in shown.picks(step))
    after = Counter(k for step in range(16, 22) for k in shown.picks(step))
    assert before == {1: 6, 3: 6}
    assert after == dict.fromkeys(range(4), 3)


def test_the_still_view_is_the_same_at_every_step_and_padding_is_no_image() -> None:
    pool = [Sample("wide", np.full((20, 100, 3), 200, np.uint8)), *tiny_real(1)]
    first, valid = views(pool).still(np.array([0, 1]))
    assert torch.equal(first, views(pool, all_from=99).still(np.array([0, 1]))[0])
    assert (int(valid[0].sum()), bool(valid[1].all())) == (20 * SIDE, True)
    assert len(range(0, SIDE, COARSE)) == 8


def test_without_steps_on_labels_alone_there_is_nothing_to_see() -> None:
    with pytest.raises(ValueError, match=r"pool_from 0 of 400 steps is 0 steps; 4 are needed"):
        LabelerTrainer(pool=1.0, pool_from=0.0, pool_first=0.5)
    LabelerTrainer(pool=0.0, pool_from=0.0, pool_first=0.5)  # nothing looks at the pool: nothing to refuse


@pytest.mark.slow
@pytest.mark.parametrize("task", ["instances", "detect", "classify"])
def test_a_training_killed_before_or_after_the_ranking_goes_on_to_the_same_bytes(
    task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"steps": 12, "pool_from": 0.5, "pool_first": 0.5, "task": task}
    plain = trained(tmp_path / "plain", pool_of(4), **options)
    about = json.loads(plain["pool.json"])["reliable"]
    assert (about["ranked"], about["first"], about["all_from_step"]) == (4, 2, 9)
    assert 0 <= about["steady_all"] <= about["steady_first"] <= 1
    monkeypatch.setattr(fitting, "CHECKPOINT_EVERY", 1)
    for dies_at in (3, 5, 6, 10):
        with pytest.raises(KilledError):
            trained(tmp_path / "x", pool_of(4), dies_at, **options)
    assert trained(tmp_path / "x", pool_of(4), **options) == plain
    assert trained(tmp_path / "all", pool_of(4), **{**options, "pool_first": 1.0})["weights.safetensors"] != plain[
        "weights.safetensors"]
