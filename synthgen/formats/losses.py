"""Counts what a format cannot hold, compared with what reading it back would give."""

from __future__ import annotations

from typing import Literal

import numpy as np

from synthgen.formats import Loss
from synthgen.formats.gather import GIVEN
from synthgen.geometry import areas, rle_boxes, touches_border
from synthgen.types import Sample

Part = Literal["instances", "masks", "boxes", "scores", "states", "visible", "truncated", "amodal", "ignore",
               "image_class", "source", "empty", "split"]
OF_INSTANCES: frozenset[Part] = frozenset(
    {"masks", "boxes", "scores", "states", "visible", "truncated", "amodal"}
)


class Losses:
    """Losses by their sentence, in the order first met, each with the first sample it was met in."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.examples: dict[str, str] = {}

    def add(self, what: str, example: str, count: int = 1) -> None:
        """Note that `count` more items lose `what`."""
        if count:
            self.counts[what] = self.counts.get(what, 0) + count
            self.examples.setdefault(what, example)

    def report(self) -> list[Loss]:
        """Everything noted."""
        return [Loss(what, count, self.examples[what]) for what, count in self.counts.items()]

    def compare(self, sample: Sample, name: str, holds: frozenset[Part]) -> None:
        """Note every part of the sample's labels that a format which holds only `holds` gives up.

        What a reader can derive is no loss: an object is truncated when it touches the border, a box
        follows from its mask, and a plain file is taken for a person's work.
        """
        if "split" not in holds and sample.meta.get("split", "train") not in ("train", "unlabelled"):
            self.add("splits: all become one", f"{name}, of {sample.meta['split']!r}")
        labels = sample.labels
        if labels is None:
            return
        assert labels.scores is not None
        assert labels.visible is not None
        assert labels.truncated is not None
        n = len(labels)
        masks = labels.masks
        boxes = labels.boxes if masks is None else rle_boxes(masks, labels.size)
        counts: dict[Part, tuple[int, str]] = {
            "instances": (n, "instances"),
            "masks": (n if masks is not None else 0, "masks: only boxes are written"),
            "boxes": (
                int((np.abs(boxes - labels.boxes) > 0.01).any(1).sum()),
                "boxes that differ from the mask's own",
            ),
            "scores": (int((labels.scores != 1).sum()), "scores"),
            "states": (
                sum(s != "accepted" for s in labels.states or ()),
                "states: ignored and to_review become plain instances",
            ),
            "visible": (int((~np.isnan(labels.visible)).sum()), "visible fractions"),
            "truncated": (
                int((labels.truncated != touches_border(boxes, labels.size)).sum()),
                "truncated flags that differ from touching the border",
            ),
            "amodal": (len(labels.amodal or ()), "amodal masks"),
            "ignore": (
                int(labels.ignore is not None and areas([labels.ignore], labels.size)[0] > 0),
                "ignored regions: they become background",
            ),
            "image_class": (int(labels.image_class is not None), "classes of whole images"),
            "source": (
                int(sample.origin != GIVEN or labels.reviewed != "human"),
                "origin and reviewer: read back as real and labelled by a person",
            ),
            "empty": (
                int(not n and labels.image_class is None and labels.empty != "confirmed"),
                "emptiness that nobody confirmed: read back as confirmed",
            ),
        }
        for part, (count, what) in counts.items():
            # Where instances are lost whole, their parts are not counted again.
            if part not in holds and ("instances" in holds or part not in OF_INSTANCES):
                self.add(what, name, count)
