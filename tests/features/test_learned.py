"""Encoders that learn from the pool: their loss, their calibration, and what they see."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from synthgen.errors import DataError
from synthgen.metrics.features import one_path
from synthgen.metrics.two_sample import probe_auc
from synthgen.seeds import rng_of
from synthgen.testing import tiny_context, tiny_real
from synthgen.types import Image, Sample, silent
from synthgen_features import FEW, PoolSsl, RandomConv
from synthgen_features.convnet import Net, calibrate, drawn, one_thread, pooled, tensor, tiles
from synthgen_features.simclr import crops, nt_xent
from synthgen_features.simclr import train as train_simclr


@pytest.fixture(scope="module")
def pool() -> list[Sample]:
    return tiny_real(40, seed=3)


def test_the_loss_is_equation_1_written_out_term_by_term() -> None:
    z = torch.randn(10, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    unit = (z / z.norm(dim=1, keepdim=True)).numpy()
    for temperature in (0.1, 0.5, 2.0):
        total = 0.0
        for i in range(10):
            j = i + 1 if i % 2 == 0 else i - 1
            others = [np.exp(unit[i] @ unit[k] / temperature) for k in range(10) if k != i]
            total -= np.log(np.exp(unit[i] @ unit[j] / temperature) / sum(others))
        assert nt_xent(z, temperature).item() == pytest.approx(total / 10, rel=1e-12)


def test_the_loss_is_lowest_where_pairs_agree_and_log_of_the_others_where_all_agree() -> None:
    pairs = torch.eye(4).repeat_interleave(2, 0)
    assert nt_xent(torch.ones(8, 3), 0.5).item() == pytest.approx(np.log(7))
    assert nt_xent(pairs, 0.05).item() < 1e-6
    assert nt_xent(pairs, 0.5).item() < nt_xent(pairs.roll(1, 0), 0.5).item()


def test_crops_are_pieces_of_their_image_and_never_resized_or_recoloured() -> None:
    images = rng_of(0).integers(0, 256, (3, 20, 24, 3), dtype=np.uint8)
    found = crops(images, 16, rng_of(1))
    assert found.shape == (6, 16, 16, 3)
    for k, crop in enumerate(found):
        pieces = {images[k // 2, y : y + 16, x : x + 16][:, ::step].tobytes()
                  for y in range(5) for x in range(9) for step in (1, -1)}
        assert crop.tobytes() in pieces


def test_training_makes_crops_of_one_image_more_alike_than_those_of_others(pool: list[Sample]) -> None:
    images = tiles(pool, "pool-ssl")

    def loss(net: Net) -> float:
        with torch.no_grad():
            views = tensor(crops(images, 36, rng_of(99)))
            return nt_xent(net(views)[-1].mean((2, 3)), 0.5).item()

    before = loss(calibrate(drawn(1), images, silent))
    net = drawn(1)
    train_simclr(net, images, 1, steps=25, batch=20, crop=36, rate=1e-3, temperature=0.5, log=silent)
    assert loss(calibrate(net, images, silent)) < before - 0.2


def test_calibrated_batch_norm_gives_the_pool_mean_0_and_variance_1(pool: list[Sample]) -> None:
    images = tiles(pool, "random-conv")
    net = calibrate(drawn(5), images, silent)
    seen: list[torch.Tensor] = []
    net.layers[0][1].register_forward_hook(lambda _m, _i, out: seen.append(out.clone()))  # type: ignore[index]
    with torch.no_grad():
        net(tensor(images))
    assert seen[0].mean((0, 2, 3)).abs().max() < 1e-4
    assert (seen[0].var((0, 2, 3)) - 1).abs().max() < 1e-2  # batch norm adds 1e-5 to variances, some of them small


def test_the_features_are_means_and_sds_of_all_layers(pool: list[Sample]) -> None:
    net = drawn(5)
    image = one_path(pool[0].image, 64)
    row = pooled(net, [image])[0]
    with torch.no_grad():
        maps = [m[0].flatten(1).numpy() for m in net(tensor(image[None]))]
    assert row == pytest.approx(np.concatenate([part for m in maps for part in (m.mean(1), m.std(1))]), abs=1e-5)


def test_tiles_are_sorted_by_content_so_that_files_order_changes_no_byte(pool: list[Sample]) -> None:
    order = rng_of(2).permutation(len(pool))
    assert tiles([pool[k] for k in order], "x").tobytes() == tiles(pool, "x").tobytes()


@pytest.mark.parametrize("kind", [PoolSsl, RandomConv])
def test_an_encoder_needs_a_pool_and_to_be_fitted(kind: type[PoolSsl] | type[RandomConv], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"learns from the pool, which holds 0 images; give data\.pool"):
        kind().fit([], tiny_context(tmp_path))
    for call in (lambda: kind().features([]), lambda: kind().identity(), lambda: kind().save(tmp_path)):
        with pytest.raises(DataError, match="has learned nothing yet"):
            call()


@pytest.mark.slow
def test_few_pool_images_are_told_and_leave_weights_random_only_where_the_recipe_says_so(
        pool: list[Sample], tmp_path: Path) -> None:
    told, fell, floor = PoolSsl(steps=2), PoolSsl(steps=2, few="random-conv"), RandomConv(nets=1)
    for extractor in (told, fell, floor):
        extractor.fit(pool, tiny_context(tmp_path))
    assert f"random crops of only {len(pool)} pool images" in told.identity()["note"]
    assert "weights are random, as the recipe says" in fell.identity()["note"]
    image = [one_path(pool[0].image, 64)]
    assert np.array_equal(fell.features(image), floor.features(image))
    assert not np.array_equal(told.features(image), floor.features(image))
    many = PoolSsl(steps=1, few="random-conv")
    many.fit([pool[0]] * (FEW - 1) + [pool[1]], tiny_context(tmp_path))
    assert "note" not in many.identity()


@pytest.mark.slow
def test_options_and_pool_are_in_the_identity_through_the_weights(pool: list[Sample], tmp_path: Path) -> None:
    found = set()
    for extractor, images in ((PoolSsl(steps=2), pool), (PoolSsl(steps=3), pool), (PoolSsl(steps=2), pool[1:])):
        extractor.fit(images, tiny_context(tmp_path))
        found.add(extractor.identity()["weights"])
    assert len(found) == 3


def test_weights_that_were_cut_off_are_refused(pool: list[Sample], tmp_path: Path) -> None:
    extractor = RandomConv(nets=1)
    extractor.fit(pool, tiny_context(tmp_path))
    extractor.save(tmp_path)
    file = tmp_path / "net-0.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"net-0\.safetensors cannot be read"):
        RandomConv(nets=1).load(tmp_path)


def test_torch_has_as_many_threads_afterwards_as_before(pool: list[Sample]) -> None:
    before = torch.get_num_threads()
    inside = []

    def fails() -> None:
        with one_thread():
            inside.append(torch.get_num_threads())
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        fails()
    assert inside == [1]
    assert torch.get_num_threads() == before


DAMAGES: dict[str, Callable[[Image], Image]] = {
    "12 grey levels more": lambda i: np.clip(i.astype(int) + 12, 0, 255).astype(np.uint8),
    "a blur of 0.6 px": lambda i: np.asarray(cv2.GaussianBlur(i, (0, 0), 0.6)),
}


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> PoolSsl:
    extractor = PoolSsl(steps=20, batch=24)
    extractor.fit(tiny_real(60, seed=3), tiny_context(tmp_path_factory.mktemp("pool")))
    return extractor


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGES)
def test_it_tells_damaged_images_from_the_pool_and_not_whole_ones(damage: str, fitted: PoolSsl) -> None:
    known = fitted.features([one_path(s.image, 64) for s in tiny_real(60, seed=3)])
    unseen = [one_path(s.image, 64) for s in tiny_real(60, seed=4)]
    rng = np.random.default_rng(0)
    harmed = probe_auc(fitted.features([DAMAGES[damage](i) for i in unseen]), known, rng, 99)
    whole = probe_auc(fitted.features(unseen), known, rng, 99)
    assert (harmed.auc > 0.9, harmed.p <= 0.01) == (True, True)
    assert whole.p > 0.05
