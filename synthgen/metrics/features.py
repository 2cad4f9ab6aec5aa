"""Features in which real and synthetic images can be told apart without any network.

Two families: `spectrum` sees sensor, compression and up-sampling traces, `handcrafted` sees colour, contrast,
sharpness and noise. Every image of every dataset must come through `one_path` first, at one size.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from synthgen.types import Image, Size

SPECTRUM = (*(f"power at {k / 64:.3f} cycles/px" for k in range(32)), "power in the corners")
HANDCRAFTED = ("mean red", "mean green", "mean blue", "sd red", "sd green", "sd blue", "skew of grey",
               "mean saturation", "sd saturation", "log Laplacian variance", "log mean gradient",
               "log steep gradient", "log noise", "JPEG grid")

Floats = NDArray[np.float64]


def common_size(sizes: Iterable[Size], largest: int = 128, smallest: int = 32) -> int:
    """The side, px, at which images of these (H, W) can be compared: the shortest there is, in bounds."""
    return max(smallest, min([largest, *(min(size) for size in sizes)]))


def evenly_picked(n: int, most: int) -> NDArray[np.int64]:
    """At most `most` of n indices, evenly spaced: the images that features are made of where there are more."""
    return np.linspace(0, n - 1, min(n, most)).round().astype(np.int64) if n else np.zeros(0, np.int64)


def one_path(image: Image, size: int) -> Image:
    """(size, size, 3) uint8: the centre of the image at its own resolution; one path for real and synthetic.

    Nothing is shrunk, since averaging pixels wipes out the high frequencies in which generators leave traces
    (and resizing done in two ways is itself such a trace: Parmar et al. 2022, arXiv 2104.11222). The corner
    stands at a multiple of 8 px, so that a JPEG's blocks keep their place. An image shorter than `size` is
    enlarged bilinearly; `common_size` avoids that.
    Raises: ValueError for size < 16.
    """
    if size < 16:
        raise ValueError(f"features need images of at least 16 px, not {size}")
    H, W = image.shape[:2]
    if min(H, W) < size:
        scale = size / min(H, W)
        image = np.asarray(cv2.resize(image, (max(size, round(W * scale)), max(size, round(H * scale))),
                                      interpolation=cv2.INTER_LINEAR), np.uint8)
        H, W = image.shape[:2]
    top, left = (H - size) // 2 // 8 * 8, (W - size) // 2 // 8 * 8
    return np.ascontiguousarray(image[top:top + size, left:left + size])


def grey(image: Image) -> Floats:
    """(H, W) float64 luma in [0, 255] (ITU-R BT.601)."""
    luma: Floats = image.astype(np.float64) @ np.array([0.299, 0.587, 0.114])
    return luma


@lru_cache(maxsize=8)
def _rings(H: int, W: int) -> tuple[Floats, NDArray[np.int64], Floats, Floats]:
    """Hann window (H, W); per half-plane frequency its ring 0 … 32 and multiplicity; frequencies per ring."""
    window: Floats = np.outer(np.hanning(H), np.hanning(W))
    radius = np.hypot(np.fft.fftfreq(H)[:, None], np.fft.rfftfreq(W)[None])
    ring: NDArray[np.int64] = np.minimum((radius * 64).astype(np.int64), 32)
    twice = np.full(ring.shape, 2.0)                      # rfft2 leaves out the mirrored columns
    twice[:, 0] = 1
    if W % 2 == 0:
        twice[:, -1] = 1
    per_ring: Floats = np.bincount(ring.ravel(), twice.ravel(), 33).astype(np.float64)
    return window, ring.ravel(), twice.ravel(), per_ring


def spectrum_of(image: Image) -> Floats:
    """(33,) log10 power of the grey image per ring of frequency, 0 to 1/2 cycles/px and the corners beyond.

    Power is scaled so that white noise of variance v gives log10(v + 1/12); 1/12 is the variance of rounding
    to 8 bits, below which nothing is known, so a constant image is flat instead of −∞.
    Source: Durall, Keuper & Keuper 2020 (CVPR, "Watch your Up-Convolution"), section 3.1, azimuthal
    integration; that it parts real from generated with few examples: Dzanic, Shah & Witherden 2020 (NeurIPS).
    """
    luma = grey(image)
    window, ring, twice, per_ring = _rings(*luma.shape)
    power = np.abs(np.fft.rfft2((luma - luma.mean()) * window)) ** 2 / (window ** 2).sum()
    total = np.bincount(ring, power.ravel() * twice, 33)
    filled = np.flatnonzero(per_ring)                     # a small image leaves rings without a frequency
    log = np.log10(total[filled] / per_ring[filled] + 1 / 12)
    return np.interp(np.arange(33), filled, log)


def handcrafted_of(image: Image) -> Floats:
    """(14,) colour moments, saturation, sharpness, gradients, noise and JPEG grid, named by HANDCRAFTED.

    Source of the noise estimate: Immerkær 1996, "Fast noise variance estimation", CVIU 64:300. Sharpness by
    the variance of the Laplacian: Pech-Pacheco et al. 2000. All spreads have floors: a constant image gives
    no nan.
    """
    rgb, luma = image.reshape(-1, 3).T.astype(np.float64, order="C"), grey(image)         # (3, H·W) (H, W)
    high, low = rgb.max(0), rgb.min(0)
    saturation = (high - low) / np.maximum(high, 1)
    across, down = np.diff(luma, axis=1), np.diff(luma, axis=0)
    gradient = np.sqrt(across[:-1] ** 2 + down[:, :-1] ** 2)
    laplacian = np.diff(luma, 2, axis=1)[1:-1] + np.diff(luma, 2, axis=0)[:, 1:-1]
    second = np.diff(np.diff(luma, 2, axis=0), 2, axis=1)     # Immerkær's 3 × 3 kernel, equation 4
    noise = np.sqrt(np.pi / 2) * np.abs(second).mean() / 6
    centred = luma - luma.mean()
    return np.array([
        *rgb.mean(1) / 255, *rgb.std(1) / 255,
        (centred * centred * centred).mean() / max(luma.std(), 0.5) ** 3,
        saturation.mean(), saturation.std(),
        np.log1p(laplacian.var()), np.log1p(gradient.mean()), np.log1p(np.quantile(gradient, 0.95)),
        np.log1p(noise), (_grid(across) + _grid(down.T)) / 2])


def _grid(steps: Floats) -> float:
    """Log ratio of the steps across 8-px block borders to all others; 0 where there is no grid."""
    means = np.abs(steps).mean(0)
    on = np.arange(len(means)) % 8 == 7
    if not on.any() or on.all():
        return 0.0
    return float(np.log((means[on].mean() + 0.5) / (means[~on].mean() + 0.5)))


def spectrum(images: Iterable[Image]) -> Floats:
    """(N, 33) float64 from N images that came through `one_path`; see `spectrum_of`."""
    return np.array([spectrum_of(image) for image in images]).reshape(-1, 33)


def handcrafted(images: Iterable[Image]) -> Floats:
    """(N, 14) float64 from N images that came through `one_path`; see `handcrafted_of`."""
    return np.array([handcrafted_of(image) for image in images]).reshape(-1, len(HANDCRAFTED))
