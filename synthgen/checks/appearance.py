"""Do synthetic images look like real ones: brightness, contrast, colour, sharpness, noise, and at objects' edges?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field, field_validator
from pydantic.dataclasses import dataclass

from synthgen.checks import ALPHA, FEW_IMAGES, OPTIONS, caution, images_needed, judge, settles, skipped
from synthgen.checks.drift import decodable, evenly
from synthgen.metrics.appearance import Look, class_profile, look, seam_profiles, whole_profiles
from synthgen.metrics.bounds import bh, holm
from synthgen.metrics.drift import DriftResult, Profile, permutation_test
from synthgen.types import Dataset, Evidence, Measurement

REMEDIES: dict[str, str] = {
    "luma": "shift brightness towards the real images', or take backgrounds from the pool",
    "contrast": "stretch or flatten the tones towards the real images', or vary contrast in mix.augment",
    "saturation": "match the saturation: read and encode both kinds of image alike, or vary it in mix.augment",
    "red-green": "take out the colour cast: match the channels' means to the real images'",
    "yellow-blue": "take out the colour cast: match the channels' means to the real images'",
    "sharpness": "match blur: soften what is sharper, resize both kinds of image alike, vary blur in mix.augment",
    "noise": "match the sensor's noise: add grain where it is missing, and take JPEG artefacts out of sources",
}


@dataclass(frozen=True, kw_only=True, config=OPTIONS)
class Appearance:
    """Images look like the pool's, and objects and their edges like the seed's; what differs warns."""

    EARLY: ClassVar[bool] = True  # needs no labeler: runs after generation too

    max_effect: float = 0.5
    """The largest distance allowed, in standard deviations of the real images."""
    refuse: bool = False
    """Whether a difference refuses the dataset instead of warning."""
    images: Annotated[int, Field(ge=5)] = 500
    """Images looked at on each side, at most; evenly spaced."""
    permutations: Annotated[int, Field(ge=19, le=100_000)] = 999
    """Permutations per test."""

    @field_validator("max_effect")
    @classmethod
    def _effect_is_positive(cls, value: float) -> float:
        if not value > 0 or not math.isfinite(value):
            raise ValueError(f"max_effect is an upper bound above 0, in sd of the real images; {value} is none")
        return value

    def __call__(self, evidence: Evidence, rng: np.random.Generator) -> Sequence[Measurement]:
        pooled = len(evidence.pool) >= FEW_IMAGES
        ours, seed = (self._looks(dataset, labels=True) for dataset in (evidence.independent, evidence.seed))
        whole = self._looks(evidence.pool, labels=False) if pooled else seed
        if not ours or not whole:
            return [skipped("appearance", "appearance", f"it needs images on both sides, and there are {len(ours)} "
                            f"synthetic and {len(whole)} real ones", hard=False)]
        called = "pool" if pooled else evidence.seed_name
        plan: list[tuple[str, str, Profile, tuple[int, int]]] = [
            (f"whole image: {p.name}", called, p, (len(ours), len(whole))) for p in whole_profiles(ours, whole)]
        out = []
        if seed:
            what = "images" if evidence.task == "classify" else "objects"
            for k, cls in enumerate(evidence.classes):
                profile = class_profile(ours, seed, k, evidence.task)
                plan.append((f"{what} of class {cls}", evidence.seed_name, profile, _holding(profile)))
            if evidence.task != "classify":
                plan += [(p.name.replace(" ", ": "), evidence.seed_name, p, _holding(p))
                         for p in seam_profiles(ours, seed)]
        # Enough permutations that one difference alone can be shown among so many.
        permutations = max(self.permutations, math.ceil(2 * len(plan) / ALPHA))
        tested = []
        for name, reference, profile, n in plan:
            result = permutation_test(profile, rng, permutations)
            if math.isfinite(result.effect):
                tested.append((name, reference, result, n))
            else:
                out.append(skipped("appearance", name, f"{n[0]} synthetic and {n[1]} {reference} images show something "
                                   "to measure, and both sides must", hard=False))
        # All of them warn together, so the share of false alarms is what to bound; refusing may not err once.
        corrected = (holm if self.refuse else bh)([result.p for _, _, result, _ in tested])
        return [*(self._measured(name, reference, result, p, n)
                  for (name, reference, result, n), p in zip(tested, corrected.tolist(), strict=True)), *out]

    def _looks(self, dataset: Dataset, *, labels: bool) -> list[Look]:
        """Each image is decoded once; labels that cannot be decoded are integrity's to refuse."""
        return [look(s.image, s.labels if labels and s.labels is not None and decodable(s.labels) else None)
                for s in evenly(dataset, self.images)]

    def _measured(self, name: str, reference: str, result: DriftResult, p: float, n: tuple[int, int]) -> Measurement:
        verdict = judge(result.interval, self.max_effect, n, p)
        low, high = result.interval
        why = (f"{name}: synthetic differs from {reference} by {result.effect:.2f} sd [{low:.2f}, {high:.2f}], allowed "
               f"{self.max_effect:g} sd; chance alone gives up to {result.null[1]:.2f}")
        why += (f"; most in {result.at}" if result.at else
                f"; mean {result.means[0]:.3g} against {result.means[1]:.3g} {result.of}")
        remedy = ""
        if verdict == "inconclusive":
            remedy = settles(images_needed(min(n), high - result.effect, self.max_effect - result.effect), min(n))
        elif verdict == "fail":
            remedy = REMEDIES[result.at or result.name.removeprefix("seam ")]
            if result.name.startswith("seam"):
                remedy = f"at objects' edges, {remedy}; blend and harmonise what is pasted"
        finite = math.isfinite(high)
        return Measurement("appearance", name, verdict, result.effect, result.unit, why + caution(min(n)),
                           interval=result.interval if finite else None, null=result.null,
                           detectable=result.detectable if finite else None, p=p, n=n, remedy=remedy, hard=self.refuse)


def _holding(profile: Profile) -> tuple[int, int]:
    """Images of a and of b that show something to measure: they alone say how an attribute varies."""
    held = profile.totals > 0
    return int(held[:profile.n].sum()), int(held[profile.n:].sum())
