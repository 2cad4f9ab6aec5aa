"""Could the labeler learn to read the source instead of the class? Asked of what it is shown, seed and synthetic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pydantic.dataclasses import dataclass

from synthgen.checks import OPTIONS, caution, images_needed, judge, labels_of, settles, skipped
from synthgen.checks.drift import shown_classes
from synthgen.metrics.features import evenly_picked
from synthgen.metrics.leakage import (
    FEWEST,
    FEWEST_OF_EACH,
    Association,
    Attribute,
    Gain,
    association,
    class_gain,
    readable,
)
from synthgen.metrics.traces import classes_asked, source_heterogeneity
from synthgen.types import Dataset, Evidence, Labels, Measurement

FAMILIES = ("spectrum", "handcrafted")
SOURCE, TRACES, LINKED = "source and class", "class from low-level traces", "class-linked traces"

NO_FEATURES = "it needs low-level features of the images on both sides"
NAME_ONE = "name spectrum or handcrafted in evaluate.features"
MIX = ("show every class in the same synthetic share (draw layouts with the seed's classes and counts, or balance "
       "both sources with mix.per_class); where the shares differ on purpose, train in two stages, synthetic first "
       "and real alone after (mix.synthetic_until with mix.real: 1)")
ALIKE = ("make every class by one generator with one set of options, and read, resize and encode all of them alike: "
         "their noise, sharpness or colour tells them apart as it does not in real images")


@dataclass(frozen=True, kw_only=True, config=OPTIONS)
class Leakage:
    """The source cannot be read from the class, nor a synthetic image's class from traces that real ones lack."""

    EARLY: ClassVar[bool] = True  # needs no labeler: runs after generation too

    max_v: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """The largest association of source and class allowed (bias-corrected Cramér's V: 0 = none, 1 = total)."""
    max_gain: Annotated[float, Field(gt=0, lt=1)] = 0.15
    """By how much the AUC of a class from low-level features may be higher among synthetic than among real images."""
    max_trace: Annotated[float, Field(gt=0)] = 0.5
    """By how much classes may differ in how plainly they are synthetic, in standard deviations (task classify)."""
    real_share: Annotated[float, Field(gt=0, lt=1)] | None = 0.5
    """Share of what is shown that is real, as mix.real has it; null = as many images as there are of each source."""
    permutations: Annotated[int, Field(ge=19, le=100_000)] = 999
    """Permutations per test, and resamples."""

    def __call__(self, evidence: Evidence, rng: np.random.Generator) -> Sequence[Measurement]:
        ours, theirs = (_readable(dataset) for dataset in (evidence.independent, evidence.seed))
        if not ours or not theirs:
            return [skipped("leakage", SOURCE, f"it needs labels on both sides, and there are {len(ours)} synthetic "
                            f"and {len(theirs)} {evidence.seed_name} images with labels", hard=True)]
        attributes = shown_attributes([*theirs.values(), *ours.values()], evidence)
        found = association(attributes, len(theirs), rng, self.real_share, self.permutations, self.permutations)
        return [self._source(found, (len(ours), len(theirs)), evidence),
                self._traces(evidence, {"synthetic": ours, "seed": theirs}, rng),
                *self._linked(evidence, {"synthetic": ours, "seed": theirs}, rng)]

    def _source(self, found: Association, n: tuple[int, int], evidence: Evidence) -> Measurement:
        verdict = judge(found.interval, self.max_v, n)
        low, high = found.interval
        weighed = "as many as there are" if self.real_share is None else f"{self.real_share:.0%} of what is shown real"
        why = (f"by images, with {weighed}: whether an image is synthetic is associated with "
               f"{found.at}: bias-corrected Cramér's V {found.v:.2f} [{low:.2f}, {high:.2f}], allowed {self.max_v:g}; "
               f"chance alone gives up to {found.null[1]:.2f}; the weights of mix.per_class are not counted in")
        others = [f"{name} {v:.2f}" for name, v in found.by_attribute[1:4] if v > 0]
        if others:
            why += "; next: " + ", ".join(others)
        if len(evidence.classes) == 1 and evidence.task != "classify":
            why += "; with one class it is objects and their number that were tested"
        remedy = ""
        if verdict == "inconclusive":
            remedy = settles(images_needed(min(n), high - found.v, self.max_v - found.v), min(n))
        elif verdict == "fail":
            remedy = MIX
        return Measurement("leakage", SOURCE, verdict, found.v, "Cramér's V", why + caution(min(n)), p=found.p,
                           interval=found.interval, null=found.null, n=n, remedy=remedy, hard=True)

    def _traces(self, evidence: Evidence, sides: dict[str, dict[int, Labels]],
                rng: np.random.Generator) -> Measurement:
        """The class and family of features with the largest gain, all of them bounded at once."""
        found = seen(evidence, sides)
        if not found.families:
            return skipped("leakage", TRACES, NO_FEATURES, hard=True, remedy=NAME_ONE)
        families = found.families
        shown = {side: np.array([shown_classes(x, len(evidence.classes), evidence.task) for x in labels], bool)
                 for side, labels in found.labels.items()}                                 # (n, C) each
        classes = [k for k in range(len(evidence.classes)) if all(readable(s[:, k]) for s in shown.values())]
        if evidence.task == "classify" and len(evidence.classes) == 2:
            classes = classes[:1]                              # the other one is the same question
        n = (len(found.rows["synthetic"]), len(found.rows["seed"]))
        if not classes:
            return skipped("leakage", TRACES, f"it needs {FEWEST} images on each side, {FEWEST_OF_EACH} with and "
                           f"{FEWEST_OF_EACH} without a class, and no class has them among {n[0]} synthetic and {n[1]} "
                           f"{evidence.seed_name} images", hard=False)
        rows: dict[tuple[str, str], NDArray[np.float32]] = {
            (side, f): evidence.features[side][f][picked] for side, picked in found.rows.items() for f in families}
        level = 1 - 0.05 / (len(classes) * len(families))
        gains = {(k, f): class_gain(rows["synthetic", f], shown["synthetic"][:, k], rows["seed", f],
                                    shown["seed"][:, k], rng, level) for k in classes for f in families}
        return self._gain(gains, n, evidence)

    def _linked(self, evidence: Evidence, sides: dict[str, dict[int, Labels]],
                rng: np.random.Generator) -> list[Measurement]:
        """Whether some classes carry a trace of their making that others do not; whole-image classes only."""
        here = seen(evidence, sides)
        if evidence.task != "classify":
            return []
        if not here.families:
            return [skipped("leakage", LINKED, NO_FEATURES, hard=True, remedy=NAME_ONE)]
        classes = {side: np.array([-1 if x.image_class is None else x.image_class for x in labels], np.int64)
                   for side, labels in here.labels.items()}
        n = (len(here.rows["synthetic"]), len(here.rows["seed"]))
        if len(classes_asked(classes["synthetic"], classes["seed"])) < 2:
            return [skipped("leakage", LINKED, f"it needs two classes with {FEWEST_OF_EACH} images on each side, and "
                            f"there are {n[0]} synthetic and {n[1]} {evidence.seed_name} images", hard=False)]
        found = {f: source_heterogeneity(evidence.features["synthetic"][f][here.rows["synthetic"]],
                                         classes["synthetic"], evidence.features["seed"][f][here.rows["seed"]],
                                         classes["seed"], rng, self.permutations, 1 - 0.05 / len(here.families))
                 for f in here.families}
        family, worst = max(found.items(), key=lambda item: item[1].interval[0])
        interval = worst.interval[0], max(h.interval[1] for h in found.values())
        verdict = judge(interval, self.max_trace, n)
        most, least = worst.by_class[0], worst.by_class[-1]
        why = (f"by {family} features, how plainly an image is synthetic differs between classes by {worst.tau:.2f} sd "
               f"[{interval[0]:.2f}, {interval[1]:.2f}], allowed {self.max_trace:g}; chance alone gives up to "
               f"{worst.null[1]:.2f}; plainest: {evidence.classes[most[0]]} ({most[1]:+.1f} sd), least: "
               f"{evidence.classes[least[0]]} ({least[1]:+.1f})")
        remedy = ALIKE if verdict == "fail" else ""
        if verdict == "inconclusive":
            remedy = settles(images_needed(min(n), interval[1] - worst.tau, self.max_trace - worst.tau), min(n))
        return [Measurement("leakage", LINKED, verdict, worst.tau, "sd", why + caution(min(n)), interval=interval,
                            null=worst.null, p=worst.p, n=n, remedy=remedy, hard=True)]

    def _gain(self, gains: dict[tuple[int, str], Gain], n: tuple[int, int], evidence: Evidence) -> Measurement:
        (k, family), worst = max(gains.items(), key=lambda item: item[1].interval[0])
        interval = worst.interval[0], max(g.interval[1] for g in gains.values())
        value = worst.value
        verdict = judge(interval, self.max_gain, n)
        asked = len({cls for cls, _ in gains})
        left = 0 if evidence.task == "classify" and len(evidence.classes) == 2 else len(evidence.classes) - asked
        why = (f"the class {evidence.classes[k]} is read from {family} features with AUC {worst.synthetic:.2f} among "
               f"synthetic and {worst.real:.2f} among {evidence.seed_name} images ({worst.n[0]} with and {worst.n[1]} "
               f"without it on each side): a gain of {value:.2f} [{interval[0]:.2f}, {interval[1]:.2f}], allowed "
               f"{self.max_gain:g}, the largest over {len(gains)} classes and families of features")
        if left:
            why += f"; {left} classes have too few images to ask"
        remedy = ""
        if verdict == "inconclusive":
            side = sum(worst.n)
            remedy = settles(images_needed(side, interval[1] - value, self.max_gain - value), side)
        elif verdict == "fail":
            remedy = ALIKE
        return Measurement("leakage", TRACES, verdict, value, "AUC difference", why, interval=interval, n=n,
                           remedy=remedy, hard=True)


class Seen(NamedTuple):
    """The low-level families that both sides have features of, and of each side the rows and the labels of the images
    that have both; where there are very many images, features are of some of them, evenly spaced."""

    families: tuple[str, ...]
    rows: dict[str, list[int]]
    labels: dict[str, list[Labels]]


def seen(evidence: Evidence, sides: Mapping[str, Mapping[int, Labels]]) -> Seen:
    """sides: "synthetic" and "seed" → labels by number of the sample."""
    lengths = {"synthetic": len(evidence.independent), "seed": len(evidence.seed)}
    families = [f for f in FAMILIES if all(len(evidence.features.get(side, {}).get(f, ())) for side in lengths)]
    rows: dict[str, list[int]] = {}
    labels: dict[str, list[Labels]] = {}
    for side, n in lengths.items() if families else ():
        picks = evenly_picked(n, len(evidence.features[side][families[0]])).tolist()
        kept = [(row, k) for row, k in enumerate(picks) if k in sides[side]]
        rows[side], labels[side] = [row for row, _ in kept], [sides[side][k] for _, k in kept]
    return Seen(tuple(families), rows, labels)


def shown_attributes(labels: Sequence[Labels], evidence: Evidence) -> list[Attribute]:
    """What may betray the source: the image's class, the classes that it shows, or with one class the objects."""
    C = len(evidence.classes)
    shown = np.array([shown_classes(x, C, evidence.task) for x in labels])                 # (N, C)
    if evidence.task == "classify":
        # A class that no image has is no level; an image that has none stands in a level of its own.
        level = np.where(shown.any(1), shown.argmax(1), C)
        seen, codes = np.unique(level, return_inverse=True)
        return [Attribute("its class", codes.astype(np.int64), max(len(seen), 2))]
    if C > 1:
        return [Attribute(f"showing {name}", shown[:, k], 2) for k, name in enumerate(evidence.classes)]
    count = np.array([sum(state != "ignored" for state in x.states or ()) for x in labels])
    thirds = np.unique(np.quantile(count, (1 / 3, 2 / 3), method="higher"))
    codes = np.searchsorted(thirds, count, side="left")
    out = [Attribute("holding any object", (count > 0).astype(np.int64), 2)]
    if len(np.unique(codes)) > 1:
        out.append(Attribute("holding few, some or many objects", codes.astype(np.int64), int(codes.max()) + 1))
    return out


def _readable(dataset: Dataset) -> dict[int, Labels]:
    """Labels by row; images without labels, or whose labels cannot be read, are left out."""
    return {k: found for k, (_, found) in enumerate(labels_of(dataset)) if isinstance(found, Labels)}
