"""The path between noise and picture, its loss, and the walk along it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from synthgen_diffusion.network import CLAMP, Denoiser, Shape, flow_loss, noised
from synthgen_diffusion.sampling import sample

SMALL = Shape(1, 4, 0, 2, (8, 8), 1, 0.0)


def network(shape: Shape = SMALL) -> Denoiser:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Denoiser(shape).eval()


class Knows(Denoiser):
    """Predicts one and the same picture, whatever it is shown."""

    def forward(self, noisy, t, condition, kind):  # type: ignore[no-untyped-def]
        return torch.full_like(noisy, 0.25)


class Keeps(Denoiser):
    """Takes whatever it is shown for clean, so that nothing moves."""

    def forward(self, noisy, t, condition, kind):  # type: ignore[no-untyped-def]
        return noisy


def test_the_path_begins_at_the_picture_and_ends_in_noise() -> None:
    clean, noise = torch.randn(2, 1, 4, 4), torch.randn(2, 1, 4, 4)
    assert torch.equal(noised(clean, noise, torch.zeros(2)), clean)
    assert torch.equal(noised(clean, noise, torch.ones(2)), noise)


def test_the_loss_is_the_error_of_the_velocity() -> None:
    clean, noise, guess = (torch.randn(3, 1, 4, 4) for _ in range(3))
    t = torch.tensor([0.3, 0.6, 0.9])
    there = noised(clean, noise, t)
    velocity = (there - guess) / t.view(-1, 1, 1, 1)
    wanted = ((velocity - (noise - clean)) ** 2).mean().item()
    assert flow_loss(clean, guess, t).item() == pytest.approx(wanted, rel=1e-4)
    assert flow_loss(clean, clean, t) == 0
    assert flow_loss(clean, clean + 1, torch.full((3,), 1e-6)).item() == pytest.approx(1 / CLAMP**2)


@pytest.mark.parametrize("sampler", ["euler", "dpm"])
@pytest.mark.parametrize("steps", [1, 3, 10])
def test_a_network_that_knows_the_picture_is_followed_to_it(sampler: str, steps: int) -> None:
    with torch.random.fork_rng():
        knowing = Knows(SMALL).eval()
    (found,) = sample(knowing, [np.zeros((4, 8, 8), np.float32)], [0], [1], steps=steps, guidance=1,
                      sampler=sampler)  # type: ignore[arg-type]
    np.testing.assert_allclose(found, 0.25, atol=2e-2)


@pytest.mark.parametrize("size", [(37, 211), (1, 1), (8, 8), (2, 33)])
def test_pictures_have_the_size_of_their_condition(size: tuple[int, int]) -> None:
    (found,) = sample(network(), [np.zeros((4, *size), np.float32)], [0], [1], steps=2, guidance=1.5)
    assert found.shape == (1, *size)
    assert np.isfinite(found).all()


def test_a_start_goes_through_as_much_noise_as_its_strength_says() -> None:
    with torch.random.fork_rng():
        keeps = Keeps(SMALL).eval()
    start = np.sin(np.arange(256, dtype=np.float32)).reshape(1, 16, 16)
    shown = [np.zeros((4, 16, 16), np.float32)]
    found = [sample(keeps, shown, [0], [1], steps=20, guidance=1, start=[start], strength=s)[0]
             for s in (0.05, 0.5, 1.0)]
    noise = found[2]
    np.testing.assert_allclose(found[0], 0.95 * start + 0.05 * noise, atol=1e-5)
    np.testing.assert_allclose(found[1], 0.5 * start + 0.5 * noise, atol=1e-5)


def test_guidance_of_one_asks_the_network_once_per_step() -> None:
    calls = []
    net = network()
    net.unet.register_forward_hook(lambda *_: calls.append(1))
    for guidance, times in ((1.0, 3), (2.0, 6)):
        calls.clear()
        sample(net, [np.zeros((4, 8, 8), np.float32)], [0], [1], steps=3, guidance=guidance)
        assert len(calls) == times


def test_classes_change_the_picture_and_the_unknown_class_is_one_of_them() -> None:
    net = network(Shape(1, 0, 3, 2, (8, 8), 1, 0.0))
    made = [sample(net, [np.zeros((0, 8, 8), np.float32)], [k], [1], steps=2, guidance=1)[0] for k in range(4)]
    assert all((made[0] != other).any() for other in made[1:])
