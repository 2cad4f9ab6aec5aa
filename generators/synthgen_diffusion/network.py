"""The denoiser: diffusers' U-Net on patches of the picture, given what the picture must show."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import UNet2DModel
from torch import Tensor, nn

from synthgen.neural.tensors import read_tensors, write_tensors

CLAMP = 0.1  # smallest t that the loss divides by
TIMES = 1000.0  # diffusers counts time in thousandths


@dataclass(frozen=True, slots=True)
class Shape:
    """What the network is built from: enough to build it again before loading its weights.

    colours: channels of the picture. condition: channels given beside the picture. classes: image classes, 0 for none;
    one more stands for `unknown`. patch: side of the patches that become channels, px. widths: channels per level.
    blocks: residual blocks per level. dropout in [0, 1). fields: channels that are denoised along with the picture, by
    a time of their own.
    """

    colours: int
    condition: int
    classes: int
    patch: int
    widths: tuple[int, ...]
    blocks: int
    dropout: float
    fields: int = 0

    @property
    def drawn(self) -> int:
        """Channels that are denoised."""
        return self.colours + self.fields

    @property
    def multiple(self) -> int:
        """Both sides of a picture must be divisible by this, px."""
        return int(self.patch * 2 ** (len(self.widths) - 1))


class Denoiser(nn.Module):
    """Predicts the clean picture from a noisy one (x-prediction: Li & He, "Back to basics: let denoising generative
    models denoise", 2025), on patches turned into channels, with group norm, and time as scale and shift.

    With fields it denoises these too, and is told two times (Bao et al., "One transformer fits all distributions in
    multi-modal diffusion at scale", ICML 2023, §3): where one of picture and fields is nothing but noise (t = 1), what
    is learned of the other is how it looks by itself.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        area, levels = shape.patch**2, len(shape.widths)
        self.unet = UNet2DModel(
            in_channels=(shape.drawn + shape.condition) * area,
            out_channels=shape.drawn * area,
            block_out_channels=shape.widths,
            down_block_types=("DownBlock2D",) * levels,
            up_block_types=("UpBlock2D",) * levels,
            layers_per_block=shape.blocks,
            norm_num_groups=8,
            add_attention=False,
            dropout=shape.dropout,
            resnet_time_scale_shift="scale_shift",
            num_class_embeds=shape.classes + 1 if shape.classes else None,
            class_embed_type="timestep" if shape.fields else None,
        )

    def forward(self, noisy: Tensor, t: Tensor, condition: Tensor, kind: Tensor,
                t_fields: Tensor | None = None) -> Tensor:
        """(B, colours + fields, H, W) clean pictures, and fields, of noisy ones. t: (B,) in (0, 1], the share of noise.
        condition: (B, C, H, W), all 0 where nothing is known. kind: (B,) image class, the last for unknown; not used
        without classes. t_fields: (B,) share of noise in the fields, t where none is given."""
        x = F.pixel_unshuffle(torch.cat([noisy, condition], 1), self.shape.patch)
        beside = kind if self.shape.classes else None
        if self.shape.fields:
            beside = (t if t_fields is None else t_fields) * TIMES
        y = self.unet(x, t * TIMES, class_labels=beside, return_dict=False)[0]
        return F.pixel_shuffle(y, self.shape.patch)


def noised(clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """(1 − t)·clean + t·noise: the straight path of rectified flow (Liu, Gong & Liu, ICLR 2023, eq. 1), t = 1 noise."""
    t = t.view(-1, 1, 1, 1)
    return (1 - t) * clean + t * noise


def flow_loss(clean: Tensor, predicted: Tensor, t: Tensor, known: Tensor | None = None) -> Tensor:
    """Mean squared error of the velocity that a clean picture implies: |x̂ − x|² / t², t at least CLAMP.

    known: (B, 1, H, W), 1 where the error counts; nothing known has none.
    """
    scale = t.clamp_min(CLAMP).view(-1, 1, 1, 1)
    square: Tensor = ((predicted - clean) / scale) ** 2
    if known is None:
        return square.mean()
    return (square * known).sum() / (known.sum() * clean.shape[1]).clamp_min(1)


def built(shape: Shape, state: Mapping[str, Any], device: str) -> Denoiser:
    """A network with weights, ready to draw. On the CPU it draws with one thread."""
    if device == "cpu":
        torch.set_num_threads(1)
    with torch.random.fork_rng():  # a network draws its first weights, which are replaced
        network = Denoiser(shape)
    network.load_state_dict(dict(state))
    return network.to(device).eval()


def keep(folder: Path, network: Denoiser) -> None:
    """`weights.safetensors` and `network.json`, its shape."""
    folder.mkdir(exist_ok=True)
    write_tensors(folder / "weights.safetensors", network.state_dict())
    (folder / "network.json").write_text(json.dumps(asdict(network.shape), indent=1) + "\n")


def kept(folder: Path, device: str) -> Denoiser:
    """What `keep` wrote. Raises: OSError, ValueError, KeyError, TypeError, RuntimeError or SafetensorError."""
    about = json.loads((folder / "network.json").read_text())
    shape = Shape(**{**about, "widths": tuple(about["widths"])})
    return built(shape, read_tensors(folder / "weights.safetensors")[0], device)
