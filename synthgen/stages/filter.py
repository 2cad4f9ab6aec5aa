"""Filter: nothing unchecked is mixed in. What is dropped, and why, is kept; samples are not copied.

First what is exact, and asked of every sample: objects of which too little shows become ignored pixels, doubles of
images go. Then, of labels that no construction guarantees, whether the image shows what they say: the committee is
asked, and what it disputes becomes ignored pixels, or costs the image (`consistency`).

`index.json` holds the samples kept, the labels that changed, and how many times as often as others a sample is shown;
`agreement.jsonl` what was measured of each sample that the committee was asked about.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from synthgen.geometry import areas, set_aside
from synthgen.images import hash_image
from synthgen.metrics.hardness import at_least, by_rank
from synthgen.recipe.schema import Filter, Recipe
from synthgen.stages import Job, Unit, committee, consistency, generate, ingest, keys
from synthgen.stages.consistency import BATCH, Committee, Outcome
from synthgen.stages.tally import Tally, about, generator_of
from synthgen.store import Stored, Subset, labels_to_json, read_json, write_atomic, write_json
from synthgen.types import Json, Labels, Sample

CODE = 5


def units(job: Job) -> list[Unit]:
    """One unit; none without generators. It needs the committee where a generator learns and may be asked about."""
    before = generate.units(job)
    if not before:
        return []
    after = keys([*before, *(committee.trainings(job) if _may_ask(job) else [])])
    needs = {"code": CODE, **job.recipe.filter.model_dump(), "after": after}
    return [Unit("2-filter", needs, partial(_make, job))]


def kept(job: Job) -> Subset:
    """The synthetic samples that passed, with their labels as filtered."""
    if not units(job):
        return Subset(generate.made(job), [])
    index = read_json(job.work.path("2-filter") / "index.json")
    return Subset(generate.made(job), index["kept"], index["labels"])


def times_shown(job: Job, samples: Subset) -> NDArray[np.float64]:
    """(N,) how many times as often as others each of the samples is to be shown; 1 for exact labels."""
    if not units(job):
        return np.ones(len(samples))
    weights = read_json(job.work.path("2-filter") / "index.json")["weights"]
    return np.asarray([weights.get(str(k), 1.0) for k in samples.indices], np.float64)


def summary(job: Job) -> Json:
    """What the filter counted, as `tally` says; {} without generators."""
    return read_json(job.work.path("2-filter") / "summary.json") if units(job) else {}


@dataclass(frozen=True, slots=True, eq=False)
class _Sound:
    """Sample k, against which nothing exact speaks. labels: without its slivers; slivers: how many those were;
    doubtful: no construction guarantees them, so that the committee is to be asked."""

    k: int
    sample: Sample
    labels: Labels | None
    slivers: int
    doubtful: bool


def _make(job: Job, folder: Path) -> None:
    recipe, made = job.recipe, generate.made(job)
    tally = Tally(recipe.classes, recipe.task)
    doubles = {hash_image(s.image) for s in ingest.part(job, "seed")} if recipe.filter.duplicates == "drop" else None
    keep: list[int] = []
    changed: dict[str, Json] = {}
    outcomes: dict[int, Outcome] = {}
    asked: Committee | None = None
    for start in range(0, len(made), BATCH):
        job.say("filter", start, len(made))
        window = range(start, min(start + BATCH, len(made)))
        sound = list(_sound(made, window, recipe, doubles, tally))
        doubtful = [replace(one.sample, labels=one.labels) for one in sound if one.doubtful]
        if doubtful and asked is None:
            asked = _committee(job)
        found = consistency.outcomes(asked, doubtful, recipe.filter, recipe.task) if asked is not None else iter(())
        for one in sound:
            labels, outcome = one.labels, None
            if one.doubtful:
                outcome, labels = next(found)
                outcomes[one.k] = outcome
                if outcome.reason is not None:
                    tally.drop(one.sample, outcome.reason)
                    continue
            tally.keep(one.sample, labels, one.slivers, outcome)
            keep.append(one.k)
            if labels is not None and labels is not one.sample.labels:
                changed[str(one.k)] = labels_to_json(labels)
    ids = [entry.id for entry in made.entries]
    weights = weights_of(ids, outcomes, [k for k in keep if k in outcomes], asked, recipe.filter)
    write_atomic(folder / "dropped.jsonl", _lines(tally.dropped))
    write_atomic(folder / "agreement.jsonl", _lines(
        {"id": ids[k], "kept": o.reason is None, "weight": weights.get(k, 1.0), **_plain(o.about)}
        for k, o in outcomes.items() if o.checked))
    write_json(folder / "summary.json", tally.summary() | {"agreement": about(asked, outcomes, weights, recipe)})
    write_json(folder / "index.json", {"kept": keep, "labels": changed,
                                       "weights": {str(k): w for k, w in weights.items() if w != 1}})
    job.say("filter", len(made), len(made))


def _sound(made: Stored, window: range, recipe: Recipe, doubles: set[str] | None, tally: Tally) -> Iterator[_Sound]:
    """The samples against which nothing exact speaks. doubles: hashes of images seen so far; None: they are kept."""
    for k in window:
        sample = made[k]
        tally.begin(sample)
        if doubles is not None:
            digest = hash_image(sample.image)
            if digest in doubles:
                tally.drop(sample, "image: double", "the same pixels as an earlier image")
                continue
            doubles.add(digest)
        labels, slivers = sample.labels, 0
        if labels is not None and labels.masks is not None:
            labels, slivers = without_slivers(labels, recipe.filter.min_visible, recipe.filter.min_area)
        doubtful = labels is not None and sample.origin.known_by != "construction"
        yield _Sound(k, sample, labels, slivers, doubtful)


def without_slivers(labels: Labels, min_visible: float, min_area: int) -> tuple[Labels, int]:
    """Labels whose hardly visible instances became ignored pixels, and how many those were."""
    assert labels.masks is not None
    seen = areas(labels.masks, labels.size)
    # What the frame cuts off hides nothing: a sliver at the border is labelled, one behind another object is not.
    framed = seen if labels.amodal is None else areas(labels.amodal, labels.size)
    few = (seen < min_area) | (seen < min_visible * framed)
    return set_aside(labels, few), int(few.sum())


def _committee(job: Job) -> Committee:
    recipe = job.recipe
    if recipe.filter.agreement == "off":
        return Committee(why="filter.agreement is off")
    if not _may_ask(job):
        return Committee(why="no generator of the recipe says that it learns, so that no committee was trained; its "
                             "author adds LEARNS = True to the class")
    folds = recipe.train.calibration_folds
    if folds < 2:
        return Committee(why=f"train.calibration_folds is {folds}; set it to 2 or more")
    held_out = committee.held_out(job)
    if not held_out:
        return Committee(why="the seed is too small to leave a part of it out; give more than one image")
    job.say("filter: labelers look at real images", 0, 0)
    known = consistency.reference(held_out, len(recipe.classes), recipe.task, recipe.filter)
    return Committee([labeler for labeler, _ in held_out], known)


def _may_ask(job: Job) -> bool:
    return job.recipe.filter.agreement == "auto" and committee.early(job)


def weights_of(ids: Sequence[str], outcomes: Mapping[int, Outcome], keep: Sequence[int], asked: Committee | None,
               rules: Filter) -> dict[int, float]:
    """How many times as often as others each of the samples kept is shown, 1 on average over each generator's.

    ids: of all samples. outcomes: of those that the committee was asked about, by their number, kept or not.
    """
    out: dict[int, float] = {}
    if asked is None or asked.known is None:
        return out
    made: dict[str, list[int]] = {}
    for k in outcomes:
        made.setdefault(generator_of(ids[k]), []).append(k)
    stay = set(keep)
    for every in made.values():
        rows = [k for k in every if k in stay]
        hard = {k: outcomes[k].unsure >= asked.known.unsure for k in every}                  # nothing is ≥ nan
        hardness = np.asarray([outcomes[k].hardness for k in rows], np.float64)
        weights = by_rank(hardness) if rules.resample == "hardness" else np.ones(len(rows))
        before = sum(hard.values()) / len(every)
        weights = at_least(weights, np.asarray([hard[k] for k in rows], bool), min(before, rules.keep_hard))
        out |= {k: round(w, 6) for k, w in zip(rows, weights.tolist(), strict=True)}
    return out


def _lines(rows: Iterable[Json]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows).encode()


def _plain(numbers: Mapping[str, float]) -> dict[str, Json]:
    return {name: round(x, 6) if math.isfinite(x) else None for name, x in numbers.items()}
