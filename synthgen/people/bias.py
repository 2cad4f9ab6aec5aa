"""Automation bias: do people agree with a pre-label because it is right, or because they were shown it?

A random half of the audit is answered without seeing the pre-label. People who judge by the image alone agree with it
as often there as where it was shown; what they agree more where it was shown is the bias.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from synthgen.metrics.bounds import Interval, clopper_pearson
from synthgen.people.decisions import Decision
from synthgen.people.difference import difference
from synthgen.types import Labels

IOU = 0.5  # two shapes that overlap so much are one opinion about one object


@dataclass(frozen=True, slots=True)
class Bias:
    """How often people agreed with the pre-label: (images that agree, images) where it was shown and where it was
    hidden. value: share shown − share hidden, in [−1, 1], nan where a side has no image. interval: of the value."""

    shown: tuple[int, int]
    hidden: tuple[int, int]
    value: float
    interval: Interval
    level: float


def hidden(images: Sequence[str]) -> list[bool]:
    """Of which images the pre-label is hidden: of one in each pair of neighbours, chosen by the hash of its pixels.

    images: hashes of the audit's images in the order of the draw. A longer audit leaves the choice of a shorter one as
    it is, but for the last of an odd number. An image without a partner is decided by its own hash.
    """
    found: list[bool] = []
    for first, second in zip(images[::2], [*images[1::2], None][: (len(images) + 1) // 2], strict=True):
        coin = hashlib.sha256(f"blind {first}".encode()).digest()[0] % 2 == 0
        found += [coin] if second is None else [coin, not coin]
    return found


def automation_bias(decisions: Iterable[Decision], prelabels: Mapping[str, Labels], level: float = 0.95) -> Bias:
    """Agreement with the pre-label where it was shown, against where it was hidden, image by image.

    decisions: those that answer an image of `prelabels` count. prelabels: image hash → what the model said, of images
    of which chance decided whether people saw it: the audit, not the queue of doubtful ones. An image agrees when the
    same class is given to it, or when every object has a partner of its class at an IoU of 0.5 or more and none is
    over; the same is asked of both sides, since nobody draws a hidden outline again pixel by pixel.
    """
    counts = {False: [0, 0], True: [0, 0]}
    for decision in {d.image: d for d in decisions if d.answered}.values():
        model = prelabels.get(decision.image)
        if model is not None:
            counts[decision.blind][0] += agree(model, decision.labels)
            counts[decision.blind][1] += 1
    (a, n), (b, m) = counts[False], counts[True]
    value = a / n - b / m if n and m else math.nan
    return Bias((a, n), (b, m), value, exact_difference((a, n), (b, m), level), level)


def exact_difference(first: tuple[int, int], second: tuple[int, int], level: float = 0.95) -> Interval:
    """Interval of the difference of two shares k / n of different images that covers it with `level` or more, always.

    Each share lies in its Clopper–Pearson interval at the root of `level`; the two are independent, so both do at once
    with `level` or more, and then the difference lies between the differences of the ends. Wider than need be.
    """
    (low_a, high_a), (low_b, high_b) = (clopper_pearson(k, n, math.sqrt(level)) for k, n in (first, second))
    return low_a - high_b, high_a - low_b


def agree(model: Labels, person: Labels, iou: float = IOU) -> bool:
    """Whether two labels of an image say the same: the class of the image, or every object by class and IoU."""
    for change in difference(model, person):
        if change.kind in ("added", "deleted", "class", "image-class"):
            return False
        if change.kind == "moved" and (change.iou or 0.0) < iou:
            return False
    return True
