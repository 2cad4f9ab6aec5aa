"""Learning from the pool: what the averaged weights are sure of in a weak view, the network must say of strong views.

Weak-to-strong consistency (FixMatch: Sohn et al., NeurIPS 2020) with the mean teacher's averaged weights (Tarvainen &
Valpola, NeurIPS 2017). Dense tasks: several strong views, each with its own CutMix, and channels of the features
dropped (UniMatch: Yang et al., CVPR 2023; both in one stream with complementary channels as in UniMatch V2, arXiv
2410.10777). `classify`: the thresholds of FreeMatch (Wang et al., ICLR 2023). What is not sure says nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from synthgen.types import Json
from synthgen_labeler.network import Network
from synthgen_labeler.thresholds import ClassThresholds, PixelThresholds, Prior, momentum_for
from synthgen_labeler.watch import Watch


@dataclass(frozen=True, slots=True)
class Answer:
    """What the teacher says of weak views, moved by CutMix as the image is.

    classes: (n, …) int64. certain: (n, …) bool, over its class's threshold. valid: (n, …) bool, image and no padding.
    """

    classes: Tensor
    certain: Tensor
    valid: Tensor

    def mixed(self, where: Tensor) -> Answer:
        """The answer for images that `mixed` made of the same boxes."""
        return Answer(mixed(self.classes, where), mixed(self.certain, where), mixed(self.valid, where))


def mixed(x: Tensor, where: Tensor) -> Tensor:
    """(n, …, H, W) with the pixels of (n, H, W) bool boxes taken from the image before in the batch (CutMix)."""
    boxes = where if x.ndim == 3 else where.unsqueeze(1)
    return torch.where(boxes, x.roll(1, 0), x)


def consistency_loss(logits: Tensor, answer: Answer) -> Tensor:
    """Cross-entropy of (n, C, …) logits with the teacher's classes where it is certain, over all that is valid
    (FixMatch, eq. 4): the less it is certain of, the less the pool has to say."""
    loss = F.cross_entropy(logits, answer.classes, reduction="none")
    told = answer.certain & answer.valid
    return (loss * told).sum() / answer.valid.sum().clamp(min=1)


def channels(widths: Sequence[int], n: int, views: int, generator: torch.Generator) -> list[list[Tensor]]:
    """Of each view what the encoder's maps are multiplied by, (n, C) each: 0 or 2 at odds of one half, and what one
    view loses the next one keeps (complementary dropout of UniMatch V2); every second image keeps everything.
    widths: the maps' channels."""
    whole = (torch.arange(n) % 2 == 1).unsqueeze(1)
    first = [2 * (torch.rand(n, c, generator=generator) < 0.5).float() for c in widths]
    return [[torch.where(whole, 1.0, keep if view % 2 == 0 else 2 - keep) for keep in first] for view in range(views)]


class Consistency(nn.Module):
    """The pool's term of the loss, its thresholds and its alarm; all of its state goes into a checkpoint.

    classes: C that the class head tells apart, background among them. shows, shares: (C,) as `Watch` wants them.
    steps: how many steps look at the pool. Once the alarm has rung, the pool says nothing more. prior: (C,) shares of
    the pool's images that are of each class, where they are known.
    """

    def __init__(self, classes: int, dense: bool, shows: list[float], shares: list[float], steps: int,
                 prior: Prior | None = None) -> None:
        super().__init__()
        self.dense = dense
        self.thresholds = (PixelThresholds if dense else ClassThresholds)(classes, momentum_for(steps))
        self.watch = Watch(shows, shares, steps)
        self.prior = prior

    def forward(self, student: Network, teacher: Network, batch: dict[str, Tensor], seed: int) -> Tensor | None:
        """The loss of a batch's views; None without any, or after the alarm. seed: of the dropped channels."""
        if "weak" not in batch or self.watch.rung:
            return None
        answer = self.answer(teacher, batch)
        strong, n = batch["strong"], len(batch["weak"])
        drops = torch.Generator().manual_seed(seed)
        keep = channels(student.encoder.channels, n, len(strong), drops) if self.dense else []
        losses = []
        for view, image in enumerate(strong):
            told = answer
            if self.dense:
                told, image = answer.mixed(batch["mix"][view]), mixed(image, batch["mix"][view])
            image = image.contiguous(memory_format=torch.channels_last)
            out = student(image, [k.to(image.device) for k in keep[view]] if self.dense else None)
            losses.append(consistency_loss(out[:, : self.watch.classes], told))
        return torch.stack(losses).mean()

    @torch.no_grad()
    def answer(self, teacher: Network, batch: dict[str, Tensor]) -> Answer:
        """What the teacher says of the weak views; moves the thresholds and tells the watch."""
        weak = batch["weak"].contiguous(memory_format=torch.channels_last)
        q = teacher(weak)[:, : self.watch.classes].softmax(1)  # (n, C, …)
        q = q if self.prior is None else self.prior(q)
        valid = batch["valid"] if self.dense else torch.ones(len(weak), dtype=torch.bool, device=weak.device)
        self.thresholds.update(q.movedim(1, -1)[valid])
        sure, classes = q.max(1)
        certain = (sure >= self.thresholds.each()[classes]) & valid
        C, n = self.watch.classes, len(classes)
        kept = torch.stack([((classes == c) & certain).reshape(n, -1).sum(1) for c in range(C)], 1)
        self.watch.see(kept, torch.bincount(classes[valid], minlength=C))
        return Answer(classes, certain, valid)

    def facts(self, step: int) -> dict[str, Json]:
        """What the curve keeps of the steps since it was last asked: shares by class, and the thresholds now."""
        return {"step": step, **self.watch.since(),
                "threshold": [round(float(t), 4) for t in self.thresholds.each()]}
