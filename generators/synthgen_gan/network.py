"""The painter: from noise and what the picture must show to the picture, in one pass."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from synthgen_gan.things import looks

LATENT = 32  # numbers of a sample that are the same everywhere in it
NOISE = 4  # numbers of a sample at each pixel
LEAK = 0.2  # slope of the leaky ReLUs below 0
EPS = 1e-6


@dataclass(frozen=True, slots=True)
class Shape:
    """What both networks are built from: enough to build them again before loading their weights.

    colours: 1 or 3. condition: channels of what a picture must show, 0 for `classify`. classes: image classes, 0 where
    masks are given. widths: channels of the painter per level, from pixels to the coarsest, each half as fine as the
    one before. critic: of the critic, from half as fine as pixels. side: of the crops, px. low, high: ends of the
    range of values.
    """

    colours: int
    condition: int
    classes: int
    widths: tuple[int, ...]
    critic: tuple[int, ...]
    side: int
    low: float
    high: float

    @property
    def multiple(self) -> int:
        """Both sides of what the networks see must be divisible by this, px."""
        return multiple_of(self.widths, self.critic)

    @property
    def kinds(self) -> int:
        """Real classes that the critic tells apart: of pixels background, the classes, and contact; else of images."""
        return self.classes or self.condition - 1


def multiple_of(widths: tuple[int, ...], critic: tuple[int, ...]) -> int:
    """What both sides must be divisible by, px."""
    return int(2 ** max(len(widths) - 1, len(critic)))


def shape_of(about: dict[str, Any]) -> Shape:
    """A shape from JSON. Raises: TypeError when something is missing or unknown."""
    fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in about.items()}
    return Shape(**fields)


class Painter(nn.Module):
    """Coarse to fine, with the condition and the style as scale and shift of normed features at every level.

    The modulation is that of Park, Liu, Wang & Zhu, "Semantic image synthesis with spatially-adaptive normalization"
    (CVPR 2019, eq. 1), from features of a small encoder of the condition. What is normed is each pixel's vector of
    channels (Karras et al., "Progressive growing of GANs", ICLR 2018, section 4.2), so that a picture's size, and what
    stands far away in it, change nothing. Noise as a 3-D tensor after Sushko et al., "You only need adversarial
    supervision for semantic image synthesis" (ICLR 2021, section 3.3): a vector that holds everywhere, and values of
    each pixel that are added to every level's features (Karras et al., "A style-based generator architecture", CVPR
    2019, section 2). Without a condition the vector and the class give a coarse map to begin with.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        widths = shape.widths
        style = LATENT
        if shape.classes:
            self.kinds = nn.Embedding(shape.classes, LATENT)
            style += LATENT
        top = shape.side // 2 ** (len(widths) - 1)
        self.coarse = (top, top)
        self.style = nn.Sequential(nn.Linear(style, 2 * LATENT), nn.LeakyReLU(LEAK))
        if shape.condition:
            ends = [shape.condition + looks(shape.colours), *widths]
            self.read = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in pairwise(ends))
            self.begin = nn.Conv2d(NOISE, widths[-1], 1)
        else:
            self.start = nn.Linear(style, widths[-1] * top * top)
        paint = [Paint(a, b, bool(shape.condition)) for a, b in zip([*widths[1:], widths[-1]], widths, strict=True)]
        self.paint = nn.ModuleList(paint)
        self.out = nn.Conv2d(widths[0], shape.colours, 3, padding=1)
        share = min(max(-shape.low / (shape.high - shape.low), 0.02), 0.98)
        nn.init.constant_(self.out.bias, math.log(share / (1 - share)))  # type: ignore[arg-type]

    def forward(self, condition: Tensor, kind: Tensor, latent: Tensor, noise: Tensor) -> Tensor:
        """(B, colours, H, W) pictures. condition: (B, C + looks, H, W) as `Looks` gives it, or of 0 channels. kind:
        (B,) image class, of no meaning where masks are given. latent: (B, LATENT) and noise: (B, NOISE, H, W), standard
        normal. H, W: divisible by shape.multiple."""
        if self.shape.classes:
            latent = torch.cat([latent, self.kinds(kind)], 1)
        style, levels, read = self.style(latent), len(self.paint), []
        if self.shape.condition:
            seen = condition
            for level, layer in enumerate(self.read):
                seen = F.leaky_relu(layer(F.avg_pool2d(seen, 2) if level else seen), LEAK)
                read.append(seen)
            x = self.begin(_every(noise, levels - 1))
        else:
            x = self.start(latent).view(len(latent), -1, *self.coarse)
            size = tuple(side // 2 ** (levels - 1) for side in noise.shape[2:])
            if size != self.coarse:
                x = F.interpolate(x, size, mode="bilinear", align_corners=False)
        for level in reversed(range(levels)):
            if level < levels - 1:
                x = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
            x = self.paint[level](x, read[level] if read else None, style, _every(noise, level))
        share = torch.sigmoid(self.out(F.leaky_relu(_normed(x), LEAK)))
        return self.shape.low + (self.shape.high - self.shape.low) * share


class Paint(nn.Module):
    """One level: modulate, convolve, add noise; twice, beside a shortcut."""

    def __init__(self, a: int, b: int, read: bool) -> None:
        super().__init__()
        self.given = nn.Conv2d(b, 2 * (a + b), 1) if read else None
        self.style = nn.Linear(2 * LATENT, 2 * (a + b))
        self.split = [a, a, b, b]
        self.first = nn.Conv2d(a, b, 3, padding=1)
        self.second = nn.Conv2d(b, b, 3, padding=1)
        self.grain = nn.Conv2d(NOISE, 2 * b, 1, bias=False)
        self.short = nn.Conv2d(a, b, 1) if a != b else nn.Identity()

    def forward(self, x: Tensor, read: Tensor | None, style: Tensor, noise: Tensor) -> Tensor:
        by = self.style(style)[:, :, None, None]
        if self.given is not None:
            by = by + self.given(read)
        scale1, shift1, scale2, shift2 = by.split(self.split, 1)
        noise1, noise2 = self.grain(noise).chunk(2, 1)
        y = self.first(F.leaky_relu(_normed(x) * (1 + scale1) + shift1, LEAK)) + noise1
        y = self.second(F.leaky_relu(_normed(y) * (1 + scale2) + shift2, LEAK)) + noise2
        shown: Tensor = self.short(x) + y
        return shown


def _normed(x: Tensor) -> Tensor:
    """Each pixel's vector of channels with mean square 1."""
    return x * torch.rsqrt(x.square().mean(1, keepdim=True) + EPS)


def _every(noise: Tensor, level: int) -> Tensor:
    """The noise of a level: every 2^level-th pixel's, so that it has the same spread at all of them."""
    return noise[:, :, :: 2**level, :: 2**level]
