"""How images look: brightness, contrast, colour, sharpness and noise, whole, inside objects, and across their edge.

The numbers are the ones that a person would turn a knob for, so that what differs says what to mend. Whole images
need no labels and are compared with the pool; objects and seams need masks and are compared with the seed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from synthgen.geometry import cropped, decode
from synthgen.metrics.drift import GRID, Profile, distribution, largest_of
from synthgen.metrics.features import grey
from synthgen.types import Image, Labels, Mask

Floats = NDArray[np.float64]

LOOKS = ("luma", "contrast", "saturation", "red-green", "yellow-blue", "sharpness", "noise")
SEAM = ("luma", "red-green", "yellow-blue", "sharpness", "noise")
FLOORS = {"luma": 1.0, "contrast": 1.0, "saturation": 0.01, "red-green": 1.0, "yellow-blue": 1.0,
          "sharpness": 0.1, "noise": 0.05}
"""The least standard deviation of the reference that is divided by: below it nobody, and no network, sees much."""
UNITS = {"luma": "grey levels", "contrast": "grey levels", "saturation": "of 1", "red-green": "grey levels",
         "yellow-blue": "grey levels", "sharpness": "ln(1 + variance)", "noise": "ln(1 + grey levels)"}

BAND = 4                                 # px: a seam's bands lie 1 to BAND px from the outline
FEWEST_PIXELS = 16                       # of an object's inside, or of a band, for its numbers to be used
_COARSE = 64                             # steps of a distribution function where many are tested at once


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """What is measured of one image; n objects with masks that are large enough.

    whole: (7,) LOOKS of the image. inside: (n, 7) LOOKS of the objects' pixels, their rims left out. classes: (n,)
    of the objects. seam: (5,) mean over objects of SEAM inside minus outside the outline; nan where no object has
    both bands. image_class: as labelled, or None.
    """

    whole: Floats
    inside: Floats
    classes: NDArray[np.int64]
    seam: Floats
    image_class: int | None


@dataclass(frozen=True, slots=True, eq=False)
class _Maps:
    """Per pixel: luma, saturation, the two opponent colours, Laplacian and |Immerkær's kernel| (both 0 at borders)."""

    stack: Floats  # (H, W, 6)
    inner: Mask  # pixels with all 8 neighbours


def look(image: Image, labels: Labels | None = None) -> Look:
    """How an image and its objects look.

    image: (H, W, 3) uint8. labels: with sound masks, or None; what is marked ignored is left out.
    """
    maps = _maps(image)
    whole = _numbers(maps.stack.reshape(-1, 6), maps.stack[maps.inner])
    if labels is None or labels.masks is None or not len(labels):
        return Look(whole, np.zeros((0, 7)), np.zeros(0, np.int64), np.full(5, math.nan),
                    labels.image_class if labels is not None and labels.image_state != "ignored" else None)
    assert labels.states is not None
    # Outside an object may lie another one, or what the labels do not speak of: neither is background.
    covered = np.zeros(labels.size, np.int64)
    if labels.ignore is not None:
        covered += _grown(decode([labels.ignore], labels.size)[0], 1)
    crops = []
    for rle in labels.masks:
        # The crop leaves room for the outer band; its edge is the image's or plain ground.
        part, mask = cropped(rle, labels.size, room=BAND + 2)
        crops.append((part, mask))
        if mask.any():
            covered[part] += _grown(mask, 1)
    inside, classes, seams = [], [], []
    for k, (part, own) in enumerate(crops):
        if not own.any():
            continue
        crop, inner = maps.stack[part], maps.inner[part]
        core = _shrunk(own, 1) & inner
        if labels.states[k] == "ignored" or np.count_nonzero(core) < FEWEST_PIXELS:
            continue
        inside.append(_numbers(crop[core], crop[core]))
        classes.append(int(labels.classes[k]))
        within = core & ~_shrunk(own, BAND)
        beyond = _grown(own, BAND) & ~_grown(own, 1) & inner & (covered[part] - _grown(own, 1) == 0)
        if min(np.count_nonzero(within), np.count_nonzero(beyond)) >= FEWEST_PIXELS:
            near, far = (_numbers(crop[band], crop[band]) for band in (within, beyond))
            seams.append((near - far)[[LOOKS.index(name) for name in SEAM]])
    return Look(whole, np.array(inside).reshape(-1, 7), np.array(classes, np.int64),
                np.mean(seams, 0) if seams else np.full(5, math.nan),
                labels.image_class if labels.image_state != "ignored" else None)


def _maps(image: Image) -> _Maps:
    """Per-pixel maps of an image.

    Source: opponent colours of Hasler & Süsstrunk 2003 ("Measuring colourfulness in natural images", equations 1
    and 2); noise by Immerkær 1996 (CVIU 64:300, equation 4); sharpness by the Laplacian (Pech-Pacheco et al. 2000).
    """
    rgb, luma = image.astype(np.float64), grey(image)
    H, W = luma.shape
    stack = np.zeros((H, W, 6))
    high, low = rgb.max(2), rgb.min(2)
    stack[..., 0] = luma
    stack[..., 1] = (high - low) / np.maximum(high, 1)
    stack[..., 2] = rgb[..., 0] - rgb[..., 1]
    stack[..., 3] = (rgb[..., 0] + rgb[..., 1]) / 2 - rgb[..., 2]
    inner = np.zeros((H, W), bool)
    if min(H, W) >= 3:
        inner[1:-1, 1:-1] = True
        stack[1:-1, 1:-1, 4] = np.diff(luma, 2, axis=1)[1:-1] + np.diff(luma, 2, axis=0)[:, 1:-1]
        stack[1:-1, 1:-1, 5] = np.abs(np.diff(np.diff(luma, 2, axis=0), 2, axis=1))
    return _Maps(stack, inner)


def _numbers(pixels: Floats, inner: Floats) -> Floats:
    """(7,) LOOKS of (P, 6) pixels; inner: (Q, 6) those of them whose 3 × 3 neighbours belong to them too."""
    luma, saturation, red_green, yellow_blue = pixels[:, :4].T
    sharp, noise = (inner[:, 4].var(), inner[:, 5].mean()) if len(inner) else (0.0, 0.0)
    return np.array([luma.mean(), luma.std(), saturation.mean(), red_green.mean(), yellow_blue.mean(),
                     math.log1p(sharp), math.log1p(math.sqrt(math.pi / 2) * noise / 6)])


def _grown(mask: Mask, by: int) -> Mask:
    kernel = np.ones((2 * by + 1, 2 * by + 1), np.uint8)
    return np.asarray(cv2.dilate(mask.astype(np.uint8), kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0), bool)


def _shrunk(mask: Mask, by: int) -> Mask:
    """What is `by` px inside the mask; the image's border is none of its outline."""
    kernel = np.ones((2 * by + 1, 2 * by + 1), np.uint8)
    return np.asarray(cv2.erode(mask.astype(np.uint8), kernel, borderType=cv2.BORDER_CONSTANT, borderValue=1), bool)


def whole_profiles(a: Sequence[Look], b: Sequence[Look]) -> list[Profile]:
    """The seven LOOKS of whole images, a against the reference b; one value per image."""
    both = [*_sorted(a), *_sorted(b)]
    return [distribution(name, UNITS[name], [x.whole[k:k + 1] for x in both], len(a), floor=FLOORS[name])
            for k, name in enumerate(LOOKS)]


def class_profile(a: Sequence[Look], b: Sequence[Look], of_class: int, task: str) -> Profile:
    """The largest distance among the LOOKS of one class: of its objects, or of its whole images in `classify`."""
    both = [*_sorted(a), *_sorted(b)]
    if task == "classify":
        rows = [x.whole[None][np.array([x.image_class == of_class])] for x in both]        # (0 or 1, 7) each
    else:
        rows = [x.inside[x.classes == of_class] for x in both]                             # (n, 7) each
    return largest_of(f"class {of_class}", [
        distribution(name, UNITS[name], [row[:, k] for row in rows], len(a), _COARSE, FLOORS[name])
        for k, name in enumerate(LOOKS)])


def seam_profiles(a: Sequence[Look], b: Sequence[Look]) -> list[Profile]:
    """The five SEAM differences, a against the reference b: one mean over its objects per image that has any."""
    both = [*_sorted(a), *_sorted(b)]
    return [distribution(f"seam {name}", UNITS[name], [x.seam[k:k + 1][np.isfinite(x.seam[k:k + 1])] for x in both],
                         len(a), GRID, FLOORS[name]) for k, name in enumerate(SEAM)]


def _sorted(side: Sequence[Look]) -> list[Look]:
    """Images in the order of their contents, so that the order of files changes no digit."""
    return sorted(side, key=lambda x: b"".join(part.tobytes() for part in (x.whole, x.seam, x.inside, x.classes))
                  + str(x.image_class).encode())
