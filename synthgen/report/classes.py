"""The pictures of a run that labels whole images: a strip of thumbnails for each class."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from synthgen.overlay import Stretch, fit_to, sheet
from synthgen.report.pictures import Album, Figure, Group, opened_test, picture, stretch_of
from synthgen.report.source import OnDisk, evenly
from synthgen.store import Stored, Subset
from synthgen.types import Labels

STRIP, CELL = 10, 84                             # thumbnails in a strip, px of each
GAP = 2
STRIP_WIDTH = STRIP * (CELL + GAP) - GAP            # px of a whole strip; shorter ones are shown as much narrower
CLASSES = 24                                     # classes that are shown; the report says when there are more
SCANNED = 5000                                   # samples of a part that are looked through


def class_album(run: OnDisk) -> Album:
    """The pictures of a run of task `classify`: one figure per class and part."""
    stretch, names = stretch_of(run), run.recipe.classes
    seed, pool = run.stored("0-ingest/seed"), run.stored("5-label", "shards")
    test, answers = opened_test(run)
    compared = len(answers) == len(test) > 0
    return Album(
        stretch, strips(seed, names, stretch, "labelled by a person"),
        tuple(Group(name, strips(part, names, stretch, "made")) for name, part in run.kept().items() if len(part)),
        strips(pool, names, stretch, "accepted", lambda labels: labels.image_state == "accepted"),
        mistakes(test, answers, names, stretch) if compared else strips(test, names, stretch, "in the test"),
        compared, confusion(test, answers, len(names)) if compared else ())


def strips(part: Stored | Subset, names: Sequence[str], stretch: Stretch, word: str,
           wanted: Callable[[Labels], bool] | None = None) -> tuple[Figure, ...]:
    """A strip for each class: some of its samples, evenly spread, and how many there are."""
    members: dict[int, list[int]] = {}
    picks = evenly(len(part), SCANNED)
    for k in picks:
        labels = part.labels(k)
        if labels is not None and labels.image_class is not None and (wanted is None or wanted(labels)):
            members.setdefault(labels.image_class, []).append(k)
    more = " of those looked through" if len(picks) < len(part) else ""
    return tuple(
        _strip(part, [found[i] for i in evenly(len(found), STRIP)], names[c], stretch, f"{len(found):,} {word}{more}")
        for c, found in sorted(members.items())[:CLASSES]
    )


def _strip(
    part: Stored | Subset, picks: Sequence[int], title: str, stretch: Stretch, note: str, called: str = ""
) -> Figure:
    shown = sheet([fit_to(stretch(part[k].image), CELL)[0] for k in picks], STRIP, CELL, GAP)
    return Figure((picture(shown, f"{len(picks)} images of class {title}{called}"),), title, (note,))


def mistakes(test: Stored, answers: Stored, names: Sequence[str], stretch: Stretch) -> tuple[Figure, ...]:
    """A strip for each true class: test images that the labeler called something else, and what it called them."""
    right: dict[int, int] = {}
    wrong: dict[int, list[tuple[int, int]]] = {}
    for k in evenly(len(test), SCANNED):
        truth, mine = test.labels(k), answers.labels(k)
        assert truth is not None
        assert mine is not None
        if truth.image_class is None or mine.image_class is None:
            continue
        if truth.image_class == mine.image_class:
            right[truth.image_class] = right.get(truth.image_class, 0) + 1
        else:
            wrong.setdefault(truth.image_class, []).append((k, mine.image_class))
    out = []
    for c in sorted({*right, *wrong})[:CLASSES]:
        missed = wrong.get(c, [])
        total = right.get(c, 0) + len(missed)
        note = f"{right.get(c, 0):,} of {total:,} right"
        if not missed:
            out.append(Figure((), names[c], (note,)))
            continue
        picks = [missed[i] for i in evenly(len(missed), STRIP)]
        called = np.bincount([m for _, m in missed], minlength=len(names))
        most = ", ".join(f"{names[m]} ({called[m]})" for m in np.argsort(-called, kind="stable")[:3] if called[m])
        figure = _strip(
            test,
            [k for k, _ in picks],
            names[c],
            stretch,
            f"{note}; called {most} instead",
            " that were called something else",
        )
        out.append(figure)
    return tuple(out)


def confusion(test: Stored, answers: Stored, n: int) -> tuple[tuple[int, ...], ...]:
    """(true class, class given) counts over the test; empty where there are too many classes to read a table."""
    if n > 20:
        return ()
    table = np.zeros((n, n), np.int64)
    for k in evenly(len(test), SCANNED):
        truth, mine = test.labels(k), answers.labels(k)
        if truth is not None and mine is not None and truth.image_class is not None and mine.image_class is not None:
            table[truth.image_class, mine.image_class] += 1
    return tuple(tuple(int(x) for x in row) for row in table)
