"""What objects are put on: seed images freed of their objects, seed images as they are, or the user's folder."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from synthgen.geometry import decode, id_map
from synthgen.types import Image, Labels, Mask

MARGIN = 8  # px around an object that still carry its glow


def object_free(image: Image, labels: Labels, rng: np.random.Generator) -> Image:
    """The image with its objects filled in: a smooth field from what surrounds them, and the image's own grain.

    The field is pull-push interpolation (Gortler et al. 1996, §4.3): known pixels averaged down a pyramid, holes
    filled from the coarser level. The grain is what real background deviates from its own blur, taken from
    another place of the same image.
    """
    holes = covered(labels)
    if not holes.any():
        return image.copy()
    assert not holes.all(), "the objects leave no background to fill from"
    filled = pull_push(image.astype(np.float32), ~holes)
    smooth = cv2.GaussianBlur(filled, (0, 0), 1.5)
    grain = (filled - smooth) * ~holes[..., None]
    donors = np.argwhere(~holes)
    targets = np.argwhere(holes)
    # Shift the whole hole by one vector where that lands on background; grain keeps its correlation then.
    H, W = holes.shape
    left = np.ones(len(targets), bool)
    noise = np.zeros_like(filled)
    for _ in range(40):
        if not left.any():
            break
        shift = donors[rng.integers(len(donors))] - targets[rng.integers(len(targets))]
        at = (targets + shift) % (H, W)
        good = left & ~holes[at[:, 0], at[:, 1]]
        noise[targets[good, 0], targets[good, 1]] = grain[at[good, 0], at[good, 1]]
        left &= ~good
    at = donors[rng.integers(0, len(donors), int(left.sum()))]
    noise[targets[left, 0], targets[left, 1]] = grain[at[:, 0], at[:, 1]]
    base = np.where(holes[..., None], cv2.GaussianBlur(filled, (0, 0), 2.0) + noise, filled)
    return np.clip(base + 0.5, 0, 255).astype(np.uint8)


def covered(labels: Labels) -> Mask:
    """(H, W): what is no background to use: objects with their glow, and what the labels ignore."""
    things = id_map(labels) > 0
    if labels.ignore is not None:
        things |= decode([labels.ignore], labels.size)[0]
    return np.asarray(cv2.dilate(things.view(np.uint8), _disc(MARGIN)) > 0)


def pull_push(values: NDArray[np.float32], known: NDArray[np.bool_]) -> NDArray[np.float32]:
    """(H, W, C) with the unknown pixels interpolated from the known ones, which stay as they are."""
    H, W = known.shape
    weight = known.astype(np.float32)
    if min(H, W) <= 1 or known.all():
        mean = (values * weight[..., None]).sum((0, 1)) / max(float(weight.sum()), 1e-6)
        return np.where(known[..., None], values, mean).astype(np.float32)
    half = (max(W // 2, 1), max(H // 2, 1))
    small_weight = cv2.resize(weight, half, interpolation=cv2.INTER_AREA)
    small = cv2.resize(values * weight[..., None], half, interpolation=cv2.INTER_AREA)
    small = small.reshape(half[1], half[0], -1) / np.maximum(small_weight, 1e-6)[..., None]
    coarse = pull_push(small.astype(np.float32), small_weight > 1e-3)
    up = cv2.resize(coarse, (W, H), interpolation=cv2.INTER_LINEAR).reshape(H, W, -1)
    return np.where(known[..., None], values, up).astype(np.float32)


def fitted(image: Image, size: tuple[int, int], rng: np.random.Generator) -> Image:
    """A random window of `size` from an image; one that is too small is continued by its mirror image."""
    H, W = size
    while image.shape[0] < H or image.shape[1] < W:
        # OpenCV mirrors at most one whole image at a time; repeat until it is large enough.
        below, right = (min(max(n - m, 0), m) for n, m in zip(size, image.shape[:2], strict=True))
        image = np.asarray(cv2.copyMakeBorder(image, 0, below, 0, right, cv2.BORDER_REFLECT), np.uint8)
    h, w = image.shape[:2]
    top, left = int(rng.integers(0, h - H + 1)), int(rng.integers(0, w - W + 1))
    return np.ascontiguousarray(image[top : top + H, left : left + W])


def _disc(radius: int) -> NDArray[np.uint8]:
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1)), np.uint8)
