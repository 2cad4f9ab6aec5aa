"""Objects onto a picture, from back to front: pixels by alpha, labels by who was painted last."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from synthgen.layouts.distance import signed_distance
from synthgen.layouts.painted import Painted
from synthgen.layouts.survey import ANGLES, axes_of, padded, radii
from synthgen.noise import NoiseModel, restore_noise
from synthgen.types import Image, Placed
from synthgen_compose.background import pull_push
from synthgen_compose.bank import RIM, Cutout, rounded

TILE, MARGIN = 128, 12  # px; the grain of a pixel is measured within MARGIN of it
_SQUARE = np.ones((3, 3), np.uint8)

Blend = Literal["feather", "gaussian", "poisson", "add", "hard"]


@dataclass(slots=True, eq=False)
class Canvas:
    """A picture in the making.

    pixels: (H, W, 3) float32. changed: (H, W) bool, where pixels may differ from the background's. touched: (H, W)
    bool, where something was painted that can be seen.
    """

    pixels: NDArray[np.float32]
    changed: NDArray[np.bool_]
    touched: NDArray[np.bool_]


def canvas_on(background: Image | NDArray[np.float32]) -> Canvas:
    """An empty canvas on a background (H, W, 3)."""
    H, W = background.shape[:2]
    return Canvas(background.astype(np.float32), np.zeros((H, W), bool), np.zeros((H, W), bool))


@dataclass(frozen=True, slots=True, eq=False)
class Stamp:
    """An object ready to be painted: all that does not depend on the blend, so that the blends of a layout share it.

    frame: rows and columns of the image that the object and its rim take. inner: the same part of the whole crop.
    mask, distance: (h + 2·RIM, w + 2·RIM) bool, and float32 px to the outline, of the whole crop.
    pixels: float32 of the part in the frame, with 3 channels. around: (3,) the colour that its surroundings end in.
    taken, free: bool of the part in the frame: whose pixels are, before it is painted, another object's, or nobody's.
    """

    frame: tuple[slice, slice]
    inner: tuple[slice, slice]
    mask: NDArray[np.bool_]
    distance: NDArray[np.float32]
    pixels: NDArray[np.float32]
    around: NDArray[np.float32]
    taken: NDArray[np.bool_]
    free: NDArray[np.bool_]


def stamped(painted: Painted, thing: Placed, cutout: Cutout, soften: float = 0.0) -> Stamp | None:
    """Add an object to those painted, and give what it takes to paint it.

    soften: sigma (px) of a blur of the object, where the place it comes to is less sharp than its own picture.
    An object wholly outside the frame paints nothing and gets no number: None.
    """
    H, W = painted.size
    h, w = thing.mask.shape
    # The crop with its rim, cut to the frame.
    top, left = thing.top - RIM, thing.left - RIM
    y0, y1, x0, x1 = max(top, 0), min(top + h + 2 * RIM, H), max(left, 0), min(left + w + 2 * RIM, W)
    if y0 >= y1 or x0 >= x1:
        return None
    frame = np.s_[y0:y1, x0:x1]
    below = painted.ids[frame]
    taken, free = below > 0, below == 0
    if not painted.add(thing):
        return None
    inner = np.s_[y0 - top : y1 - top, x0 - left : x1 - left]
    pixels = warped(thing, cutout)
    if soften:
        pixels = np.asarray(cv2.GaussianBlur(pixels, (0, 0), soften), np.float32)
    mask = padded(thing.mask, RIM)
    return Stamp(frame, inner, mask, signed_distance(mask), pixels[inner], cutout.around, taken, free)


def paint(canvas: Canvas, stamp: Stamp, blend: Blend, gain: float, match: float) -> None:
    """Paint one object over what is there.

    gain: factor on the object's contrast to its surroundings. match: 0…1, how far its surroundings' colour is
    shifted to the colour of the place it comes to.
    """
    here, source, around = canvas.pixels[stamp.frame], stamp.pixels, stamp.around
    shown = stamp.mask[stamp.inner]
    alpha = _alpha(stamp.mask, stamp.distance, blend)[stamp.inner]
    if blend in ("feather", "gaussian") and stamp.taken.any():
        # The rim shows the source's surroundings; over a neighbour they would be a moat that no real picture has.
        near = (cv2.dilate(shown.view(np.uint8), _SQUARE) > 0) & ~shown
        alpha = np.where(stamp.taken & ~shown, 0.4 * near, alpha).astype(np.float32)
    if blend == "add":
        here += cv2.merge([alpha * gain] * 3) * (source - around)
    elif blend != "poisson":
        if match:
            rim = (alpha < 0.5) & ~shown & stamp.free
            place = _middle(here[rim]) if np.count_nonzero(rim) >= 8 else around
            source = (source - around) * gain + around + match * (place - around)
        here += cv2.merge([alpha] * 3) * (source - here)
    else:
        # Gradient-domain cloning (Pérez et al. 2003) with a membrane instead of a solver, as in Farbman et al. 2009:
        # the difference around the cloned region, interpolated smoothly inwards, is added to the source. The region
        # takes the rim along, so that the outline lies where the object's glow or shadow has ended.
        region, inside = alpha > 0, stamp.distance[stamp.inner] < RIM - 2
        ring = (cv2.dilate(region.view(np.uint8), _SQUARE) > 0) & ~region & ~inside
        membrane = pull_push(here - source, ring) if ring.any() else np.float32(0)
        here[...] = np.where(region[..., None], source + membrane, here)
    canvas.changed[stamp.frame] = True
    canvas.touched[stamp.frame] |= alpha > 0.02


def finished(canvas: Canvas, background: Image, noise: NoiseModel | None, rng: np.random.Generator) -> Image:
    """The picture: the background, and what was painted on it, with the sensor's noise put back where something was
    painted (None: without); what is saturated shows none.

    Works tile by tile, since most of a large picture is background that nobody painted on.
    """
    out = background.copy()
    H, W = canvas.touched.shape
    for y, x in product(range(0, H, TILE), range(0, W, TILE)):
        tile = np.s_[y : y + TILE, x : x + TILE]
        if not canvas.changed[tile].any():
            continue
        pixels = canvas.pixels[tile]
        if noise is not None:
            top, left = max(y - MARGIN, 0), max(x - MARGIN, 0)
            around = np.s_[top : y + TILE + MARGIN, left : x + TILE + MARGIN]
            own = np.s_[y - top : y - top + TILE, x - left : x - left + TILE]
            wide = np.ascontiguousarray(canvas.pixels[around])
            lacking = canvas.touched[around] & (wide[..., 1] < 0.97 * 255)
            if lacking[own].any():
                pixels = restore_noise(wide, lacking, noise, rng)[own]
        out[tile] = cv2.convertScaleAbs(np.maximum(pixels, 0))  # rounds, and stops at 255
    return out


def warped(thing: Placed, cutout: Cutout) -> NDArray[np.float32]:
    """The cut-out's pixels (h + 2·RIM, w + 2·RIM, 3) float32 in the object's outline.

    With an affine the source is moved rigidly. Else outline is mapped to outline: along each ray from the
    centroid, inside by the share of the radius, outside by distance, so that the rim keeps its width.
    """
    h, w = thing.mask.shape
    if thing.affine is not None:
        affine = thing.affine.copy()
        affine[:, 2] += RIM - affine[:, :2] @ [RIM, RIM]
        size = (w + 2 * RIM, h + 2 * RIM)
        how = cv2.INTER_NEAREST if _exact(thing) else cv2.INTER_CUBIC
        pixels = cv2.warpAffine(
            cutout.patch,
            affine,
            size,
            flags=how | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
    else:
        cy, cx, angle, _ = axes_of(thing.mask)
        own = rounded(radii(thing.mask))
        y, x = np.arange(h + 2 * RIM, dtype=np.float32), np.arange(w + 2 * RIM, dtype=np.float32)
        dx, dy = np.meshgrid(x - (cx + RIM), y - (cy + RIM))
        r, theta = cv2.cartToPolar(dx, dy)
        turn = cutout.angle - angle
        target, source = _at(own, theta), _at(cutout.radii, theta + turn)
        reach = np.where(r <= target, r / target * source, source + r - target)
        map_y = (cutout.centre[0] + reach * np.sin(theta + turn)).astype(np.float32)
        map_x = (cutout.centre[1] + reach * np.cos(theta + turn)).astype(np.float32)
        pixels = cv2.remap(cutout.patch, map_x, map_y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(pixels, np.float32)


def _exact(thing: Placed) -> bool:
    """Whether pixels are moved whole: by quarter turns, mirrors and shifts."""
    return thing.affine is not None and bool((np.abs(thing.affine - np.rint(thing.affine)) < 1e-6).all())


def _at(profile: NDArray[np.float64], theta: NDArray[np.float32]) -> NDArray[np.float64]:
    """A radial profile at any angle, linear between its rays."""
    at = np.mod(theta, 2 * np.pi) * (ANGLES / (2 * np.pi))
    low = at.astype(np.int64)
    share = at - low
    around = np.append(profile, profile[:2])  # an angle just below 2π may round to it
    return np.asarray(around[low] * (1 - share) + around[1:][low] * share)


def _alpha(mask: NDArray[np.bool_], distance: NDArray[np.float32], blend: Blend) -> NDArray[np.float32]:
    """Opacity in [0, 1]: 1 well inside, 0 at the rim's end; feather takes the real rim along, hard takes none."""
    if blend == "hard":
        return mask.astype(np.float32)
    if blend == "poisson":
        return (mask | (distance < RIM - 2)).astype(np.float32)
    if blend == "gaussian":
        soft = cv2.GaussianBlur((distance < 2.5).astype(np.float32), (0, 0), 1.2)
        return np.asarray(np.where(mask, np.maximum(soft, 0.9), soft), np.float32)
    return np.asarray(np.where(mask, 1, np.clip(1 - (distance - 1.0) / (RIM - 2.0), 0, 1)), np.float32)


def _middle(colours: NDArray[np.float32]) -> NDArray[np.float32]:
    """The median colour of (P, 3), channel by channel."""
    half = len(colours) // 2
    return np.asarray(np.partition(colours, half, axis=0)[half])
