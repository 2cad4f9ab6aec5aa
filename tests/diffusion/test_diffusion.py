"""Training goes on where it was, gives the same bytes on one process or two, and keeps every generator's promises."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synthgen.errors import DataError
from synthgen.neural.watch import Watch, read
from synthgen.testing import check_generator, digest, tiny_context, tiny_real
from synthgen.types import Context, Labels, Sample
from synthgen_diffusion import Diffusion

TINY: dict[str, Any] = {"steps": 4, "batch": 4, "px": 32, "widths": (8, 8), "sampling_steps": 2, "look_every": 2}
SEEDS = [1 << 10, 2 << 10]


def fitted(context: Context, **options: Any) -> Diffusion:
    generator = Diffusion(**{**TINY, **options})
    generator.fit(tiny_real(4), tiny_real(4, seed=5), context)
    return generator


def bytes_of(generator: Diffusion) -> list[str]:
    return [digest(s) for s in generator.sample(SEEDS)]


def by_class(n: int, classes: int = 2, size: tuple[int, int] = (28, 28)) -> list[Sample]:
    """Class k is a bar that lies or stands."""
    out = []
    for k in range(n):
        rng = np.random.default_rng(k)
        image = rng.normal(40, 4, (*size, 3))
        at = int(rng.integers(4, 20))
        image[(slice(at, at + 5), slice(2, -2)) if k % classes else (slice(2, -2), slice(at, at + 5))] += 150
        out.append(Sample(f"bar-{k}", image.clip(0, 255).astype(np.uint8), Labels(size, image_class=k % classes)))
    return out


@pytest.mark.slow
def test_diffusion_keeps_a_generators_promises() -> None:
    check_generator(Diffusion(**TINY), tiny_real(3))


@pytest.mark.slow
def test_diffusion_keeps_them_for_classes_of_images_too() -> None:
    check_generator(Diffusion(**TINY), by_class(4), "classify")


@pytest.mark.slow
def test_two_processes_give_the_bytes_of_one(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    one = fitted(tiny_context(tmp_path / "one"))
    two = fitted(replace(tiny_context(tmp_path / "two"), workers=2))
    assert bytes_of(one) == bytes_of(two)


@pytest.mark.slow
@pytest.mark.parametrize("killed_at", [1, 3])
def test_an_interrupted_training_ends_in_the_same_weights(
    tmp_path: Path, killed_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("synthgen_diffusion.training.EVERY", 1)
    (tmp_path / "whole").mkdir()
    (tmp_path / "cut").mkdir()
    whole = fitted(tiny_context(tmp_path / "whole"))

    def stop(what: str, done: float, total: float) -> None:
        if what == "train" and done == killed_at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fitted(replace(tiny_context(tmp_path / "cut"), log=stop))
    assert bytes_of(fitted(tiny_context(tmp_path / "cut"))) == bytes_of(whole)
    assert read(tmp_path / "cut") == read(tmp_path / "whole")


@pytest.mark.slow
def test_training_lowers_the_loss_and_pictures_show_their_masks(tmp_path: Path) -> None:
    generator = Diffusion(steps=150, batch=8, px=32, widths=(16, 16), sampling_steps=6, look_every=0, rate=3e-3)
    generator.fit(tiny_real(4), tiny_real(4, seed=5), tiny_context(tmp_path))
    curve = [loss for _, loss in json.loads((tmp_path / "curve.json").read_text())["step_loss"]]
    assert np.mean(curve[-3:]) < 0.75 * curve[0]
    from synthgen.geometry import id_map

    differences = []
    for sample in generator.sample([k << 8 for k in range(6)]):
        assert sample.labels is not None
        inside = id_map(sample.labels) > 0
        if inside.any() and not inside.all():
            differences.append(sample.image[inside].mean() - sample.image[~inside].mean())
    assert np.mean(differences) > 40, "objects of the seed are some 100 grey levels brighter than its ground"


@pytest.mark.slow
def test_classes_can_be_told_apart_in_what_was_learned(tmp_path: Path) -> None:
    generator = Diffusion(steps=150, batch=8, widths=(16, 16), sampling_steps=6, look_every=0, rate=3e-3)
    generator.fit(by_class(12), [], tiny_context(tmp_path, "classify"))
    right = []
    for sample in generator.sample([k << 8 for k in range(12)]):
        grey = sample.image.mean(-1)
        stands = grey.mean(0).std() > grey.mean(1).std()
        assert sample.labels is not None
        right.append(stands == (sample.labels.image_class == 0))
    assert np.mean(right) >= 0.75


@pytest.mark.slow
def test_a_changed_seed_of_the_run_trains_another_network(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    a = fitted(tiny_context(tmp_path / "a"), look_every=0)
    b = fitted(replace(tiny_context(tmp_path / "b"), seed=12), look_every=0)
    assert bytes_of(a) != bytes_of(b)


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "size"), [(1, (37, 211)), (4, (64, 80)), (1, (9, 12))])
def test_odd_sizes_and_a_single_image_are_learned_from(tmp_path: Path, seed: int, size: tuple[int, int]) -> None:
    generator = Diffusion(**TINY, layout=("resample",))
    generator.fit(tiny_real(seed, size=size), [], tiny_context(tmp_path))
    (made,) = generator.sample([5 << 8])
    assert made.image.shape == (*size, 3)
    assert made.origin.known_by == "condition"


def test_a_training_that_only_copies_is_refused_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("synthgen.neural.watch.COPYING", 1e9)
    with pytest.raises(DataError, match=r"never made sound samples: copying.*name a pool"):
        fitted(tiny_context(tmp_path))


@pytest.mark.slow
def test_an_alarm_ends_the_training_before_its_last_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alarms = iter(["", "copying: as the test wants"])
    monkeypatch.setattr(Watch, "alarm", property(lambda self: next(alarms)))
    fitted(tiny_context(tmp_path), steps=8)
    found = read(tmp_path)
    assert found is not None
    assert found["ended"] == "copying: as the test wants"
    assert [look["step"] for look in found["looks"]] == [2, 4]


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no diffusion model"):
        Diffusion().load(tmp_path)


def test_a_pickle_in_the_weights_place_is_not_read(tmp_path: Path) -> None:
    import pickle

    generator = fitted(tiny_context(tmp_path), look_every=0)
    folder = tmp_path / "saved"
    folder.mkdir()
    generator.save(folder)
    (folder / "weights.safetensors").write_bytes(pickle.dumps({"weight": 1}))
    with pytest.raises(DataError, match="no diffusion model"):
        Diffusion(**TINY).load(folder)


def test_options_of_sampling_alone_can_be_changed_after_training(tmp_path: Path) -> None:
    generator = fitted(tiny_context(tmp_path), look_every=0)
    folder = tmp_path / "saved"
    folder.mkdir()
    generator.save(folder)
    other = Diffusion(**{**TINY, "sampling_steps": 3, "layout": ("warp",)})
    other.load(folder)
    (made,) = other.sample(SEEDS[:1])
    assert made.meta["layout"] == "warp"
    assert set(Diffusion.SAMPLING) <= set(Diffusion.__dataclass_fields__)


def test_a_density_that_ends_before_it_begins_is_an_error() -> None:
    with pytest.raises(ValueError, match="lower end"):
        Diffusion(density=(2.0, 1.0))


@pytest.mark.slow
def test_refining_keeps_a_generators_promises_and_the_labels_of_what_it_refines(tmp_path: Path) -> None:
    options: dict[str, Any] = {**TINY, "mode": "refine", "base": {"use": "compose", "blend": ["hard", "feather"]}}
    check_generator(Diffusion(**options), tiny_real(3))
    generator = Diffusion(**options, look_every=0) if "look_every" not in options else Diffusion(**options)
    generator.fit(tiny_real(4), [], tiny_context(tmp_path))
    from synthgen import plugins
    from synthgen.store import labels_to_json

    base = plugins.build("generators", "compose", {"blend": ["hard", "feather"]})
    base.fit(tiny_real(4), [], tiny_context(tmp_path))
    for mine, its in zip(generator.sample([1 << 10, 1 << 10 | 1]), base.sample([1 << 10, 1 << 10 | 1]), strict=True):
        assert labels_to_json(mine.labels) == labels_to_json(its.labels)
        assert (mine.image != its.image).any()
        assert mine.origin.known_by == "condition"
    assert generator.variants == 2


@pytest.mark.parametrize(("options", "said"), [
    ({"mode": "refine"}, "belong together"),
    ({"base": {"use": "compose"}}, "belong together"),
    ({"mode": "refine", "base": {"use": "nobody"}}, "no generator named 'nobody'"),
    ({"mode": "refine", "base": {"use": "compose", "blnd": 1}}, "blnd"),
])
def test_a_base_that_cannot_be_refined_is_an_error_of_the_recipe(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Diffusion(**options)
