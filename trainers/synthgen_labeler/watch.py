"""The collapse alarm: whether what the pool teaches still has all the classes that the labels have."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from synthgen.geometry import Part
from synthgen.types import Json, Mixture, Size
from synthgen_labeler.data import truth_of

EXPECTED = 10  # a class is missed where the labels let expect this many images with it, and none came
# One class takes all where over 95 % are named so, of EXPECTED at least, but under half of the labels.
NEARLY_ALL, AT_MOST = 0.95, 0.5
LOOKED_AT = 256


class Watch(nn.Module):
    """Counts what is kept of each class over the last fifth of the steps (20 at least), and rings for good when
    a class that the labels have was kept nowhere in them, or nearly all was named one class.

    shows: (C,) share of labelled images, or of windows of them, that show a class. shares: (C,) share of labelled
    pixels, boxes or images.
    """

    def __init__(self, shows: list[float], shares: list[float], steps: int) -> None:
        super().__init__()
        self.classes, self.shows, self.shares = len(shows), shows, shares
        self.length = max(20, steps // 5)
        whole = torch.int64
        self.register_buffer("images", torch.zeros(self.length, self.classes, dtype=whole))  # that keep a class
        self.register_buffer("amounts", torch.zeros(self.length, self.classes, dtype=whole))  # pixels, boxes, images
        self.register_buffer("shown", torch.zeros(self.length, dtype=whole))  # images in the batch
        self.register_buffer("recent", torch.zeros(2, self.classes + 1, dtype=whole))  # named and kept; all of them
        self.register_buffer("steps", torch.zeros((), dtype=whole))
        self.register_buffer("missing", torch.full((), -1, dtype=whole))
        self.register_buffer("taking_all", torch.full((), -1, dtype=whole))

    @property
    def rung(self) -> bool:
        """Whether the alarm has rung."""
        return int(self._of("missing")) >= 0 or int(self._of("taking_all")) >= 0

    def see(self, kept: Tensor, named: Tensor) -> None:
        """One step. kept: (n, C) int64, of each image how much is kept of each class. named: (C,) int64, how much is
        named so, kept or not."""
        row = int(self._of("steps")) % self.length
        self._of("images")[row] = (kept > 0).sum(0)
        self._of("amounts")[row] = named
        self._of("shown")[row] = len(kept)
        total = named.sum().reshape(1)
        self._of("recent").add_(torch.stack([torch.cat([named, total]), torch.cat([kept.sum(0), total])]))
        self._of("steps").add_(1)
        if int(self._of("steps")) >= 2 * self.length:  # as long again, for the thresholds to come down first
            self._ring()

    def _ring(self) -> None:
        shown = int(self._of("shown").sum())
        images, amounts = self._of("images").sum(0).tolist(), self._of("amounts").sum(0).tolist()
        for c in range(self.classes):
            if images[c] == 0 and self.shows[c] * shown >= EXPECTED:
                self._of("missing").fill_(c)
                return
            if sum(amounts) >= EXPECTED and amounts[c] > NEARLY_ALL * sum(amounts) and self.shares[c] < AT_MOST:
                self._of("taking_all").fill_(c)
                return

    def why(self, names: tuple[str, ...]) -> str:
        """The alarm in words; "" when it has not rung. names: of the C classes."""
        if not self.rung:
            return ""
        over = f"over {self.length} steps, {int(self._of('shown').sum())} pool images"
        missing = int(self._of("missing"))
        if missing >= 0:
            return (f"{over}, nothing was sure enough to be {names[missing]}, which {self.shows[missing]:.0%} of views "
                    "of the labelled images show")
        taking = int(self._of("taking_all"))
        return (f"{over}, more than {NEARLY_ALL:.0%} was taken for {names[taking]}, which is "
                f"{self.shares[taking]:.0%} of the labels")

    def since(self) -> dict[str, Json]:
        """Of what was seen since the last call, by class: share that was named so, and share that was so and kept."""
        recent = self._of("recent")
        named, kept = (recent[:, :-1] / recent[:, -1:].clamp(min=1)).tolist()
        recent.zero_()
        return {"named": [round(x, 5) for x in named], "kept": [round(x, 5) for x in kept]}

    def _of(self, name: str) -> Tensor:
        return self.get_buffer(name)


def seen_in_labels(train: Mixture, classes: int, side: int | None) -> tuple[list[float], list[float]]:
    """Per class: share of the images that show it, and share of all images; of the images that `looked_at` names.

    side: where pixels have classes, px; background comes first, and what shows a class, or not, is a window of that
    size, since no more is shown of the pool at a time.
    """
    if side is None:
        given = np.bincount([truth_of(train.samples[k])[3] for k in looked_at(train)], minlength=classes)
        share = (given / max(1, given.sum())).tolist()
        return share, share
    shows, amounts, n = np.zeros(classes + 1), np.zeros(classes + 1), 0
    for k in looked_at(train):
        _, ids, of, _ = truth_of(train.samples[k])
        lookup = np.concatenate([[0], of + 1])
        amounts += np.bincount(lookup[ids[ids >= 0]], minlength=classes + 1)
        for place in windows((ids.shape[0], ids.shape[1]), side):
            here = ids[place]
            shows += np.bincount(lookup[here[here >= 0]], minlength=classes + 1) > 0
            n += 1
    return (shows / max(1, n)).tolist(), (amounts / max(1.0, amounts.sum())).tolist()


def windows(size: Size, side: int) -> Iterator[Part]:
    """Windows of side × side px at most that cover an image, the last ones flush with its border."""
    rows, columns = ([*range(0, max(length - side, 0), side), max(length - side, 0)] for length in size)
    yield from ((slice(y, y + side), slice(x, x + side)) for y in rows for x in columns)


def looked_at(train: Mixture) -> list[int]:
    """Samples that say what to expect of the pool: the real ones, where there are any; LOOKED_AT of them spread evenly,
    where there are more."""
    rows = np.flatnonzero(train.real) if train.real.any() else np.arange(len(train.samples))
    return [int(k) for k in rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), LOOKED_AT)).astype(int))]]
