"""Plug-ins for the tests of the recipe: options of every kind, no work."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

STRICT = ConfigDict(extra="forbid", use_attribute_docstrings=True)


@dataclass(kw_only=True, frozen=True, config=STRICT)
class Border:
    """A border."""

    width: Annotated[int, Field(ge=0)] = 1
    """Pixels."""


@dataclass(kw_only=True, config=STRICT)
class Dots:
    """Dots on a ground."""

    radius: Annotated[float, Field(gt=0, le=50)] = 4.0
    """Radius of a dot, px."""
    blend: Literal["alpha", "poisson"] = "alpha"
    """How a dot meets the ground."""
    steps: Annotated[int, Field(ge=1, examples=[24])] = 10
    """Rounds of drawing. More are slower."""
    sizes: tuple[int, int] = (8, 16)
    """Smallest and largest image, px."""
    palette: Path | None = None
    """A file of colours."""
    border: Border = Border()
    """Drawn around every dot."""
    scale: Literal["auto"] | Annotated[float, Field(gt=0)] = "auto"
    """Magnification."""

    def __post_init__(self) -> None:
        if self.sizes[0] > self.sizes[1]:
            raise ValueError("sizes must be given smallest first")


# No extra="forbid", as plug-in authors forget it: unknown options must be refused all the same.
@dataclass(kw_only=True)
class Stub:
    """A labeler that learns nothing."""

    rounds: Annotated[int, Field(ge=1)] = 3
    """Rounds of training."""


@dataclass(kw_only=True, config=STRICT)
class Shape:
    """Looks at shapes."""

    max: float | None = None
    """Bound."""


class Plain:
    """A plug-in without options."""
