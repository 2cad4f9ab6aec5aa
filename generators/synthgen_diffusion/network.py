"""The denoiser: diffusers' U-Net on patches of the picture, given what the picture must show."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from diffusers import UNet2DModel
from torch import Tensor, nn

CLAMP = 0.1  # smallest t that the loss divides by
TIMES = 1000.0  # diffusers counts time in thousandths


@dataclass(frozen=True, slots=True)
class Shape:
    """What the network is built from: enough to build it again before loading its weights.

    colours: 1 or 3. condition: channels given beside the picture. classes: image classes, 0 for none; one more stands
    for `unknown`. patch: side of the patches that become channels, px. widths: channels per level. blocks: residual
    blocks per level. dropout in [0, 1).
    """

    colours: int
    condition: int
    classes: int
    patch: int
    widths: tuple[int, ...]
    blocks: int
    dropout: float

    @property
    def multiple(self) -> int:
        """Both sides of a picture must be divisible by this, px."""
        return int(self.patch * 2 ** (len(self.widths) - 1))


class Denoiser(nn.Module):
    """Predicts the clean picture from a noisy one (x-prediction: Li & He, "Back to basics: let denoising generative
    models denoise", 2025), on patches turned into channels, with group norm, and time as scale and shift."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        area, levels = shape.patch**2, len(shape.widths)
        self.unet = UNet2DModel(
            in_channels=(shape.colours + shape.condition) * area,
            out_channels=shape.colours * area,
            block_out_channels=shape.widths,
            down_block_types=("DownBlock2D",) * levels,
            up_block_types=("UpBlock2D",) * levels,
            layers_per_block=shape.blocks,
            norm_num_groups=8,
            add_attention=False,
            dropout=shape.dropout,
            resnet_time_scale_shift="scale_shift",
            num_class_embeds=shape.classes + 1 if shape.classes else None,
        )

    def forward(self, noisy: Tensor, t: Tensor, condition: Tensor, kind: Tensor) -> Tensor:
        """(B, colours, H, W) clean pictures of noisy ones. t: (B,) in (0, 1], the share of noise. condition: (B, C, H,
        W), all 0 where nothing is known. kind: (B,) image class, the last for unknown; not used without classes."""
        x = F.pixel_unshuffle(torch.cat([noisy, condition], 1), self.shape.patch)
        y = self.unet(x, t * TIMES, class_labels=kind if self.shape.classes else None, return_dict=False)[0]
        return F.pixel_shuffle(y, self.shape.patch)


def noised(clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """(1 − t)·clean + t·noise: the straight path of rectified flow (Liu, Gong & Liu, ICLR 2023, eq. 1), t = 1 noise."""
    t = t.view(-1, 1, 1, 1)
    return (1 - t) * clean + t * noise


def flow_loss(clean: Tensor, predicted: Tensor, t: Tensor) -> Tensor:
    """Mean squared error of the velocity that a clean picture implies: |x̂ − x|² / t², t at least CLAMP."""
    scale = t.clamp_min(CLAMP).view(-1, 1, 1, 1)
    return (((predicted - clean) / scale) ** 2).mean()
