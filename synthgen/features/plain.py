"""Extractors that learn nothing and need no network: `spectrum` and `handcrafted`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from synthgen.features import check_same, identity, keep
from synthgen.metrics.features import HANDCRAFTED, SPECTRUM, handcrafted, spectrum
from synthgen.types import Context, Dataset, Image, Json

OPTIONS = ConfigDict(extra="forbid", use_attribute_docstrings=True)


@dataclass(kw_only=True, config=OPTIONS)
class Spectrum:
    """Log power per ring of frequency: sees sensors, compression and up-sampling."""

    def fit(self, pool: Dataset, context: Context) -> None:
        """Nothing is learned."""
        del pool, context

    def features(self, images: Sequence[Image]) -> NDArray[np.float32]:
        """(N, 33) float32, log10 of grey levels squared; see `metrics.features.spectrum_of` (Durall et al. 2020)."""
        return spectrum(images).astype(np.float32)

    def identity(self) -> dict[str, Json]:
        """Who made the numbers."""
        return identity("spectrum", "1", preprocessing=SPECTRUM)

    def save(self, folder: Path) -> None:
        """Writes the identity alone."""
        keep(folder, self.identity())

    def load(self, folder: Path) -> None:
        """Raises: DataError when the folder holds another extractor."""
        check_same(folder, self.identity())


@dataclass(kw_only=True, config=OPTIONS)
class Handcrafted:
    """Colour, contrast, sharpness, gradients, noise and JPEG grid, as fourteen numbers."""

    def fit(self, pool: Dataset, context: Context) -> None:
        """Nothing is learned."""
        del pool, context

    def features(self, images: Sequence[Image]) -> NDArray[np.float32]:
        """(N, 14) float32; see `metrics.features.handcrafted_of`, which names the sources."""
        return handcrafted(images).astype(np.float32)

    def identity(self) -> dict[str, Json]:
        """Who made the numbers."""
        return identity("handcrafted", "1", preprocessing=HANDCRAFTED)

    def save(self, folder: Path) -> None:
        """Writes the identity alone."""
        keep(folder, self.identity())

    def load(self, folder: Path) -> None:
        """Raises: DataError when the folder holds another extractor."""
        check_same(folder, self.identity())
