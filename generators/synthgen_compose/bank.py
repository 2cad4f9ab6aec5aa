"""The instance bank: the seed's objects with the rim of picture around them, and how their images are lit."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from synthgen.geometry import id_map
from synthgen.layouts import Survey
from synthgen.layouts.distance import signed_distance
from synthgen.layouts.survey import axes_of, padded, radii
from synthgen.noise import NoiseModel
from synthgen.types import Dataset, Image, Mask

STRENGTH = 1.3  # of denoising, in standard deviations of the noise: leaves a tenth of white noise
RIM = 10  # px of picture kept around an object: its glow, its shadow


@dataclass(frozen=True, slots=True, eq=False)
class Cutout:
    """Pixels of one seed object.

    patch: (h + 2·RIM, w + 2·RIM, 3) float32, around the object; without the sensor's noise, if that is put
    back after painting: noise that is moved, stretched and added up is no sensor's.
    Where other objects stand, or the image ends, it goes on as it does at the same distance on the other sides.
    centre: y, x of the centroid in the patch. radii: radial profile of the mask, px. angle: of its long axis.
    around: (3,) float32 median colour of the rim's outer part.
    """

    patch: NDArray[np.float32]
    centre: tuple[float, float]
    radii: NDArray[np.float64]
    angle: float
    around: NDArray[np.float32]


def cut(real: Dataset, seed: Survey, noise: NoiseModel | None = None) -> dict[int, Cutout]:
    """The cut-outs of the survey's sources, by the instance's number; noise: what to free their pixels from."""
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
            others = cv2.dilate(((frame[window] > 0) & ~own).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
            patch = image[window].astype(np.float32)
            if noise is not None:
                level = noise(patch[own].mean(0, keepdims=True).mean(1))
                patch = denoised(image[window], float(level[0]))
            patch, around = alone(patch, own, inside[window] & ~others)
            cy, cx, angle, _ = axes_of(i.mask)
            out[i.index] = Cutout(patch, (cy + RIM, cx + RIM), rounded(radii(i.mask)), angle, around)
    return out


def alone(
    patch: NDArray[np.float32], own: Mask, known: Mask
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The patch as if its object stood alone, and the (3,) colour that its surroundings end in.

    Outside the object, pixels that are not known take the mean of the known ones as far from its outline (± 1 px);
    where there is none, what lies between the nearest distances that have one; at last the object's own darkest tenth.
    """
    distance = np.rint(signed_distance(own)).astype(int)
    outside = ~own & known
    steps = np.arange(distance.max() + 1)
    rings = {d: outside & (abs(distance - d) <= 1) for d in steps}
    means = {d: patch[ring].mean(0) for d, ring in rings.items() if ring.any()}
    means = means or {0: np.quantile(patch[own], 0.1, axis=0)}
    profile = np.stack([np.interp(steps, list(means), column) for column in zip(*means.values(), strict=True)], axis=1)
    alone = np.where((~own & ~known)[..., None], profile[np.maximum(distance, 0)], patch)
    far = outside & (distance >= RIM - 2)
    return alone.astype(np.float32), (np.median(patch[far], axis=0) if far.any() else profile[-1]).astype(np.float32)


def denoised(image: Image, sigma: float) -> NDArray[np.float32]:
    """(H, W, 3) float32 without noise of this standard deviation (grey levels), edges and texture above it kept.

    Non-local means (Buades, Coll & Morel, CVPR 2005).
    """
    if sigma < 0.5:
        return image.astype(np.float32)
    clean = cv2.fastNlMeansDenoising(
        np.ascontiguousarray(image), h=[STRENGTH * sigma] * 3, templateWindowSize=5, searchWindowSize=15,
        normType=cv2.NORM_L2)
    return np.asarray(clean, np.float32)


def rounded(profile: NDArray[np.float64]) -> NDArray[np.float64]:
    """A radial profile without the steps of its mask's pixels: a Gaussian of 1.5 rays around the circle."""
    weights = np.exp(-0.5 * (np.arange(-4, 5) / 1.5) ** 2)
    around = np.concatenate([profile[-4:], profile, profile[:4]])
    return np.convolve(around, weights / weights.sum(), "valid")
