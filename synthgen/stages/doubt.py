"""Doubt: how doubtful the pool's labels are, image by image, by the labeler's own scores and by its committee.

A labeler is often sure of what it has wrong. Labelers that learned from other parts of the seed are wrong elsewhere, so
the images on which all agree are surer than those of which one is sure.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from synthgen.answers import answers
from synthgen.geometry import only_accepted
from synthgen.metrics.accuracy import score_image
from synthgen.recipe.schema import Label
from synthgen.stages import Job, Unit, committee, keys, label, train, training
from synthgen.store import read_json, write_json
from synthgen.types import Labeler, Labels, Probabilistic, Sample, silent
from synthgen.work import in_parallel

CODE = 1
NAME = "5-doubt"
CHUNK = 256  # images of a piece: what a kill can cost


def units(job: Job) -> list[Unit]:
    """One unit, where there is a pool."""
    before = label.units(job)
    if not before:
        return []
    members = committee.trainings(job)
    return [Unit(NAME, {"code": CODE, "after": keys([*before, *members, *train.units(job)[-1:]])}, partial(_make, job))]


def doubts(job: Job) -> NDArray[np.float64]:
    """(N,) of the pool's images, in its order, in [0, 1]; the smaller the surer."""
    return np.asarray(read_json(job.work.path(NAME) / "doubt.json"), np.float64)


def _make(job: Job, folder: Path) -> None:
    size = len(label.labelled(job))
    pieces = range(-(-size // CHUNK))
    child = replace(job, workers=1, say=silent)  # a process of its own has no terminal
    jobs = [(ask, (child, folder, k)) for k in pieces if not (folder / f"{k:05d}.json").exists()]
    in_parallel(jobs, job.workers if job.device == "cpu" else 1, job.say, "ask the committee about the pool")
    write_json(folder / "doubt.json", [x for k in pieces for x in read_json(folder / f"{k:05d}.json")])


def ask(job: Job, folder: Path, piece: int) -> None:
    """One piece of the pool; may run in a process of its own."""
    pool = label.labelled(job)
    samples = [pool[k] for k in range(piece * CHUNK, min((piece + 1) * CHUNK, len(pool)))]
    others = [training.load(job, train.MODEL), *(m.labeler for m in committee.members(job))]
    if job.recipe.task == "classify":
        certain = np.mean([_probability(labeler, samples) for labeler in others], 0)
    else:
        own = [1 - doubt_of(s.labels) for s in samples if s.labels is not None]
        certain = np.mean([own, *(_agreement(labeler, samples, job.recipe.label) for labeler in others[1:])], 0)
    write_json(folder / f"{piece:05d}.json", [round(1 - float(x), 6) for x in certain])


def doubt_of(labels: Labels) -> float:
    """How doubtful the labels of an image are, in [0, 1], by the labeler's own scores.

    A whole image's class: 1 − score. Objects: 1 − the F1 that the scores promise, where an accepted object of score s
    is right s times, and one that was not accepted is missed s times; one is added on both sides, so that an image
    in which next to nothing was seen is surer than one with a single doubtful object.
    """
    if labels.image_class is not None:
        return 1 - labels.image_score
    assert labels.scores is not None
    assert labels.states is not None
    taken = np.array([s == "accepted" for s in labels.states], bool)
    hit = float(labels.scores[taken].sum())
    wrong, missed = float((1 - labels.scores[taken]).sum()), float(labels.scores[~taken].sum())
    return 1 - (2 * hit + 1) / (2 * hit + wrong + missed + 1)


def _probability(labeler: Labeler, samples: list[Sample]) -> list[float]:
    """What a labeler gives to the class that each image got; of one that has no probabilities, whether it agrees."""
    given = [s.labels.image_class for s in samples if s.labels is not None]
    if isinstance(labeler, Probabilistic):
        every = labeler.probabilities([s.image for s in samples])
        return [float(p[c]) for p, c in zip(every, given, strict=True) if c is not None]
    return [float(found.image_class == s.labels.image_class)
            for s, found in answers(labeler, samples, tta=False) if s.labels is not None]


def _agreement(labeler: Labeler, samples: list[Sample], rules: Label) -> list[float]:
    """F1 of a labeler's objects, at IoU 0.5, against the accepted ones that each image got; 1 where both have none."""
    out = []
    for sample, found in answers(labeler, samples, tta=False):
        assert sample.labels is not None
        other = label.settled(label.sorted_out(found, rules))
        record = score_image(label.settled(sample.labels), only_accepted(other))
        every = 2 * record["tp"] + record["fp"] + record["fn"]
        out.append(2 * record["tp"] / every if every else 1.0)
    return out
