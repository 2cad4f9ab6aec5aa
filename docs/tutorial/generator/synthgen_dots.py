"""`dots`: bright discs on grounds as dark as the seed's. A tutorial, and as small as a generator can be."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from synthgen.errors import DataError
from synthgen.geometry import labels_from_ids
from synthgen.seeds import rng_of
from synthgen.types import Context, Dataset, Origin, Sample


@dataclass(kw_only=True, config=ConfigDict(extra="forbid", use_attribute_docstrings=True))
class Dots:
    """Discs of one size on an even ground; their masks are exact."""

    radius: Annotated[int, Field(ge=1, le=100)] = 6
    """Radius of the discs, px."""
    most: Annotated[int, Field(ge=0, le=100)] = 8
    """The largest number of discs in an image."""

    def fit(self, real: Dataset, pool: Dataset, context: Context) -> None:
        """Remember how large and how dark the seed's images are. Raises: DataError when there are none."""
        if not len(real):
            raise DataError("dots looks at the seed's sizes and grey values, and the seed is empty: label an image")
        self.sizes = [[int(s.image.shape[0]), int(s.image.shape[1])] for s in real]
        self.grounds = [float(np.median(s.image)) for s in real]
        self.ids = [s.id for s in real]
        self.classes = len(context.classes)

    def sample(self, seeds: Sequence[int]) -> Iterator[Sample]:
        """One sample per seed: first the labels, then the picture."""
        for seed in seeds:
            rng = rng_of(seed)
            k = int(rng.integers(len(self.ids)))
            H, W = self.sizes[k]
            y, x = np.mgrid[0:H, 0:W]
            ids, kinds = np.zeros((H, W), np.int32), {}
            for number in range(1, int(rng.integers(self.most + 1)) + 1):
                inside = (y - rng.integers(H)) ** 2 + (x - rng.integers(W)) ** 2 <= self.radius**2
                ids[inside & (ids == 0)] = number
                kinds[number] = int(rng.integers(self.classes))
            labels = labels_from_ids(ids, {n: kinds[n] for n in np.unique(ids[ids > 0]).tolist()})
            grey = rng.normal(self.grounds[k] + 80 * (ids > 0), 4).clip(0, 255).astype(np.uint8)
            origin = Origin("synthetic", "dots", "1.0", seed=seed, parents=(self.ids[k],), known_by="construction")
            yield Sample(f"dots-{seed}", np.repeat(grey[..., None], 3, 2), labels, origin)

    def save(self, folder: Path) -> None:
        """What `fit` found."""
        (folder / "dots.json").write_text(json.dumps([self.sizes, self.grounds, self.ids, self.classes]))

    def load(self, folder: Path, device: str = "cpu") -> None:
        """What `save` wrote."""
        self.sizes, self.grounds, self.ids, self.classes = json.loads((folder / "dots.json").read_text())
