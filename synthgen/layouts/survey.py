"""What the seed's objects are like: outlines, sizes, counts, places, and how often they touch."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from synthgen.errors import DataError
from synthgen.geometry import id_map
from synthgen.types import Dataset, Labels, Mask, Size

ANGLES = 72  # rays of a radial profile
NEAR = 2  # px: objects closer than this touch
KEPT = 64  # outlines whose axes and radii are remembered: an object is asked for them where it is drawn, placed, warped
FREE = 0.85  # of an object's surroundings that must be free of others, so that it can stand alone


@dataclass(frozen=True, slots=True, eq=False)
class Instance:
    """One object of the seed.

    index: its number in the survey. image: number of its image. class_id.
    mask: (h, w) bool, visible part, cropped to its box. top, left: of the crop, px.
    complete: neither cut by the border nor (as far as the labels say) hidden.
    angle: of its long axis, radians in [0, π). aspect: long over short axis, ≥ 1. touches: lies within NEAR px of
    another object. adjoins: shares a line with one (4-neighbours). tone: mean grey value, 0…255. exposed: share of
    the NEAR px around it that no other object takes: what the picture around it can be taken from. area: visible px.
    """

    index: int
    image: int
    class_id: int
    mask: Mask
    top: int
    left: int
    complete: bool
    angle: float
    aspect: float
    touches: bool
    tone: float = 0.0
    exposed: float = 1.0
    adjoins: bool = False
    area: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "area", int(np.count_nonzero(self.mask)))


@dataclass(frozen=True, slots=True, eq=False)
class Survey:
    """All instances, the images' sizes and counts, and shares over complete and touching ones."""

    instances: tuple[Instance, ...]
    sizes: tuple[Size, ...]
    labels: tuple[Labels, ...]
    counts: NDArray[np.int64]
    any_angle: bool

    @property
    def touching(self) -> float:
        """Share of instances that share a line with another one."""
        return float(np.mean([i.adjoins for i in self.instances])) if self.instances else 0.0

    @property
    def truncated(self) -> float:
        """Share of instances that the border cuts."""
        return float(np.mean([not i.complete for i in self.instances])) if self.instances else 0.0

    @property
    def sources(self) -> tuple[Instance, ...]:
        """Instances whose pixels may be used: complete ones that stand free for the most part; of a class that has none
        such, complete ones; of a class that has none of these either, all."""
        free = {i.class_id for i in self.instances if i.complete and i.exposed >= FREE}
        whole = {i.class_id for i in self.instances if i.complete}
        return tuple(
            i for i in self.instances
            if (i.complete or i.class_id not in whole) and (i.exposed >= FREE or i.class_id not in free))


def axes_of(mask: Mask) -> tuple[float, float, float, float]:
    """Centroid y, x (px), angle of the long axis (radians, [0, π)) and aspect ≥ 1, from second moments."""
    return _axes(mask.shape, mask.tobytes())


@lru_cache(maxsize=KEPT)
def _axes(shape: tuple[int, int], bits: bytes) -> tuple[float, float, float, float]:
    m = cv2.moments(np.frombuffer(bits, np.uint8).reshape(shape), binaryImage=True)
    area = m["m00"]
    # 1/12: the variance of a pixel's own area, so that a line of one pixel still has a width.
    xx, yy, xy = m["mu20"] / area + 1 / 12, m["mu02"] / area + 1 / 12, m["mu11"] / area
    half, root = (xx + yy) / 2, math.hypot((xx - yy) / 2, xy)
    angle = 0.5 * math.atan2(2 * xy, xx - yy) % math.pi
    return m["m01"] / area, m["m10"] / area, angle, math.sqrt((half + root) / max(half - root, 1e-6))


_CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
_RAYS = np.arange(ANGLES) * 2 * np.pi / ANGLES
_SIN, _COS = (f(_RAYS)[:, None].astype(np.float32) for f in (np.sin, np.cos))


def radii(mask: Mask) -> NDArray[np.float64]:
    """(ANGLES,) px from the centroid to the outermost set pixel along each ray, at least 0.5; read-only."""
    return _radii(mask.shape, mask.tobytes())


@lru_cache(maxsize=KEPT)
def _radii(shape: tuple[int, int], bits: bytes) -> NDArray[np.float64]:
    cy, cx, _, _ = _axes(shape, bits)
    h, w = shape
    reach = math.hypot(max(cy, h - cy), max(cx, w - cx)) + 1
    steps = np.arange(0, reach, 0.5, dtype=np.float32)
    # The mask along every ray, (ANGLES, steps); past its box it is empty.
    hit = cv2.remap(np.frombuffer(bits, np.uint8).reshape(shape), _COS * steps + np.float32(cx),
                    _SIN * steps + np.float32(cy), cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT)
    last = (hit * np.arange(1, len(steps) + 1, dtype=np.uint16)).max(1)  # counted from 1; 0 where a ray meets nothing
    found: NDArray[np.float64] = np.maximum(last * 0.5, 0.5)
    found.setflags(write=False)  # the cache holds it too
    return found


def padded(mask: Mask, rim: int) -> Mask:
    """The mask with `rim` px of False around it."""
    out = np.zeros((mask.shape[0] + 2 * rim, mask.shape[1] + 2 * rim), bool)
    out[rim:-rim, rim:-rim] = mask
    return out


def survey(real: Dataset) -> Survey:
    """Survey the labelled images of a dataset.

    Raises: DataError when not one of them has an instance with a mask.
    """
    from scipy.ndimage import find_objects

    instances: list[Instance] = []
    sizes: list[Size] = []
    all_labels: list[Labels] = []
    counts: list[int] = []
    for number in range(len(real)):
        sample = real[number]
        labels = sample.labels
        if labels is None or labels.masks is None:
            continue
        ids = id_map(labels)
        padded = np.pad(ids, NEAR)
        kernel = np.ones((2 * NEAR + 1, 2 * NEAR + 1), np.uint8)
        for k, place in enumerate(find_objects(ids, len(labels))):
            if place is None:
                continue
            crop = ids[place] == k + 1
            (y0, y1), (x0, x1) = ((side.start, side.stop) for side in place)
            around = padded[y0 : y1 + 2 * NEAR, x0 : x1 + 2 * NEAR]
            ring = cv2.dilate((around == k + 1).astype(np.uint8), kernel) > 0
            _, _, angle, aspect = axes_of(crop)
            assert labels.truncated is not None
            assert labels.visible is not None
            complete = not labels.truncated[k] and not labels.visible[k] < 0.95
            instances.append(
                Instance(
                    len(instances),
                    len(sizes),
                    int(labels.classes[k]),
                    crop,
                    int(y0),
                    int(x0),
                    bool(complete),
                    angle,
                    aspect,
                    bool(((around > 0) & (around != k + 1) & ring).any()),
                    float(sample.image[place][crop].mean()),
                    float((around[ring & (around != k + 1)] == 0).mean()) if (ring & (around != k + 1)).any() else 0.0,
                    bool((around[next_to(around == k + 1)] > 0).any()),
                )
            )
        sizes.append(labels.size)
        all_labels.append(labels)
        counts.append(len(labels))
    if not instances:
        raise DataError(
            "the seed has no instance with a mask, so there is nothing to compose from: label some objects first"
        )
    instances = _without_hidden(instances)
    return Survey(tuple(instances), tuple(sizes), tuple(all_labels), np.asarray(counts), _any_angle(instances))


def next_to(mask: Mask) -> Mask:
    """(H, W) the pixels outside a mask that share a side with it."""
    grown = cv2.dilate(mask.view(np.uint8), _CROSS).view(bool)
    return np.asarray(grown & ~mask, bool)


def solidity(mask: Mask) -> float:
    """Area over the area of the convex hull, in (0, 1]."""
    contours, _ = cv2.findContours(
        np.kron(mask.astype(np.uint8), np.ones((2, 2), np.uint8)), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
    )
    hull = cv2.convexHull(np.concatenate(contours))
    filled = cv2.fillConvexPoly(np.zeros((2 * mask.shape[0], 2 * mask.shape[1]), np.uint8), hull, 1)
    return float(4 * mask.sum() / max(int(filled.sum()), 1))


def _without_hidden(instances: list[Instance]) -> list[Instance]:
    """Instances that touch another and are much less convex than is usual for their class are taken for partly
    hidden ones: their outline is the other's, and they are not complete."""
    usual: dict[int, float] = {}
    values = [solidity(i.mask) for i in instances]
    for class_id in {i.class_id for i in instances}:
        usual[class_id] = float(
            np.median([v for i, v in zip(instances, values, strict=True) if i.class_id == class_id])
        )
    return [
        replace(i, complete=i.complete and not (i.touches and v < 0.92 * usual[i.class_id]))
        for i, v in zip(instances, values, strict=True)
    ]


def _any_angle(instances: list[Instance]) -> bool:
    """Whether objects may be turned freely: no preferred axis among the elongated ones.

    Rayleigh test on doubled angles (Mardia & Jupp 2000, §6.3.1): p ≈ exp(−n·R²).
    """
    angles = np.asarray([i.angle for i in instances if i.complete and i.aspect > 1.25])
    if len(angles) < 8:
        return False
    resultant = np.abs(np.exp(2j * angles).mean())
    return bool(np.exp(-len(angles) * resultant**2) > 0.01)
