"""Label errors: which given labels are suspicious, by what labelers say of images that they did not learn from.

Three rules, one per kind of label. Classes of whole images: the probability that an out-of-sample classifier gives the
label (Northcutt et al. 2021, "Confident Learning", JAIR 70; self-confidence, cleanlab.rank). Pixels: the softmin over
an image's pixels of the probability of the given label (Lad & Mueller 2023, arXiv 2307.05080; cleanlab.segmentation).
Objects: ObjectLab's three questions (Tkachenko et al. 2023, arXiv 2309.00832): overlooked, swapped, badly located.
cleanlab.object_detection asks them of boxes alone; here they are asked of masks where there are masks. Two of its
settings cannot be kept at tens of labels. It listens only to predictions with a score of 0.95 (overlooked, swapped) or
0.5 (located); labelers of few images seldom reach the first, so that the score is a weight here and no bar. And it
takes an object for known as soon as any given box touches it, which hides every missed object in a crowd; here it is
known when it answers a given object, one to one, or when at least half of it is covered. Where an object is, is told by
every prediction that meets it, whatever its score: that it exists is what both sides agree on. A fourth question is our
own: whether an object was made up.

All of it ranks and proposes. Nothing here changes a label.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from synthgen.geometry import areas, box_ious, cropped, decode, encode, rle_boxes, rle_ious, union
from synthgen.metrics.accuracy import match
from synthgen.metrics.consistency import target_of
from synthgen.types import Boxes, Labels, Rle, Size, Task

Kind = Literal["class", "overlooked", "swapped", "badly placed", "made up"]
Row: TypeAlias = dict[str, Any]
"""{"id": of the image, "object": index into its labels, or None, "kind": Kind, "score": in [0, 1], small = suspicious,
"given", "suggested": {"class"} and of objects "box" (px, x0 y0 x1 y1) and "mask" (run lengths), or None where there is
nothing}."""
Floats: TypeAlias = NDArray[np.float64]

SUSPICIOUS = 0.5  # below this the labelers hold the label for less likely than not
ALPHA, PER_PX = 0.9, 0.1  # ObjectLab's similarity: 0.9 IoU + 0.1 exp(−0.1 px between the boxes' centres)
COVERED = 0.5  # share of a prediction under given objects from which on it is no overlooked object
MEETS = 0.1  # IoU below which a prediction is not about an object at all
IGNORE = -1  # in `target_of`: the pixel says nothing
UNTOLD = 0.5  # score of an object that a labeler without probabilities did not find: it does not say how sure it is


def ranked(rows: Sequence[Row]) -> list[Row]:
    """Most suspicious first; equal scores by image and object, so that the order is always the same.

    Objects that nobody labelled and labels that are there take turns, beginning with the lower score: the score of the
    first rests on how sure a labeler is and that of the second on how well two outlines meet, so that one order over
    both shows the first kind last (docs/measured/label-errors.txt)."""
    both: list[list[Row]] = [[], []]
    for row in sorted(rows, key=lambda r: (r["score"], r["id"], -1 if r["object"] is None else r["object"], r["kind"])):
        both[row["given"] is None].append(row)
    both.sort(key=lambda part: part[0]["score"] if part else 1.0)
    return [row for pair in zip_longest(*both) for row in pair if row is not None]


def suspects(name: str, given: Labels, found: Labels, probs: NDArray[np.float32] | None, task: Task) -> list[Row]:
    """What is to be said of the labels of one image, in no order.

    found: a labeler's answer to the image, which it must not have learned from. probs: as `types.Probabilistic`, or
    None. Labels that were set aside (ignored) are not judged; images that nobody labelled give no row.
    """
    if task == "classify":
        return _class_rows(name, given, found, probs)
    if task == "segment" and probs is not None and (target := target_of(given)) is not None:
        return _pixel_rows(name, target, probs)
    return _object_rows(name, given, found, probs)


def class_quality(given: NDArray[np.int64], probs: Floats) -> Floats:
    """(N,) probability of the given class; given: (N,), probs: (N, K), rows that sum to 1."""
    from cleanlab.rank import get_label_quality_scores

    if not len(given):
        return np.zeros(0)
    return np.asarray(get_label_quality_scores(given, probs, method="self_confidence"), np.float64)


def pixel_quality(target: NDArray[np.int64], probs: NDArray[np.float32]) -> float:
    """Softmin (temperature 0.1) of the probability of the given label over the pixels that say something; 1 where
    none do.

    target: (H, W), 0 = background, IGNORE = says nothing. probs: (K + 1, H, W). cleanlab has no pixels that say
    nothing (label 255 is an index out of range there), so they are taken out before.
    """
    from cleanlab.segmentation.rank import get_label_quality_scores

    known = target != IGNORE
    if not known.any():
        return 1.0
    scores, _ = get_label_quality_scores(target[known][None, None], probs[:, known][None, :, None].astype(np.float64),
                                         method="softmin", verbose=False)
    return float(np.clip(scores[0], 0, 1))


def _class_rows(name: str, given: Labels, found: Labels, probs: NDArray[np.float32] | None) -> list[Row]:
    if given.image_class is None or given.image_state == "ignored":
        return []
    if probs is None:
        if found.image_class is None:
            return []
        k = max(given.image_class, found.image_class) + 1
        spread = (1 - found.image_score) / max(k - 1, 1)  # what is left goes to the others in equal parts
        p = np.full(k, spread)
        p[found.image_class] = found.image_score
        score, best = float(p[given.image_class]), found.image_class
    else:
        p64 = probs.astype(np.float64) / probs.sum(dtype=np.float64)
        score = float(class_quality(np.array([given.image_class]), p64[None])[0])
        best = int(p64.argmax())
    return [_row(name, None, "class", score, {"class": given.image_class}, {"class": best})]


def _pixel_rows(name: str, target: NDArray[np.int64], probs: NDArray[np.float32]) -> list[Row]:
    """One row: the image's score, and of the pixels that are held for another class the class that most of them are
    held for."""
    said = probs.argmax(0)
    differs = (target != IGNORE) & (said != target)
    before = after = 0  # of the pixels that differ, the commonest pair of what is given and what is said
    if differs.any():
        before, after = divmod(int(np.bincount(target[differs] * len(probs) + said[differs]).argmax()), len(probs))
    kind: Kind = "overlooked" if before == 0 else "made up" if after == 0 else "swapped"
    where = differs & (target == before) & (said == after)
    at = None if not differs.any() else {"class": after - 1 if after else None, **_place(*_of_mask(where))}
    return [_row(name, None, kind, pixel_quality(target, probs), {"class": before - 1 if before else None}, at)]


def _object_rows(name: str, given: Labels, found: Labels, probs: NDArray[np.float32] | None) -> list[Row]:
    """A row for each given object, for the question that speaks most against it, and one for each found object that
    the given ones do not cover."""
    by_masks = given.masks is not None and found.masks is not None
    known = [k for k, state in enumerate(given.states or ()) if state != "ignored"]
    scores = np.asarray(found.scores, np.float64)
    overlaps = _overlaps(given, found, by_masks)  # (G, P)
    similar = ALPHA * overlaps + (1 - ALPHA) * np.exp(-PER_PX * _apart(given.boxes, found.boxes))
    same = given.classes[:, None] == found.classes[None]
    meets = overlaps >= MEETS
    rows = []
    for k in known:
        about: list[tuple[float, Kind, int | None]] = []
        if (other := np.flatnonzero(~same[k] & meets[k])).size:
            p = int(other[(scores[other] * similar[k, other]).argmax()])
            about.append((float(1 - scores[p] * similar[k, p]), "swapped", p))
        if (mine := np.flatnonzero(same[k] & meets[k])).size:
            p = int(mine[similar[k, mine].argmax()])
            about.append((float(similar[k, p]), "badly placed", p))
        if not about:
            about.append((_held(given, k, probs), "made up", None))
        score, kind, answer = min(about, key=lambda a: (a[0], a[1]))
        rows.append(_row(name, k, kind, score, _object(given, k), None if answer is None else _object(found, answer)))
    covered = _covered(given, found, by_masks)
    answers, _ = match(overlaps.T, np.ones(len(given), bool), MEETS)  # one to one: what is about a given object
    rows += [_row(name, None, "overlooked", float(1 - scores[p] * (1 - covered[p])), None, _object(found, p))
             for p in range(len(found)) if covered[p] < COVERED and answers[p] < 0]
    return rows


def _overlaps(given: Labels, found: Labels, by_masks: bool) -> Floats:
    """(G, P) IoU, by masks where both sides have them."""
    if by_masks:
        assert given.masks is not None
        assert found.masks is not None
        return rle_ious(given.masks, found.masks, given.size)
    return box_ious(given.boxes, found.boxes)


def _apart(a: Boxes, b: Boxes) -> Floats:
    """(A, B) px between the centres of boxes."""
    one, two = ((x[:, :2] + x[:, 2:]).astype(np.float64) / 2 for x in (a, b))
    return np.asarray(np.linalg.norm(one[:, None] - two[None], axis=-1), np.float64)


def _covered(given: Labels, found: Labels, by_masks: bool) -> Floats:
    """(P,) share of each found object under given ones or under pixels that say nothing. By boxes it is the largest
    share under one given box, since boxes of neighbours overlap where the objects do not."""
    ignored = np.zeros(given.size, bool) if given.ignore is None else decode([given.ignore], given.size)[0]
    if by_masks:
        assert given.masks is not None
        assert found.masks is not None
        (rle,) = encode((ignored | union(given.masks, given.size))[None])
        pairs = zip(found.masks, areas(found.masks, given.size).tolist(), strict=True)
        return np.array([_shared(m, rle, given.size) / area if area else 1.0 for m, area in pairs], np.float64)
    out = np.zeros(len(found))
    for p, (x0, y0, x1, y1) in enumerate(found.boxes.astype(np.float64)):
        area = max(x1 - x0, 0) * max(y1 - y0, 0)
        if not area:
            out[p] = 1.0
            continue
        top = np.minimum(given.boxes[:, 2:], (x1, y1)) - np.maximum(given.boxes[:, :2], (x0, y0))
        rows, columns = slice(round(max(y0, 0)), round(max(y1, 0))), slice(round(max(x0, 0)), round(max(x1, 0)))
        inside = ignored[rows, columns]
        out[p] = max(float((top.clip(0).prod(1) / area).max(initial=0)), float(inside.mean()) if inside.size else 0.0)
    return out


def _shared(a: Rle, b: Rle, size: Size) -> int:
    from pycocotools import mask as coco_mask

    both = coco_mask.merge([{"size": list(size), "counts": m} for m in (a, b)], intersect=True)
    return int(coco_mask.area(both))


def _held(given: Labels, k: int, probs: NDArray[np.float32] | None) -> float:
    """Mean probability of its class over an object that was not found: 0 where nothing speaks for it."""
    if probs is None:
        return UNTOLD
    if given.masks is not None:
        part, mask = cropped(given.masks[k], given.size)
        inside = probs[given.classes[k] + 1][part][mask]
    else:
        x0, y0, x1, y1 = np.round(given.boxes[k]).astype(int).clip(0)
        inside = probs[given.classes[k] + 1, y0:y1, x0:x1]
    return float(inside.mean(dtype=np.float64)) if inside.size else 0.0


def _of_mask(mask: NDArray[np.bool_]) -> tuple[list[float], Rle]:
    rles = encode(mask[None])
    return rle_boxes(rles, (mask.shape[0], mask.shape[1]))[0].tolist(), rles[0]


def _place(box: list[float], mask: Rle | None) -> Row:
    return {"box": [round(v, 2) for v in box], **({} if mask is None else {"mask": mask})}


def _object(labels: Labels, k: int) -> Row:
    return {"class": int(labels.classes[k]),
            **_place(labels.boxes[k].tolist(), None if labels.masks is None else labels.masks[k])}


def _row(name: str, k: int | None, kind: Kind, score: float, given: Row | None, suggested: Row | None) -> Row:
    return {"id": name, "object": k, "kind": kind, "score": round(min(max(score, 0.0), 1.0), 6), "given": given,
            "suggested": suggested}
