"""A labeler asked about many images, a few at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from synthgen.types import Labeler, Labels, Sample

MOST, PIXELS = 64, 1 << 22  # images, and px of them all, that are held at a time


def answers(labeler: Labeler, samples: Iterable[Sample], *, tta: bool) -> Iterator[tuple[Sample, Labels]]:
    """Each sample with what the labeler says of its image. Small images are given to it many at a time, large ones one
    by one, so that memory stays flat; what it says of an image does not depend on those beside it."""
    waiting: list[Sample] = []
    pixels = 0
    for sample in samples:
        waiting.append(sample)
        pixels += sample.image.shape[0] * sample.image.shape[1]
        if len(waiting) == MOST or pixels >= PIXELS:
            yield from zip(waiting, labeler.label([s.image for s in waiting], tta=tta), strict=True)
            waiting, pixels = [], 0
    yield from zip(waiting, labeler.label([s.image for s in waiting], tta=tta), strict=True)
