"""The instance bank: the seed's objects with the rim of picture around them, and how their images are lit."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from synthgen.geometry import id_map
from synthgen.layouts import Survey
from synthgen.layouts.survey import axes_of, padded, radii
from synthgen.types import Dataset, Image

RIM = 6  # px of picture kept around an object: its glow, its shadow


@dataclass(frozen=True, slots=True, eq=False)
class Cutout:
    """Pixels of one seed object.

    patch: (h + 2·RIM, w + 2·RIM, 3) uint8, past the image's edge repeated.
    known: (h + 2·RIM, w + 2·RIM) bool, the object and its surroundings, other objects left out.
    centre: y, x of the centroid in the patch. radii: radial profile of the mask, px. angle: of its long axis.
    around: (3,) float32 median colour of the rim's outer part.
    """

    patch: Image
    known: NDArray[np.bool_]
    centre: tuple[float, float]
    radii: NDArray[np.float64]
    angle: float
    around: NDArray[np.float32]


def cut(real: Dataset, seed: Survey) -> dict[int, Cutout]:
    """The cut-outs of the survey's sources, by the instance's number."""
    labelled = [k for k in range(len(real)) if (lab := real[k].labels) is not None and lab.masks is not None]
    wanted = {i.index for i in seed.sources}
    out = {}
    for number, k in enumerate(labelled):
        sample = real[k]
        assert sample.labels is not None
        ids = id_map(sample.labels)
        image = cv2.copyMakeBorder(sample.image, RIM, RIM, RIM, RIM, cv2.BORDER_REPLICATE).astype(np.uint8)
        frame = np.pad(ids, RIM)
        inside = np.pad(np.ones_like(ids, bool), RIM)
        for i in seed.instances:
            if i.image != number or i.index not in wanted:
                continue
            h, w = i.mask.shape
            window = np.s_[i.top : i.top + h + 2 * RIM, i.left : i.left + w + 2 * RIM]
            own = padded(i.mask, RIM)
            others = (frame[window] > 0) & ~own
            others = (cv2.dilate(others.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0) & ~own
            known = inside[window] & ~others
            patch = image[window].copy()
            far = cv2.dilate(own.astype(np.uint8), np.ones((2 * RIM - 3,) * 2, np.uint8)) == 0
            ring = patch[known & far] if (known & far).any() else patch[known]
            cy, cx, angle, _ = axes_of(i.mask)
            out[i.index] = Cutout(
                patch, known, (cy + RIM, cx + RIM), radii(i.mask), angle, np.median(ring, axis=0).astype(np.float32)
            )
    return out
