"""How sharp pictures are, so that what is pasted is no sharper than where it comes to."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

_THIRDS = np.full((1, 3), 1 / 3, np.float32)
SIGMAS = (0.0, 0.4, 0.6, 0.8, 1.0, 1.3, 1.6, 2.0, 2.5, 3.0)  # px


def sharpness(pixels: NDArray[np.float32]) -> float:
    """How much finer than coarser detail an image has: energy of the band below 1 px over that of 1…3 px.

    Contrast cancels out. Two neighbouring bands of a Gaussian pyramid (Burt & Adelson 1983).
    """
    grey = cv2.transform(pixels, _THIRDS).reshape(pixels.shape[:2])
    one, three = cv2.GaussianBlur(grey, (0, 0), 1.0), cv2.GaussianBlur(grey, (0, 0), 3.0)
    return float((grey - one).std() / max(float((one - three).std()), 1e-3))


def blur_to(pixels: NDArray[np.float32], wanted: float) -> float:
    """The smallest sigma of SIGMAS (px) whose blur makes an image no sharper than `wanted`; 0 if it is not."""
    for sigma in SIGMAS:
        if sharpness(pixels if sigma == 0 else cv2.GaussianBlur(pixels, (0, 0), sigma)) <= wanted * 1.1:
            return sigma
    return SIGMAS[-1]
