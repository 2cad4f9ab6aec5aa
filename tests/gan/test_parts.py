"""What critic and painter are told, and how what they see is altered, is what the papers say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from synthgen.geometry import id_map, labels_from_ids
from synthgen.layouts.condition import condition
from synthgen.neural.scene import Scene, Wishes
from synthgen.seeds import rng_of
from synthgen.testing import tiny_real
from synthgen_gan.augment import change
from synthgen_gan.critic import Critic
from synthgen_gan.losses import NOTHING, REAL, far_off, judged, painted, realness, sameness, steepness, targets
from synthgen_gan.network import LATENT, NOISE, Painter, Shape
from synthgen_gan.shown import regions
from synthgen_gan.things import Looks, looks, things_of

SHAPE = Shape(1, 5, 0, (8, 8), (8, 8), 16, -1.0, 2.0)
GIVEN = 5 + looks(1)
CPU = torch.device("cpu")


def two_that_touch() -> np.ndarray:
    """Condition channels of a 12 × 16 px picture with an object of class 0 beside one of class 1, and one apart."""
    ids = np.zeros((12, 16), np.int32)
    ids[2:8, 2:6], ids[2:8, 6:10], ids[9:11, 12:15] = 1, 2, 3
    return condition(labels_from_ids(ids, {1: 0, 2: 1, 3: 0}), 2, 3.0)


def test_targets_name_background_classes_and_contact() -> None:
    target = targets(torch.from_numpy(two_that_touch())[None])[0]
    assert target[0, 0] == 0
    assert target[3, 3] == 1
    assert target[3, 8] == 2
    assert target[3, 5] == target[3, 6] == 3, "where two objects touch"


def test_what_is_not_known_is_real_of_whatever_class() -> None:
    assert (targets(torch.zeros(1, 5, 4, 4)) == REAL).all()


def test_an_unknown_class_costs_what_being_taken_for_painted_costs() -> None:
    logits = torch.randn(2, 4, 3, 3)
    share = logits.softmax(1)[:, -1]
    assert torch.allclose(judged(logits, torch.full((2, 3, 3), REAL)), -(1 - share).log().mean(), atol=1e-5)


def test_with_classes_in_equal_shares_the_loss_is_the_plain_cross_entropy() -> None:
    logits, target = torch.randn(1, 4, 6), torch.tensor([[0, 1, 2, 0, 1, 2]])
    assert torch.allclose(judged(logits, target), F.cross_entropy(logits, target), atol=1e-6)


def test_a_rare_class_counts_as_much_as_a_frequent_one() -> None:
    logits = torch.zeros(1, 3, 8)
    logits[0, 1, 0] = 5.0  # the one pixel of class 1 is known well, the seven of class 0 not
    target = torch.tensor([[1, 0, 0, 0, 0, 0, 0, 0]])
    per_class = [F.cross_entropy(logits[:, :, target[0] == c], target[:, target[0] == c]) for c in (0, 1)]
    assert torch.allclose(judged(logits, target), torch.stack(per_class).mean(), atol=1e-6)


def test_pixels_that_say_nothing_count_nowhere() -> None:
    logits, target = torch.randn(1, 4, 6), torch.tensor([[0, 1, 2, 0, 1, 2]])
    longer = torch.cat([logits, torch.full((1, 4, 5), 100.0)], 2)
    padded = torch.cat([target, torch.full((1, 5), NOTHING)], 1)
    assert torch.allclose(judged(longer, padded), judged(logits, target))
    assert (painted(padded, 3)[0, 6:] == NOTHING).all()
    assert (painted(padded, 3)[0, :6] == 3).all()


def test_steepness_is_the_squared_slope_of_the_log_odds() -> None:
    weights = torch.randn(3, 16 * 16)

    class Linear(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.stack([x.flatten(1) @ weights[0], torch.zeros(len(x))], 1)

    found = steepness(Linear(), torch.randn(5, 1, 16, 16))
    assert torch.allclose(found, weights[0].square().sum(), rtol=1e-4)


def test_two_pictures_that_differ_cost_less_than_two_that_are_the_same() -> None:
    latents = torch.randn(4, LATENT)
    same, apart = torch.zeros(4, 1, 8, 8), torch.arange(4.0).view(4, 1, 1, 1).expand(4, 1, 8, 8)
    assert sameness(same, latents) == pytest.approx(20), "1 / SAME"
    assert sameness(apart, latents) < 3
    assert sameness(same[:3], latents[:3]) == pytest.approx(20), "one without a twin counts nowhere"


def test_likeness_does_not_see_texture() -> None:
    flat = torch.zeros(1, 1, 16, 16)
    texture = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).repeat(8, 8)[None, None]
    assert far_off(texture, flat, 8) == 0
    assert far_off(flat + 1, flat, 8) == 1


def test_pictures_and_their_labels_are_moved_alike() -> None:
    labels = torch.from_numpy(np.random.default_rng(0).integers(0, 5, (6, 16, 16)))
    altered = change(6, 16, rng_of(1), CPU)
    moved = altered.maps(labels, NOTHING)
    pictures = altered.pictures(labels[:, None].float())
    for row in range(6):
        seen = moved[row] != NOTHING
        assert 0 < seen.sum() < seen.numel()
        values = {int(v): pictures[row, 0][seen & (moved[row] == v)] for v in range(5)}
        assert all(one.numel() == 0 or one.max() - one.min() < 1e-4 for one in values.values())
        assert (pictures[row, 0][~seen] == 0).all()


def test_alterations_let_gradients_through() -> None:
    pictures = torch.randn(3, 3, 16, 16, requires_grad=True)
    change(3, 16, rng_of(1), CPU).pictures(pictures).sum().backward()
    assert pictures.grad is not None
    assert (pictures.grad != 0).any((1, 2, 3)).all()


def test_looks_are_the_same_all_over_an_object_and_differ_between_those_that_touch() -> None:
    given = two_that_touch()
    assert len(np.unique(things_of(given))) == 4
    scene = Scene(tiny_real(3), [], "instances", 2, Wishes())
    seen = Looks(scene).lent(given, rng_of(2))[len(given):]
    assert len(seen) == looks(scene.tones.colours)
    left, right, apart = seen[:, 2:8, 2:6], seen[:, 2:8, 6:10], seen[:, 9:11, 12:15]
    for thing in (left, right, apart, seen[:, 0]):
        assert np.ptp(thing.reshape(len(seen), -1), 1).max() == 0
    assert (left[:, 0, 0] != right[:, 0, 0]).all()


def test_looks_say_how_bright_each_object_of_a_picture_is() -> None:
    real = tiny_real(3)
    scene = Scene(real, [], "instances", 2, Wishes())
    labels = real[0].labels
    assert labels is not None
    ids = id_map(labels)
    brighter = real[0].image.copy()
    brighter[ids == 1] = np.minimum(brighter[ids == 1] + 20, 255)
    measure, given = Looks(scene), scene.condition(labels, labels.size)
    before, after = (measure.seen(given, scene.tones.encode(i))[len(given)] for i in (real[0].image, brighter))
    core = (ids == 1) & (given[-2] == 0)
    assert (after[core] > before[core]).all()
    assert np.allclose(after[(ids != 1) & (given[-2] == 0)], before[(ids != 1) & (given[-2] == 0)])


def test_looks_of_a_class_that_the_seed_does_not_show_are_those_of_nothing_in_particular() -> None:
    scene = Scene(tiny_real(2, classes=1), [], "instances", 2, Wishes())
    assert np.abs(Looks(scene).lent(two_that_touch(), rng_of(2))[5:, 2:8, 6:10]).max() < 2


@pytest.mark.parametrize("fill", [0.0, 1.0])
def test_a_picture_without_things_or_wholly_one_has_a_number_of_its_own(fill: float) -> None:
    given = np.zeros((5, 6, 7), np.float32)
    given[1] = fill
    assert len(np.unique(things_of(given))) == 1


def test_a_mixture_takes_whole_regions() -> None:
    map_ = np.zeros((20, 20), np.int64)
    map_[2:6, 2:6], map_[10:16, 10:16] = 1, 1
    for seed in range(8):
        mixed = regions(map_, rng_of(seed))
        for region in (mixed[2:6, 2:6], mixed[10:16, 10:16], mixed[16:]):
            assert region.all() or not region.any()


def test_the_painter_sees_no_farther_than_its_convolutions_reach() -> None:
    painter = Painter(SHAPE).eval()
    given, noise = torch.randn(1, GIVEN, 16, 96), torch.randn(1, NOISE, 16, 96)
    latent, kind = torch.randn(1, LATENT), torch.zeros(1, dtype=torch.int64)
    whole = painter(given, kind, latent, noise)
    part = painter(given[..., :64], kind, latent, noise[..., :64])
    assert torch.allclose(whole[..., :32], part[..., :32], atol=1e-5)


def test_painted_values_stay_between_the_ends_of_the_tones() -> None:
    painter = Painter(SHAPE)
    with torch.no_grad():
        painter.out.weight.mul_(1000)
    made = painter(torch.randn(2, GIVEN, 16, 16), torch.zeros(2, dtype=torch.int64), torch.randn(2, LATENT),
                   torch.randn(2, NOISE, 16, 16))
    assert made.min() >= -1.0
    assert made.max() <= 2.0


def test_the_critic_judges_pixels_of_layouts_and_whole_images_of_classes() -> None:
    assert Critic(SHAPE)(torch.randn(2, 1, 16, 24)).shape == (2, 5, 16, 24)
    classes = Shape(3, 0, 7, (8, 8), (8, 8), 16, -1.0, 2.0)
    logits = Critic(classes)(torch.randn(2, 3, 16, 16))
    assert logits.shape == (2, 8)
    assert realness(logits).shape == (2,)
