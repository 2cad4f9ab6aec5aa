"""Do the masks follow their images? Asked without a model, and of the seed's masks in the same way."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator
from pydantic.dataclasses import dataclass

from synthgen.checks import FEW_IMAGES, OPTIONS, caution, images_needed, judge, settles, skipped
from synthgen.checks.drift import decodable, evenly
from synthgen.metrics.bounds import bh, clopper_pearson, holm
from synthgen.metrics.drift import DriftResult, difference_of_means, permutation_test
from synthgen.metrics.mask_shift import REACH, MaskFit, mask_fit
from synthgen.types import Dataset, Evidence, Measurement, Verdict

FOLLOWS = 0.05
"""False discovery rate among the images whose masks are said to follow them."""

Fits = list[tuple[str, MaskFit]]


@dataclass(frozen=True, kw_only=True, config=OPTIONS)
class MaskShift:
    """Masks stand on their image's edges as the seed's do: not moved, not grown, not shrunk."""

    EARLY: ClassVar[bool] = True  # needs no labeler: runs after generation too

    max_excess: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """By how much the share of images whose masks do not follow them may exceed the seed's."""
    max_offset: float = 1.0
    """By how many px the edges may lie farther in or out of the masks than the seed's do."""
    reach: Annotated[int, Field(ge=3, le=64)] = REACH
    """The farthest shift that masks are compared with, px."""
    images: Annotated[int, Field(ge=5)] = 300
    """Images looked at on each side, at most; evenly spaced."""
    permutations: Annotated[int, Field(ge=19, le=100_000)] = 999
    """Permutations per test."""
    show: Annotated[int, Field(ge=0)] = 12
    """How many ids of the worst images to list."""

    @field_validator("max_offset")
    @classmethod
    def _offset_is_positive(cls, value: float) -> float:
        if not value > 0 or not math.isfinite(value):
            raise ValueError(f"max_offset is an upper bound above 0, in px; {value} is none")
        return value

    def __call__(self, evidence: Evidence, rng: np.random.Generator) -> Sequence[Measurement]:
        name = "masks follow images"
        if evidence.task in ("classify", "detect"):
            return [skipped("mask_shift", name, f"the task {evidence.task} has no masks", hard=False)]
        ours, theirs = (self._fits(dataset) for dataset in (evidence.independent, evidence.seed))
        if not ours or not theirs:
            return [skipped("mask_shift", name, f"it needs masks with an outline on both sides, and {len(ours)} "
                            f"synthetic and {len(theirs)} {evidence.seed_name} images have some", hard=True,
                            remedy="give masks instead of boxes, or take mask_shift out of evaluate.gate")]
        tested = [test for test in (
            self._test("edge offset", "px", "px from outline to edge", [f.offset for _, f in ours],
                       [f.offset for _, f in theirs], rng),
            self._test("contrast rank", "share", "of the shifts that meet less gradient", [f.rank for _, f in ours],
                       [f.rank for _, f in theirs], rng)) if test is not None]
        corrected = holm([result.p for result, _ in tested]).tolist()
        return [self._share(ours, theirs, evidence.seed_name),
                *(self._difference(result, p, n, ours, evidence.seed_name)
                  for (result, n), p in zip(tested, corrected, strict=True))]

    def _fits(self, dataset: Dataset) -> Fits:
        """(id, fit) of each image that can be measured, in the order of the values: files' order says nothing."""
        found = [(sample.id, fit) for sample in evenly(dataset, self.images)
                 if sample.labels is not None and sample.labels.masks is not None and decodable(sample.labels)
                 and (fit := mask_fit(sample.image, sample.labels, self.reach)) is not None]
        return sorted(found, key=lambda one: (one[1].p, one[1].rank, one[1].contrast, repr(one[1].offset), one[0]))

    def _share(self, ours: Fits, theirs: Fits, seed: str) -> Measurement:
        (k, n, lost), (k_seed, m, _) = (_not_following(side) for side in (ours, theirs))
        interval, null = clopper_pearson(k, n), clopper_pearson(k_seed, m)
        verdict: Verdict = "inconclusive"
        # To fail it must lie above what the seed could be at worst, to pass not above what the seed seems to be.
        if min(n, m) >= FEW_IMAGES:
            if interval[0] > null[1] + self.max_excess:
                verdict = "fail"
            elif interval[1] <= k_seed / m + self.max_excess:
                verdict = "pass"
        why = (f"the masks of {k} of {n} synthetic images do not follow their image ({k / n:.0%} [{interval[0]:.0%}, "
               f"{interval[1]:.0%}]): moved by up to {self.reach} px they meet as much gradient (false discovery rate "
               f"{FOLLOWS:g}); of the {seed}'s {k_seed} of {m} do not, and {self.max_excess:.0%} more is allowed")
        remedy = ""
        if verdict == "fail":
            remedy = ("the generator's labels do not fit its images: look at the worst ones, check flips, crops and "
                      "resizing that move image and mask apart, or filter these images out")
        elif verdict == "inconclusive":
            room = abs(k_seed / m + self.max_excess - k / n)
            remedy = settles(images_needed(min(n, m), max(interval[1] - k / n, null[1] - k_seed / m), room), min(n, m))
        order = sorted(lost, key=lambda one: (one[1].rank, one[1].contrast, one[0]))
        return Measurement("mask_shift", "masks follow images", verdict, k / n, "share of images",
                           why + caution(min(n, m)), interval=interval, null=null, n=(n, m), remedy=remedy, hard=True,
                           worst=tuple(sample_id for sample_id, _ in order[:self.show]))

    def _test(self, name: str, unit: str, of: str, ours: list[float], theirs: list[float],
              rng: np.random.Generator) -> tuple[DriftResult, tuple[int, int]] | None:
        a, b = (np.sort([v for v in side if math.isfinite(v)]) for side in (ours, theirs))
        if not len(a) or not len(b):
            return None
        profile = difference_of_means(name, unit, of, np.concatenate([a, b]), len(a))
        return permutation_test(profile, rng, self.permutations), (len(a), len(b))

    def _difference(self, result: DriftResult, p: float, n: tuple[int, int], ours: Fits, seed: str) -> Measurement:
        px = result.unit == "px"
        limit = self.max_offset if px else self.max_excess
        verdict = judge(result.interval, limit, n, p)
        low, high = result.interval
        mine, right = result.means
        what = (f"edges lie {mine:+.2f} px from the masks' outlines on average (below 0 = inside, masks too large)"
                if px else f"the masks' own place meets more gradient than {mine:.0%} of the shifts on average")
        theirs = f"{right:+.2f} px" if px else f"{right:.0%}"
        why = (f"{what}, the {seed}'s {theirs}: a difference of {result.effect:.2f} [{low:.2f}, {high:.2f}], allowed "
               f"{limit:g}; chance alone gives up to {result.null[1]:.2f}")
        remedy = ""
        if verdict == "inconclusive":
            remedy = settles(images_needed(min(n), high - result.effect, limit - result.effect), min(n))
        elif verdict == "fail" and px:
            wrong, mend = ("large", "shrink") if mine < right else ("small", "grow")
            remedy = (f"the masks are too {wrong}: {mend} them by about {abs(mine - right):.1f} px where the generator "
                      "makes them")
        elif verdict == "fail":
            remedy = "look at the worst images: objects are too faint, or masks stand beside them"
        far = sorted((f for f in ours if math.isfinite(f[1].offset)) if px else ours, key=lambda one: (
            -abs(one[1].offset - right) if px else one[1].rank, one[1].contrast, one[0]))
        finite = math.isfinite(high)
        return Measurement("mask_shift", result.name, verdict, result.effect, result.unit, why + caution(min(n)),
                           interval=result.interval if finite else None, null=result.null,
                           detectable=result.detectable if finite else None, p=p, n=n, remedy=remedy, hard=px,
                           worst=tuple(i for i, _ in far[:self.show]) if verdict == "fail" else ())


def _not_following(side: Fits) -> tuple[int, int, Fits]:
    """How many images' masks cannot be said to follow them, of how many, and which."""
    q: NDArray[np.float64] = bh([fit.p for _, fit in side])
    lost = [one for one, value in zip(side, q.tolist(), strict=True) if value > FOLLOWS]
    return len(lost), len(side), lost
