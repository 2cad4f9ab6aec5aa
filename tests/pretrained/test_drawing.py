"""Calling a pipeline: batches, memory that runs out, safety checkers, numbers that are none; other families."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
import transformers

from synthgen.errors import DataError, EnvironmentProblem
from synthgen.testing import digest, tiny_context, tiny_real
from synthgen.types import Labels
from synthgen_pretrained import drawing
from synthgen_pretrained.drawing import Drawer, Order, Settings
from synthgen_pretrained.loading import Pipeline, described

Make = Callable[..., Any]
TAKES = frozenset({"prompt", "negative_prompt", "height", "width", "generator", "num_inference_steps"})


class Pipe:
    """A pipeline that remembers its calls, and in which only `fits` images have room; offloading may make more."""

    def __init__(self, fits: int, error: Callable[[], BaseException] = torch.OutOfMemoryError, gain: int = 0) -> None:
        self.fits, self.error, self.gain = fits, error, gain
        self.calls: list[int] = []
        self.saved: list[str] = []

    def __call__(self, prompt: list[str], generator: list[Any], height: int, width: int, **told: Any) -> Any:
        self.calls.append(len(prompt))
        if len(prompt) > self.fits:
            raise self.error()
        return SimpleNamespace(images=np.stack([np.full((height, width, 3), g.initial_seed() % 97 / 97, np.float32)
                                                for g in generator]))

    def enable_model_cpu_offload(self, device: str) -> None:
        self.saved.append(f"offload {device}")
        self.fits += self.gain

    def enable_attention_slicing(self) -> None:
        self.saved.append("slices")


def drawer(pipe: Any, batch: int = 8, device: str = "cpu", **settings: Any) -> Drawer:
    return Drawer(Pipeline(pipe, TAKES, 8, 8, 64), Settings(**settings), batch, device)


def orders(n: int, *sizes: tuple[int, int]) -> list[Order]:
    return [Order(k, str(k), "", (sizes or ((8, 8),))[k % max(len(sizes), 1)]) for k in range(n)]


def shades(images: list[Any]) -> list[int]:
    return [round(float(i[0, 0, 0]) * 97) for i in images]


def test_images_of_one_size_share_a_batch_and_come_back_in_order() -> None:
    pipe = Pipe(8)
    found = drawer(pipe, batch=3).draw(orders(7, (8, 8), (8, 16)))
    assert shades(found) == list(range(7))
    assert [i.shape for i in found[:2]] == [(8, 8, 3), (8, 16, 3)]
    assert pipe.calls == [3, 1, 3]


@pytest.mark.slow
def test_when_memory_runs_out_batches_are_halved_and_stay_small() -> None:
    pipe = Pipe(2)
    one = drawer(pipe, batch=8)
    assert shades(one.draw(orders(8))) == list(range(8))
    assert pipe.calls == [8, 4, 2, 2, 2, 2]
    assert one.batch == 2
    one.draw(orders(2))
    assert pipe.calls[-1] == 2
    assert pipe.saved == []


@pytest.mark.slow
def test_when_one_image_has_no_room_the_model_is_offloaded() -> None:
    pipe = Pipe(0, gain=1)
    assert shades(drawer(pipe, batch=2, device="cuda").draw(orders(3))) == [0, 1, 2]
    assert pipe.saved == ["offload cuda", "slices"]
    assert pipe.calls == [2, 1, 1, 1, 1]


@pytest.mark.slow
@pytest.mark.parametrize("error", [torch.OutOfMemoryError, MemoryError,
                                   lambda: RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"),
                                   lambda: RuntimeError("MPS backend out of memory")])
def test_when_nothing_helps_the_error_says_what_does(error: Any) -> None:
    pipe = Pipe(0, error)
    with pytest.raises(EnvironmentProblem, match=r"one image of 8 × 8 px.*lower side, set precision"):
        drawer(pipe, batch=4).draw(orders(4))
    assert pipe.calls == [4, 2, 1, 1]
    assert pipe.saved == ["slices"]  # on the CPU there is nowhere to offload to


def test_another_error_is_not_taken_for_want_of_memory() -> None:
    with pytest.raises(RuntimeError, match="shapes"):
        drawer(Pipe(0, lambda: RuntimeError("mat1 and mat2 shapes cannot be multiplied"))).draw(orders(1))


@pytest.mark.slow
def test_a_real_pipeline_that_runs_out_of_memory_gives_the_same_samples(
        make: Make, plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, seeds = tiny_real(1, (24, 32)), range(4)
    calm = make(model=plain, batch=1)
    calm.fit(real, [], tiny_context(tmp_path))
    pressed = make(model=plain, batch=4)
    pressed.fit(real, [], tiny_context(tmp_path))
    kind = type(pressed._studio.drawer.pipeline.pipe)
    call, sizes = kind.__call__, []

    def scarce(self: Any, **told: Any) -> Any:
        sizes.append(len(told["prompt"]))
        if len(told["prompt"]) > 1:
            raise torch.OutOfMemoryError
        return call(self, **told)

    monkeypatch.setattr(kind, "__call__", scarce)
    assert [digest(s) for s in pressed.sample(seeds)] == [digest(s) for s in calm.sample(seeds)]
    assert sizes[:4] == [4, 2, 1, 1]


@pytest.mark.slow
def test_slicing_attention_on_the_cpu_leaves_the_picture_as_it_was_up_to_a_grey_level(
        make: Make, plain: Path, tmp_path: Path) -> None:
    images = []
    for saving in (False, True):
        generator = make(model=plain)
        generator.fit(tiny_real(1, (24, 32)), [], tiny_context(tmp_path))
        if saving:
            generator._studio.drawer._retreat(1, (8, 8), "")
        images.append(next(iter(generator.sample([5]))).image.astype(int))
    assert np.abs(images[0] - images[1]).max() <= 1


def test_numbers_that_are_none_make_no_picture() -> None:
    class Overflows(Pipe):
        def __call__(self, **told: Any) -> Any:
            return SimpleNamespace(images=np.full((1, 8, 8, 3), np.nan, np.float32))

    with pytest.raises(EnvironmentProblem, match="set precision to bfloat16 or float32"):
        drawer(Overflows(1)).draw(orders(1))


@pytest.mark.parametrize("refusals", [0, 1, drawing.TRIES - 1, drawing.TRIES])
def test_an_image_that_a_safety_checker_blacks_out_is_drawn_again_and_never_kept(refusals: int) -> None:
    class Shy(Pipe):
        def __call__(self, prompt: list[str], **told: Any) -> Any:
            out = super().__call__(prompt, **told)
            wrong = ["1" in p and sum("1" in q for q in seen) < refusals for p in prompt]
            seen.extend(prompt)
            out.images[wrong] = 0
            out.nsfw_content_detected = wrong
            return out

    seen: list[str] = []
    one = drawer(Shy(8), batch=2)
    if refusals == drawing.TRIES:
        with pytest.raises(EnvironmentProblem, match=r"blacked out 5 drawings of '1'.*\"safety_checker\": \[null"):
            one.draw(orders(3))
        return
    found = one.draw(orders(3))
    assert shades(found)[0::2] == [0, 2]
    assert seen.count("1") == 1 + refusals
    assert (shades(found)[1] == 1) == (refusals == 0)
    assert found[1].any()


@pytest.mark.slow
def test_a_model_with_a_safety_checker_is_loaded_with_it(tiny: Any, make: Make, tmp_path: Path) -> None:
    small = {"hidden_size": 12, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.CLIPConfig(
        text_config={**small, "vocab_size": 9, "eos_token_id": 1, "bos_token_id": 0, "pad_token_id": 1},
        vision_config={**small, "image_size": 28, "patch_size": 14}, projection_dim=8)
    checker = diffusers.pipelines.stable_diffusion.StableDiffusionSafetyChecker(config)
    torch.nn.init.ones_(checker.concept_embeds_weights)
    looks = transformers.models.clip.image_processing_pil_clip.CLIPImageProcessorPil(
        size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28})
    parts = {**tiny.parts(), "safety_checker": checker, "feature_extractor": looks, "requires_safety_checker": True}
    generator = make(model=tiny.saved(diffusers.StableDiffusionPipeline(**parts), tmp_path / "checked"))
    generator.fit(tiny_real(1, (24, 32)), [], tiny_context(tmp_path))
    pipe = generator._studio.drawer.pipeline.pipe
    assert type(pipe.safety_checker).__name__ == "StableDiffusionSafetyChecker"
    pipe.safety_checker.concept_embeds_weights.data.fill_(2.0)  # nothing is that alike: all may pass
    assert next(iter(generator.sample([0]))).image.any()
    pipe.safety_checker.concept_embeds_weights.data.fill_(-2.0)
    with pytest.raises(EnvironmentProblem, match="safety checker blacked out"):
        next(iter(generator.sample([0])))


@pytest.mark.parametrize(("settings", "said"), [
    ({"steps": 3, "strength": 0.3}, "less than one step"),
    ({"strength": 0.01}, "less than one step"),
    ({"guidance": 2.0}, "takes no guidance_scale"),
    ({"weight": 1.0}, "takes no controlnet_conditioning_scale"),
])
def test_settings_that_a_pipeline_does_not_take_are_refused(settings: dict[str, Any], said: str) -> None:
    takes = TAKES | ({"strength"} if "strength" in settings else set())
    with pytest.raises(DataError, match=said):
        Drawer(Pipeline(Pipe(1), takes, 8, 8, 64, {"num_inference_steps": 50}), Settings(**settings), 1, "cpu")


@pytest.mark.slow
def test_a_negative_prompt_reaches_the_model(make: Make, plain: Path, tmp_path: Path) -> None:
    found = []
    for negative in ("", "{class} in rain"):
        generator = make(model=plain, negative_prompt=negative)
        generator.fit(tiny_real(1, (24, 32)), [], tiny_context(tmp_path))
        found.append(next(iter(generator.sample([0]))))
    assert "negative_prompt" not in found[0].meta
    assert found[1].meta["negative_prompt"].endswith(" in rain")
    assert (found[0].image != found[1].image).any()


def test_the_side_is_what_the_model_was_made_for_unless_said_otherwise(
        make: Make, plain: Path, inpaint: Path, tmp_path: Path) -> None:
    for model, side in ((plain, 16 * 2), (inpaint, 16 * 8)):
        generator = make(model=model, side=None)
        generator.fit(tiny_real(1, (24, 32)), [], tiny_context(tmp_path))
        assert generator._studio.side == side


@pytest.fixture(scope="module")
def xl(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stable Diffusion XL: two text encoders, one with a projection, and size conditions."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        parts = tiny.parts()
        config = transformers.CLIPTextConfig(**{**parts["text_encoder"].config.to_dict(), "projection_dim": 16})
        net = diffusers.UNet2DConditionModel(
            sample_size=16, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4, attention_head_dim=4,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=32, addition_embed_type="text_time", addition_time_embed_dim=4,
            projection_class_embeddings_input_dim=4 * 6 + 16)
        pipe = diffusers.StableDiffusionXLPipeline(
            vae=parts["vae"], text_encoder=transformers.CLIPTextModel(config), tokenizer=parts["tokenizer"],
            text_encoder_2=transformers.CLIPTextModelWithProjection(config), tokenizer_2=parts["tokenizer"],
            unet=net, scheduler=parts["scheduler"], add_watermarker=False)
    return Path(tiny.saved(pipe, tmp_path_factory.mktemp("xl")))


@pytest.mark.parametrize("mode", ["inpaint-objects", "text"])
def test_a_model_of_another_family_draws_too(mode: str, xl: Path, make: Make, tmp_path: Path) -> None:
    generator = make(model=xl, mode=mode, batch=2)
    real = tiny_real(1, (24, 32))
    if mode == "text":
        real = [replace(s, labels=Labels(s.labels.size, image_class=0)) for s in real]
    generator.fit(real, [], tiny_context(tmp_path, "classify" if mode == "text" else "instances"))
    kind = {"text": "StableDiffusionXLPipeline"}.get(mode, "StableDiffusionXLInpaintPipeline")
    assert type(generator._studio.drawer.pipeline.pipe).__name__ == kind
    assert all(s.image.shape == (24, 32, 3) for s in generator.sample(range(3)))


def test_a_model_of_another_family_is_not_fine_tuned_and_the_error_says_which_are(
        xl: Path, make: Make, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="only pipelines of Stable Diffusion 1 and 2; leave lora null"):
        make(model=xl, lora={"steps": 1}).fit(tiny_real(1, (24, 32)), [], tiny_context(tmp_path))


def test_what_a_pipeline_asks_for_is_read_from_the_pipeline(tiny: Any) -> None:
    for levels, cell in ((2, 2), (4, 8), (5, 16)):
        found = described(diffusers.StableDiffusionPipeline(**tiny.parts(levels=levels)))
        assert (found.cell, found.multiple, found.side) == (cell, max(8, cell), 16 * cell)
        assert {"prompt", "negative_prompt", "generator"} <= found.takes
        assert found.defaults["num_inference_steps"] == 50
