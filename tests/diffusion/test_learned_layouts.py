"""Layouts that are learned: by a network of their own, and together with their pictures."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from synthgen.errors import DataError
from synthgen.geometry import id_map
from synthgen.neural.crops import Crops
from synthgen.neural.scene import Scene, Wishes
from synthgen.neural.watch import read
from synthgen.store import Stored
from synthgen.testing import check_generator, digest, tiny_context, tiny_real
from synthgen.types import Context, Labels, Sample
from synthgen_diffusion import Diffusion
from synthgen_diffusion.layouts import ENOUGH, FEWEST
from synthgen_diffusion.network import Denoiser, Shape
from synthgen_diffusion.sampling import sample
from synthgen_diffusion.training import _joint_loss

TINY: dict[str, Any] = {"steps": 4, "batch": 4, "px": 32, "widths": (8, 8), "sampling_steps": 2, "look_every": 2}
LEARNED: dict[str, dict[str, Any]] = {"joint": {"mode": "joint"}, "layout": {"layout": ("diffusion",)}}
SEEDS = [1 << 10, 2 << 10]
few_shot = pytest.mark.filterwarnings("ignore:.*few-shot:RuntimeWarning")


def fitted(context: Context, pool: int = 4, **options: Any) -> Diffusion:
    generator = Diffusion(**{**TINY, **options})
    generator.fit(tiny_real(4), tiny_real(pool, seed=5), context)
    return generator


def bytes_of(generator: Diffusion) -> list[str]:
    return [digest(s) for s in generator.sample(SEEDS)]


@few_shot
@pytest.mark.slow
@pytest.mark.parametrize("which", LEARNED)
@pytest.mark.parametrize("task", ["instances", "segment"])
def test_generators_that_learn_layouts_keep_a_generators_promises(which: str, task: Any) -> None:
    check_generator(Diffusion(**TINY, **LEARNED[which]), tiny_real(3), task)


@few_shot
@pytest.mark.slow
def test_who_knows_a_label_is_said_in_its_origin(tmp_path: Path) -> None:
    for which, known_by in (("joint", "joint"), ("layout", "condition")):
        (tmp_path / which).mkdir()
        (made,) = fitted(tiny_context(tmp_path / which), **LEARNED[which]).sample(SEEDS[:1])
        assert made.origin.known_by == known_by
        assert made.origin.parents == tuple(s.id for s in tiny_real(4))


@few_shot
@pytest.mark.slow
@pytest.mark.parametrize("which", LEARNED)
def test_an_interrupted_training_ends_in_the_same_weights(
    tmp_path: Path, which: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("synthgen_diffusion.training.EVERY", 1)
    (tmp_path / "whole").mkdir()
    (tmp_path / "cut").mkdir()
    whole = fitted(tiny_context(tmp_path / "whole"), **LEARNED[which])
    # Once in the midst of what is trained first, and once in what is trained last.
    for what, killed_at in (("train layouts of" if which == "layout" else "train", 2), ("train", 3)):
        def stop(said: str, done: float, total: float, what: str = what, killed_at: int = killed_at) -> None:
            if said == what and done == killed_at:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            fitted(replace(tiny_context(tmp_path / "cut"), log=stop), **LEARNED[which])
    assert bytes_of(fitted(tiny_context(tmp_path / "cut"), **LEARNED[which])) == bytes_of(whole)
    assert read(tmp_path / "cut") == read(tmp_path / "whole")
    left = [sorted(p.name for p in (tmp_path / name).iterdir()) for name in ("cut", "whole")]
    assert left[0] == left[1]


@few_shot
@pytest.mark.slow
def test_two_processes_give_the_bytes_of_one(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    one = fitted(tiny_context(tmp_path / "one"), mode="joint")
    two = fitted(replace(tiny_context(tmp_path / "two"), workers=2), mode="joint")
    assert bytes_of(one) == bytes_of(two)


@few_shot
@pytest.mark.slow
def test_what_is_learned_together_fits_together(tmp_path: Path) -> None:
    generator = Diffusion(mode="joint", steps=200, batch=8, px=32, widths=(16, 16), sampling_steps=8, look_every=0,
                          rate=3e-3)
    generator.fit(tiny_real(4), tiny_real(4, seed=5), tiny_context(tmp_path))
    curve = [loss for _, loss in json.loads((tmp_path / "curve.json").read_text())["step_loss"]]
    assert np.mean(curve[-3:]) < 0.75 * curve[0]
    made = list(generator.sample([k << 8 for k in range(8)]))
    differences = []
    for one in made:
        assert one.labels is not None
        inside = id_map(one.labels) > 0
        if inside.any() and not inside.all():
            differences.append(one.image[inside].mean() - one.image[~inside].mean())
    assert len(differences) >= 6
    assert np.mean(differences) > 40, "objects of the seed are some 100 grey levels brighter than its ground"


@few_shot
@pytest.mark.slow
def test_layouts_of_a_trained_network_are_like_the_seeds(tmp_path: Path) -> None:
    generator = Diffusion(layout=("diffusion",), steps=200, batch=8, px=32, widths=(16, 16), sampling_steps=8,
                          look_every=0, rate=3e-3)
    generator.fit(tiny_real(6), [], tiny_context(tmp_path))
    shares, seeds = [], [float((id_map(s.labels) > 0).mean()) for s in tiny_real(6) if s.labels is not None]
    for made in generator.sample([k << 8 for k in range(8)]):
        assert made.meta["layout"] == "diffusion"
        assert made.labels is not None
        shares.append(float((id_map(made.labels) > 0).mean()))
    assert 0.5 * np.mean(seeds) < np.mean(shares) < 2 * np.mean(seeds)
    assert len({round(s, 4) for s in shares}) == len(shares), "no two arrangements are one"


@pytest.mark.parametrize("which", LEARNED)
def test_few_images_are_warned_of(tmp_path: Path, which: str) -> None:
    with pytest.warns(RuntimeWarning, match=r"learns its layouts from 4 labelled images; .*likely to repeat the seed"):
        fitted(tiny_context(tmp_path), look_every=0, **LEARNED[which])
    assert "few-shot" in json.loads((tmp_path / "warning.json").read_text())["warning"]


@pytest.mark.slow
def test_enough_images_are_not_warned_of(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Diffusion(**{**TINY, "look_every": 0}, mode="joint").fit(tiny_real(ENOUGH), [], tiny_context(tmp_path))
    assert not (tmp_path / "warning.json").exists()


@pytest.mark.parametrize("which", LEARNED)
def test_too_few_objects_are_refused_with_what_to_do(tmp_path: Path, which: str) -> None:
    (one,) = tiny_real(1)
    assert one.labels is not None
    assert one.labels.masks is not None
    n = FEWEST - 1
    labels = Labels(one.labels.size, one.labels.classes[:n], one.labels.boxes[:n], one.labels.masks[:n])
    with pytest.raises(DataError, match=r"the seed has 4 objects.*5 at least; label more, or.*resample"):
        Diffusion(**TINY, **LEARNED[which]).fit([replace(one, labels=labels)], [], tiny_context(tmp_path))


def test_classes_of_images_are_not_drawn_jointly(tmp_path: Path) -> None:
    image = tiny_real(1)[0].image
    known = Sample("a", image, Labels((64, 80), image_class=0))
    with pytest.raises(DataError, match="mode condition"):
        Diffusion(**TINY, mode="joint").fit([known], [], tiny_context(tmp_path, "classify"))


class Remembers(torch.nn.Module):
    """Keeps what it is shown, and predicts zeros."""

    def forward(self, noisy, t, condition, kind, t_fields):  # type: ignore[no-untyped-def]
        self.noisy, self.t, self.t_fields = noisy, t, t_fields
        return torch.zeros_like(noisy)


def test_crops_of_the_pool_show_fields_of_noise_and_have_no_loss_on_them() -> None:
    scene = Scene(tiny_real(3), [], "instances", 2, Wishes(layouts=()))
    crops = Crops(scene, [s.image for s in tiny_real(3, seed=5)], 32, 1, fields=True)
    batch = crops.batch(0, 0, 64, 0.0)
    shown = torch.from_numpy(batch.condition)
    unlabelled = shown[:, 0].amax((1, 2)) == 0
    assert unlabelled.sum() == 32
    model, clean = Remembers(), torch.from_numpy(batch.clean)
    kind = torch.zeros(64, dtype=torch.int64)

    def loss(fields: torch.Tensor) -> float:
        return float(_joint_loss(model, clean, torch.cat([shown[:, :1], fields], 1), kind, np.random.default_rng(0)))

    before, fields = loss(shown[:, 1:]), model.noisy[:, -2:]
    assert (model.t_fields[unlabelled] == 1).all()
    assert (model.t[unlabelled] < 1).all()
    assert abs(float(fields[unlabelled].std()) - 1) < 0.02
    other = shown[:, 1:].clone()
    other[unlabelled] = 7.0
    assert loss(other) == before
    assert torch.equal(model.noisy[:, -2:][unlabelled], fields[unlabelled])
    other[~unlabelled] *= 2
    assert loss(other) != before
    both = model.t[~unlabelled] == model.t_fields[~unlabelled]
    assert 0 < both.float().mean() < 1
    alone = (model.t[~unlabelled] == 1) & (model.t_fields[~unlabelled] < 1)
    assert alone.any(), "fields are learned by themselves too"


def test_each_of_two_times_changes_what_is_drawn() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Denoiser(Shape(1, 0, 0, 2, (8, 8), 1, 0.0, 2)).eval()
    x, kind, shown = torch.randn(1, 3, 8, 8), torch.zeros(1, dtype=torch.int64), torch.zeros(1, 0, 8, 8)
    times = ((0.5, 0.5), (0.9, 0.5), (0.5, 0.9))
    at = [network(x, torch.tensor([a]), shown, kind, torch.tensor([b])) for a, b in times]
    assert at[0].shape == x.shape
    assert not torch.equal(at[0], at[1])
    assert not torch.equal(at[0], at[2])
    assert torch.equal(at[0], network(x, torch.tensor([0.5]), shown, kind))


def test_joint_guidance_asks_what_picture_and_fields_are_by_themselves() -> None:
    with torch.random.fork_rng():
        network = Denoiser(Shape(1, 0, 0, 2, (8, 8), 1, 0.0, 2)).eval()
    calls = []
    network.unet.register_forward_hook(lambda *_: calls.append(1))
    for guidance, times in ((1.0, 3), (2.0, 9)):
        calls.clear()
        (made,) = sample(network, [np.zeros((0, 9, 7), np.float32)], [0], [1], steps=3, guidance=guidance)
        assert made.shape == (3, 9, 7)
        assert len(calls) == times


@few_shot
@pytest.mark.slow
def test_looks_are_taken_at_samples_with_their_own_labels(tmp_path: Path) -> None:
    fitted(tiny_context(tmp_path), mode="joint")
    looked = list(Stored(tmp_path / "looked" / "000004"))
    assert {s.origin.known_by for s in looked} == {"joint"}
    assert len(looked) == 12
    found = read(tmp_path)
    assert found is not None
    assert [look["step"] for look in found["looks"]] == [2, 4]
