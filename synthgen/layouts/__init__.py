"""Label first: what an image shall show is drawn before any pixel is.

`survey` reads what the seed's objects are like; `layout_model` makes one of three samplers from it, each with
`sample(rng, size) -> Layout`: `resample` (the seed's objects, moved, turned and recombined), `warp` (the seed's
arrangements, bent) and `shape` (outlines that nobody drew, from a statistical model).
"""

from __future__ import annotations

from typing import Literal, Protocol

import numpy as np

from synthgen.layouts.arrange import Arrangement
from synthgen.layouts.resample import Resample
from synthgen.layouts.shape import ShapeModel
from synthgen.layouts.survey import Instance, Survey, survey
from synthgen.layouts.warp import Warp
from synthgen.types import Layout, Size

LayoutName = Literal["resample", "warp", "shape"]


class LayoutModel(Protocol):
    """Draws layouts; the same generator state gives the same layout."""

    def sample(self, rng: np.random.Generator, size: Size) -> Layout: ...


def layout_model(name: LayoutName, seed: Survey, density: tuple[float, float], touching: float | None) -> LayoutModel:
    """A layout sampler. density: range of object counts relative to the seed's; touching: share of objects put
    against another one on purpose, None = as in the seed.

    Raises: DataError when the seed holds too little for it.
    """
    if name == "warp":
        return Warp(seed)
    draw = Resample(seed) if name == "resample" else ShapeModel(seed)
    return Arrangement(seed, draw, density, seed.touching if touching is None else touching)


__all__ = [
    "Arrangement",
    "Instance",
    "LayoutModel",
    "LayoutName",
    "Resample",
    "ShapeModel",
    "Survey",
    "Warp",
    "layout_model",
    "survey",
]
