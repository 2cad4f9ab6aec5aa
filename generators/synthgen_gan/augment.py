"""DiffAugment: what the critic sees of real and of painted pictures is changed in the same ways."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

BRIGHTER = 0.5  # of the pictures' standard deviation, either way
CONTRAST = 0.25  # share that contrast gains or loses
SATURATION = 0.5  # the same of saturation
SHIFT = 1 / 8  # of the side, either way
HOLE = 1 / 2  # of the side


@dataclass(frozen=True, slots=True)
class Change:
    """How each picture of a batch is changed. bright, contrast, saturation: (B, 1, 1, 1) float32. rows, columns:
    (B, side) int64, where each pixel is taken from. inside: (B, side, side) bool, whether there is something."""

    bright: Tensor
    contrast: Tensor
    saturation: Tensor
    rows: Tensor
    columns: Tensor
    inside: Tensor

    def pictures(self, x: Tensor) -> Tensor:
        """(B, colours, side, side) in other tones, shifted, with a hole; outside 0, the mean of all tones.

        Zhao et al., "Differentiable augmentation for data-efficient GAN training" (NeurIPS 2020, section 3), policy
        `color, translation, cutout`, in tones half as far from the picture's own as theirs.
        """
        grey = x.mean(1, keepdim=True)
        x = grey + (x - grey) * self.saturation
        middle = x.mean((1, 2, 3), keepdim=True)
        x = middle + (x - middle) * self.contrast + self.bright
        return self._moved(x) * self.inside[:, None]

    def maps(self, x: Tensor, outside: int) -> Tensor:
        """(B, side, side) labels of pixels, moved as the pictures are; `outside` where there is nothing."""
        return torch.where(self.inside, self._moved(x[:, None])[:, 0], outside)

    def _moved(self, x: Tensor) -> Tensor:
        rows = torch.arange(len(x), device=x.device)[:, None, None]
        return x[rows, :, self.rows[:, :, None], self.columns[:, None, :]].permute(0, 3, 1, 2)


def change(n: int, side: int, rng: np.random.Generator, device: torch.device) -> Change:
    """Changes for n pictures of `side` px."""
    def tone(spread: float, middle: float) -> Tensor:
        drawn = rng.uniform(middle - spread, middle + spread, (n, 1, 1, 1))
        return torch.from_numpy(drawn.astype(np.float32)).to(device)

    bright, contrast, saturation = tone(BRIGHTER, 0), tone(CONTRAST, 1), tone(SATURATION, 1)
    far, half = int(side * SHIFT), int(side * HOLE) // 2
    at = np.arange(side)
    shifted = at + rng.integers(-far, far + 1, (2, n, 1))  # (2, n, side)
    holes = np.abs(at - rng.integers(0, side, (2, n, 1))) < half
    there = (shifted >= 0) & (shifted < side)
    inside = there[0][:, :, None] & there[1][:, None, :] & ~(holes[0][:, :, None] & holes[1][:, None, :])
    rows, columns = (torch.from_numpy(s.clip(0, side - 1)).to(device) for s in shifted)
    return Change(bright, contrast, saturation, rows, columns, torch.from_numpy(inside).to(device))
