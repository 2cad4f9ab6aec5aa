"""Which images of the pool come first: those whose labels no longer changed while the network learned from labels.

ST++ (Yang, Zhuo, Qi, Shi & Gao, CVPR 2022, algorithm 2): an image is the more reliable the more what checkpoints at a
third and at two thirds of a training say of it agrees with what its end says; a student learns from the reliable half,
labels the rest anew, and another learns from all. Here the averaged weights label anew at every step, so that these
rounds are two spans of one training: the reliable share of the pool first, then all of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from synthgen.types import Json
from synthgen_labeler.network import Network

if TYPE_CHECKING:
    from synthgen_labeler.unlabelled import Unlabelled

PARTS = (1 / 3, 2 / 3, 1.0)  # of the steps that learn from labels alone
COARSE = 4  # every fourth pixel of each fourth row says enough of where two maps differ
LEAST_PEAK = 0.05  # of a box's centre, below which there is background
AT_ONCE = 8  # images in a forward pass


class Reliable(nn.Module):
    """Ranks M images of the pool by how steady their labels are; all of its state goes into a checkpoint.

    steps: that learn from labels alone, 4 at least. images: M, indices into the pool. share: of them that come first.
    side: of the views, px. classes: C that a pixel, or an image, may be given to.
    """

    def __init__(self, steps: int, images: NDArray[np.int64], share: float, side: int, dense: bool,
                 classes: int) -> None:
        super().__init__()
        # The batch of the first step that looks at the pool is made before the step ahead of it is taken.
        self.moments = [round((steps - 1) * part) for part in PARTS]
        self.images, self.count = images, max(1, round(share * len(images)))
        M, coarse = len(images), len(range(0, side, COARSE))
        kind = torch.zeros(2, M, coarse, coarse, dtype=torch.uint8) if dense else torch.zeros(2, M, classes)
        self.register_buffer("earlier", kind)
        self.register_buffer("steady", torch.full((M,), -1.0))  # in [0, 1]; −1 = not known yet

    def look(self, teacher: Network, views: Unlabelled, step: int) -> None:
        """After so many steps: nothing at most of them; at the three moments, what the teacher says of each image."""
        if step not in self.moments:
            return
        found = torch.cat([self._said(teacher, views, self.images[i : i + AT_ONCE])
                           for i in range(0, len(self.images), AT_ONCE)])
        earlier, moment = self.get_buffer("earlier"), self.moments.index(step)
        if moment < len(earlier):
            earlier[moment] = found
        else:
            agree = [[_agreement(one, last) for one, last in zip(before, found, strict=True)] for before in earlier]
            self.get_buffer("steady").copy_(torch.tensor(agree).mean(0))

    def first(self) -> NDArray[np.int64]:
        """The images of the pool that come first, the steadiest first."""
        steady = self.get_buffer("steady").cpu().numpy()
        if (steady < 0).any():
            raise RuntimeError("the pool is asked for its reliable images before they are known")
        return self.images[np.argsort(-steady, kind="stable")[: self.count]]

    def facts(self) -> dict[str, Json]:
        """What `pool.json` says of it: images ranked, those that came first, and how steady either are on average."""
        steady = np.sort(self.get_buffer("steady").cpu().numpy())[::-1]
        return {"ranked": len(steady), "first": self.count, "steady_all": round(float(steady.mean()), 4),
                "steady_first": round(float(steady[: self.count].mean()), 4)}

    @torch.no_grad()
    def _said(self, teacher: Network, views: Unlabelled, picks: NDArray[np.int64]) -> Tensor:
        """(n, h, w) uint8 on the CPU: 0 for background and padding, else the class from 1; for `classify` (n, C)."""
        image, valid = views.still(picks)
        device = self.get_buffer("steady").device
        out = teacher(image.to(device).contiguous(memory_format=torch.channels_last))
        K = teacher.shape.classes
        if teacher.shape.boxes:
            heat, classes = out[:, :K].sigmoid().max(1)
            said = torch.where(heat >= LEAST_PEAK, classes + 1, 0)
        elif teacher.shape.dense:
            said = out[:, : K + 1].argmax(1)
        else:
            return torch.softmax(out, 1)
        return torch.where(valid.to(device), said, 0)[:, ::COARSE, ::COARSE].to(torch.uint8)


def _agreement(one: Tensor, last: Tensor) -> float:
    """In [0, 1]. Of maps (h, w) the IoU of classes, a mean over those that either shows, background among them; of
    probabilities (C,) what they share, 1 less their total variation."""
    if one.dtype != torch.uint8:
        return float(torch.minimum(one, last).sum())
    shown = torch.unique(torch.cat([one.flatten(), last.flatten()]))
    both = torch.stack([((one == c) & (last == c)).sum() / ((one == c) | (last == c)).sum() for c in shown])
    return float(both.mean())
