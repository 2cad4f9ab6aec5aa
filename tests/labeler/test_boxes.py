"""The box head: targets and back, augmentation, calibration, and trainings from boxes alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from synthgen.augment import BOXES, STRONG, Augment
from synthgen.errors import DataError
from synthgen.geometry import box_ious, encode, labels_from_ids
from synthgen.metrics.accuracy import ap50_stardist, score_image
from synthgen.recipe.schema import Label
from synthgen.seeds import rng_of
from synthgen.stages.label import measured, sorted_out
from synthgen.testing import check_trainer, tiny_context, tiny_real
from synthgen.testing.tiny import tiny_images
from synthgen.types import Labels, Mixture, Probabilistic, Sample
from synthgen_labeler import LabelerTrainer, fitting
from synthgen_labeler.boxes import GAIN, Found, box_loss, box_target, found_boxes, giou_of_sides
from synthgen_labeler.calibration import _scored_boxes, platt
from synthgen_labeler.data import Batches, Plan, boxes_of
from synthgen_labeler.inference import BoxLabeler, Settings, d4
from synthgen_labeler.network import Shape, build
from synthgen_labeler.views import boxes_in
from tests.labeler.test_training import SMALL, KilledError, trained

QUICK = settings(max_examples=40, deadline=None, derandomize=True)


def boxes_alone(sample: Sample) -> Sample:
    assert sample.labels is not None
    return replace(sample, labels=replace(sample.labels, masks=None))


def mixture(n: int = 3, **of: Any) -> Mixture:
    return Mixture([boxes_alone(s) for s in tiny_real(n, **of)], np.ones(n, bool), np.full(n, 1 / n))


def raw_of(sides: torch.Tensor, scale: float) -> torch.Tensor:
    """What `sides_of` makes these sides of, px; nothing below a tenth of a pixel."""
    return torch.log(sides.clamp(min=0.1) / scale) / GAIN


@st.composite
def separate(draw: Any) -> tuple[Any, Any]:
    """Boxes whose middles lie in different squares of 24 px, of two classes, at any fraction of a pixel."""
    rng = rng_of(draw(st.integers(0, 10**6)))
    cells = rng.permutation(12)[: draw(st.integers(0, 6))]
    middle = np.stack([24 * (cells % 4) + 12, 24 * (cells // 4) + 12], 1) + rng.uniform(-3, 3, (len(cells), 2))
    half = rng.uniform(3, 9, (len(cells), 2))
    return np.concatenate([middle - half, middle + half], 1).astype(np.float32), rng.integers(0, 2, len(cells))


@QUICK
@given(separate())
def test_what_was_taught_is_found_again(known: tuple[Any, Any]) -> None:
    boxes, classes = known
    target = box_target(boxes, classes, 2, np.ones((72, 96), bool))
    found = found_boxes(target.heat, target.sides, np.zeros((72, 96), np.float32), radius=2, threshold=0.3, min_area=4)
    assert len(found.boxes) == len(boxes)
    if len(boxes):
        ious = box_ious(found.boxes, boxes)
        assert (ious.max(1) > 0.999).all()
        assert (classes[ious.argmax(1)] == found.classes).all()
        assert (found.scores == 1).all()
        each = [target.weight[int(y0) : int(y1) + 1, int(x0) : int(x1) + 1].sum() for x0, y0, x1, y1 in boxes]
        assert each == pytest.approx([1.0] * len(boxes), rel=1e-4)


def test_perfect_outputs_cost_next_to_nothing_and_what_is_ignored_costs_nothing() -> None:
    boxes, classes = np.array([[4, 6, 20, 18], [30, 8, 44, 30]], np.float32), np.array([0, 1])
    valid = np.ones((40, 56), bool)
    target = box_target(boxes, classes, 2, valid)

    def loss(out: torch.Tensor, of: Any) -> dict[str, float]:
        batch = {k: torch.from_numpy(getattr(of, k))[None] for k in ("heat", "sides", "weight", "valid")}
        return {k: float(v) for k, v in box_loss(out[None], batch, 2, 8.0).items()}

    sure = torch.where(torch.from_numpy(target.heat) > 0.95, 12.0, -12.0)
    raw = raw_of(torch.from_numpy(target.sides), 8)
    good = loss(torch.cat([sure, raw]), target)
    assert good["sides"] < 1e-4
    assert good["centre"] < 1e-3
    worse = loss(torch.cat([sure.flip(0), raw + 0.3]), target)
    assert worse["sides"] > 1
    assert worse["centre"] > 5
    away = valid.copy()
    away[4:32, 28:48] = False
    hidden = box_target(boxes[:1], classes[:1], 2, away)
    assert loss(torch.cat([sure, raw]), hidden)["centre"] < 1e-3  # what it sees under the ignored part does not count


def test_generalised_iou_is_iou_for_nested_boxes_and_less_for_others() -> None:
    sides = torch.tensor([[4.0, 4.0, 6.0, 6.0], [2.0, 2.0, 3.0, 3.0], [8.0, 1.0, 1.0, 8.0]])[:, :, None, None]
    same = giou_of_sides(sides, sides)
    assert torch.allclose(same, torch.ones_like(same))
    assert float(giou_of_sides(sides[:1], sides[1:2])) == pytest.approx(25 / 100)
    # Two boxes of 10 × 10 and 9 × 9 px, which share 5 × 7 and span 14 × 12.
    both, union = 5 * 7, 100 + 81 - 5 * 7
    assert float(giou_of_sides(sides[:1], sides[2:])) == pytest.approx(both / union - (14 * 12 - union) / (14 * 12))


@pytest.mark.slow
@pytest.mark.parametrize("k", range(8))
def test_a_turned_picture_has_the_turned_boxes(k: int) -> None:
    network = build(Shape(classes=2, width=8, boxes=True, scale=6.0), "random", seed=3)
    with torch.no_grad():
        network.out.weight.normal_(0, 1, generator=torch.Generator().manual_seed(0))
        network.out.weight[2:] /= GAIN
    mine = BoxLabeler(network, Settings("detect", ("a", "b"), threshold=0.0, radius=2))
    image = rng_of(5).integers(0, 256, (64, 64, 3), np.uint8)
    turned = np.ascontiguousarray(d4(torch.from_numpy(image.transpose(2, 0, 1)), k).numpy().transpose(1, 2, 0))
    here, there = mine.dense(image), mine.dense(turned)
    back = torch.rot90(torch.from_numpy(there), -(k % 4), (-2, -1))
    back = back.flip(-1) if k >= 4 else back
    assert np.allclose(here[[0, 1, 6]], back.numpy()[[0, 1, 6]], atol=1e-3)
    one, two = (mine.boxes(x).boxes for x in (image, turned))
    x0, y0, x1, y1 = two.T
    for _ in range(k % 4):  # a quarter turn back
        x0, y0, x1, y1 = 64 - y1, x0, 64 - y0, x1
    if k >= 4:
        x0, x1 = 64 - x1, 64 - x0
    assert len(one) > 0
    assert (box_ious(one, np.stack([x0, y0, x1, y1], 1).astype(np.float32)).max(1) > 0.98).mean() > 0.95


def test_views_of_a_flat_box_agree_that_it_is_flat() -> None:
    mine = BoxLabeler(build(Shape(classes=1, width=8, boxes=True, scale=6.0), "random", 3), Settings("detect", ("a",)))
    drawn = torch.zeros(1, 64, 64)
    drawn[0, 20:28, 8:50] = 1
    outs = []
    for k in range(8):
        box = labels_from_ids(d4(drawn, k)[0].numpy().astype(np.int32), {1: 0}).boxes
        target = box_target(box, np.array([0]), 1, np.ones((64, 64), bool))
        heat = torch.logit(torch.from_numpy(target.heat), 1e-4)
        outs.append(torch.cat([heat, raw_of(torch.from_numpy(target.sides), 6.0)])[None])
    out = mine.merged(outs).numpy()
    found = found_boxes(out[:1], out[1:5], out[5], radius=2, threshold=0.5, min_area=4)
    assert found.boxes == pytest.approx(np.array([[8, 20, 50, 28]]), abs=1e-3)
    assert found.scores[0] > 0.95


def test_views_that_differ_about_the_sides_lower_the_score() -> None:
    target = box_target(np.array([[10, 10, 30, 30]], np.float32), np.array([0]), 1, np.ones((40, 40), bool))
    for off, expected in ((0.0, 1.0), (1.0, 18 * 18 / 400), (9.0, 2 * 2 / 400)):
        spread = np.full((40, 40), off, np.float32)
        found = found_boxes(target.heat, target.sides, spread, radius=2, threshold=0.3, min_area=4)
        assert found.scores == pytest.approx([expected])


def test_one_object_gives_one_box_and_small_ones_are_left_out() -> None:
    heat, sides = np.zeros((1, 40, 60), np.float32), np.full((4, 40, 60), 8.0, np.float32)
    heat[0, 20, 20], heat[0, 20, 23], heat[0, 20, 45] = 0.9, 0.8, 0.7
    none = np.zeros((40, 60), np.float32)
    found = found_boxes(heat, sides, none, radius=1, threshold=0.1, min_area=12)
    assert found.scores == pytest.approx([0.9, 0.7])
    assert found.boxes[0].tolist() == [12.5, 12.5, 28.5, 28.5]
    assert len(found_boxes(heat, sides, none, radius=1, threshold=0.1, min_area=300).boxes) == 0
    assert found_boxes(heat * 0, sides, none, radius=1, threshold=0.1, min_area=12).boxes.shape == (0, 4)


@pytest.mark.parametrize("k", range(6))
def test_boxes_move_with_the_pixels(k: int) -> None:
    sample = tiny_real(1, seed=k)[0]
    assert sample.labels is not None
    turn = Augment([{"type": "D4", "p": 1.0}])
    ids = np.zeros(sample.labels.size, np.int32)
    image, _, boxes, rows = turn.with_boxes(sample.image, ids, sample.labels.boxes, seed=k)
    for box, row in zip(boxes, rows, strict=True):
        own = np.zeros(sample.labels.size, np.int32)
        x0, y0, x1, y1 = sample.labels.boxes[row].astype(int)
        own[y0:y1, x0:x1] = 1
        same, moved = turn(sample.image, own, seed=k)
        assert np.array_equal(same, image)
        assert np.allclose(labels_from_ids(moved, {1: 0}).boxes[0], box, atol=1e-3)
    assert sorted(rows) == list(range(len(sample.labels)))


def test_boxes_that_leave_the_picture_go() -> None:
    image, ids = np.zeros((40, 60, 3), np.uint8), np.zeros((40, 60), np.int32)
    boxes = np.array([[0, 0, 10, 10], [40, 20, 56, 36]], np.float32)
    crop = Augment([{"type": "Crop", "x_min": 30, "y_min": 10, "x_max": 50, "y_max": 40, "p": 1.0}])
    _, _, kept, rows = crop.with_boxes(image, ids, boxes, seed=0)
    assert rows.tolist() == [1]
    assert np.allclose(kept, [[10, 10, 20, 26]], atol=1e-4)
    nothing = crop.with_boxes(image, ids, boxes[:0], seed=0)
    assert nothing[2].shape == (0, 4)
    for transforms in (BOXES, STRONG["detect"]):
        assert Augment(transforms).with_boxes(image, ids, boxes, seed=1)[2].shape[1] == 4


def test_a_box_hardly_inside_a_window_is_ignored_there() -> None:
    ids = np.zeros((20, 20), np.int32)
    three = np.array([[2, 2, 8, 8], [18, 4, 38, 10], [50, 50, 60, 60]], np.float32)
    boxes, rows, share = boxes_in(three, (0, 0), (20, 20), ids)
    assert rows.tolist() == [0]
    assert boxes.tolist() == [[2, 2, 8, 8]]
    assert (ids == -1).sum() == 2 * 6
    assert (ids[4:10, 18:] == -1).all()
    assert share.tolist() == [1.0]


def test_what_two_windows_leave_of_a_box_is_taken_together() -> None:
    ids = np.zeros((20, 20), np.int32)
    first, _, half = boxes_in(np.array([[10, 0, 30, 10]], np.float32), (0, 0), (20, 20), ids)
    assert half.tolist() == [0.5]
    again, rows, share = boxes_in(first, (0, 0), (20, 15), ids.copy()[:, :15], half)
    assert len(again) == len(rows) == len(share) == 0  # a quarter is left
    assert len(boxes_in(first, (0, 0), (20, 17), ids.copy()[:, :17], half)[0]) == 1


def test_a_small_box_inside_a_cut_one_is_still_known() -> None:
    ids = np.zeros((64, 64), np.int32)
    three = np.array([[10, 10, 20, 20], [30, 30, 44, 44], [-100, -100, 100, 100]], np.float32)
    _, rows, _ = boxes_in(three, (0, 0), (64, 64), ids)
    assert rows.tolist() == [0, 1]
    assert (ids[10:20, 10:20] == 0).all()
    assert (ids[:10, :10] == -1).all()


def test_a_large_object_has_no_more_centres_than_a_small_one() -> None:
    boxes = np.array([[8, 8, 20, 20], [40, 40, 240, 240]], np.float32)
    heat = box_target(boxes, np.array([0, 1]), 2, np.ones((256, 256), bool)).heat
    small, large = ((one > 0.95).sum() for one in heat)
    assert 1 <= small <= large <= 3 * small


def test_boxes_that_no_crop_can_show_are_refused_with_the_crop_that_can(tmp_path: Path) -> None:
    large = Mixture([Sample("x", np.zeros((200, 200, 3), np.uint8), Labels((200, 200), np.array([0]), np.array(
        [[10, 10, 150, 60]], np.float32)))], np.ones(1, bool), np.ones(1))
    with pytest.raises(DataError, match=r"train.crop: 32 px is too small: 1 of 1 .* set it to 160 or more"):
        LabelerTrainer(**SMALL).fit(large, [], [], tiny_context(tmp_path, "detect"))


def test_a_second_box_on_an_object_is_wrong_when_scores_are_calibrated() -> None:
    class Two:
        def boxes(self, image: Any, views: int) -> Any:
            found = np.array([[10, 10, 30, 30], [10, 10, 30, 26], [50, 50, 60, 60]], np.float32)
            return Found(found, np.zeros(3, np.int64), np.array([0.9, 0.8, 0.7]), np.ones(3))

    away = np.zeros((64, 64), bool)
    away[48:, 48:] = True
    labels = Labels((64, 64), np.array([0]), np.array([[10, 10, 30, 30]], np.float32), ignore=encode(away[None])[0])
    scores, right = _scored_boxes(Two(), [Sample("x", np.zeros((64, 64, 3), np.uint8), labels)], 1)  # type: ignore[arg-type]
    assert scores.tolist() == [0.9, 0.8]
    assert right.tolist() == [1, 0]


def test_a_box_that_is_more_likely_wrong_than_right_is_named_and_not_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else whoever scores what a labeler says counts dozens of faint boxes as errors."""
    boxes = np.array([[10, 10, 30, 30], [40, 10, 60, 26], [50, 50, 60, 60]], np.float32)
    seen = Found(boxes, np.zeros(3, np.int64), np.array([0.9, 0.3, 0.04]), np.ones(3))
    monkeypatch.setattr(BoxLabeler, "boxes", lambda *_: seen)
    network, image = build(Shape(1, width=8, boxes=True), "random", 0), np.zeros((64, 64, 3), np.uint8)
    truth = Labels((64, 64), np.array([0]), boxes[:1])
    plain = Settings("detect", ("a",))
    for scale, states in (replace(plain, temperature=1.0), ("accepted", "ignored")), (plain, ("accepted", "accepted")):
        (said,) = BoxLabeler(network, scale).label([image])
        assert said.states == states
        assert score_image(said, truth)["fp"] == states.count("accepted") - 1


def test_what_goes_to_a_person_is_scored_where_it_is_more_likely_right_than_wrong() -> None:
    boxes = np.array([[10, 10, 30, 30], [40, 10, 60, 26], [40, 40, 60, 60]], np.float32)
    found = sorted_out(Labels((64, 64), np.zeros(3, np.int64), boxes, scores=np.array([0.9, 0.6, 0.3], np.float32)),
                       Label(accept=0.8, ignore=0.1))
    assert found.states == ("accepted", "to_review", "to_review")
    assert measured(found).states == ("accepted", "to_review", "ignored")
    masks = labels_from_ids(np.pad(np.ones((9, 9), np.int32), 20), {1: 0})
    doubtful = replace(masks, scores=np.array([0.3], np.float32), states=("to_review",))
    assert measured(doubtful) is doubtful


def test_a_box_that_is_accepted_is_scored_however_unsure_it_is() -> None:
    """With `accept` below a half it goes out as a label, and what goes out must be measured."""
    boxes = np.array([[10, 10, 30, 30], [40, 10, 60, 26]], np.float32)
    found = sorted_out(Labels((64, 64), np.zeros(2, np.int64), boxes, scores=np.array([0.4, 0.2], np.float32)),
                       Label(accept=0.3, ignore=0.1))
    assert measured(found).states == ("accepted", "ignored")
    assert score_image(measured(found), Labels((64, 64), np.array([0]), boxes[:1]))["tp"] == 1


def test_ignored_pixels_and_doubtful_boxes_say_nothing() -> None:
    sample = boxes_alone(tiny_real(1, seed=3)[0])
    assert sample.labels is not None
    n = len(sample.labels)
    assert n >= 2
    away = np.zeros(sample.labels.size, bool)
    away[:9] = True
    states = ("to_review", *("accepted",) * (n - 1))
    labels = replace(sample.labels, states=states, ignore=encode(away[None])[0])
    _, ids, boxes, classes = boxes_of(replace(sample, labels=labels))
    assert len(boxes) == len(classes) == n - 1
    x0, y0, x1, y1 = sample.labels.boxes[0].astype(int)
    free = np.ones_like(away)
    for a, b, c, d in boxes.astype(int):
        free[b:d, a:c] = False
    assert (ids[y0:y1, x0:x1][free[y0:y1, x0:x1]] == -1).all()
    assert (ids[:9][free[:9]] == -1).all()
    assert (ids[~free] == 0).all()


def test_platt_finds_a_known_scale_and_middle() -> None:
    z = rng_of(0).normal(0, 2, 4000)
    right = (rng_of(1).random(4000) < 1 / (1 + np.exp(-(0.8 * z + 1.5)))).astype(float)
    temperature, bias = platt(z, right)
    assert 1 / temperature == pytest.approx(0.8, abs=0.1)
    assert bias == pytest.approx(1.5, abs=0.15)


def test_batch_t_depends_on_t_alone() -> None:
    plan = Plan(5, 3, 32, True, 7, boxes=True, classes=2)
    once = [Batches(mixture(), Augment(BOXES), plan, lambda: 0).batch(t) for t in range(3)]
    again = Batches(mixture(), Augment(BOXES), plan, lambda: 0).batch(2)
    assert all(torch.equal(again[k], once[2][k]) for k in again)
    assert set(again) == {"image", "heat", "sides", "weight", "valid"}
    assert again["heat"].shape == (3, 2, 32, 32)


@pytest.mark.slow
def test_it_keeps_the_promises_of_a_trainer_for_boxes(tmp_path: Path) -> None:
    trainer = LabelerTrainer(steps=20, batch=4, crop=64, width=16, decay=0.9)
    check_trainer(trainer, mixture(2), tiny_context(tmp_path, "detect"))
    found = trainer.load(tmp_path / "saved")
    assert any(len(labels) for labels in found.label(tiny_images())), "nothing was compared with nothing"
    assert found.settings.one_view is not None  # and what was compared was calibrated


@pytest.mark.slow
def test_a_killed_training_of_boxes_goes_on_to_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = trained(tmp_path / "plain", task="detect", data=mixture())
    monkeypatch.setattr(fitting, "CHECKPOINT_EVERY", 3)
    with pytest.raises(KilledError):
        trained(tmp_path / "x", 5, task="detect", data=mixture())
    assert trained(tmp_path / "x", task="detect", data=mixture()) == plain


@pytest.mark.slow
def test_a_short_training_finds_boxes_and_its_scores_mean_something(tmp_path: Path) -> None:
    data, test = mixture(6, classes=1), [boxes_alone(s) for s in tiny_real(4, classes=1, seed=9)]
    reached = []
    for steps in (1, 80):
        context = replace(tiny_context(tmp_path / str(steps), "detect"), classes=("class 0",))
        context.folder.mkdir()
        trainer = LabelerTrainer(steps=steps, batch=4, crop=64, width=16, decay=0.9)
        labeler = trainer.fit(data, [], [], context)
        ready = trainer.calibrate(labeler, [(labeler, test)])
        found = [replace(x, states=tuple("accepted" if s >= 0.5 else "ignored" for s in x.scores))
                 for x in ready.label([s.image for s in test])]
        reached.append(ap50_stardist([score_image(mine, s.labels) for mine, s in zip(found, test, strict=True)]))
    assert not isinstance(labeler, Probabilistic)
    assert reached[1] > 0.5
    assert np.isnan(reached[0]) or reached[1] > reached[0] + 0.3


def bars(n: int) -> list[Sample]:
    """Pictures of flat and of tall bars, three times as long as wide, bright on noise."""
    out = []
    for k in range(n):
        rng = rng_of(k)
        image = rng.integers(0, 60, (64, 64, 3), np.uint8)
        boxes = []
        for x, y in ((4, 4), (36, 4), (4, 36), (36, 36)):
            w, h = (24, 8) if rng.random() < 0.5 else (8, 24)
            image[y : y + h, x : x + w] += 150
            boxes.append([x, y, x + w, y + h])
        labels = Labels((64, 64), np.zeros(4, np.int64), np.array(boxes, np.float32))
        out.append(Sample(f"bars-{k}", image, labels))
    return out


@pytest.mark.slow
def test_flat_and_tall_boxes_are_learned_in_twenty_steps(tmp_path: Path) -> None:
    seen = Mixture(bars(4), np.ones(4, bool), np.full(4, 1 / 4))
    mine = LabelerTrainer(steps=20, batch=4, crop=64, width=32).fit(seen, [], [], tiny_context(tmp_path, "detect"))
    known, said = [], []
    for sample in bars(7)[4:]:
        assert sample.labels is not None
        found = next(mine.label([sample.image])).boxes
        for box, (x0, y0, x1, y1) in zip(sample.labels.boxes, found[box_ious(sample.labels.boxes, found).argmax(1)],
                                         strict=True):
            known.append(np.log((box[2] - box[0]) / (box[3] - box[1])))
            said.append(np.log((x1 - x0) / (y1 - y0)))
    assert np.polyfit(known, said, 1)[0] > 0.9  # 0.75 without the gain of the sides
