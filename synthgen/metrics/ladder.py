"""How far from real is a score? The same score for real images that were degraded in known steps.

An AUC of 0.8 says little by itself; "as easy to tell as real images saved as JPEG at quality 50" says what it means.
The idea of probing features with controlled corruptions follows Hendrycks & Dietterich, "Benchmarking neural network
robustness to common corruptions and perturbations" (ICLR 2019), §3.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import PIL.Image
from numpy.typing import NDArray

from synthgen.metrics.features import handcrafted, one_path, spectrum
from synthgen.metrics.two_sample import RidgeLoo, auc, standardise
from synthgen.types import Image

FEWEST = 40  # images: 20 on each side
AUTO = "JPEG at quality 75"  # the rung that a margin is taken from where none is named: harmless, and just visible
Degrade = Callable[[Image, np.random.Generator], Image]


@dataclass(frozen=True, slots=True)
class Rung:
    """A step of the ladder, in words, and the AUC by which a linear probe tells so degraded real images from others."""

    name: str
    auc: float


def _blur(sigma: float) -> Degrade:
    return lambda image, _: np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.uint8)


def _noise(sigma: float) -> Degrade:
    return lambda image, rng: np.clip(np.rint(image + rng.normal(0, sigma, image.shape)), 0, 255).astype(np.uint8)


def _brighter(levels: int) -> Degrade:
    return lambda image, _: np.clip(image.astype(np.int16) + levels, 0, 255).astype(np.uint8)


def _jpeg(quality: int) -> Degrade:
    def saved(image: Image, _: np.random.Generator) -> Image:
        out = io.BytesIO()
        PIL.Image.fromarray(image).save(out, "JPEG", quality=quality)
        return np.asarray(PIL.Image.open(out), np.uint8)

    return saved


STEPS: dict[str, Degrade] = {
    "a blur of 0.4 px": _blur(0.4), "a blur of 0.7 px": _blur(0.7), "a blur of 1.2 px": _blur(1.2),
    "noise of 1 grey level": _noise(1), "noise of 3 grey levels": _noise(3), "noise of 8 grey levels": _noise(8),
    "JPEG at quality 95": _jpeg(95), "JPEG at quality 75": _jpeg(75), "JPEG at quality 50": _jpeg(50),
    "4 grey levels more": _brighter(4), "12 grey levels more": _brighter(12), "30 grey levels more": _brighter(30),
}
PASTE = "hard paste"
"""The rung that needs a second image; all others change one by itself."""
RUNGS = (*STEPS, PASTE)
FAMILIES: dict[str, Callable[[Sequence[Image]], NDArray[np.float64]]] = {
    "spectrum": spectrum, "handcrafted": handcrafted}


def hard_paste(image: Image, donor: Image, rng: np.random.Generator) -> Image:
    """The image with a square patch of the donor on it, its edge neither blended nor harmonised.

    The patch is a third of the shorter side of both, from a random place and at a random place.
    """
    side = max(1, min(*image.shape[:2], *donor.shape[:2]) // 3)
    (y, x), (v, u) = ([int(rng.integers(length - side + 1)) for length in i.shape[:2]] for i in (image, donor))
    out = image.copy()
    out[y : y + side, x : x + side] = donor[v : v + side, u : u + side]
    return out


def ladder(images: Sequence[Image], side: int, rng: np.random.Generator) -> Mapping[str, tuple[Rung, ...]]:
    """Per family of features the rungs, lowest AUC first: half of the images degraded against the other half.

    images: (H, W, 3) uint8, real, at least FEWEST, in any order: they are sorted by content. side: px, as `one_path`
    takes it; images are degraded whole, then cut. The hard paste alone comes after the cut, lest its edge be cut away,
    and its patches come from the degraded half, so that nothing of the other half is seen twice.
    Raises: ValueError for fewer images.
    """
    if len(images) < FEWEST:
        raise ValueError(f"a ladder needs {FEWEST} images, not {len(images)}")
    images = sorted(images, key=lambda image: (image.shape, image.tobytes()))
    order = rng.permutation(len(images))
    kept = [one_path(images[k], side) for k in order[: len(images) // 2]]
    rest = [images[k] for k in order[len(images) // 2 :]]
    changes: dict[str, list[Image]] = {
        name: [one_path(degrade(image, rng), side) for image in rest] for name, degrade in STEPS.items()}
    cut = [one_path(image, side) for image in rest]
    # The next image of a random order is a donor that is never the image itself.
    changes[PASTE] = [hard_paste(image, donor, rng) for image, donor in zip(cut, cut[1:] + cut[:1], strict=True)]
    plain = {family: feature(kept) for family, feature in FAMILIES.items()}
    rungs = {family: [Rung(name, _separability(feature(changed), plain[family])) for name, changed in changes.items()]
             for family, feature in FAMILIES.items()}
    return {family: tuple(sorted(found, key=lambda rung: rung.auc)) for family, found in rungs.items()}


def in_words(value: float, rungs: Sequence[Rung]) -> str:
    """Where an AUC stands on the ladder: the rung just below it."""
    below = [rung for rung in rungs if rung.auc <= value]
    if not below:
        return f"harder to tell than real images after {rungs[0].name} (AUC {rungs[0].auc:.2f})"
    return f"about as easy to tell as real images after {below[-1].name} (AUC {below[-1].auc:.2f})"


def _separability(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """The AUC of `two_sample.probe_auc` without its permutations."""
    scores = RidgeLoo(standardise(np.concatenate([a, b]))).scores(
        (np.arange(len(a) + len(b)) < len(a)).astype(np.float64)[:, None] - len(a) / (len(a) + len(b)))[:, 0]
    return auc(scores[: len(a)], scores[len(a) :])
