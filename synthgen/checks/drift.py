"""Do the synthetic labels look like the seed's: class, count, size, aspect, place?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, field_validator
from pydantic.dataclasses import dataclass

from synthgen.checks import OPTIONS, caution, images_needed, judge, labels_of, settles, skipped
from synthgen.metrics.bounds import holm
from synthgen.metrics.drift import DriftResult, attributes, compare
from synthgen.types import Dataset, Evidence, Labels, Measurement

Attribute = Literal["class", "count", "size", "aspect", "place x", "place y", "border"]

REMEDIES: dict[str, str] = {
    "class": "set mix.per_class, or leave class out with skip: [class] where the rebalancing is meant",
    "count": "draw as many objects per layout as the seed's images hold",
    "size": "draw sizes from the seed's objects, or widen the layout's scale range towards them",
    "aspect": "draw shapes from the seed's objects; check that warping does not stretch them",
    "place x": "draw places from the seed's objects", "place y": "draw places from the seed's objects",
    "border": "let layouts cut as many objects at the border as the seed's images do",
}


@dataclass(frozen=True, kw_only=True, config=OPTIONS)
class Drift:
    """Synthetic labels are distributed like the seed's, tested by whole images; a drift warns."""

    max_effect: float = 0.5
    """The largest distance allowed in count, size, aspect and place, in standard deviations of the seed."""
    max_share: float = 0.2
    """The largest difference allowed in shares: of classes (total variation), of objects at the border."""
    skip: tuple[Attribute, ...] = ()
    """Attributes that differ on purpose."""
    refuse: bool = False
    """Whether a drift refuses the dataset instead of warning."""
    permutations: Annotated[int, Field(ge=19, le=100_000)] = 999
    """Permutations per test."""

    @field_validator("max_effect")
    @classmethod
    def _effect_is_positive(cls, value: float) -> float:
        if not value > 0 or not math.isfinite(value):
            raise ValueError(f"max_effect is an upper bound above 0, in sd of the seed; {value} is none")
        return value

    @field_validator("max_share")
    @classmethod
    def _share_is_a_share(cls, value: float) -> float:
        if not 0 < value < 1:
            raise ValueError(f"max_share is an upper bound between 0 and 1; {value} makes no sense")
        return value

    def __call__(self, evidence: Evidence, rng: np.random.Generator) -> Sequence[Measurement]:
        ours, theirs = (_labels(dataset) for dataset in (evidence.independent, evidence.seed))
        if not ours or not theirs:
            return [skipped("drift", "drift", f"it needs labels on both sides, and there are {len(ours)} "
                            f"synthetic and {len(theirs)} {evidence.seed_name} images with labels", hard=False)]
        # Areas are the boxes' on both sides as soon as one side knows boxes only.
        boxes_only = any(x.masks is None and len(x) for x in (*ours, *theirs))
        a, b = ([attributes(x, len(evidence.classes), boxes_only) for x in side] for side in (ours, theirs))
        results = [r for r in compare(a, b, rng, evidence.task, self.permutations) if r.name not in self.skip]
        known = [r for r in results if math.isfinite(r.effect)]
        corrected = dict(zip([r.name for r in known], holm([r.p for r in known]).tolist(), strict=True))
        return [self._measured(r, corrected[r.name], (len(a), len(b)), evidence.seed_name) if r.name in corrected else
                skipped("drift", r.name, "a side has no objects to compare", hard=False) for r in results]

    def _measured(self, result: DriftResult, p: float, n: tuple[int, int], seed: str) -> Measurement:
        limit = self.max_share if result.unit == "share" else self.max_effect
        verdict = judge(result.interval, limit, n)
        low, high = result.interval
        unit = "" if result.unit == "share" else " sd"
        why = (f"{result.name}: synthetic differs from {seed} by {result.effect:.2f}{unit} "
               f"[{low:.2f}, {high:.2f}], allowed {limit:g}{unit}; chance alone gives up to "
               f"{result.null[1]:.2f}")
        if result.name != "class":
            why += f"; mean {result.means[0]:.3g} against {result.means[1]:.3g} {result.of}"
        remedy = ""
        if verdict == "inconclusive":
            side = min(n)
            remedy = settles(images_needed(side, high - result.effect, limit - result.effect), side)
        elif verdict == "fail":
            remedy = REMEDIES[result.name]
        finite = math.isfinite(high)
        return Measurement("drift", result.name, verdict, result.effect, result.unit, why + caution(min(n)),
                           interval=result.interval if finite else None, null=result.null,
                           detectable=result.detectable if finite else None, p=p, n=n, remedy=remedy,
                           hard=self.refuse)


def _labels(dataset: Dataset) -> list[Labels]:
    """What labels there are; one that cannot be read is integrity's to refuse."""
    return [found for _, found in labels_of(dataset) if isinstance(found, Labels)]
