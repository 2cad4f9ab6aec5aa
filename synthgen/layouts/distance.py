"""How far pixels are from an outline."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from synthgen.layouts.survey import padded
from synthgen.types import Mask


def signed_distance(mask: Mask) -> NDArray[np.float32]:
    """Distance to the outline in px, negative inside, half a pixel on either side of it."""
    inside = cv2.distanceTransform(padded(mask, 1).view(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
    outside = cv2.distanceTransform((~mask).view(np.uint8), cv2.DIST_L2, 5)
    return np.asarray(np.where(mask, 0.5 - inside, outside - 0.5), np.float32)
