"""How sure the teacher must be of a class before it teaches it: thresholds that follow what it is sure of."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

STRICTEST = 0.95  # UniMatch's fixed threshold, and what FreeMatch's code clips at


class ClassThresholds(nn.Module):
    """FreeMatch's self-adaptive thresholds (Wang et al., ICLR 2023, algorithm 1) of C classes of images.

    Global: τ ← λ τ + (1 − λ) mean max q, from 1 / C. Local: p̃(c) ← λ p̃(c) + (1 − λ) mean q(c), from 1 / C.
    A class's threshold is τ · p̃(c) / max p̃: a class that the teacher hardly dares to name yet is asked less of.
    """

    def __init__(self, classes: int, momentum: float) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("level", torch.tensor(1 / classes))
        self.register_buffer("local", torch.full((classes,), 1 / classes))

    def update(self, q: Tensor) -> None:
        """Take in (N, C) probabilities."""
        if len(q):
            level, local = cast(Tensor, self.level), cast(Tensor, self.local)
            level.copy_((self.momentum * level + (1 - self.momentum) * q.max(1).values.mean()).clamp(max=STRICTEST))
            local.copy_(self.momentum * local + (1 - self.momentum) * q.mean(0))

    def each(self) -> Tensor:
        """(C,) thresholds."""
        local = cast(Tensor, self.local)
        return cast(Tensor, self.level) * local / local.max()


class PixelThresholds(nn.Module):
    """Thresholds of C classes of pixels, background first, each FreeMatch's global rule on a class of its own:
    τ(c) ← λ τ(c) + (1 − λ) mean of max q over the pixels that the teacher gives to c, from 0.95 and never above.

    FreeMatch's local rule compares how often classes are named. Of pixels that is how large things are: nuclei on 5 %
    of an image would be asked for 0.05, which is nothing.
    """

    def __init__(self, classes: int, momentum: float) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("level", torch.full((classes,), STRICTEST))

    def update(self, q: Tensor) -> None:
        """Take in (N, C) probabilities."""
        level = cast(Tensor, self.level)
        sure, named = q.max(1)
        count = torch.bincount(named, minlength=len(level))
        total = torch.zeros_like(level).index_add_(0, named, sure)
        moved = self.momentum * level + (1 - self.momentum) * total / count.clamp(min=1)
        level.copy_(torch.where(count > 0, moved.clamp(max=STRICTEST), level))

    def each(self) -> Tensor:
        """(C,) thresholds."""
        return cast(Tensor, self.level)
