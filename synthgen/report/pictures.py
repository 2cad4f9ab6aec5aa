"""The report's pictures: thumbnails inside the page, with what is known drawn over them."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import PIL.Image

from synthgen.geometry import cropped
from synthgen.metrics.accuracy import LEAST_AREA, matching, score_image
from synthgen.overlay import (
    REVIEW,
    WRONG,
    Stretch,
    class_colour,
    contours_of,
    css,
    draw,
    fit_to,
    stretch_for,
    trace,
    veil,
)
from synthgen.report.source import OnDisk, evenly
from synthgen.report.words import counted
from synthgen.store import Stored, Subset
from synthgen.types import Image, Labels, Sample

LONGEST = 288                                    # px of a picture's longer side
SEEDS, EACH, POOL, TEST = 10, 5, 10, 9            # pictures of each kind, each generator
ALL_GENERATED = 30                               # pictures over all generators
TALLEST = 2                                      # height of a picture over its width, at most
HITS = (38, 222, 160)


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture: a data URI, what it shows for those who do not see it, and its size in px."""

    src: str
    alt: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Figure:
    """Pictures of one sample, and the lines under them."""

    pictures: tuple[Picture, ...]
    title: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Group:
    """Figures under one heading."""

    title: str
    figures: tuple[Figure, ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Album:
    """All pictures of a report."""

    stretch: Stretch
    seed: tuple[Figure, ...] = ()
    synthetic: tuple[Group, ...] = ()
    pool: tuple[Figure, ...] = ()
    test: tuple[Figure, ...] = ()
    compared: bool = False                       # the test's figures show the labeler's labels beside the truth
    confusion: tuple[tuple[int, ...], ...] = field(default=())


def picture(image: Image, alt: str, quality: int = 86) -> Picture:
    """An image as a JPEG inside the page; colour is kept at full resolution, so that thin outlines stay clean.

    The page shows pictures as wide as their column. A tall and narrow one gets black beside it until it is at most
    TALLEST times as high as wide, since it would run over many screens else.
    """
    h, w = image.shape[:2]
    beside = max(0, -(-h // TALLEST) - w)
    image = np.pad(image, ((0, 0), (beside // 2, beside - beside // 2), (0, 0)))
    out = io.BytesIO()
    PIL.Image.fromarray(image).save(out, "JPEG", quality=quality, subsampling=0, optimize=True)
    src = "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode("ascii")
    return Picture(src, alt, image.shape[1], image.shape[0])


def stretch_of(run: OnDisk) -> Stretch:
    """One stretch for all pictures, from real and synthetic images alike."""
    parts: list[Stored | Subset] = [run.stored("0-ingest/seed"), run.stored("0-ingest/pool"), *run.kept().values()]
    return stretch_for(part[k].image for part in parts for k in evenly(len(part), 8))


def album(run: OnDisk, longest: int = LONGEST) -> Album:
    """The pictures of a run whose labels are drawn (instances, segment, detect)."""
    draws = _Drawer(stretch_of(run), run.recipe.classes, longest)
    seed, pool = run.stored("0-ingest/seed"), run.stored("5-label", "shards")
    test, answers = opened_test(run)
    kept = run.kept()
    each = max(2, min(EACH, ALL_GENERATED // max(len(kept), 1)))
    compared = len(answers) == len(test) > 0
    return Album(
        draws.stretch,
        tuple(draws.known(seed[k]) for k in evenly(len(seed), SEEDS)),
        tuple(draws.group(name, part, each) for name, part in kept.items() if len(part)),
        tuple(draws.labelled(pool[k]) for k in evenly(len(pool), POOL)),
        tuple(draws.against(test, answers, run.recipe.task))
        if compared
        else tuple(draws.known(test[k]) for k in evenly(len(test), TEST)),
        compared,
    )


def opened_test(run: OnDisk) -> tuple[Stored, Stored]:
    """The test images and the labels that they got; none of either before the evaluation has opened the test."""
    if run.state("6-evaluate") != "done":
        return Stored(), Stored()
    return run.stored("0-ingest/test"), run.stored("6-evaluate", "test-labels")


class _Drawer:
    """Draws samples in one way: the same stretch, size and colours."""

    def __init__(self, stretch: Stretch, classes: Sequence[str], longest: int) -> None:
        self.stretch, self.classes, self.longest = stretch, classes, longest

    def plain(self, sample: Sample) -> tuple[Image, float]:
        return fit_to(self.stretch(sample.image), self.longest)

    def known(self, sample: Sample) -> Figure:
        """One picture: the image with its labels."""
        base, factor = self.plain(sample)
        if sample.labels is None:
            return Figure((picture(base, f"{name_of(sample)}, unlabelled"),), name_of(sample))
        shown = picture(draw(base, sample.labels, factor), f"{name_of(sample)} with its labels outlined")
        return Figure((shown,), name_of(sample), (self.census(sample.labels),))

    def group(self, name: str, part: Subset, most: int) -> Group:
        """Some samples of a generator; what their meta says of all of them alike stands in the heading, once."""
        # Neighbours may be renderings of one layout in turn, so that an even stride would show one kind only.
        picks = sorted({min(k + i, len(part) - 1) for i, k in enumerate(evenly(len(part), most))})
        samples = [part[k] for k in picks]
        facts = [{k: v for k, v in s.meta.items() if isinstance(v, str)} for s in samples]
        common = {k: v for k, v in facts[0].items() if all(f.get(k) == v for f in facts)}
        return Group(
            name,
            tuple(
                self.made(s, {k: v for k, v in f.items() if k not in common})
                for s, f in zip(samples, facts, strict=True)
            ),
            ", ".join(f"{k} {v}" for k, v in common.items()),
        )

    def made(self, sample: Sample, meta: Mapping[str, str]) -> Figure:
        """Two pictures: the image, and its known masks over it."""
        base, factor = self.plain(sample)
        assert sample.labels is not None
        facts = [f"{key} {value}" for key, value in meta.items()]
        return Figure((picture(base, f"synthetic image {sample.id}"),
                       picture(draw(base, sample.labels, factor), f"{sample.id} with its known masks outlined")),
                      sample.id, (self.census(sample.labels), ", ".join(facts)))

    def labelled(self, sample: Sample) -> Figure:
        """One picture: a pool image with its labels by state."""
        base, factor = self.plain(sample)
        assert sample.labels is not None
        states = sample.labels.states or ()
        parts = [
            f"{n} {word}"
            for state, word in (("accepted", "accepted"), ("to_review", "to review"), ("ignored", "ignored"))
            if (n := states.count(state))
        ]
        return Figure((picture(draw(base, sample.labels, factor), f"{name_of(sample)} with the labels that it got"),),
                      name_of(sample), (", ".join(parts) or "nothing found",))

    def against(self, test: Stored, answers: Stored, task: str) -> Iterator[Figure]:
        """Test images, the worst first: truth beside the labeler's labels, told apart as found, made up and missed."""
        records = []
        for k in evenly(len(test), 500):
            truth, mine = test.labels(k), answers.labels(k)
            assert truth is not None
            assert mine is not None
            records.append((goodness(score_image(mine, truth), task), k))
        order = [k for _, k in sorted(records)]
        # The worst half, and what remains spread up to the best: nobody learns from the best alone.
        half = TEST // 2
        picks = (
            order
            if len(order) <= TEST
            else order[:half] + [order[half:][i] for i in evenly(len(order) - half, TEST - half)]
        )
        for k in picks:
            yield self.pair(test[k], answers[k], task)

    def pair(self, truth: Sample, mine: Sample, task: str) -> Figure:
        base, factor = self.plain(truth)
        assert truth.labels is not None
        assert mine.labels is not None
        drawn, note = compare(base, truth.labels, mine.labels, factor, by_pixels=task == "segment")
        return Figure((picture(draw(base, truth.labels, factor), f"{name_of(truth)} with the true labels"),
                       picture(drawn, f"{name_of(truth)} with the labeler's labels, right and wrong ones told apart")),
                      name_of(truth), (note,))

    def census(self, labels: Labels) -> str:
        """How many objects of each class."""
        if len(self.classes) == 1 or not len(labels):
            return counted(len(labels), "object")
        counts = np.bincount(labels.classes, minlength=len(self.classes))
        order = [k for k in np.argsort(-counts, kind="stable") if counts[k]]
        named = ", ".join(f"{counts[k]} {self.classes[k]}" for k in order[:4])
        return named + (f" and {len(order) - 4} more classes" if len(order) > 4 else "")


def goodness(record: Mapping[str, float], task: str) -> float:
    """How well an image was labelled, 0 to 1, to sort by."""
    top, bottom = (
        (2 * record["overlap"], record["pred_px"] + record["true_px"])
        if task == "segment" and record["overlap"] is not None
        else (record["tp"], record["tp"] + record["fp"] + record["fn"])
    )
    return top / bottom if bottom else 1.0


def compare(base: Image, truth: Labels, mine: Labels, factor: float, by_pixels: bool = False) -> tuple[Image, str]:
    """The picture with the labels told apart, and that in words. Objects match at IoU 0.5 within their class."""
    out = base.copy()
    veil(out, truth.ignore, truth.size)
    if by_pixels:
        return _pixels(out, truth, mine)
    who = matching(mine, truth)
    ours, theirs = contours_of(mine, factor), contours_of(truth, factor)
    for t in np.flatnonzero(who.missed):
        trace(out, theirs[t], REVIEW, "dashed")
    for row, k in enumerate(who.offered):
        if who.found[row] >= 0:
            trace(out, ours[k], HITS)
        elif who.counted[row]:
            trace(out, ours[k], WRONG, "thick")
    hits = int((who.found >= 0).sum())
    said = (f"{hits} of {int(who.wanted.sum())} found, {int(who.counted.sum()) - hits} made up, "
            f"{int(who.missed.sum())} missed")
    small = int((who.known & ~who.wanted).sum())
    if small:
        said += f"; {small} under {LEAST_AREA:g} px {'is' if small == 1 else 'are'} not scored"
    return out, said


def _pixels(out: Image, truth: Labels, mine: Labels) -> tuple[Image, str]:
    """Pixels rather than objects: right, made up, missed."""
    maps = []
    for labels in (truth, mine):
        ids = np.zeros(labels.size, np.int32)
        for k, state in enumerate(labels.states or ()):
            if state != "ignored" and labels.masks is not None:
                part, mask = cropped(labels.masks[k], labels.size)
                ids[part][mask] = int(labels.classes[k]) + 1
        maps.append(ids)
    right, ours = maps
    h, w = out.shape[:2]
    rows, columns = (np.arange(h) * right.shape[0] // h)[:, None], (np.arange(w) * right.shape[1] // w)[None]
    for area, colour in (
        ((right == ours) & (right > 0), HITS),
        ((ours > 0) & (right != ours), WRONG),
        ((right > 0) & (ours == 0), REVIEW),
    ):
        there = area[rows, columns]
        out[there] = (out[there] * 0.5 + np.array(colour) * 0.5).astype(np.uint8)
    both = int((right > 0).sum() + (ours > 0).sum())
    return (
        out,
        f"Dice {2 * int(((right == ours) & (right > 0)).sum()) / both:.2f}" if both else "nothing there, nothing found",
    )


def name_of(sample: Sample) -> str:
    """The name that a person knows a sample by: its file's, where there is one."""
    return str(sample.meta.get("file", sample.id)).rsplit("/", 1)[-1]


def legend(classes: Sequence[str]) -> list[tuple[str, str]]:
    """(class name, CSS colour) of each class."""
    return [(name, css(class_colour(k))) for k, name in enumerate(classes)]
