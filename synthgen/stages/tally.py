"""What the filter took, counted: by reason, by generator, by class."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from synthgen.geometry import areas
from synthgen.metrics.consistency import FEW, Bar
from synthgen.recipe.schema import Recipe
from synthgen.stages.consistency import DISPUTED, NOT_FOUND, Committee, Outcome
from synthgen.stages.opinions import tells_pixels
from synthgen.types import Json, Labels, Sample, Task

SLIVER = "instance: too little of it shows"


class Tally:
    """Counts sample by sample, each begun and then kept or dropped; holds no sample."""

    def __init__(self, classes: Sequence[str], task: Task) -> None:
        self.classes, self.task = classes, task
        self.reasons: Counter[str] = Counter()
        self.generators: dict[str, Counter[str]] = {}
        self.dropped: list[Json] = []
        self.before, self.after = (np.zeros((len(classes), 2), np.int64) for _ in range(2))

    def begin(self, sample: Sample) -> None:
        """Count a sample as made."""
        self._count(sample, "images", 1)
        self._count(sample, "instances", 0 if sample.labels is None else len(sample.labels))
        self.before += census(sample.labels, len(self.classes))

    def drop(self, sample: Sample, reason: str, words: str = "") -> None:
        """Count a sample as dropped. words: what is said of it where that is more than the reason."""
        self.dropped.append({"id": sample.id, "reason": words or reason.removeprefix("image: ")})
        self.reasons[reason] += 1
        self._count(sample, "images lost", 1)

    def keep(self, sample: Sample, labels: Labels | None, slivers: int, outcome: Outcome | None) -> None:
        """Count a sample as kept, with the labels that were left to it. slivers: instances of which too little shows;
        outcome: what followed of asking the committee, where its labels are not exact."""
        self._count(sample, "images kept", 1)
        self._count(sample, "instances kept", 0 if labels is None else len(labels))
        self.after += census(labels, len(self.classes))
        lost = slivers
        self.reasons[SLIVER] += slivers
        if outcome is not None:
            lost += outcome.instances
            self.reasons[NOT_FOUND] += outcome.instances
            self.reasons[DISPUTED] += outcome.pixels
            self._count(sample, "pixels", outcome.said)
            self._count(sample, "pixels ignored", outcome.pixels)
            self._count(sample, "images unchecked", int(not outcome.checked))
            self._count(sample, "labels unknown", outcome.unknown)
        self._count(sample, "instances lost", lost)

    def summary(self) -> dict[str, Json]:
        """Counts of images; reasons; of each generator what it made, lost and kept, with pixels that the committee was
        asked about; and the classes before and after: name → {"images"} for classify, else {"instances", "pixels"}."""
        names = ("images",) if self.task == "classify" else ("instances", "pixels")
        return {"made": sum(mine["images"] for mine in self.generators.values()),
                "kept": sum(mine["images kept"] for mine in self.generators.values()),
                "reasons": {reason: n for reason, n in sorted(self.reasons.items()) if n},
                "generators": {name: dict(mine) for name, mine in self.generators.items()},
                "classes": {when: {c: dict(zip(names, row, strict=False))
                                   for c, row in zip(self.classes, counts.tolist(), strict=True)}
                            for when, counts in (("before", self.before), ("after", self.after))}}

    def _count(self, sample: Sample, what: str, n: int) -> None:
        self.generators.setdefault(generator_of(sample.id), Counter())[what] += n


def generator_of(sample_id: str) -> str:
    """The name of the generator that made a sample."""
    return sample_id.rsplit("-", 1)[0]


def census(labels: Labels | None, classes: int) -> NDArray[np.int64]:
    """(classes, 2): instances, and pixels of their masks that are not ignored; an image's class counts as one. Classes
    beyond the list are for the check `integrity` to find."""
    out = np.zeros((classes, 2), np.int64)
    if labels is None:
        return out
    if labels.image_class is not None and 0 <= labels.image_class < classes:
        out[labels.image_class, 0] += 1
    listed = (labels.classes >= 0) & (labels.classes < classes)
    np.add.at(out[:, 0], labels.classes[listed], 1)
    if labels.masks:
        np.add.at(out[:, 1], labels.classes[listed], _outside(labels)[listed])
    return out


def _outside(labels: Labels) -> NDArray[np.int64]:
    """(N,) px of each mask that are not ignored."""
    assert labels.masks is not None
    px = areas(labels.masks, labels.size)
    if labels.ignore is None:
        return px
    ignored = {"size": list(labels.size), "counts": labels.ignore}
    both = [coco_mask.merge([{**ignored, "counts": mask}, ignored], intersect=True) for mask in labels.masks]
    return px - areas([str(one["counts"], "ascii") for one in both], labels.size)


def about(asked: Committee | None, outcomes: Mapping[int, Outcome], weights: Mapping[int, float],
          recipe: Recipe) -> Json:
    """What there is to say of asking the committee.

    state: `exact` (no label needed it), `checked`, or `unchecked` with the reason in `why`. images, labelers: how many
    were asked about, and asked. pixels: whether they say how sure they are. real: what the same rules would take of the
    real images that they did not see. bars: [{"what", "at", "n", "share"}]. hard: shares of hard samples among those
    asked about, kept, and shown. notes: what a reader has to know.
    """
    if asked is None:
        return {"state": "exact"}
    known = asked.known
    if known is None:
        return {"state": "unchecked", "why": asked.why, "images": len(outcomes)}
    soft = tells_pixels(asked.labelers)
    checked = {k: o for k, o in outcomes.items() if o.checked}
    hard = {k: o.unsure >= known.unsure for k, o in checked.items()}
    shown = sum(weights.values())
    missing = [c for k, c in enumerate(recipe.classes) if k not in known.instances]
    notes = []
    if not soft:
        notes.append("the labelers do not say how sure they are, so that no pixel was checked, and nobody knows which "
                     "samples are hard: a trainer's labeler tells it by a method `probabilities`")
    if any(o.unknown for o in checked.values()):
        notes.append(f"no real image that was left out shows {', '.join(missing)}: such labels were not checked")
    classify = recipe.task == "classify"
    image = known.surprise if known.surprise.n else known.agrees
    if not classify and math.isnan(image.at):
        notes.append(f"{image.n} real images are too few for a bar that rejects images (at least {FEW}): only "
                     "instances and pixels were judged, and images that lost most of these")
    elif not classify and image.share > recipe.filter.real_loss:
        notes.append(f"with {image.n} real images the bar that rejects images is the worst of them: of right images up "
                     f"to {image.share:.0%} would fall")
    what = "probability of {}" if classify else "finding {}"
    bars = [_bar(what.format(recipe.classes[c]), bar) for c, bar in known.instances.items()]
    bars += [] if classify else [_bar("surprise of an image" if known.surprise.n else "agreement of an image", image)]
    return {"state": "checked", "images": len(checked), "labelers": len(asked.labelers), "pixels": soft,
            "real": dict(known.real), "bars": bars,
            "hard": {"asked": _share(sum(hard.values()), len(hard)),
                     "kept": _share(sum(hard[k] for k in weights), len(weights)),
                     "shown": _share(sum(w for k, w in weights.items() if hard[k]), shown)} if soft else None,
            "notes": notes}


def _bar(what: str, bar: Bar) -> Json:
    at = round(bar.at, 6) if math.isfinite(bar.at) else None
    return {"what": what, "at": at, "n": bar.n, "share": round(bar.share, 6)}


def _share(part: float, whole: float) -> float:
    return round(part / whole, 6) if whole else 0.0
