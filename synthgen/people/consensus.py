"""Consensus: what several people said of the same image, made into one label, and how far they agree.

Whole images: the majority, or CROWDLAB's consensus where a labeler's out-of-fold probabilities are known (Goh,
Tkachenko & Mueller 2022, arXiv 2210.06812; cleanlab.multiannotator); agreement is Krippendorff's alpha for nominal data
(Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability"), class by class as "this class or another".
Objects: those of different people that overlap with an IoU of 0.5 are one object; it is kept when more than half of the
people drew it, with the pixels that more than half of those who drew it drew. Agreement is the mean F1 of pairs of
people at IoU 0.5.

Where exactly half of them say so there is no majority: the label is marked to_review. Nothing is overwritten: what
comes out is one more answer, by `BY`, if the person who asks wants it written down.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from synthgen.geometry import box_ious, decode, encode, rle_boxes, rle_ious
from synthgen.images import hash_image
from synthgen.metrics.accuracy import score_image
from synthgen.people.decisions import Action, Decision
from synthgen.types import Dataset, Labels, State

BY = "consensus"
IOU = 0.5
Answers = Mapping[str, Mapping[str, Labels]]
"""Hash of the image → annotator → what they said of it."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A number and what it rests on: value None where nothing was there to measure."""

    value: float | None
    n: int


@dataclass(frozen=True, slots=True, eq=False)
class Consensus:
    """What several people say together.

    fused: hash → the label. agreement: class index → alpha (whole images; n = images that two or more people answered)
    or mean pairwise F1 (objects; n = pairs of answers with the class in one of them). quality: annotator → share in
    [0, 1] of what the others say too, n images; of CROWDLAB where probabilities were given.
    """

    fused: Mapping[str, Labels]
    agreement: Mapping[int, Measured]
    quality: Mapping[str, Measured]

    def doubtful(self, image: str) -> bool:
        """Whether something in the image has no majority."""
        labels = self.fused[image]
        if labels.image_class is not None:
            return labels.image_state == "to_review"
        return "to_review" in (labels.states or ())


def of_decisions(decisions: Iterable[Decision]) -> dict[str, dict[str, Labels]]:
    """The last answer of each annotator to each image; what an earlier consensus said is none."""
    found: dict[str, dict[str, Labels]] = {}
    for d in decisions:
        if d.by == BY or d.action == "skip":
            continue
        if d.answered:
            found.setdefault(d.image, {})[d.by] = d.labels
        else:
            found.get(d.image, {}).pop(d.by, None)  # who rejects gives no answer any more
    return {image: said for image, said in found.items() if said}


def of_datasets(parts: Mapping[str, Dataset]) -> dict[str, dict[str, Labels]]:
    """The same of a labelled dataset per annotator; images are matched by their pixels."""
    found: dict[str, dict[str, Labels]] = {}
    for name in sorted(parts):
        for sample in parts[name]:
            if sample.labels is not None:
                found.setdefault(hash_image(sample.image), {})[name] = sample.labels
    return found


def consensus(answers: Answers, probs: Mapping[str, NDArray[np.float32]] | None = None) -> Consensus:
    """One label per image. probs: hash → (K,) out-of-fold probabilities of whole images; used where all are known."""
    whole = {image: said for image, said in answers.items()
             if all(labels.image_class is not None for labels in said.values())}
    rest = {image: said for image, said in answers.items() if image not in whole}
    if whole and rest:
        raise ValueError("some answers name the class of the whole image and others do not; they are of one task each")
    return _classes(whole, probs) if whole else _objects(rest)


def fused_decision(image: str, name: str, labels: Labels, at: str) -> Decision:
    """The fused label as a further line of the log; `Decisions.undo(BY, …)` takes it back."""
    empty = labels.image_class is None and not len(labels)
    action: Action = "confirm-empty" if empty else "answer"
    return Decision(image, name, labels, BY, at, None, BY, action)


def _classes(answers: Answers, probs: Mapping[str, NDArray[np.float32]] | None) -> Consensus:
    images, names = sorted(answers), sorted({n for said in answers.values() for n in said})
    table = np.full((len(images), len(names)), np.nan)
    for i, image in enumerate(images):
        for name, labels in answers[image].items():
            table[i, names.index(name)] = labels.image_class
    several = (~np.isnan(table)).sum(1) > 1
    fused, quality = {}, {}
    asks_model = probs is not None and several.any() and all(image in probs for image in images)
    crowd = _crowdlab(table, np.stack([probs[i] for i in images])) if asks_model and probs is not None else None
    for i, image in enumerate(images):
        top, tie = _majority(table[i])
        label, score = (top, float((table[i] == top).sum() / (~np.isnan(table[i])).sum()))
        if crowd is not None:
            label, score, tie = int(crowd[0][i]), float(crowd[1][i]), tie and crowd[1][i] < IOU
        first = answers[image][min(answers[image])]
        fused[image] = Labels(first.size, image_class=label, image_score=min(max(score, 0.0), 1.0),
                              image_state="to_review" if tie else "accepted", reviewed="human")
    for j, name in enumerate(names):
        given = ~np.isnan(table[:, j])
        if crowd is not None:
            quality[name] = Measured(float(crowd[2][j]), int(given.sum()))
            continue
        others = [(_majority(np.delete(table[i], j)), table[i, j]) for i in np.flatnonzero(given & several)]
        same = [float(top == mine) for (top, tie), mine in others if not tie]
        quality[name] = Measured(float(np.mean(same)) if same else None, len(same))
    known = sorted({int(c) for c in table[~np.isnan(table)]})
    agreement = {c: Measured(alpha(np.where(np.isnan(table), np.nan, table == c)), int(several.sum())) for c in known}
    return Consensus(fused, agreement, quality)


def alpha(table: NDArray[np.float64]) -> float | None:
    """Krippendorff's alpha for nominal values. table: (images, annotators), nan = no answer. 1 = they agree on all,
    0 = as by chance, below = worse; None where no image has two answers, or all are one value and nothing varies."""
    values = np.unique(table[~np.isnan(table)])
    counts = np.array([[(row == v).sum() for v in values] for row in table], np.float64).reshape(len(table), -1)
    m = counts.sum(1)
    counts, m = counts[m > 1], m[m > 1]
    total = m.sum()
    by_value = counts.sum(0)
    expected = total**2 - (by_value**2).sum()
    if not len(m) or not expected:
        return None
    observed = ((m**2 - (counts**2).sum(1)) / (m - 1)).sum()
    return float(1 - (total - 1) * observed / expected)


def _majority(row: NDArray[np.float64]) -> tuple[int, bool]:
    """The class that most named, the first of several, and whether there are several."""
    values, counts = np.unique(row[~np.isnan(row)], return_counts=True)
    return int(values[counts.argmax()]), bool((counts == counts.max()).sum() > 1)


def _crowdlab(table: NDArray[np.float64], probs: NDArray[np.float32]) -> tuple[NDArray[np.float64], ...]:
    """(N,) consensus class, (N,) its quality, (M,) quality of the annotators, each in [0, 1]."""
    from cleanlab.multiannotator import get_label_quality_multiannotator

    p = probs.astype(np.float64)
    found = get_label_quality_multiannotator(table, p / p.sum(1, keepdims=True), verbose=False)
    labels = found["label_quality"]
    stats = found["annotator_stats"].sort_index()  # they come by quality; the index is the annotator's column
    return (labels["consensus_label"].to_numpy(float), labels["consensus_quality_score"].to_numpy(float),
            stats["annotator_quality"].to_numpy(float))


def _objects(answers: Answers) -> Consensus:
    fused = {image: fuse([said[name] for name in sorted(said)]) for image, said in sorted(answers.items())}
    pairs: dict[int, list[float]] = {}
    shares: dict[str, list[tuple[float, float]]] = {}
    for _, said in sorted(answers.items()):
        for a, b in combinations(sorted(said), 2):
            for c, row in score_image(said[a], said[b], min_area=0)["classes"].items():
                if (of := 2 * row["tp"] + row["fp"] + row["fn"]) > 0:
                    pairs.setdefault(int(c), []).append(2 * row["tp"] / of)
        for name in sorted(said):
            shares.setdefault(name, [])
            if len(said) > 1:
                others = fuse([said[other] for other in sorted(said) if other != name])
                row = score_image(said[name], others, min_area=0)  # with what only half of the others drew
                shares[name].append((2 * row["tp"], 2 * row["tp"] + row["fp"] + row["fn"]))
    quality = {}
    for name, found in sorted(shares.items()):
        top, bottom = (float(sum(v)) for v in zip(*found, strict=True)) if found else (0.0, 0.0)
        quality[name] = Measured(None if not found else top / bottom if bottom else 1.0, len(found))
    return Consensus(fused, {c: Measured(float(np.mean(v)), len(v)) for c, v in sorted(pairs.items())}, quality)


def fuse(given: Sequence[Labels]) -> Labels:
    """One label of what several people drew in one image; the order of the people does not matter but in ties of IoU.

    Objects that somebody set aside (ignored) are none of theirs. Pixels that more than half call ignored stay so.
    """
    people, size = len(given), given[0].size
    own = [[k for k, s in enumerate(g.states or ()) if s != "ignored"] for g in given]
    at = [(a, k) for a, mine in enumerate(own) for k in mine]
    by_masks = all(g.masks is not None or not len(g) for g in given)
    kept: list[tuple[int, float, State, NDArray[np.bool_] | None, NDArray[np.float32]]] = []
    for group in _groups(given, at, by_masks):
        drawn = len(group)
        if 2 * drawn < people:
            continue
        classes, counts = np.unique([given[a].classes[k] for a, k in group], return_counts=True)
        tie = 2 * drawn == people or (counts == counts.max()).sum() > 1
        box = np.median([given[a].boxes[k] for a, k in group], axis=0).astype(np.float32)
        mask = _most(decode([(given[a].masks or ())[k] for a, k in group], size)) if by_masks else None
        kept.append((int(classes[counts.argmax()]), drawn / people, "to_review" if tie else "accepted", mask, box))
    masks = [m for *_, m, _ in kept if m is not None]
    rles = encode(np.array(masks, bool).reshape(-1, *size)) if by_masks else None
    away = [decode([g.ignore], size)[0] for g in given if g.ignore is not None]
    ignore = np.sum(away, 0) * 2 > people if away else np.zeros(size, bool)
    return Labels(
        size,
        np.array([c for c, *_ in kept], np.int64),
        np.array([b for *_, b in kept], np.float32).reshape(-1, 4) if rles is None else rle_boxes(rles, size),
        masks=rles,
        scores=np.array([s for _, s, *_ in kept], np.float32),
        states=tuple(state for _, _, state, *_ in kept),
        ignore=encode(ignore[None])[0] if ignore.any() else None,
        reviewed="human",
        empty="unknown" if kept else "confirmed",
    )


def _most(votes: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(H, W) pixels in more than half of the masks (M, H, W); where there are none, those in the most of them."""
    count = votes.sum(0)
    inside: NDArray[np.bool_] = 2 * count > len(votes)
    return inside if inside.any() else np.asarray(count == count.max(), np.bool_)


def _groups(given: Sequence[Labels], at: Sequence[tuple[int, int]], by_masks: bool) -> list[list[tuple[int, int]]]:
    """Objects that are one, of each person at most one: pairs join by falling IoU, down to 0.5."""
    if not at:
        return []
    if by_masks:
        rles = [(given[a].masks or ())[k] for a, k in at]
        overlaps = rle_ious(rles, rles, given[0].size)
    else:
        boxes = np.array([given[a].boxes[k] for a, k in at], np.float32)
        overlaps = box_ious(boxes, boxes)
    group = {i: [i] for i in range(len(at))}
    home = list(range(len(at)))
    pairs = np.argwhere(np.triu(overlaps, 1) >= IOU)
    for i, j in pairs[np.argsort(-overlaps[tuple(pairs.T)], kind="stable")].tolist():
        a, b = home[i], home[j]
        if a == b or {at[k][0] for k in group[a]} & {at[k][0] for k in group[b]}:
            continue
        group[a] += group.pop(b)
        for k in group[a]:
            home[k] = a
    return [[at[k] for k in sorted(members)] for _, members in sorted(group.items())]
