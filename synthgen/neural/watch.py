"""While a generator learns: do its images show what their labels say, does it copy, does it still vary?

Its loss tells none of that, and with a handful of images a network that is trained for long gives them back
(Bonnaire, Urfin, Biroli & Mézard, "Why diffusion models don't memorize", NeurIPS 2025: the time to memorise grows with
the number of images, the time to good samples does not). So a generator looks at samples of its own now and then, and
ends by what it sees.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from synthgen.answers import answers
from synthgen.metrics.accuracy import score_image, value_of
from synthgen.metrics.copying import nearest, symmetries, thumbs
from synthgen.seeds import rng_of, seed_of
from synthgen.store import write_json
from synthgen.types import Context, Dataset, Image, Json, Labeler, Sample, Size

FILE = "looks.json"
COPYING = 0.8  # of the distance that held-out real images keep to the seed, below which samples are copies
COLLAPSE = 0.5  # of the variety of real images, below which all samples are one
SLACK = 0.02  # by which adherence may fall short of the best, so that a later step is taken
_REAL = 64  # real images that are compared with
_CROPS = 1500  # crops of the seed that a sample may be a copy of


@dataclass(frozen=True, slots=True)
class Look:
    """What samples of one step are like; nan where there is nothing to compare with.

    adherence: the committee's agreement with the samples' labels, by the watch's metric over all of them. distance:
    median distance to the nearest crop of the seed, over that of held-out real images. diversity: median distance
    between two samples, over that between two real images.
    """

    step: int
    adherence: float
    distance: float
    diversity: float


class Watch:
    """Looks at a generator's samples; what real images score is measured once, at the beginning."""

    def __init__(self, real: Dataset, pool: Dataset, context: Context, frame: Size, objects: bool = False) -> None:
        """objects: for task instances adherence is AP50, of labels whose objects are learned and may be two in one or
        half a one, where Dice sees nothing wrong; else Dice, or accuracy for classify."""
        self.context, self.frame = context, frame
        self.metric = "accuracy" if context.task == "classify" else "dice"
        if objects and context.task == "instances":
            self.metric = "ap50"
        self.members = list(context.committee())
        rng = rng_of(seed_of(context.seed, "watch"))
        seed = [sample.image for sample in real]
        self.seed = symmetries(thumbs(_crops(seed, frame)))
        picks = rng.permutation(len(pool))[:_REAL]
        others = [_middle(pool[int(k)].image, frame) for k in picks]
        self.real_distance = math.nan
        if others:
            # A pool that repeats the seed is no measure of how far from it images lie by chance.
            self.real_distance = float(np.median(nearest(thumbs(others), self.seed)[0])) or math.nan
        self.real_spread = _spread([_middle(image, frame) for image in seed[:_REAL]] + others)
        self.real_adherence = self._real_adherence(real)
        self.looks: list[Look] = []

    def look(self, step: int, samples: Sequence[Sample]) -> Look:
        """Measure samples made after `step` steps, and keep what was found."""
        images = [_middle(sample.image, self.frame) for sample in samples]
        distance = float(np.median(nearest(thumbs(images), self.seed)[0])) / self.real_distance
        found = Look(step, self._adherence(samples), distance, _spread(images) / self.real_spread)
        self.looks.append(found)
        return found

    @property
    def alarm(self) -> str:
        """Why training should end now, or "". A collapse is a fall: early samples are all alike."""
        if not self.looks:
            return ""
        last = self.looks[-1]
        if last.distance < COPYING:
            return (f"copying: at step {last.step} samples are {last.distance:.2f} times as far from the seed as real "
                    "images that it does not hold")
        if last.diversity < COLLAPSE and any(one.diversity >= COLLAPSE for one in self.looks):
            return f"collapse: at step {last.step} samples vary {last.diversity:.2f} times as much as real images"
        return ""

    @property
    def best(self) -> int | None:
        """The latest step whose samples neither copy nor are all alike, and adhere within SLACK of the best that do;
        None when there is none."""
        sound = [one for one in self.looks if not one.distance < COPYING and not one.diversity < COLLAPSE]
        if not sound:
            return None
        top = max((one.adherence for one in sound if one.adherence == one.adherence), default=math.nan)
        return max(one.step for one in sound if not one.adherence < top - SLACK)

    def restore(self, looks: Sequence[Json]) -> None:
        """Go on from the looks of an interrupted training."""
        def number(value: Json) -> float:
            return math.nan if value is None else float(value)

        self.looks = [Look(int(row["step"]), number(row["adherence"]), number(row["distance"]),
                           number(row["diversity"])) for row in looks]

    def as_json(self) -> list[Json]:
        """The looks, nan as null."""
        return [{k: None if v != v else v for k, v in asdict(look).items()} for look in self.looks]

    def write(self, folder: Path, ended: str) -> None:
        """`looks.json`, for the report: the curves, what real images score, the step taken, and why it ended there."""
        write_json(folder / FILE, {"looks": self.as_json(), "best": self.best, "ended": ended, "copying": COPYING,
                                   "collapse": COLLAPSE, "metric": self.metric,
                                   "real_adherence": None if math.isnan(self.real_adherence) else self.real_adherence})

    def _real_adherence(self, real: Dataset) -> float:
        by_id = {sample.id: sample for sample in real}
        records = [record for member in self.members
                   for record in _records(member.labeler, [by_id[name] for name in member.unseen if name in by_id])]
        return value_of(records, self.metric) if records else math.nan

    def _adherence(self, samples: Sequence[Sample]) -> float:
        if not self.members:
            return math.nan
        if self.context.task != "classify" and not any(s.labels is not None and len(s.labels) for s in samples):
            return 0.0  # of nothing shown and nothing found it would be 1
        n = len(self.members)
        records = [record for k, member in enumerate(self.members)
                   for record in _records(member.labeler, samples[k::n])]
        return value_of(records, self.metric)


def read(folder: Path) -> Json | None:
    """What `Watch.write` wrote; None where nothing was."""
    path = folder / FILE
    return json.loads(path.read_text("utf-8")) if path.exists() else None


def _records(labeler: Labeler, samples: Sequence[Sample]) -> list[dict[str, Json]]:
    return [score_image(found, s.labels) for s, found in answers(labeler, samples, tta=False) if s.labels is not None]


def _spread(images: Sequence[Image]) -> float:
    """Median distance between two images, as thumbnails; nan for fewer than two."""
    if len(images) < 2:
        return math.nan
    rows = thumbs(images).astype(np.float64)
    square = (rows**2).sum(1)
    pairs = square[:, None] + square - 2 * rows @ rows.T
    return max(float(np.sqrt(np.maximum(np.median(pairs[np.triu_indices(len(rows), 1)]), 0))), 1e-6)


def _middle(image: Image, frame: Size) -> Image:
    """The middle of an image, at most a frame large."""
    (h, w), (H, W) = frame, image.shape[:2]
    top, left = max(H - h, 0) // 2, max(W - w, 0) // 2
    return image[top : top + h, left : left + w]


def _crops(images: Sequence[Image], frame: Size) -> list[Image]:
    """Crops a quarter of a frame apart, up to about _CROPS over all images."""
    h, w = frame
    step = 4.0
    while True:
        places = [(image, y, x) for image in images
                  for y in _starts(image.shape[0], h, step) for x in _starts(image.shape[1], w, step)]
        if len(places) <= _CROPS or step <= 1:
            return [image[y : y + h, x : x + w] for image, y, x in places[:: -(-len(places) // _CROPS)]]
        step /= 2


def _starts(length: int, side: int, step: float) -> list[int]:
    room = max(length - side, 0)
    return sorted({round(room * k / n) for n in [max(1, math.ceil(room * step / side))] for k in range(n + 1)})
