"""Formats that datasets come in and go out in: one module each, read and write.

A reader streams `Sample`s, and a `Problem` in place of every item that it cannot give. A writer returns
what its format could not hold, as `Loss`es. Paths inside a dataset may not leave its folder.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

from synthgen.images import MAX_PIXELS, Bits
from synthgen.types import Sample


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong with one item of the user's data.

    file: the file, relative to the dataset. item: annotation id or line in it, or "". what: one sentence.
    action: quarantined = the item is left out; repaired = it is used, changed as `what` says.
    """

    file: str
    item: str
    what: str
    action: Literal["quarantined", "repaired"]


@dataclass(frozen=True, slots=True)
class Loss:
    """What a format cannot hold: how many items lose what."""

    what: str
    count: int
    example: str


@dataclass(frozen=True, slots=True)
class Reading:
    """How images are decoded."""

    bits: Bits = 16
    max_pixels: int = MAX_PIXELS
    pixels: bool = True                 # False: decode no pixels; images come as zeros of the right size
    boxes: bool = False                 # True: every object by its box, also where a file has masks for some or all


@runtime_checkable
class Format(Protocol):
    """One way to write a dataset down."""

    def matches(self, path: Path) -> bool: ...
    def classes(self, path: Path) -> list[str]: ...
    def read(self, path: Path, classes: Sequence[str], reading: Reading) -> Iterator[Sample | Problem]: ...
    def write(self, samples: Iterable[Sample], folder: Path, classes: Sequence[str]) -> list[Loss]: ...
