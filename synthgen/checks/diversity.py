"""Do synthetic images show as much variety as real ones? Coverage of real images, and how many differ in effect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pydantic.dataclasses import dataclass

from synthgen.checks import FEW_IMAGES, OPTIONS, caution, ids_of, images_needed, judge, settles, skipped
from synthgen.metrics.diversity import FEWEST, Spread, by_reference, coverage, coverage_spread, vendi_ratio
from synthgen.types import Dataset, Evidence, Measurement

COVER = "widen what the generator draws from: the images listed as worst are real and have no synthetic neighbour"
SPREAD = "give the generator more sources, backgrounds and variation: its images resemble each other too much"


@dataclass(frozen=True, kw_only=True, config=OPTIONS)
class Diversity:
    """Synthetic images reach most of the pool's variety: near every kind of real image, and no more alike."""

    EARLY: ClassVar[bool] = True  # needs no labeler: runs after generation too

    min_ratio: Annotated[float, Field(gt=0, lt=1)] = 0.6
    """The least coverage (share of real images with a synthetic neighbour) and the least ratio of order-2 Vendi
    scores (effective number of different images, synthetic over real) allowed."""
    refuse: bool = False
    """Whether too little variety refuses the dataset instead of warning."""
    resamples: Annotated[int, Field(ge=99, le=100_000)] = 999
    """Bootstrap resamples behind the interval of the Vendi ratio."""
    show: Annotated[int, Field(ge=0)] = 12
    """How many ids of real images without a synthetic neighbour to list."""

    def __call__(self, evidence: Evidence, rng: np.random.Generator) -> Sequence[Measurement]:
        features = evidence.features
        pooled = _rows(features, "pool") >= FEW_IMAGES
        part, reference = ("pool", evidence.pool) if pooled else ("seed", evidence.seed)
        families = [f for f in features.get("synthetic", {}) if f in features.get(part, {})]
        n, m = _rows(features, "synthetic"), _rows(features, part)
        if not families or min(n, m) < FEW_IMAGES:
            return [skipped("diversity", "diversity", f"it needs features of at least {FEW_IMAGES} synthetic and "
                            f"{FEW_IMAGES} real images, and there are {n} and {m}", hard=False)]
        out = []
        for family in families:
            real, synthetic = by_reference(features[part][family], features["synthetic"][family])
            called = part if pooled else evidence.seed_name
            out.append(self._coverage(family, synthetic, real, called, reference, rng))
            out.append(self._vendi(family, synthetic, real, called, rng))
        return out

    def _coverage(self, family: str, synthetic: NDArray[np.float32], real: NDArray[np.float32], called: str,
                  reference: Dataset, rng: np.random.Generator) -> Measurement:
        found = coverage(real, synthetic)
        missing = np.flatnonzero(found.covered < 0.5)
        # Rows can be named only where the features are of every image, in order.
        ids = ids_of(reference) if len(reference) == len(real) else []
        isolated = sorted(missing.tolist(), key=lambda k: (-found.gap[k], ids[k])) if ids else []
        kth, few = "third" if found.k == 3 else "fifth", min(len(synthetic), len(real))
        why = (f"by {family} features, {found.value:.0%} of {called} images have a synthetic one nearer than their "
               f"{kth} real neighbour, at {few} images a side")
        if len(missing):
            why += f"; {len(missing)} real images have no synthetic neighbour"
            why += ", the most isolated listed as worst" if isolated else ""
        return self._judged(f"{family}: coverage of the {called}", found.value, "share of real images", why,
                            coverage_spread(real, synthetic, found, rng), (len(synthetic), len(real)), COVER,
                            tuple(ids[k] for k in isolated[: self.show]))

    def _vendi(self, family: str, synthetic: NDArray[np.float32], real: NDArray[np.float32], called: str,
               rng: np.random.Generator) -> Measurement:
        found = vendi_ratio(synthetic, real, rng, self.resamples)
        mine, right = found.scores
        why = (f"by {family} features, the synthetic images are worth {mine:.1f} different ones and as many {called} "
               f"images {right:.1f} (order-2 Vendi score)")
        return self._judged(f"{family}: effective number against the {called}", found.value, "ratio", why, found.spread,
                            (len(synthetic), len(real)), SPREAD)

    def _judged(self, name: str, value: float, unit: str, why: str, spread: Spread, n: tuple[int, int], advice: str,
                worst: tuple[str, ...] = ()) -> Measurement:
        low, high = spread.interval
        # `judge` knows upper bounds: at least min_ratio is at most −min_ratio of the negative.
        verdict = judge((-high, -low), -self.min_ratio, n)
        why += f"; ratio {value:.2f} [{low:.2f}, {high:.2f}], at least {self.min_ratio:g} wanted"
        why += (f", and two parts of the real images score {spread.null[0]:.2f} to {spread.null[1]:.2f}" if spread.null
                else f"; {n[1]} real images are too few for two parts of them to compare with (from {FEWEST} on)")
        remedy = advice if verdict == "fail" else ""
        if verdict == "inconclusive":
            remedy = settles(images_needed(min(n), max(value - low, 0), value - self.min_ratio), min(n))
        return Measurement("diversity", name, verdict, value, unit, why + caution(min(n)), interval=spread.interval,
                           null=spread.null, n=n, remedy=remedy, hard=self.refuse, worst=worst)


def _rows(features: Mapping[str, Mapping[str, NDArray[np.float32]]], dataset: str) -> int:
    """Images that a dataset has features of; 0 where there are none."""
    return min((len(rows) for rows in features.get(dataset, {}).values()), default=0)
