"""Tiny pipelines that diffusers makes and saves itself; no network is touched."""

from __future__ import annotations

import string
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")
transformers = pytest.importorskip("transformers")
Parts = dict[str, Any]


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


def tokenizer() -> Any:
    """A byte-pair tokenizer of single letters."""
    letters = list(string.ascii_lowercase + string.digits + ",")
    words = [*letters, *(f"{c}</w>" for c in letters), "<|startoftext|>", "<|endoftext|>"]
    return transformers.CLIPTokenizer(vocab={w: k for k, w in enumerate(words)}, merges=[], model_max_length=24)


def text_encoder(tokens: Any) -> Any:
    return transformers.CLIPTextModel(transformers.CLIPTextConfig(
        vocab_size=len(tokens), hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=24, bos_token_id=tokens.bos_token_id, eos_token_id=tokens.eos_token_id,
        pad_token_id=tokens.pad_token_id))


def vae(levels: int = 2) -> Any:
    """Latent cells of 2 ** (levels − 1) px."""
    return diffusers.AutoencoderKL(
        block_out_channels=(8,) * levels, down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels, norm_num_groups=4, latent_channels=4, sample_size=32)


def unet(channels: int) -> Any:
    return diffusers.UNet2DConditionModel(
        sample_size=16, in_channels=channels, out_channels=4, block_out_channels=(8, 16), layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=16, norm_num_groups=4, attention_head_dim=4)


def scheduler(**told: Any) -> Any:
    return diffusers.DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear",
                                   clip_sample=False, set_alpha_to_one=False, steps_offset=1, **told)


def parts(channels: int = 4, levels: int = 2, **told: Any) -> Parts:
    """The parts of a Stable Diffusion pipeline, with weights of their own each time the same."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        tokens = tokenizer()
        return {"vae": vae(levels), "text_encoder": text_encoder(tokens), "tokenizer": tokens, "unet": unet(channels),
                "scheduler": scheduler(**told), "safety_checker": None, "feature_extractor": None,
                "requires_safety_checker": False}


def saved(pipe: Any, folder: Path) -> Path:
    """The folder that a pipeline, or a network, was saved in, without a word on the terminal."""
    for log in (transformers.utils.logging, diffusers.utils.logging):
        log.disable_progress_bar()
    pipe.save_pretrained(folder)
    for log in (transformers.utils.logging, diffusers.utils.logging):
        log.enable_progress_bar()
    return folder


@pytest.fixture(scope="session")
def tiny() -> SimpleNamespace:
    """What tests build pipelines of their own from: parts, unet, scheduler, saved."""
    return SimpleNamespace(parts=parts, unet=unet, scheduler=scheduler, saved=saved)


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Text to image, a U-Net of 4 channels; it inpaints by blending."""
    return saved(diffusers.StableDiffusionPipeline(**parts()), tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="session")
def inpaint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A U-Net of 9 channels, which sees the mask; latent cells of 8 px, as the large models have."""
    return saved(diffusers.StableDiffusionInpaintPipeline(**parts(9, 4)), tmp_path_factory.mktemp("inpaint"))


@pytest.fixture(scope="session")
def control(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ControlNet for `plain`, whose say is not nil as it is before training."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        net = diffusers.ControlNetModel.from_unet(unet(4), conditioning_embedding_out_channels=(4, 8))
        for name, value in net.named_parameters():
            if "controlnet_" in name:
                torch.nn.init.normal_(value, std=0.5)
    return saved(net, tmp_path_factory.mktemp("control"))


@pytest.fixture
def make() -> Callable[..., Any]:
    """Builds a `Pretrained` through its options as a recipe gives them, with few steps."""
    from synthgen_pretrained import Pretrained

    def build(**options: Any) -> Any:
        return Pretrained(**{"steps": 2, "side": 32, "layout": "resample", **options})

    return build
