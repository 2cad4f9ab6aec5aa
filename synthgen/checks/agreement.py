"""Do synthetic labels agree with a labeler that learned from real images alone, as often as real labels do?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from synthgen.checks import FEW_IMAGES, OPTIONS, caution, images_needed, settles, skipped
from synthgen.metrics.accuracy import Record, columns, value_of
from synthgen.metrics.bounds import RESAMPLES, independent_difference
from synthgen.types import Evidence, Measurement, Task, Verdict

METRIC: dict[Task, str] = {"instances": "dice", "segment": "dice", "detect": "ap50", "classify": "accuracy"}
REMEDY = ("look at the images listed as worst beside their labels: the images do not show what the labels say, or show "
          "what the seed never does; mend the generator, or filter these samples out")


@dataclass(frozen=True, kw_only=True, config=OPTIONS)
class Agreement:
    """Labelers trained on real images only agree with synthetic labels no less than with real ones they did not see."""

    margin: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """By how much the agreement may be lower than on real images, in the metric's unit."""
    resamples: Annotated[int, Field(ge=200, le=1_000_000)] = RESAMPLES
    """Bootstrap resamples of the images of each side."""
    show: Annotated[int, Field(ge=0)] = 12
    """How many ids of the images with the least agreement to list."""

    def __call__(self, evidence: Evidence, rng: np.random.Generator) -> Sequence[Measurement]:
        metric = METRIC[evidence.task]
        made, real = (list(evidence.agreement.get(side, {}).get("per_image", ())) for side in ("synthetic", "real"))
        if not made or not real:
            return [skipped("agreement", metric, "there is no labeler that was trained without a part of the seed",
                            remedy="set train.calibration_folds to 2 or more", hard=True)]
        pairs = [columns(records, metric) for records in (made, real)]
        if pairs[0] is None or pairs[1] is None:
            return [skipped("agreement", metric, f"the labels do not tell {metric}", hard=True)]
        return [self._measured(metric, made, real, list(evidence.agreement["synthetic"]["ids"]), rng,
                               evidence.seed_name)]

    def _measured(self, metric: str, made: list[Record], real: list[Record], ids: list[str],
                  rng: np.random.Generator, seed_name: str) -> Measurement:
        ours, theirs = (columns(records, metric) for records in (made, real))
        assert ours is not None
        assert theirs is not None
        n = (len(made), len(real))
        value, (low, high) = independent_difference(*ours, *theirs, rng, resamples=self.resamples)
        verdict: Verdict = "inconclusive"
        if min(n) >= FEW_IMAGES:
            verdict = "fail" if high < -self.margin else "pass" if low >= -self.margin else "inconclusive"
        why = (f"labelers trained on parts of the {seed_name} reach {metric} {value_of(made, metric):.3f} on "
               f"synthetic labels and {value_of(real, metric):.3f} on those images of it that they did not see: "
               f"a difference of {value:+.3f} [{low:+.3f}, {high:+.3f}], at least {-self.margin:+g} wanted")
        if min(n) >= FEW_IMAGES and low > self.margin:
            verdict = "warn"
            why += "; synthetic images are far easier than real ones, so that they teach little"
        remedy = {"fail": REMEDY, "warn": "draw harder layouts: crowded, dim, touching"}.get(verdict, "")
        if verdict == "inconclusive":
            remedy = settles(images_needed(min(n), value - low, value + self.margin), min(n))
        each = [value_of([record], metric) for record in made]
        worst = tuple(ids[k] for k in np.argsort(each, kind="stable")[: self.show])
        return Measurement("agreement", metric, verdict, value, metric, why + caution(min(n)), interval=(low, high),
                           n=n, remedy=remedy, hard=verdict != "warn", worst=worst)
