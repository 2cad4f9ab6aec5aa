"""What critic and painter are told: one cross-entropy over N real classes and `painted`, of pixels or of images."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

REAL = -1  # a target: real, of whatever class
NOTHING = -2  # a target: says nothing
MOST = 10.0  # times that a rare class may count
SAME = 0.05  # of a picture's standard deviation: below, two pictures are the same


def targets(condition: Tensor) -> Tensor:
    """(B, H, W) int64 of (B, C, H, W) channels of `layouts.condition`: 0 background, c + 1 class c, the last contact
    between objects, REAL where nothing is known."""
    known, kinds, contact = condition[:, 0], condition[:, 1:-2], condition[:, -2]
    target = ((kinds > 0.5) * torch.arange(1, kinds.shape[1] + 1, device=kinds.device).view(1, -1, 1, 1)).sum(1)
    target = torch.where(contact > 0.5, kinds.shape[1] + 1, target)
    return torch.where(known > 0.5, target, REAL)


def judged(logits: Tensor, target: Tensor) -> Tensor:
    """Mean cross-entropy of (B, N + 1, …) logits, class-balanced; the last class is `painted`. target: (B, …) int64.

    Each class of the N counts by the inverse of its share (Sushko et al., ICLR 2021, section 3.2), at most MOST times.
    Where only REAL is known, the probability of all N together counts, as in Salimans et al. (NeurIPS 2016, section 5).
    """
    logits = logits.float()
    n = logits.shape[1]
    told = F.cross_entropy(logits, target.clamp_min(0), reduction="none")
    real = logits.logsumexp(1) - logits[:, :-1].logsumexp(1)
    named, counts = target >= 0, torch.bincount(target[target >= 0].flatten(), minlength=n).float()
    weights = (counts.sum() / counts.clamp_min(1) / (counts > 0).sum().clamp_min(1)).clamp_max(MOST)
    loss = torch.where(named, told * weights[target.clamp_min(0)], real * (target == REAL))
    return loss.sum() / (target != NOTHING).sum().clamp_min(1)


def painted(target: Tensor, kinds: int) -> Tensor:
    """The target that a critic has for painted pictures, where it has one."""
    return torch.where(target == NOTHING, NOTHING, kinds)


def realness(logits: Tensor) -> Tensor:
    """(B, …) log-odds that it is real."""
    return logits[:, :-1].logsumexp(1) - logits[:, -1]


def steepness(critic: torch.nn.Module, pictures: Tensor) -> Tensor:
    """R1: mean square of the gradient of the log-odds by the pictures (Mescheder, Geiger & Nowozin, "Which training
    methods for GANs do actually converge?", ICML 2018, eq. 9); of a segmenter, per pixel."""
    pictures = pictures.detach().requires_grad_(True)
    odds = realness(critic(pictures))
    (slope,) = torch.autograd.grad(odds.sum(), pictures, create_graph=True)
    each = slope.square().sum((1, 2, 3))
    return (each / odds[0].numel()).mean()


def sameness(pictures: Tensor, latents: Tensor) -> Tensor:
    """How little two pictures of one class differ for how much their noise does: Mao et al., "Mode seeking generative
    adversarial networks for diverse image synthesis" (CVPR 2019, section 3.2). Rows 2k and 2k + 1 are of one class."""
    n = len(pictures) // 2 * 2
    apart = (pictures[0:n:2] - pictures[1:n:2]).abs().mean((1, 2, 3))
    noise = (latents[0:n:2] - latents[1:n:2]).abs().mean(1)
    return (1 / (apart / noise + SAME)).mean()


def far_off(painted_: Tensor, real: Tensor, coarse: int) -> Tensor:
    """Mean absolute difference of pictures shrunk `coarse` times, which asks for the real one's light and colours and
    leaves its texture free."""
    return (F.avg_pool2d(painted_, coarse) - F.avg_pool2d(real, coarse)).abs().mean()
