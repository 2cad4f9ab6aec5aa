"""The labels of the seed that look wrong to labelers that did not learn from them: as rows, and as pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from synthgen.metrics.label_errors import SUSPICIOUS
from synthgen.overlay import REVIEW, Stretch, contours_of, draw, fit_to, trace
from synthgen.report.pictures import LONGEST, Figure, name_of, picture
from synthgen.report.source import OnDisk
from synthgen.store import Stored
from synthgen.types import Json, Labels

SHOWN = 8  # labels with a picture
UNIT = "5-errors"
JUDGES = "with most labels in doubt the labelers that judge them are to be doubted first: few images, or few steps"


@dataclass(frozen=True, slots=True)
class Suspects:
    """What the report says: pictures of the most suspicious labels, how many are suspicious, and of how many."""

    figures: tuple[Figure, ...]
    suspicious: int
    labels: int
    images: int

    @property
    def caution(self) -> str:
        """What to think of first where most labels are suspicious; "" elsewhere."""
        return f"But {JUDGES}." if 2 * self.suspicious > self.labels else ""


def suspects(run: OnDisk, stretch: Stretch, longest: int = LONGEST) -> Suspects | None:
    """The most suspicious labels; None where the stage has not run."""
    facts, rows = run.of(UNIT, "summary.json"), run.of(UNIT, "errors.json")
    if facts is None or rows is None:
        return None
    seed = seed_of(run)
    at = {entry.id: k for k, entry in enumerate(seed.entries)}
    picks = [row for row in rows if row["score"] < SUSPICIOUS and row["id"] in at][:SHOWN]
    return Suspects(tuple(_figure(seed, at[row["id"]], row, run.recipe.classes, stretch, longest) for row in picks),
                    facts["suspicious"], facts["labels"], facts["images"])


def seed_of(run: OnDisk) -> Stored:
    """The seed as it was learned from, with what people answered."""
    parts = [run.folder / unit for unit in ("0-ingest/seed", "0-ingest/people") if run.state(unit) == "done"]
    return Stored(*parts)


def side(value: Mapping[str, Json] | None, classes: Sequence[str]) -> str:
    """What was given or is proposed, in words: a class, and of objects where."""
    if value is None:
        return "nothing"
    name = "background" if value["class"] is None else classes[value["class"]]
    if "box" not in value:
        return name
    x0, y0, x1, y1 = (round(v) for v in value["box"])
    return f"{name} at {x0} {y0} {x1} {y1}"


def _figure(seed: Stored, k: int, row: Mapping[str, Json], classes: Sequence[str], stretch: Stretch,
            longest: int) -> Figure:
    sample = seed[k]
    assert sample.labels is not None
    base, factor = fit_to(stretch(sample.image), longest)
    name = name_of(sample)
    notes = (f"{row['kind']}, score {row['score']:.2f}",
             f"given: {side(row['given'], classes)}; they say: {side(row['suggested'], classes)}")
    if row["kind"] == "class":
        return Figure((picture(base, f"{name}, whose class is in doubt"),), name, notes)
    given = draw(base, sample.labels, factor)
    said = base.copy()
    for value in (row["given"], row["suggested"]):
        if value is None or "box" not in value:
            continue
        one = _one(value, sample.labels)
        if value is row["given"]:
            trace(given, contours_of(one, factor)[0], REVIEW, "thick")
        else:
            said = draw(base, one, factor)
    return Figure((picture(given, f"{name} as it was labelled"),
                   picture(said, f"{name} with what the labelers say of the label in doubt")), name, notes)


def _one(value: Mapping[str, Json], like: Labels) -> Labels:
    """A single object of a row, to be drawn."""
    return replace(
        Labels(like.size, np.array([value["class"] or 0]), np.array([value["box"]], np.float32)),
        masks=(value["mask"],) if "mask" in value else None,
    )
