"""Do the synthetic labels look like the seed's: class, count, size, aspect, place, touching, co-occurrence?"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator
from pydantic.dataclasses import dataclass

from synthgen.checks import FEW_IMAGES, OPTIONS, caution, images_needed, judge, labels_of, settles, skipped
from synthgen.checks.integrity import fills
from synthgen.errors import RecipeError
from synthgen.metrics.bounds import holm
from synthgen.metrics.drift import DriftResult, attributes, compare
from synthgen.types import Dataset, Evidence, Labels, Measurement, Sample, Task, Verdict

Attribute = Literal["class", "count", "size", "aspect", "place x", "place y", "border", "touching",
                    "co-occurrence", "class coverage"]

REMEDIES: dict[str, str] = {
    "class": "set mix.per_class, or leave class out with skip: [class] where the rebalancing is meant",
    "count": "draw as many objects per layout as the seed's images hold",
    "size": "draw sizes from the seed's objects, or widen the layout's scale range towards them",
    "aspect": "draw shapes from the seed's objects; check that warping does not stretch them",
    "place x": "draw places from the seed's objects", "place y": "draw places from the seed's objects",
    "border": "let layouts cut as many objects at the border as the seed's images do",
    "touching": "set the generator's share of touching objects to the seed's, or draw arrangements from the seed",
    "co-occurrence": "draw whole arrangements from the seed's images (layout: warp), which keeps classes together",
}


@dataclass(frozen=True, kw_only=True, config=OPTIONS)
class Drift:
    """Synthetic labels are distributed like the seed's, tested by whole images; a drift warns."""

    EARLY: ClassVar[bool] = True  # needs no labeler: runs after generation too

    max_effect: float = 0.5
    """The largest distance allowed in count, size, aspect and place, in standard deviations of the seed."""
    max_share: float = 0.2
    """The largest difference allowed in shares: of classes (total variation), of objects at the border."""
    skip: tuple[Attribute, ...] = ()
    """Attributes that differ on purpose."""
    prior: dict[str, float] | None = None
    """The shares of classes aimed at, by class name, summing to 1 (a class left out: 0); none = the seed's."""
    min_class_images: Annotated[int, Field(ge=1)] = 5
    """Synthetic images that must show each class that the seed shows."""
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

    @field_validator("prior")
    @classmethod
    def _prior_is_a_distribution(cls, value: dict[str, float] | None) -> dict[str, float] | None:
        if value is None:
            return value
        for name, share in value.items():
            if not 0 <= share <= 1:
                raise ValueError(f"prior gives {name!r} the share {share:g}; shares lie between 0 and 1")
        if abs(sum(value.values()) - 1) > 1e-6:
            raise ValueError(f"prior's shares must sum to 1, but sum to {sum(value.values()):g}")
        return value

    def __call__(self, evidence: Evidence, rng: np.random.Generator) -> Sequence[Measurement]:
        prior = self._target(evidence.classes)
        ours, theirs = (sound_labels(dataset) for dataset in (evidence.independent, evidence.seed))
        if not ours or not theirs:
            return [skipped("drift", "drift", f"it needs labels on both sides, and there are {len(ours)} "
                            f"synthetic and {len(theirs)} {evidence.seed_name} images with labels", hard=False)]
        # Areas are the boxes' on both sides as soon as one side knows boxes only.
        boxes_only = any(x.masks is None and len(x) for x in (*ours, *theirs))
        a, b = ([attributes(x, len(evidence.classes), boxes_only, touching=True) for x in side]
                for side in (ours, theirs))
        results = [r for r in compare(a, b, rng, evidence.task, self.permutations, prior) if r.name not in self.skip]
        known = [r for r in results if math.isfinite(r.effect)]
        corrected = dict(zip([r.name for r in known], holm([r.p for r in known]).tolist(), strict=True))
        out = [self._measured(r, corrected[r.name], (len(a), len(b)), evidence) if r.name in corrected else
               skipped("drift", r.name, "a side has no objects to compare", hard=False) for r in results]
        if len(evidence.classes) > 1 and "class coverage" not in self.skip:
            out.append(self._coverage(ours, theirs, evidence))
        return out

    def _target(self, classes: tuple[str, ...]) -> NDArray[np.float64] | None:
        """(C,) the declared shares in the order of the classes. Raises: RecipeError for a class that there is not."""
        if self.prior is None:
            return None
        unknown = [name for name in self.prior if name not in classes]
        if unknown:
            raise RecipeError(f"drift's prior names the class {unknown[0]!r}, but the recipe's classes are "
                              f"{', '.join(classes)}: name one of these")
        return np.array([self.prior.get(name, 0.0) for name in classes])

    def _coverage(self, ours: Sequence[Labels], theirs: Sequence[Labels], evidence: Evidence) -> Measurement:
        """A census: which classes that the seed shows do too few synthetic images show?"""
        counts, needed = (sum((shown_classes(x, len(evidence.classes), evidence.task) for x in side),
                              np.zeros(len(evidence.classes), np.int64)) for side in (ours, theirs))
        asked = np.flatnonzero(needed)
        if not len(asked):
            return skipped("drift", "class coverage", f"the {evidence.seed_name} shows no class", hard=False)
        short = [k for k in asked if counts[k] < self.min_class_images]
        n = (len(ours), len(theirs))
        verdict: Verdict = "pass" if not short else "fail" if len(ours) >= FEW_IMAGES else "inconclusive"
        why = (f"of the {len(asked)} classes that the {evidence.seed_name} shows, {len(asked) - len(short)} are "
               f"shown by at least {self.min_class_images} synthetic images")
        if short:
            why += "; too few show " + ", ".join(f"{evidence.classes[k]} ({counts[k]})" for k in short)
        return Measurement("drift", "class coverage", verdict, float(len(short)), "classes missing",
                           why + caution(len(ours)), n=n, hard=self.refuse,
                           remedy="draw layouts that hold these classes, or make more images" if short else "")

    def _measured(self, result: DriftResult, p: float, n: tuple[int, int], evidence: Evidence) -> Measurement:
        declared = result.name == "class" and self.prior is not None
        seed = "the declared prior" if declared else evidence.seed_name
        n = (n[0], n[0]) if declared else n
        limit = self.max_share if result.unit == "share" else self.max_effect
        verdict = judge(result.interval, limit, n, 0.0 if math.isnan(p) else p)
        low, high = result.interval
        unit = "" if result.unit == "share" else " sd"
        why = (f"{result.name}: synthetic differs from {seed} by {result.effect:.2f}{unit} "
               f"[{low:.2f}, {high:.2f}], allowed {limit:g}{unit}; chance alone gives up to "
               f"{result.null[1]:.2f}")
        if result.at:
            why += "; most for " + " with ".join(evidence.classes[int(k)] for k in result.at.split("+"))
        elif result.name != "class":
            why += f"; mean {result.means[0]:.3g} against {result.means[1]:.3g} {result.of}"
        remedy = ""
        if verdict == "inconclusive":
            side = min(n)
            remedy = settles(images_needed(side, high - result.effect, limit - result.effect), side)
        elif verdict == "fail":
            remedy = REMEDIES[result.name]
            if declared:
                remedy = "draw classes in the shares of prior, or change prior to what is wanted"
        finite = math.isfinite(high)
        return Measurement("drift", result.name, verdict, result.effect, result.unit, why + caution(min(n)),
                           interval=result.interval if finite else None, null=result.null,
                           detectable=result.detectable if finite else None, p=p,
                           n=(n[0], 0) if declared else n, remedy=remedy, hard=self.refuse)


def sound_labels(dataset: Dataset) -> list[Labels]:
    """What labels there are and can be decoded; others are integrity's to refuse."""
    return [found for _, found in labels_of(dataset) if isinstance(found, Labels) and decodable(found)]


def decodable(labels: Labels) -> bool:
    """Whether all run lengths fill the image exactly, so that decoding them is safe."""
    every = [*(labels.masks or ()), *([labels.ignore] if labels.ignore is not None else [])]
    return all(fills(rle, labels.size) for rle in every)


def shown_classes(labels: Labels, n_classes: int, task: Task) -> NDArray[np.int64]:
    """(C,) 0 or 1: which classes an image shows; what is marked ignored does not count."""
    assert labels.states is not None
    out = np.zeros(n_classes, np.int64)
    if task == "classify":
        known = labels.image_class is not None and labels.image_state != "ignored"
        classes = np.array([labels.image_class] if known else [], np.int64)
    else:
        classes = labels.classes[np.array([state != "ignored" for state in labels.states], bool)]
    out[classes[(classes >= 0) & (classes < n_classes)]] = 1
    return out


def evenly(dataset: Dataset, most: int) -> Iterator[Sample]:
    """At most `most` samples of a dataset, evenly spaced, each decoded once."""
    for k in np.linspace(0, len(dataset) - 1, min(len(dataset), most)).round().astype(int):
        yield dataset[int(k)]
