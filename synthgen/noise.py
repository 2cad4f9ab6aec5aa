"""What rendering took away from a picture is put back: the sensor's noise, at the level that real images show."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from synthgen.types import Dataset

BINS = 12
MAX_IMAGES = 64
_THIRDS = np.full((1, 3), 1 / 3, np.float32)
_FINE = np.asarray([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32) / 6


@dataclass(frozen=True, slots=True, eq=False)
class NoiseModel:
    """Standard deviation of fine grain (grey levels) against local brightness: the noise level function of
    Liu, Freeman, Szeliski & Kang, "Noise estimation from a single image" (CVPR 2006), here as medians in
    bins of brightness.

    brightness, sigma: (BINS,) float64, ascending brightness.
    """

    brightness: NDArray[np.float64]
    sigma: NDArray[np.float64]

    def __call__(self, brightness: NDArray[np.float32]) -> NDArray[np.float64]:
        """Expected sigma at each brightness, linear between bins."""
        return np.asarray(np.interp(brightness, self.brightness, self.sigma))


def grain(pixels: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(H, W) local brightness and local standard deviation of the fine grain, of (H, W, 3) in 0…255.

    The grain is the response to the kernel [1 −2 1; −2 4 −2; 1 −2 1] / 6, which planes and straight edges do not
    excite (Immerkær 1996); its square is averaged over 9 × 9 px.
    """
    grey = cv2.transform(pixels, _THIRDS).reshape(pixels.shape[:2])
    fine = cv2.filter2D(grey, cv2.CV_32F, _FINE, borderType=cv2.BORDER_REFLECT)
    sigma = np.sqrt(np.maximum(cv2.blur(fine * fine, (9, 9)), 0))
    return cv2.GaussianBlur(grey, (0, 0), 2.0), np.asarray(sigma, np.float32)


def noise_model(images: Dataset) -> NoiseModel:
    """The grain of up to 64 images, as a function of brightness."""
    light, level = [], []
    for k in np.linspace(0, len(images) - 1, min(len(images), MAX_IMAGES)).astype(int):
        brightness, sigma = grain(images[int(k)].image.astype(np.float32))
        light.append(brightness[::3, ::3].ravel())
        level.append(sigma[::3, ::3].ravel())
    b, s = np.concatenate(light), np.concatenate(level)
    edges = np.quantile(b, np.linspace(0, 1, BINS + 1))
    where = np.clip(np.searchsorted(edges, b, side="right") - 1, 0, BINS - 1)
    # Texture and edges raise the local deviation of some places, so the median of each bin speaks for the noise.
    middles: list[float] = []
    levels: list[float] = []
    for k in range(BINS):
        inside = where == k
        if inside.sum() >= 8:
            middles.append(float(np.median(b[inside])))
            levels.append(float(np.median(s[inside])))
    if not middles:  # a seed of so few pixels that no bin has enough of them
        middles, levels = [float(np.median(b))], [float(np.median(s))]
    return NoiseModel(np.asarray(middles), np.asarray(levels))


def restore_noise(
    pixels: NDArray[np.float32], touched: NDArray[np.bool_], model: NoiseModel, rng: np.random.Generator
) -> NDArray[np.float32]:
    """(H, W, 3) with white noise added where it was touched and shows less grain than real images do."""
    brightness, sigma = grain(pixels)
    there = sigma[touched]
    lack = np.sqrt(np.maximum(model(brightness[touched]) ** 2 - there * there, 0)).astype(np.float32)
    noise = np.zeros(touched.shape, np.float32)
    noise[touched] = rng.standard_normal(touched.shape, np.float32)[touched] * lack
    return np.asarray(pixels + cv2.merge([noise] * 3), np.float32)
