"""How sure the teacher must be of a class before it teaches it: thresholds that follow what it is sure of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

SURE, DOUBTED = 0.5, 1.5  # boxes as many as labels let expect, times this: learned from; not taken for background
LEAST_SURE = 0.05  # a score that is asked for in any case, however few boxes there are
PACE = 0.5  # how far the logit of a threshold moves at a time
STRICTEST = 0.95  # UniMatch's fixed threshold, and what FreeMatch's code clips at


def momentum_for(steps: int) -> float:
    """Of averages over a training of so many steps: FreeMatch's 0.999 is for 10⁶; here a tenth of them is kept."""
    return 1 - 1 / max(5.0, 0.1 * steps)


class Prior(nn.Module):
    """Distribution alignment: q ← q · p / p̃, made to sum to 1, with p the classes' shares and p̃ a running average of q
    from p on (ReMixMatch: Berthelot et al., ICLR 2020, §3.1; there of the last 128 batches).

    What a teacher of few labels names too often is named less often, which is right where the shares are. shares: (C,)
    summing to 1; a class without a share is never named.
    """

    def __init__(self, shares: Sequence[float], momentum: float) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("shares", torch.tensor(shares), persistent=False)
        self.register_buffer("named", torch.tensor(shares))

    def forward(self, q: Tensor) -> Tensor:
        """(N, C) aligned probabilities of (N, C); takes them into the average first."""
        shares, named = cast(Tensor, self.shares), cast(Tensor, self.named)
        named.copy_(self.momentum * named + (1 - self.momentum) * q.mean(0))
        aligned = q * (shares / named.clamp(min=1e-6))
        return aligned / aligned.sum(1, keepdim=True).clamp(min=1e-12)


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


class CountThresholds(nn.Module):
    """Scores from which on boxes of each of K classes are sure, and from which on they are doubted.

    A threshold is where boxes are as many as the labels let expect: their density times the pixels seen, times SURE, or
    times DOUBTED. So adapts LabelMatch (Chen et al., CVPR 2022, "Label Matching Semi-Supervised Object Detection"),
    which sorts all scores of the pool; here each batch moves it a step, up where boxes are too many (stochastic
    approximation: Robbins & Monro 1951). density: (K,) boxes per px.
    """

    def __init__(self, density: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("density", torch.tensor(density), persistent=False)
        self.register_buffer("logits", torch.zeros(2, len(density)))

    def update(self, scores: Sequence[Tensor], pixels: int) -> None:
        """Take in the scores in [0, 1] of each class's boxes, K × (n_k,) on the CPU, found in so many pixels."""
        logits, density = cast(Tensor, self.logits).cpu(), cast(Tensor, self.density).cpu()
        for row, times in enumerate((SURE, DOUBTED)):
            count = torch.stack([(one >= t).sum() for one, t in zip(scores, logits[row].sigmoid(), strict=True)])
            expected = times * density * pixels
            logits[row] += PACE * (count - expected) / (1 + expected)
        logits[0].clamp_(min=math.log(LEAST_SURE / (1 - LEAST_SURE)))
        logits[1] = torch.minimum(logits[0], logits[1])
        cast(Tensor, self.logits).copy_(logits)

    def each(self) -> tuple[Tensor, Tensor]:
        """(K,) float64 on the CPU: scores from which on boxes are sure, and doubted."""
        sure, doubted = cast(Tensor, self.logits).cpu().double().sigmoid()
        return sure, doubted
