"""The generator's promises, in every mode, on tiny pipelines; and what its samples hold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from synthgen.errors import DataError
from synthgen.geometry import decode, id_map, labels_from_masks
from synthgen.seeds import rng_of
from synthgen.testing import check_generator, digest, tiny_context, tiny_real
from synthgen.types import Labels, Sample

Make = Callable[..., Any]


def classed(n: int, kinds: tuple[int, ...], size: tuple[int, int] = (24, 32)) -> list[Sample]:
    """Images with a class of their own, as for classify."""
    return [replace(s, labels=Labels(s.labels.size, image_class=kinds[k % len(kinds)], reviewed="human"))
            for k, s in enumerate(tiny_real(n, size))]


def drawn(generator: Any, real: list[Sample], n: int, folder: Path, **context: Any) -> list[Sample]:
    generator.fit(real, [], replace(tiny_context(folder), **context))
    return list(generator.sample(range(n)))


@pytest.mark.slow
@pytest.mark.parametrize("options", [
    {"mode": "inpaint-objects", "repaint": 0.5},
    {"mode": "inpaint-background", "negative_prompt": "{classes}"},
    {"mode": "inpaint-objects", "lora": {"steps": 2}, "layout": "warp"},
], ids=["objects", "background", "fine-tuned"])
def test_the_promises_hold_with_a_model_that_sees_the_mask(options: Any, make: Make, inpaint: Path) -> None:
    check_generator(make(model=inpaint, **options), tiny_real(2))


@pytest.mark.slow
@pytest.mark.parametrize("options", [
    {"mode": "controlnet", "layout": "resample"},
    {"mode": "controlnet", "condition": "edges"},
    {"mode": "inpaint-objects", "condition": "edges"},
], ids=["segmentation", "edges", "inpainting"])
def test_the_promises_hold_with_a_controlnet(options: Any, make: Make, plain: Path, control: Path) -> None:
    check_generator(make(model=plain, controlnet=control, **options), tiny_real(2))


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"mode": "text"}, {"mode": "image", "strength": 0.5}], ids=["text", "image"])
def test_the_promises_hold_for_whole_images(options: Any, make: Make, plain: Path) -> None:
    check_generator(make(model=plain, **options), classed(3, (0, 1)), "classify")


@pytest.mark.slow
def test_in_larger_batches_only_the_last_digits_move(make: Make, plain: Path) -> None:
    check_generator(make(model=plain, batch=3), tiny_real(2), tolerance=1)


@pytest.mark.slow
def test_one_seed_image_is_enough(make: Make, plain: Path, tmp_path: Path) -> None:
    real = tiny_real(1, (24, 32))
    for sample in drawn(make(model=plain), real, 2, tmp_path):
        assert sample.origin.parents == ("real-000000",)
        assert sample.origin.known_by == "condition"
        assert len(sample.labels)


def test_an_image_of_odd_sides_comes_back_at_its_own_size(make: Make, plain: Path, tmp_path: Path) -> None:
    for sample in drawn(make(model=plain), tiny_real(1, (37, 211)), 2, tmp_path):
        assert sample.image.shape == (37, 211, 3)
        assert sample.meta["drawn_at"] == [8, 32]


@pytest.mark.parametrize("mode", ["inpaint-objects", "inpaint-background"])
def test_what_is_kept_keeps_its_pixels_and_its_label_and_all_else_is_painted(
        mode: str, make: Make, plain: Path, tmp_path: Path) -> None:
    real = tiny_real(1, (48, 64))
    known = id_map(real[0].labels)
    for sample in drawn(make(model=plain, mode=mode, repaint=0.5, density=(1, 1), noise=False), real, 3, tmp_path):
        same = (sample.image == real[0].image).all(-1)
        found = id_map(sample.labels)
        new = 0
        for k in range(1, len(sample.labels) + 1):
            own = found == k
            at = np.unique(known[own])
            kept = len(at) == 1 and at[0] and np.array_equal(known == at[0], own) and same[own].all()
            if kept:
                assert sample.labels.classes[k - 1] == real[0].labels.classes[at[0] - 1]
            else:
                new += 1
                assert not same[own].all()
        if mode == "inpaint-background":
            assert new == 0
            assert not same[known == 0].all()
        else:
            assert new
            objects = ((found > 0) | (known > 0)).astype(np.uint8)
            assert same[cv2.distanceTransform(1 - objects, cv2.DIST_L2, cv2.DIST_MASK_PRECISE) >= 2].all()


@pytest.mark.slow
def test_a_controlnet_moves_the_picture_as_the_layout_says(
        make: Make, plain: Path, control: Path, tmp_path: Path) -> None:
    real = tiny_real(1, (32, 32))
    shown = drawn(make(model=plain, mode="controlnet", controlnet=control), real, 1, tmp_path)[0]
    blind = drawn(make(model=plain, mode="controlnet", controlnet=control, weight=0.0), real, 1, tmp_path)[0]
    lines = drawn(make(model=plain, mode="controlnet", controlnet=control, condition="edges"), real, 1, tmp_path)[0]
    assert shown.labels.masks == blind.labels.masks == lines.labels.masks
    assert len({digest(s) for s in (shown, blind, lines)}) == 3


@pytest.mark.slow
def test_an_empty_layout_is_drawn_and_labelled_empty(make: Make, plain: Path, control: Path, tmp_path: Path) -> None:
    generator = make(model=plain, mode="controlnet", controlnet=control, density=(0.001, 0.001), layout="resample")
    for sample in drawn(generator, tiny_real(1, (24, 24)), 2, tmp_path):
        assert not len(sample.labels)
        assert sample.meta["prompt"] == "a photo of background"


def test_the_prompt_says_what_the_labels_say(make: Make, plain: Path, tmp_path: Path) -> None:
    generator = make(model=plain, prompts=("{count} {class} in {light}",), attributes={"light": ("dusk",)})
    for sample in drawn(generator, tiny_real(2, (24, 32)), 2, tmp_path, classes=("car", "bus")):
        names = [("car", "bus")[c] for c in sample.labels.classes]
        most = max(("car", "bus"), key=names.count)
        assert sample.meta["prompt"] == f"{len(names)} {most} in dusk"


@pytest.mark.slow
def test_a_class_that_no_seed_image_shows_is_drawn_from_words_and_not_from_images(
        make: Make, plain: Path, tmp_path: Path) -> None:
    real = classed(2, (0,))
    words = make(model=plain, mode="text")
    words.fit(real, [], tiny_context(tmp_path, "classify", classes=2))
    found = {s.labels.image_class: s.meta["prompt"] for s in words.sample(range(6))}
    assert found == {0: "a photo of class 0", 1: "a photo of class 1"}
    images = drawn(make(model=plain, mode="image", strength=0.5), real, 4, tmp_path, task="classify")
    assert {s.labels.image_class for s in images} == {0}


@pytest.mark.parametrize(("strength", "passes"), [(0.1, 1), (0.5, 5), (1.0, 10)])
def test_strength_is_the_share_of_the_steps_that_are_taken(
        strength: float, passes: int, make: Make, plain: Path, tmp_path: Path) -> None:
    generator = make(model=plain, mode="image", steps=10, strength=strength)
    generator.fit(classed(1, (0,)), [], tiny_context(tmp_path, "classify"))
    seen = []
    generator._studio.drawer.pipeline.pipe.unet.register_forward_hook(lambda *_: seen.append(1))
    list(generator.sample([0]))
    assert len(seen) == passes


@pytest.mark.slow
def test_noise_is_put_back_where_the_model_painted(make: Make, plain: Path, tmp_path: Path) -> None:
    real = [replace(s, image=np.clip(s.image + rng_of(1).normal(0, 12, s.image.shape), 0, 255).astype(np.uint8))
            for s in tiny_real(1, (32, 32))]
    rough, smooth = (drawn(make(model=plain, noise=on), real, 1, tmp_path)[0] for on in (True, False))
    inside = decode(rough.labels.masks, rough.labels.size).any(0)
    assert (rough.image[inside] != smooth.image[inside]).mean() > 0.5
    far = (smooth.image == real[0].image).all(-1) & ~inside
    assert np.array_equal(rough.image[far], smooth.image[far])


def test_seeds_of_one_image_make_other_pictures(make: Make, plain: Path, tmp_path: Path) -> None:
    samples = drawn(make(model=plain), tiny_real(1, (24, 32)), 3, tmp_path)
    assert len({digest(s) for s in samples}) == 3


@pytest.mark.slow
def test_torchs_global_randomness_is_left_alone(make: Make, plain: Path, tmp_path: Path) -> None:
    before = torch.random.get_rng_state()
    drawn(make(model=plain, lora={"steps": 1}), tiny_real(1, (24, 32)), 1, tmp_path)
    assert torch.equal(before, torch.random.get_rng_state())


def test_nothing_of_the_model_is_copied_and_nothing_is_said(
        make: Make, plain: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    generator = make(model=plain)
    drawn(generator, tiny_real(1, (24, 32)), 1, tmp_path)
    generator.save(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {"seed", "pretrained.json"}
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_a_model_whose_files_changed_is_refused(make: Make, tmp_path: Path, plain: Path) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(plain, copy)
    generator = make(model=copy)
    (first,) = drawn(generator, tiny_real(1, (24, 32)), 1, tmp_path)
    kept = tmp_path / "kept"
    kept.mkdir()
    generator.save(kept)
    weights = copy / "unet" / "diffusion_pytorch_model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(DataError, match="not the ones that were there when the generator was fitted"):
        make(model=copy).load(kept)
    (other,) = drawn(make(model=copy), tiny_real(1, (24, 32)), 1, tmp_path)
    assert other.origin.weights != first.origin.weights


@pytest.mark.parametrize(("task", "mode"), [("classify", "inpaint-objects"), ("instances", "text"),
                                            ("segment", "image")])
def test_a_mode_that_cannot_do_the_task_is_refused(
        task: Any, mode: str, make: Make, plain: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"cannot do task {task} in mode {mode}; take mode"):
        make(model=plain, mode=mode).fit(tiny_real(1, (24, 32)), [], tiny_context(tmp_path, task))


def test_a_seed_without_background_cannot_get_another(make: Make, plain: Path, tmp_path: Path) -> None:
    labels = labels_from_masks(np.ones((1, 16, 16), bool), [0])
    full = Sample("full", np.zeros((16, 16, 3), np.uint8), labels)
    with pytest.raises(DataError, match="no background to paint"):
        make(model=plain, mode="inpaint-background").fit([full], [], tiny_context(tmp_path))
