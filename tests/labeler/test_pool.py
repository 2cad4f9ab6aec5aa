"""Learning from the pool: what the views show, what thresholds and alarm do, and that nothing else changes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from synthgen.augment import CLASSIFY, DENSE
from synthgen.errors import DataError
from synthgen.metrics.accuracy import dice, score_image
from synthgen.seeds import rng_of
from synthgen.testing import tiny_context, tiny_real
from synthgen.types import Labels, Mixture, Sample
from synthgen_labeler import LabelerTrainer, fitting, watch
from synthgen_labeler.consistency import Answer, Consistency, channels, consistency_loss, mixed
from synthgen_labeler.network import Encoder
from synthgen_labeler.thresholds import ClassThresholds, PixelThresholds, Prior
from synthgen_labeler.unlabelled import MIX_AREA, PoolPlan, Unlabelled, box, spatial
from synthgen_labeler.watch import Watch, seen_in_labels

SMALL: dict[str, Any] = {"weights": "random", "steps": 8, "batch": 2, "crop": 32, "width": 8, "pool": 1.0,
                         "pool_from": 0.25}


def unlabelled(pool: Any, dense: bool = True, **changed: Any) -> Unlabelled:
    plan = PoolPlan(**{"start": 2, "images": 3, "side": 32, "dense": dense, "views": 2, "seed": 7, **changed})
    return Unlabelled(pool, DENSE if dense else CLASSIFY, plan)


# --- views


def test_before_its_first_step_the_pool_shows_nothing_and_after_it_what_it_promises() -> None:
    views = unlabelled(tiny_real(2))
    assert views.batch(1) == {}
    assert {k: (tuple(v.shape), v.dtype) for k, v in views.batch(2).items()} == {
        "weak": ((3, 3, 32, 32), torch.float32),
        "strong": ((2, 3, 3, 32, 32), torch.float32),
        "valid": ((3, 32, 32), torch.bool),
        "mix": ((2, 3, 32, 32), torch.bool),
    }
    assert {k: tuple(v.shape) for k, v in unlabelled(tiny_real(2), dense=False, views=1).batch(2).items()} == {
        "weak": (3, 3, 32, 32), "strong": (1, 3, 3, 32, 32)}
    assert unlabelled([]).batch(2) == {}


def test_views_of_step_t_depend_on_t_alone_and_never_on_labels() -> None:
    pool = tiny_real(4)
    one, other = unlabelled(pool), unlabelled([replace(s, labels=None) for s in pool])
    one.batch(2)
    a, b, c = one.batch(5), other.batch(5), one.batch(6)
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert not torch.equal(a["weak"], c["weak"])


def test_every_pool_image_is_shown_equally_often() -> None:
    views = unlabelled(tiny_real(7))
    seen = np.bincount([k for step in range(2, 2 + 14) for k in views.picks(step)], minlength=7)
    assert seen.tolist() == [6] * 7
    assert len({tuple(views.picks(step)) for step in range(2, 16)}) > 7
    assert unlabelled(tiny_real(1)).picks(4) == [0, 0, 0]


@pytest.mark.parametrize("size", [(1, 1), (20, 90), (32, 32)])
def test_of_a_pool_image_smaller_than_the_crop_only_its_own_pixels_count(size: tuple[int, int]) -> None:
    views = unlabelled([Sample("small", np.full((*size, 3), 200, np.uint8))])
    for step in range(2, 6):
        batch = views.batch(step)
        assert 0 < batch["valid"].sum(dim=(1, 2)).max() <= 2 * min(size[0], 32) * min(size[1], 32)
        assert (batch["weak"].amax(1)[~batch["valid"]] < 0.5).all()


def test_the_weak_view_moves_pixels_and_leaves_their_colours() -> None:
    assert [t["type"] for t in spatial(DENSE)] == ["D4", "Affine"]
    assert [t["type"] for t in spatial(CLASSIFY)] == ["HorizontalFlip", "Affine"]
    assert spatial(()) == []


def test_boxes_of_cutmix_are_rectangles_of_the_stated_area_or_nothing() -> None:
    areas = []
    for seed in range(200):
        found = box(40, rng_of(seed))
        ys, xs = np.nonzero(found)
        areas.append(len(ys) / 1600)
        if len(ys):
            assert len(ys) == (ys.max() - ys.min() + 1) * (xs.max() - xs.min() + 1)
    cut = [a for a in areas if a]
    assert 0.35 < len(cut) / 200 < 0.65
    assert MIX_AREA[0] * 0.7 < min(cut) <= max(cut) <= MIX_AREA[1]


def test_cutmix_moves_the_image_and_what_is_said_of_it_together() -> None:
    value = torch.arange(3).reshape(3, 1, 1).expand(3, 6, 6)
    where = torch.zeros(3, 6, 6, dtype=torch.bool)
    where[1, 2:4, 1:5] = True
    image = mixed(value.unsqueeze(1).float().expand(3, 3, 6, 6), where)
    said = Answer(value, value == 0, value != 2).mixed(where)
    assert torch.equal(image[:, 0].long(), said.classes)
    assert torch.equal(said.certain, said.classes == 0)
    assert torch.equal(said.valid, said.classes != 2)
    assert set(said.classes[1].unique().tolist()) == {0, 1}
    assert torch.equal(said.classes[[0, 2]], value[[0, 2]])


def test_two_views_keep_each_others_channels_and_every_second_image_keeps_all() -> None:
    views = channels(Encoder.channels, 4, 2, torch.Generator().manual_seed(1))
    assert [tuple(k.shape) for k in views[0]] == [(4, c) for c in Encoder.channels]
    for one, other in zip(*views, strict=True):
        assert torch.equal(one + other, torch.full_like(one, 2))
        assert (one[1::2] == 1).all()
        assert set(one[::2].unique().tolist()) == {0, 2}


# --- the loss


def test_what_the_teacher_is_not_sure_of_has_no_gradient() -> None:
    logits = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    certain, valid = torch.zeros(2, 4, 4, dtype=torch.bool), torch.ones(2, 4, 4, dtype=torch.bool)
    certain[0, 1, 2] = certain[1, 3, 3] = True
    valid[1, 3, 3] = False
    loss = consistency_loss(logits, Answer(torch.ones(2, 4, 4, dtype=torch.int64), certain, valid))
    loss.backward()
    felt = logits.grad.abs().sum(1) > 0  # type: ignore[union-attr]
    assert felt.nonzero().tolist() == [[0, 1, 2]]
    # Over all that is valid: one sure pixel of 31 has one 31st of the say.
    expected = torch.nn.functional.cross_entropy(logits[0, :, 1, 2].unsqueeze(0), torch.tensor([1])) / 31
    assert torch.isclose(loss, expected)


def test_nothing_sure_or_nothing_valid_is_a_loss_of_zero() -> None:
    logits, classes, no = torch.randn(2, 3), torch.zeros(2, dtype=torch.int64), torch.zeros(2, dtype=torch.bool)
    assert consistency_loss(logits, Answer(classes, no, ~no)) == 0
    assert consistency_loss(logits, Answer(classes, no, no)) == 0


# --- thresholds


def test_class_thresholds_follow_freematch_on_a_worked_example() -> None:
    thresholds = ClassThresholds(2, 0.5)
    assert thresholds.each().tolist() == [0.5, 0.5]
    thresholds.update(torch.tensor([[0.9, 0.1], [0.3, 0.7]]))
    # τ = .5 · .5 + .5 · (.9 + .7) / 2 = .65; p̃ = .5 · .5 + .5 · (.6, .4) = (.55, .45); τ(c) = .65 · p̃ / .55
    assert thresholds.each().tolist() == pytest.approx([0.65, 0.65 * 0.45 / 0.55])
    thresholds.update(torch.zeros(0, 2))
    assert thresholds.each().tolist() == pytest.approx([0.65, 0.65 * 0.45 / 0.55])
    for _ in range(20):
        thresholds.update(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    assert thresholds.each().tolist() == pytest.approx([0.95, 0.95])


def test_a_class_named_too_often_is_weighed_down_until_shares_are_those_of_the_seed() -> None:
    prior = Prior([0.5, 0.25, 0.25], momentum=0.5)
    first, other = 0.8 * 0.5 / 0.65, 0.1 * 0.25 / 0.175  # the average is half-way from the shares to what was named
    assert prior(torch.tensor([[0.8, 0.1, 0.1]]))[0].tolist() == pytest.approx(
        [x / (first + 2 * other) for x in (first, other, other)])
    q = torch.tensor([[0.9, 0.05, 0.05], [0.6, 0.3, 0.1], [0.5, 0.1, 0.4]])
    for _ in range(60):
        aligned = prior(q)
    assert torch.allclose(aligned.sum(1), torch.ones(3))
    assert aligned.mean(0).tolist() == pytest.approx([0.5, 0.25, 0.25], abs=0.06)
    assert (aligned.argmax(1) == torch.tensor([0, 1, 2])).all()  # of the teacher's own words all were class 0
    assert Prior([1.0, 0.0], 0.5)(torch.tensor([[0.3, 0.7]])).tolist() == [[1.0, 0.0]]


def test_the_prior_is_that_of_all_labelled_images_and_of_whole_images_alone(tmp_path: Path) -> None:
    named = [Sample(str(k), np.zeros((8, 8, 3), np.uint8), Labels((8, 8), image_class=int(k >= 300)))
             for k in range(400)]
    whole = Mixture(named, np.arange(400) < 399, np.full(400, 1.0))
    assert fitting._labelled_shares(whole, 3) == pytest.approx([300 / 399, 99 / 399, 0])
    with pytest.raises(DataError, match="pool_prior: it weighs classes of whole images, and task instances has none"):
        trained(tmp_path, pool_of(2), pool_prior="seed")


def test_pixel_thresholds_follow_each_class_and_not_how_large_it_is() -> None:
    thresholds = PixelThresholds(3, 0.5)
    q = torch.tensor([[0.99, 0.01, 0.0]] * 98 + [[0.3, 0.7, 0.0]] * 2)
    thresholds.update(q)
    assert thresholds.each().tolist() == pytest.approx([0.95, 0.5 * 0.95 + 0.5 * 0.7, 0.95])


# --- the alarm


def see(guard: Watch, classes: list[int], certain: bool = True, times: int = 1) -> None:
    each = torch.nn.functional.one_hot(torch.tensor(classes), len(guard.shows))
    for _ in range(times):
        guard.see(each * certain, each.sum(0))


def test_a_class_that_nothing_is_sure_enough_of_for_long_rings_the_alarm() -> None:
    guard = Watch([0.5, 0.5], [0.5, 0.5], 100)
    see(guard, [0, 1], times=30)
    see(guard, [0, 0], times=19)
    assert not guard.rung
    see(guard, [0, 0])
    assert guard.rung
    assert "nothing was sure enough to be b, which 50% of views of the labelled images show" in guard.why(("a", "b"))


def test_a_class_that_is_rare_among_the_labels_may_be_missing() -> None:
    guard = Watch([1.0, 0.1], [0.9, 0.1], 100)
    see(guard, [0, 0], times=60)  # 20 steps of 2 images let expect 4: too few to miss it
    assert not guard.rung
    nowhere = Watch([1.0, 0.0], [1.0, 0.0], 100)
    see(nowhere, [0, 0], times=60)
    assert not nowhere.rung


def test_one_class_that_takes_nearly_all_rings_the_alarm() -> None:
    guard = Watch([0.5, 0.5], [0.49, 0.51], 100)
    see(guard, [0] * 49 + [1], times=39)
    assert not guard.rung
    see(guard, [0] * 49 + [1])
    assert guard.rung
    assert "was taken for a, which is 49% of the labels" in guard.why(("a", "b"))
    even = Watch([0.5, 0.5], [0.5, 0.5], 100)
    see(even, [0] * 49 + [1], times=60)
    assert not even.rung


def test_a_handful_of_boxes_of_one_class_takes_nothing_all() -> None:
    """Where objects are rare, a fifth of the steps may name one or two."""
    rare = Watch([0.01, 0.01], [0.7, 0.3], 100)
    none, one = torch.zeros(8, 2, dtype=torch.int64), torch.tensor([0, 1])
    for step in range(60):
        rare.see(none, one if step % 4 == 0 else 0 * one)
    assert not rare.rung
    for _ in range(20):
        rare.see(none, one)
    assert rare.rung


def test_shares_say_what_was_named_and_kept_since_they_were_last_asked() -> None:
    guard = Watch([0.5, 0.5], [0.5, 0.5], 100)
    see(guard, [0, 0, 0, 1], certain=False)
    see(guard, [0, 0, 0, 1])
    assert guard.since() == {"named": [0.75, 0.25], "kept": [0.375, 0.125]}
    assert guard.since() == {"named": [0.0, 0.0], "kept": [0.0, 0.0]}


def test_what_labels_let_expect_is_counted_on_the_real_ones() -> None:
    half = np.zeros((10, 10), np.int32)
    half[:5] = 1
    from synthgen.geometry import labels_from_ids

    pixels = np.zeros((10, 10, 3), np.uint8)
    samples = [Sample("a", pixels, labels_from_ids(half, {1: 1})), Sample("b", pixels, Labels((10, 10), masks=()))]
    both = Mixture(samples, np.array([True, True]), np.full(2, 0.5))
    assert seen_in_labels(both, 2, 32) == ([1.0, 0.0, 0.5], [0.75, 0.0, 0.25])
    assert seen_in_labels(both, 2, 5) == ([0.75, 0.0, 0.25], [0.75, 0.0, 0.25])  # of eight windows two show it alone
    assert seen_in_labels(replace(both, real=np.array([False, True])), 2, 32) == ([1.0, 0.0, 0.0], [1.0, 0.0, 0.0])
    named = [Sample(str(k), pixels, Labels((10, 10), image_class=k % 2)) for k in range(3)]
    found = seen_in_labels(Mixture(named, np.ones(3, bool), np.full(3, 1 / 3)), 2, None)
    assert found[0] == found[1] == pytest.approx([2 / 3, 1 / 3])


def test_after_the_alarm_the_pool_says_nothing() -> None:
    term = Consistency(2, True, [1.0, 1.0], [0.5, 0.5], 10)
    term.watch.get_buffer("missing").fill_(1)
    network: Any = None
    assert term(network, network, {"weak": torch.zeros(1, 3, 32, 32)}, 0) is None
    assert Consistency(2, True, [1.0, 1.0], [0.5, 0.5], 10)(network, network, {}, 0) is None


# --- trainings


def mixture(n: int = 3, classify: bool = False) -> Mixture:
    real = tiny_real(n)
    if classify:
        real = [replace(s, labels=Labels(s.labels.size, image_class=k % 2))  # type: ignore[union-attr]
                for k, s in enumerate(real)]
    return Mixture(real, np.arange(n) < 2, np.full(n, 0.5), 0.5)


class KilledError(BaseException):
    """Stands for SIGKILL."""


def trained(folder: Path, images: Any, dies_at: int | None = None, task: Any = "instances", **options: Any
            ) -> dict[str, bytes]:
    def log(what: str, done: float, total: float) -> None:
        if done == dies_at:
            raise KilledError

    folder.mkdir(exist_ok=True)
    context = replace(tiny_context(folder, task), log=log)
    LabelerTrainer(**{**SMALL, **options}).fit(mixture(classify=task == "classify"), [], images, context).save(folder)
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir()) if p.is_file()}


def pool_of(n: int) -> list[Sample]:
    return [replace(s, labels=None) for s in tiny_real(n, seed=5)]


@pytest.mark.slow
@pytest.mark.parametrize(("task", "options"), [("instances", {}), ("classify", {}),
                                                ("classify", {"pool_prior": "seed"})])
def test_a_killed_training_on_the_pool_goes_on_to_the_same_bytes(
    task: str, options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = trained(tmp_path / "plain", pool_of(3), task=task, **options)
    assert sorted(plain) == ["curve.json", "labeler.json", "pool.json", "weights.safetensors"]
    monkeypatch.setattr(fitting, "CHECKPOINT_EVERY", 3)
    for dies_at in (5, 7):
        with pytest.raises(KilledError):
            trained(tmp_path / "x", pool_of(3), dies_at, task, **options)
    assert trained(tmp_path / "x", pool_of(3), task=task, **options) == plain


@pytest.mark.slow
def test_without_it_the_pool_changes_no_byte_and_with_it_its_labels_change_none(tmp_path: Path) -> None:
    off = trained(tmp_path / "off", pool_of(3), pool=0.0)
    assert off == trained(tmp_path / "none", [], pool=0.0)
    assert sorted(off) == ["curve.json", "labeler.json", "weights.safetensors"]
    on = trained(tmp_path / "on", pool_of(3))
    assert on["weights.safetensors"] != off["weights.safetensors"]
    assert on == trained(tmp_path / "labelled", tiny_real(3, seed=5))


@pytest.mark.slow
def test_a_pool_of_one_image_is_enough_and_of_none_is_refused(tmp_path: Path) -> None:
    one = trained(tmp_path / "one", pool_of(1))
    assert json.loads(one["pool.json"]) == {"images": 1, "per_batch": 2, "from_step": 2, "stopped_at": None,
                                            "warning": ""}
    (said,) = json.loads(one["curve.json"])["pool"]
    assert said["step"] == 8
    assert [len(said[key]) for key in ("named", "kept", "threshold")] == [3, 3, 3]
    assert sum(said["named"]) == pytest.approx(1, abs=1e-4)
    with pytest.raises(DataError, match=r"pool: 1 asks for unlabelled images, and there are none"):
        trained(tmp_path / "none", [])


@pytest.mark.slow
def test_a_collapse_is_said_loudly_recorded_and_the_training_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "EXPECTED", 0.0)
    monkeypatch.setattr(Watch, "__init__", shortened(Watch.__init__))
    # An empty pool image: no foreground class can be found in it.
    black = [Sample("black", np.zeros((64, 64, 3), np.uint8))]
    with pytest.warns(RuntimeWarning, match="learning from the pool was given up at step 6"):
        files = trained(tmp_path / "x", black)
    about = json.loads(files["pool.json"])
    assert about["stopped_at"] == 6
    assert "which 100% of views of the labelled images show" in about["warning"]
    assert json.loads(files["curve.json"])["step_loss"][-1][0] == 8


def shortened(init: Any) -> Any:
    def made(self: Watch, shows: list[float], shares: list[float], steps: int) -> None:
        init(self, shows, shares, steps)
        self.length = 2

    return made



@pytest.mark.slow
def test_with_the_pool_the_loss_falls_and_the_score_rises(tmp_path: Path) -> None:
    real, test, pool = tiny_real(3, classes=1), tiny_real(3, classes=1, seed=9), tiny_real(8, classes=1, seed=4)
    reached = []
    for steps in (1, 60):
        context = tiny_context(tmp_path / str(steps), classes=1)
        context.folder.mkdir()
        labeler = LabelerTrainer(steps=steps, batch=4, crop=64, width=16, decay=0.9, pool=0.5).fit(
            Mixture(real, np.ones(3, bool), np.full(3, 1 / 3)), [], pool, context)
        found = labeler.label([s.image for s in test], tta=False)
        reached.append(dice([score_image(mine, s.labels) for mine, s in zip(found, test, strict=True)]))  # type: ignore[arg-type]
    curve = json.loads((tmp_path / "60" / "curve.json").read_text())
    # The whole loss: the pool's part grows from nothing as the teacher gets surer.
    assert curve["step_loss"][-1][1] < 0.9 * curve["step_loss"][0][1]
    assert reached[1] > 0.6
    assert reached[1] > reached[0] + 0.3 or np.isnan(reached[0])
    assert curve["pool"][-1]["kept"][1] > 0.02, "foreground is learned from the pool too"
