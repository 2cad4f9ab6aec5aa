"""`size`: a rule over what another function found."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from synthgen.geometry import areas
from synthgen.types import Image, Labels
from synthgen_functions.options import OPTIONS


@dataclass(kw_only=True, config=OPTIONS)
class Size:
    """Leaves out the objects of another function that are too small or too large to be any."""

    TASKS: ClassVar[tuple[str, ...]] = ("instances", "detect")
    REFINES: ClassVar[bool] = True

    min_area: Annotated[float, Field(ge=0)] = 0
    """Smallest area, px: of the mask, or of the box where there are no masks."""
    max_area: Annotated[float, Field(gt=0)] | None = None
    """Largest area, px; null = any."""

    def __post_init__(self) -> None:
        if self.max_area is not None and self.max_area < self.min_area:
            raise ValueError(f"max_area ({self.max_area:g}) is below min_area ({self.min_area:g})")

    def __call__(self, image: Image, labels: Labels) -> Labels:
        """The labels without the instances out of range."""
        del image
        assert labels.scores is not None
        area = (areas(labels.masks, labels.size) if labels.masks is not None
                else (labels.boxes[:, 2:] - labels.boxes[:, :2]).clip(0).prod(1))
        stay = np.flatnonzero((area >= self.min_area) & (area <= (self.max_area or np.inf)))
        return Labels(labels.size, labels.classes[stay], labels.boxes[stay],
                      None if labels.masks is None else tuple(labels.masks[k] for k in stay),
                      scores=labels.scores[stay], reviewed="model")
