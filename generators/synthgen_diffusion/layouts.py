"""`layout: [diffusion]`: arrangements that a network learned from the seed's masks alone.

Its pictures are the fields of `synthgen.layouts.fields`; all else is the network, the loss and the walk that pictures
have. Outlines, sizes and who stands beside whom come from one noise, where `shape` draws each object by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from synthgen.errors import DataError
from synthgen.layouts.fields import layout_of
from synthgen.neural.scene import Scene
from synthgen.types import Layout, Size

if TYPE_CHECKING:
    from synthgen_diffusion.network import Denoiser
    from synthgen_diffusion.sampling import Sampler

NAME = "diffusion"
FEWEST = 5  # objects in the seed
ENOUGH = 50  # labelled images


class Learned:
    """Draws layouts by a denoiser of fields; the same generator state gives the same layout."""

    def __init__(self, network: Denoiser, scale: float, steps: int, sampler: Sampler) -> None:
        """scale: of the fields, px. steps, sampler: of the walk from noise."""
        self.network, self.scale, self.steps, self.sampler = network, scale, steps, sampler

    def sample(self, rng: np.random.Generator, size: Size) -> Layout:
        """A layout of `size`."""
        from synthgen_diffusion.sampling import sample

        seed = int(rng.integers(2**63))
        (values,) = sample(self.network, [np.zeros((0, *size), np.float32)], [0], [seed], steps=self.steps, guidance=1,
                           sampler=self.sampler)
        return layout_of(values, self.scale)


def refuse_few(scene: Scene, what: str) -> None:
    """Raises: DataError when the seed has too few objects to learn arrangements from. what: the option, in words."""
    objects = sum(len(s.labels) for s in scene.real if s.labels is not None)
    if objects < FEWEST:
        raise DataError(f"{what}: the seed has {objects} objects with masks, and arrangements are learned from "
                        f"{FEWEST} at least; label more, or paint layouts that need less (layout: [resample])")


def warning(scene: Scene, what: str) -> str:
    """What people should know of layouts that were learned from few images; "" for enough."""
    n = len(scene.real)
    return "" if n >= ENOUGH else (
        f"{what} learns its layouts from {n} labelled image{'s' * (n != 1)}; with fewer than {ENOUGH} they are "
        "few-shot and likely to repeat the seed's arrangements: label more images, or use layouts shape and warp")
