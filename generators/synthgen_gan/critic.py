"""The critic: which class is each pixel, or is it painted? For `classify`, the same of the image."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from synthgen_gan.network import LEAK, Shape

HIDDEN = 128  # numbers that an image is judged by, for `classify`


class Critic(nn.Module):
    """A segmenter of N real classes and one for painted pixels (Sushko et al., ICLR 2021, section 3.2), as a U-Net; for
    `classify` a classifier of N real classes and one for painted images (Salimans et al., "Improved techniques for
    training GANs", NeurIPS 2016, section 5), without the decoder. It works at half the pictures' resolution. No norm,
    since its batches are small."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        w = shape.critic
        self.first = nn.Conv2d(shape.colours, w[0], 4, 2, 1)
        self.down = nn.ModuleList(Twice(a, b) for a, b in zip([w[0], *w[:-1]], w, strict=True))
        if shape.classes:
            top = shape.side // 2 ** len(w)
            self.told = nn.Sequential(nn.LeakyReLU(LEAK), nn.Flatten(), nn.Linear(w[-1] * top * top, HIDDEN),
                                      nn.LeakyReLU(LEAK), nn.Linear(HIDDEN, shape.kinds + 1))
            return
        self.up = nn.ModuleList(Twice(a + b, b) for a, b in zip(w[1:], w[:-1], strict=True))
        self.told = nn.Sequential(nn.LeakyReLU(LEAK), nn.Conv2d(w[0], 4 * (shape.kinds + 1), 1), nn.PixelShuffle(2))

    def forward(self, pictures: Tensor) -> Tensor:
        """(B, kinds + 1, H, W) logits of (B, colours, H, W), for `classify` (B, kinds + 1); the last is `painted`."""
        x, seen = self.first(pictures), []
        for level, layer in enumerate(self.down):
            x = layer(F.avg_pool2d(x, 2) if level else x)
            seen.append(x)
        if not self.shape.classes:
            for level in reversed(range(len(seen) - 1)):
                x = F.interpolate(x, scale_factor=2.0, mode="nearest")
                x = self.up[level](torch.cat([x, seen[level]], 1))
        told: Tensor = self.told(x)
        return told


class Twice(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, a: int, b: int) -> None:
        super().__init__()
        self.one = nn.Conv2d(a, b, 3, padding=1)
        self.two = nn.Conv2d(b, b, 3, padding=1)
        self.short = nn.Conv2d(a, b, 1, bias=False) if a != b else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = self.two(F.leaky_relu(self.one(F.leaky_relu(x, LEAK)), LEAK))
        return (self.short(x) + y) / 2**0.5  # type: ignore[no-any-return]
