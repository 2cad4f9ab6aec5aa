"""Does training with the synthetic data give better labels on the locked test than the seed alone?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pydantic.dataclasses import dataclass

from synthgen.checks import FEW_IMAGES, OPTIONS, caution, images_needed, settles, skipped
from synthgen.metrics.accuracy import Record, columns, value_of
from synthgen.metrics.bounds import RESAMPLES, paired_difference, ratio, t_quantile
from synthgen.types import Evidence, Measurement, Task, Verdict

MAIN: dict[Task, str] = {"instances": "ap50", "segment": "dice", "detect": "ap50", "classify": "accuracy"}
BESIDE: dict[Task, tuple[str, ...]] = {"instances": ("dice", "count_error"), "segment": (),
                                       "detect": ("count_error",), "classify": ()}
UNITS = {"count_error": "objects per image"}
LOWER_IS_BETTER = ("count_error",)
SURE = 0.999  # of a harm that fewer than FEW_IMAGES show
ARMS = ("mixed", "real")     # what the run trained; the same steps and augmentation on the seed alone


@dataclass(frozen=True, kw_only=True, config=OPTIONS)
class Utility:
    """Labels on the locked test are no worse than those of a labeler trained as long on the seed alone."""

    margin: Annotated[float, Field(ge=0, lt=1)] = 0.02
    """How much worse may still pass, in the metric's unit (count error: as a share of the true count)."""
    metric: Literal["auto", "ap50", "dice", "accuracy"] = "auto"
    """What decides; auto = ap50 for instances and detect, dice for segment, accuracy for classify."""
    resamples: Annotated[int, Field(ge=200, le=1_000_000)] = RESAMPLES
    """Bootstrap resamples of the test images."""

    def __call__(self, evidence: Evidence, rng: np.random.Generator) -> Sequence[Measurement]:
        main = MAIN[evidence.task] if self.metric == "auto" else self.metric
        arms = [list(evidence.scores.get(arm, {}).get("per_image", ())) for arm in ARMS]
        if not all(arms):
            lacking = " and ".join(arm for arm, records in zip(ARMS, arms, strict=True) if not records)
            return [skipped("utility", main, f"there are no scores on the locked test for: {lacking}",
                            remedy="give data.test a labelled test split; only the final evaluation opens it",
                            hard=True)]
        if len(arms[0]) != len(arms[1]):
            raise ValueError(f"the two labelers were scored on {len(arms[0])} and {len(arms[1])} images; "
                             "a paired comparison needs the same ones")
        out = [self._measured(main, arms, rng, hard=True), *_found_nothing(main, arms)]
        return out + [self._measured(metric, arms, rng, hard=False) for metric in BESIDE[evidence.task]
                      if metric != main and columns(arms[0], metric) is not None]

    def _measured(self, metric: str, arms: list[list[Record]], rng: np.random.Generator,
                  hard: bool) -> Measurement:
        pairs = [columns(records, metric) for records in arms]
        if pairs[0] is None or pairs[1] is None:
            return skipped("utility", metric, f"the test's labels do not tell {metric}", hard=hard)
        n = len(arms[0])
        difference, interval = paired_difference(*pairs[0], *pairs[1], rng, resamples=self.resamples)
        margin = self.margin
        if metric in LOWER_IS_BETTER:
            margin *= max(1.0, sum(r["n_true"] for r in arms[1]) / n)
        sign = -1 if metric in LOWER_IS_BETTER else 1
        gain, ends = sign * difference, sorted(sign * end for end in interval)
        word, verdict = decide(ends[0], ends[1], margin, n)
        plain = ""
        # Of images that are right or wrong a few alike have no spread to judge by: with labelers that are equally good
        # all of three are lost once in 64 times.
        yes_or_no = bool(np.isin([*pairs[0], *pairs[1]], (0, 1, 2)).all())
        gains = sign * (ratio(*pairs[0]) - ratio(*pairs[1]))
        if n < FEW_IMAGES and gain < -margin and not yes_or_no and plainly_worse(gains, margin):
            word, verdict = "HARMS", "fail"
            plain = f"; that is plain even in {n} images (Student's t, {SURE:.1%} sure)"
        remedy = ""
        if verdict == "fail":
            remedy = ("lower the synthetic share (raise mix.real) or tighten the filter, and compare again"
                      if hard else "compare the objects that both labelers find on the test, image by image")
        elif verdict == "inconclusive":
            # Either end may settle it: the low one rising past −margin, or the high one sinking below 0.
            ways = (images_needed(n, gain - ends[0], gain + margin), images_needed(n, ends[1] - gain, -gain))
            more = min((way for way in ways if way is not None), default=None)
            remedy = settles(more, n, "test images")
        mixed, real = (value_of(records, metric) for records in arms)
        finite = math.isfinite(interval[0])
        why = (f"{word}: {metric.replace('_', ' ')} on the test is {mixed:.3f} with the synthetic data and "
               f"{real:.3f} with the seed alone; difference {difference:+.3f}"
               + (f" [{interval[0]:+.3f}, {interval[1]:+.3f}]" if finite else "")
               + f" over {n} images, margin {margin:.3g}")
        return Measurement("utility", metric, verdict, difference, UNITS.get(metric, metric),
                           why + (plain or caution(n)), interval=interval if finite else None, n=(n, n), remedy=remedy,
                           hard=hard)


def _found_nothing(metric: str, arms: list[list[Record]]) -> list[Measurement]:
    """A warning where a labeler gets nothing right: then little else that was measured says anything."""
    values = [value_of(records, metric) for records in arms]
    if 0 not in values:
        return []
    who = "neither labeler gets anything" if not any(values) else (
        "the labeler that was trained on synthetic data gets nothing" if values[0] == 0 else
        "the labeler of the seed alone gets nothing")
    n = len(arms[0])
    return [Measurement("utility", "a labeler", "warn", min(values), metric,
                        f"{who} right on the {n} test images: what it says of the pool is worth as much",
                        n=(n, n), remedy="train longer (train.steps), and look whether the seed's labels and classes "
                                         "are those of the test")]


def plainly_worse(gains: NDArray[np.float64], margin: float) -> bool:
    """Whether even a few images, 3 at least, show a loss beyond the margin: the mean of their (n,) gains lies below it
    by more than Student's t allows at SURE, one-sided. Few enough are alarmed by chance that it may refuse."""
    n = len(gains)
    reach = t_quantile(SURE, n - 1) * float(gains.std(ddof=1)) / math.sqrt(n) if n >= 3 else math.inf
    return float(gains.mean()) + reach < -margin


def decide(low: float, high: float, margin: float, n: int) -> tuple[str, Verdict]:
    """HELPS: wholly above 0. NON-INFERIOR: wholly above −margin. HARMS: wholly below 0, past the margin."""
    if n < FEW_IMAGES:
        return "INCONCLUSIVE", "inconclusive"
    if low > 0:
        return "HELPS", "pass"
    if low >= -margin:
        return "NON-INFERIOR", "pass"
    return ("HARMS", "fail") if high < 0 else ("INCONCLUSIVE", "inconclusive")
