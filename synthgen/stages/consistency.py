"""What the committee says of labels that no construction guarantees, and what follows from it.

Each labeler of the committee learned from the seed without one fold of it. What they say of the images that they did
not see gives the reference: what a right label looks like to labelers as good as these. Held against it, a synthetic
label loses pixels, instances, or its image.

Of a real image the one labeler is asked that did not see it, of a synthetic one all of them, and the mean counts. The
mean of several scatters less than one opinion, so that of right synthetic labels rather fewer are lost than the bars
say. What no bar can allow for: a generator that learned from the whole seed shows objects that some labelers know.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from synthgen.checks.integrity import defects
from synthgen.geometry import decode, encode, set_aside
from synthgen.metrics import consistency as rule
from synthgen.metrics.consistency import Bar, Floats
from synthgen.recipe.schema import Filter
from synthgen.stages.opinions import Opinion, opinions
from synthgen.types import Dataset, Json, Labeler, Labels, Sample, Task

HeldOut = Sequence[tuple[Labeler, Dataset]]  # each labeler with real images that it did not see

BATCH = 16  # images that are asked about at a time
NOT_FOUND = "instance: labelers that learned from real images do not find it"
DISPUTED = "pixel: labelers that learned from real images dispute its label"
UNLIKE = "image: labelers that learned from real images agree less with what is left of its labels than with real ones"
TOO_MUCH = "image: too much of its labels was lost"
OTHER_CLASS = "image: labelers that learned from real images do not take it for its class"


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """What right labels look like to the committee: real images that its labelers did not see.

    images: how many. means: mean loss of each label, nats, background first (for classify without); nan = no such
    real label. instances: the bar for finding an instance, by class; for classify that for the probability of the
    image's class. rim: px; how deep regions of disputed pixels are in real images, but for a share: what is no
    deeper is how labelers are at the rims of right labels. surprise: the bar for images whose losses are known,
    agrees: that for others. disputed: the share of its pixels that is disputed in the usual real image, rims and
    all. unsure: entropy that the hardest third of the real images reaches. lost: the largest share of its
    instances' pixels, and of its instances, that a real image loses. real: what the rules would take of the real
    images themselves, for people.
    """

    images: int
    means: Floats
    instances: Mapping[int, Bar]
    rim: float = 0.0
    surprise: Bar = rule.NO_BAR
    agrees: Bar = rule.NO_BAR
    disputed: float = 0.0
    unsure: float = math.nan
    lost: tuple[float, float] = (0.0, 0.0)
    real: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Losses:
    """What one image loses by the rules for pixels and instances.

    gone: (N,) bool, instances that are not found. away: (H, W) bool, pixels that are disputed, and not at a rim as
    in real images; None where no losses are known. foreground, instances, pixels: shares lost of the instances'
    pixels, of the instances, of all pixels that said something. disputed: as pixels, with the rims. surprise: of
    the pixels that nobody disputes, so that one wrong object, ignored by now, does not cost the others too; nan
    where no losses are known. unknown: instances (for classify: 1) of a class that no real image shows, of which
    nobody can say anything.
    """

    gone: NDArray[np.bool_]
    away: NDArray[np.bool_] | None
    foreground: float
    instances: float
    pixels: float
    disputed: float
    surprise: float
    agrees: float
    unknown: int


def reference(held_out: HeldOut, n_classes: int, task: Task, rules: Filter) -> Reference:
    """What right labels look like. The real images are gone through three times: what is disputed is known only when
    all of them were asked about, and how deep such regions are when it is."""
    if task == "classify":
        return _reference_of_classes(held_out, n_classes, rules)
    sums, counts = np.zeros(n_classes + 1), np.zeros(n_classes + 1, np.int64)
    found: dict[int, list[float]] = {}
    unsure, images = [], 0
    for labels, opinion in _all(held_out, task):
        images += 1
        unsure.append(opinion.unsure)
        for c, value, state in zip(labels.classes.tolist(), opinion.found.tolist(), labels.states or (), strict=True):
            if state != "ignored":
                found.setdefault(c, []).append(value)
        if opinion.loss is not None and opinion.target is not None:
            more, pixels = rule.class_sums(opinion.loss, opinion.target, n_classes + 1)
            sums, counts = sums + more, counts + pixels
    known = Reference(images, _means(sums, counts), rule.class_bars(found, rules.real_loss), unsure=_third(unsure))
    known = replace(known, rim=_rim(held_out, task, known, rules))
    rows = [(losses_of(opinion, labels, known, rules), len(labels)) for labels, opinion in _all(held_out, task)]
    rows = [(replace(x, away=None), n) for x, n in rows]
    surprise = [x.surprise for x, _ in rows if not math.isnan(x.surprise)]
    agrees = [x.agrees for x, _ in rows if not math.isnan(x.agrees)]
    known = replace(known, surprise=rule.upper_bar(surprise, rules.real_loss),
                    agrees=rule.lower_bar(agrees, rules.real_loss),
                    disputed=float(np.median([x.disputed for x, _ in rows])) if rows else 0.0,
                    lost=(max((x.foreground for x, _ in rows), default=0.0),
                          max((x.instances for x, _ in rows), default=0.0)))
    return replace(known, real={
        "images": images, "images lost": sum(reason_against(x, known, rules) is not None for x, _ in rows),
        "instances": sum(n for _, n in rows), "instances lost": sum(int(x.gone.sum()) for x, _ in rows),
        "pixels ignored": round(float(np.mean([x.pixels for x, _ in rows])), 6) if rows else 0.0})


def _rim(held_out: HeldOut, task: Task, known: Reference, rules: Filter) -> float:
    """How deep disputed regions of real images are: the conformal bar, or with few of them the deepest. Where real
    images have none every disputed pixel counts."""
    found = [rule.depths(_disputed(opinion, opinion.loss, opinion.target, labels, known, rules)[1])
             for labels, opinion in _all(held_out, task) if opinion.loss is not None and opinion.target is not None]
    every = np.concatenate([np.zeros(0), *found])
    bar = rule.upper_bar(every, rules.real_loss)
    return bar.at if math.isfinite(bar.at) else float(every.max(initial=0.0))


def _reference_of_classes(held_out: HeldOut, n_classes: int, rules: Filter) -> Reference:
    heard = [(labels.image_class, opinion) for labels, opinion in _all(held_out, "classify")
             if labels.image_class is not None]
    by_class: dict[int, list[float]] = {}
    for c, opinion in heard:
        by_class.setdefault(c, []).append(opinion.agrees)
    means = np.full(n_classes, math.nan)
    for c, values in by_class.items():
        means[c] = float(-np.log(np.clip(values, rule.LEAST, 1)).mean())
    # An image that is taken for its class more likely than not is never rejected, however sure they are of real ones.
    bars = {c: replace(bar, at=min(bar.at, 0.5)) for c, bar in rule.class_bars(by_class, rules.real_loss).items()}
    lost = sum(opinion.agrees < bars[c].at for c, opinion in heard)
    return Reference(len(heard), means, bars, unsure=_third([opinion.unsure for _, opinion in heard]),
                     real={"images": len(heard), "images lost": lost})


def _all(held_out: HeldOut, task: Task) -> Iterator[tuple[Labels, Opinion]]:
    for labeler, unseen in held_out:
        for start in range(0, len(unseen), BATCH):
            samples = [unseen[k] for k in range(start, min(start + BATCH, len(unseen)))]
            for sample, opinion in zip(samples, opinions([labeler], samples, task), strict=True):
                assert sample.labels is not None
                yield sample.labels, opinion


def _means(sums: Floats, counts: NDArray[np.int64]) -> Floats:
    means: Floats = np.divide(sums, counts, out=np.full(len(sums), math.nan), where=counts > 0)
    return means


def _third(values: Sequence[float]) -> float:
    known = [v for v in values if not math.isnan(v)]
    return float(np.quantile(known, 2 / 3)) if known else math.nan


def losses_of(opinion: Opinion, labels: Labels, known: Reference, rules: Filter) -> Losses:
    """What an image loses by the rules for pixels and instances."""
    counted, gone = _not_found(opinion, labels, known)
    unknown = int((counted & np.asarray([known.instances.get(c) is None for c in labels.classes.tolist()], bool)).sum())
    share = float(gone.sum() / counted.sum()) if counted.any() else 0.0
    if opinion.loss is None or opinion.target is None:
        return Losses(gone, None, 0.0, share, 0.0, 0.0, math.nan, opinion.agrees, unknown)
    aside, disputed = _disputed(opinion, opinion.loss, opinion.target, labels, known, rules)
    away = rule.deep(disputed, known.rim)
    lost, doubted = away | aside, disputed | aside
    inside, said = opinion.target > 0, opinion.target >= 0
    surprise = rule.surprise(opinion.loss, np.where(doubted, -1, opinion.target), known.means)
    return Losses(gone, away, _share(lost & inside, inside), share, _share(lost & said, said),
                  _share(doubted & said, said), surprise, opinion.agrees, unknown)


def _not_found(opinion: Opinion, labels: Labels, known: Reference) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(N,) bool: which instances say something, and which of them are not found."""
    bars = [known.instances.get(c) for c in labels.classes.tolist()]
    counted = np.asarray([state != "ignored" for state in labels.states or ()], bool)
    at = np.asarray([math.nan if bar is None else bar.at for bar in bars], np.float64)
    return counted, counted & (opinion.found < at)                         # nothing is below nan


def _disputed(opinion: Opinion, loss: NDArray[np.float32], target: NDArray[np.int64], labels: Labels, known: Reference,
              rules: Filter) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(H, W) bool: pixels of instances that are not found, and disputed pixels elsewhere."""
    whole = set_aside(labels, _not_found(opinion, labels, known)[1])
    aside = np.zeros(labels.size, bool)
    if whole is not labels and whole.ignore is not None:
        aside = decode([whole.ignore], labels.size)[0]
    return aside, rule.disputed(loss, target, known.means, rules.tolerance) & ~aside


def _share(part: NDArray[np.bool_], whole: NDArray[np.bool_]) -> float:
    n = np.count_nonzero(whole)
    return float(np.count_nonzero(part) / n) if n else 0.0


def reason_against(x: Losses, known: Reference, rules: Filter) -> str | None:
    """Why an image is rejected; None where it is not."""
    if x.surprise > known.surprise.at and x.disputed > known.disputed:
        return UNLIKE
    if math.isnan(x.surprise) and x.agrees < known.agrees.at:
        return UNLIKE
    if x.foreground > max(rules.max_lost, known.lost[0]) or x.instances > max(rules.max_lost, known.lost[1]):
        return TOO_MUCH
    return None


def without(labels: Labels, x: Losses) -> Labels:
    """The labels without what was lost: instances that are not found and pixels that are disputed are ignored. Nothing
    lost: the very same."""
    left = set_aside(labels, x.gone)
    if left is labels and (x.away is None or not x.away.any()):
        return labels
    away = np.zeros(labels.size, bool) if x.away is None else x.away.copy()
    for ignored in (labels.ignore, left.ignore):
        if ignored is not None:
            away |= decode([ignored], labels.size)[0]
    return replace(left, ignore=encode(away[None])[0] if away.any() else None)


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What follows for one image, in numbers. checked: whether anybody was asked. reason: why it is rejected, or None.
    instances, pixels: how many became ignored. said: pixels that said something before. unknown: instances (for
    classify: 1) that nobody can judge. hardness: loss that its classes have on real images, nats; unsure: the labelers'
    entropy, nats; nan where not known. about: what people may want to sort by."""

    checked: bool = False
    reason: str | None = None
    instances: int = 0
    pixels: int = 0
    said: int = 0
    unknown: int = 0
    hardness: float = math.nan
    unsure: float = math.nan
    about: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Committee:
    """The labelers that are asked, and what right labels look like to them; known None: nobody could be asked, for the
    reason `why`."""

    labelers: Sequence[Labeler] = ()
    known: Reference | None = None
    why: str = ""


def outcomes(committee: Committee, samples: Sequence[Sample], rules: Filter,
             task: Task) -> Iterator[tuple[Outcome, Labels]]:
    """For each labelled sample, in order, what follows, and what is left of its labels: the very same object where
    nothing was lost. Broken labels are for the check `integrity`: nobody is asked about them."""
    known = committee.known
    n_classes = 0 if known is None else len(known.means) - (task != "classify")
    whole = [known is not None and not defects(sample.labels, n_classes, task) for sample in samples]
    heard = opinions(committee.labelers, [s for s, is_whole in zip(samples, whole, strict=True) if is_whole], task)
    for sample, is_whole in zip(samples, whole, strict=True):
        labels = sample.labels
        assert labels is not None
        if known is None or not is_whole:
            yield Outcome(), labels
        elif task == "classify":
            yield _of_class(next(heard), labels, known)
        else:
            yield _of_pixels(next(heard), labels, known, rules)


def _of_pixels(opinion: Opinion, labels: Labels, known: Reference, rules: Filter) -> tuple[Outcome, Labels]:
    x, target = losses_of(opinion, labels, known, rules), opinion.target
    said = 0 if target is None else int((target >= 0).sum())
    about = {"surprise": x.surprise, "agreement": x.agrees, "pixels lost": x.pixels, "foreground lost": x.foreground,
             "instances lost": x.instances, "unsure": opinion.unsure}
    return Outcome(True, reason_against(x, known, rules), int(x.gone.sum()), round(x.pixels * said), said, x.unknown,
                   math.nan if target is None else rule.expected(target, known.means), opinion.unsure,
                   about), without(labels, x)


def _of_class(opinion: Opinion, labels: Labels, known: Reference) -> tuple[Outcome, Labels]:
    c = labels.image_class
    bar = None if c is None else known.instances.get(c)
    return Outcome(True, OTHER_CLASS if bar is not None and opinion.agrees < bar.at else None,
                   unknown=int(c is not None and bar is None),
                   hardness=math.nan if c is None else float(known.means[c]), unsure=opinion.unsure,
                   about={"probability of its class": opinion.agrees, "unsure": opinion.unsure}), labels
