"""What the networks are shown in a step: real crops with what is known of them, and what is to be painted."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from synthgen.neural.crops import Batch, Crops
from synthgen.seeds import rng_of, seed_of
from synthgen_gan.losses import REAL, targets
from synthgen_gan.network import LATENT, NOISE
from synthgen_gan.things import Looks

DRAWN = 256  # layouts that are drawn to be painted
OWN = 0.5  # share of the seed's crops that are painted from their own masks, where there is no pool


@dataclass(frozen=True, slots=True)
class Shown:
    """B rows. real: (B, colours, px, px), and target: (B, px, px) or (B,) int64, what the critic should say of them.
    condition, kind, latent and noise: what the painter is given; goal: as target, what it should look like. paired: the
    rows whose condition is that of the real crop; mix: (rows, px, px) bool, the pixels taken from the real one."""

    real: Tensor
    target: Tensor
    condition: Tensor
    kind: Tensor
    latent: Tensor
    noise: Tensor
    goal: Tensor
    paired: Tensor
    mix: Tensor


class Showing:
    """Batches by step and part, each from seeds of its own."""

    def __init__(self, crops: Crops, seed: int, device: torch.device) -> None:
        self.crops, self.seed, self.device = crops, seed, device
        self.looks = Looks(crops.scene)
        self.layout = lru_cache(DRAWN)(self._layout)

    def batch(self, step: int, part: int, n: int) -> Shown:
        """Part `part` of step `step`'s batch, of n rows."""
        given = self.crops.batch(step, part, n, 0.0)
        rng = rng_of(seed_of(self.seed, "shown", step, part))
        generator = torch.Generator(self.device).manual_seed(seed_of(self.seed, "latent", step, part))
        latent = torch.randn((n, LATENT), generator=generator, device=self.device)
        noise = torch.randn((n, NOISE, *given.clean.shape[2:]), generator=generator, device=self.device)
        if self.crops.scene.task == "classify":
            return self._of_classes(given, latent, noise, rng)
        return self._of_layouts(given, latent, noise, rng)

    def _of_classes(self, given: Batch, latent: Tensor, noise: Tensor, rng: np.random.Generator) -> Shown:
        """To paint: classes of the seed in equal shares, each of them twice in a row."""
        n, scene = len(given.clean), self.crops.scene
        target = np.where(given.kind == scene.classes, REAL, given.kind)  # the class beyond the last: unknown
        kinds = np.asarray(scene.held)[rng.integers(len(scene.held), size=-(-n // 2))].repeat(2)[:n]
        kind, nothing = self._tensor(kinds), torch.zeros(0, dtype=torch.int64, device=self.device)
        return Shown(self._tensor(given.clean), self._tensor(target), self._tensor(given.condition), kind, latent,
                     noise, kind, nothing, nothing.bool())

    def _of_layouts(self, given: Batch, latent: Tensor, noise: Tensor, rng: np.random.Generator) -> Shown:
        """To paint: a seed crop's own masks; in the other rows masks that were drawn by the layout models, bent and
        recombined ones, for which no picture is there. So the painter learns on what it will be asked for, and by what
        Katiyar & Khoreva ("Improving augmentation and evaluation schemes for semantic image synthesis", 2020) gained
        from warped label maps."""
        own = np.asarray(given.condition.any((1, 2, 3)))
        if own.all():
            own = own & (rng.random(len(own)) < OWN)
        wanted = [given.condition[row] if mine else self._turned(rng) for row, mine in enumerate(own)]
        condition = np.stack([self.looks.seen(one, given.clean[row]) if own[row] else self.looks.lent(one, rng)
                              for row, one in enumerate(wanted)])
        goal, paired = targets(torch.from_numpy(np.stack(wanted))), np.flatnonzero(own)
        mix = [regions(goal[row].numpy(), rng) for row in paired]
        return Shown(self._tensor(given.clean), targets(self._tensor(given.condition)), self._tensor(condition),
                     torch.zeros(len(own), dtype=torch.int64, device=self.device), latent, noise,
                     goal.to(self.device), self._tensor(paired), self._tensor(np.asarray(mix, bool)))

    def _tensor(self, values: NDArray[Any]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(self.device)

    def _turned(self, rng: np.random.Generator) -> NDArray[np.float32]:
        condition = self.layout(int(rng.integers(DRAWN)))
        turn = int(rng.integers(8)) if self.crops.scene.any_angle else 0
        return np.rot90(condition[:, :, ::-1] if turn >= 4 else condition, turn % 4, (1, 2))

    def _layout(self, k: int) -> NDArray[np.float32]:
        """(C, px, px): a crop of the k-th of the layouts drawn."""
        condition = self.crops.scene.draw(seed_of(self.seed, "layout", k) & ~0xFF).condition
        rng, px = rng_of(seed_of(self.seed, "crop", k)), self.crops.px
        room = [(0, max(px - side, 0)) for side in condition.shape[1:]]
        condition = np.pad(condition, ((0, 0), *room))
        y, x = (int(rng.integers(side - px + 1)) for side in condition.shape[1:])
        return condition[:, y : y + px, x : x + px]


def regions(map_: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.bool_]:
    """(H, W) bool: each connected region of one label is in or out, by the toss of a coin: LabelMix's mask (Sushko et
    al., ICLR 2021, section 3.2), which tosses once per label."""
    inside = np.zeros(map_.shape, bool)
    for label in np.unique(map_):
        n, parts = cv2.connectedComponents((map_ == label).view(np.uint8), connectivity=4)
        inside |= np.concatenate([[False], rng.random(n - 1) < 0.5])[parts]
    return inside
