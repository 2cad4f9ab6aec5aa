"""Outlines that nobody drew: a statistical shape model per class.

Signed distance maps of aligned masks and their principal components, after Leventon, Grimson & Faugeras,
"Statistical shape influence in geodesic active contours" (CVPR 2000), §2; sampled from a Gaussian in the
components' space. Size and angle come from the seed by a kernel density.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from synthgen.errors import DataError
from synthgen.layouts.distance import signed_distance
from synthgen.layouts.survey import Instance, Survey, axes_of
from synthgen.types import Mask, Placed

GRID = 48  # side of the aligned frame, px
UNIT = 14.0  # px of the aligned frame per sqrt(area)
FEWEST = 3
SPREAD = 2.0  # components are cut off at so many standard deviations


@dataclass(frozen=True, slots=True, eq=False)
class _Model:
    class_id: int
    mean: NDArray[np.float64]  # (GRID²,)
    modes: NDArray[np.float64]  # (M, GRID²), scaled by their standard deviation
    members: tuple[Instance, ...]
    sources: tuple[Instance, ...]  # whose pixels fill the outlines


class ShapeModel:
    """Draws outlines; classes as often as in the seed.

    Raises: DataError for a class with fewer than FEWEST complete instances.
    """

    def __init__(self, seed: Survey) -> None:
        self.any_angle = seed.any_angle
        self.models: dict[int, _Model] = {}
        for class_id in sorted({i.class_id for i in seed.instances}):
            members = tuple(i for i in seed.instances if i.class_id == class_id and i.complete)
            if len(members) < FEWEST:
                raise DataError(
                    f"layout shape: class number {class_id} has {len(members)} complete instances in the seed and "
                    f"needs {FEWEST}; use layout: warp, or label more"
                )
            self.models[class_id] = _fit(class_id, members, tuple(i for i in seed.sources if i.class_id == class_id))
        self._classes = np.asarray([i.class_id for i in seed.instances])

    def draw(self, rng: np.random.Generator, tone: float | None = None) -> Placed:
        """One object, at no place yet. Its source is the seed instance nearest in aspect and size of a few; when
        `tone` is given, of the three nearest the one as bright as that."""
        model = self.models[int(self._classes[rng.integers(len(self._classes))])]
        like = model.members[rng.integers(len(model.members))]
        z = np.clip(rng.normal(size=len(model.modes)), -SPREAD, SPREAD)
        sdf = (model.mean + z @ model.modes).reshape(GRID, GRID)
        area = like.area * float(np.exp(rng.normal(0, 0.08)))
        turn = float(rng.uniform(0, np.pi) if self.any_angle else like.angle + rng.normal(0, 0.07))
        mask = rasterised(
            sdf, np.sqrt(area) / UNIT, turn + (np.pi if rng.random() < 0.5 else 0), bool(rng.random() < 0.5)
        )
        _, _, _, aspect = axes_of(mask)
        few = [model.sources[i] for i in rng.integers(0, len(model.sources), 6)]
        area = max(int(np.count_nonzero(mask)), 1)
        few.sort(key=lambda m: abs(np.log(m.aspect / aspect)) + 0.5 * abs(np.log(m.area / area)))
        source = few[0] if tone is None else min(few[:3], key=lambda m: abs(m.tone - tone))
        return Placed(mask, 0, 0, model.class_id, source.index)


def aligned(mask: Mask, angle: float, cy: float, cx: float) -> NDArray[np.float32]:
    """(GRID, GRID) signed distance, in the frame whose x axis is the long axis and whose unit is sqrt(area);
    negative inside."""
    scale = np.sqrt(float(mask.sum())) / UNIT  # source px per frame px
    c, s = np.cos(angle) * scale, np.sin(angle) * scale
    middle = (GRID - 1) / 2
    affine = np.asarray([[c, -s, cx - (c - s) * middle], [s, c, cy - (s + c) * middle]])
    soft = cv2.warpAffine(mask.astype(np.float32), affine, (GRID, GRID), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    return signed_distance(soft >= 0.5)


def _fit(class_id: int, members: tuple[Instance, ...], sources: tuple[Instance, ...]) -> _Model:
    rows = []
    for instance in members:
        cy, cx, angle, _ = axes_of(instance.mask)
        sdf = aligned(instance.mask, angle, cy, cx)
        # The long axis has two directions: put the heavier half to the right, so that shapes correspond.
        inside = sdf < 0
        if inside[:, : GRID // 2].sum() > inside[:, GRID // 2 :].sum():
            sdf = sdf[::-1, ::-1]
        rows.append(sdf.ravel())
    X = np.stack(rows).astype(np.float64)
    mean = X.mean(0)
    _, strength, V = np.linalg.svd(X - mean, full_matrices=False)
    variance = strength**2 / max(len(X) - 1, 1)
    keep = int(np.searchsorted(np.cumsum(variance) / max(variance.sum(), 1e-12), 0.95)) + 1
    keep = min(keep, len(X) - 1)
    return _Model(class_id, mean, V[:keep] * np.sqrt(variance[:keep])[:, None], members, sources)


def rasterised(sdf: NDArray[np.float64], scale: float, angle: float, mirror: bool) -> Mask:
    """The largest part of an aligned shape, at `scale` px per frame px and turned by `angle`, cropped to its box."""
    side = int(np.ceil(GRID * scale * 1.5)) + 2
    c, s = np.cos(-angle) / scale, np.sin(-angle) / scale
    flip = -1.0 if mirror else 1.0
    middle, centre = (GRID - 1) / 2, (side - 1) / 2
    back = np.asarray([[c, -s], [flip * s, flip * c]])
    affine = np.concatenate([back, (middle - back @ [centre, centre])[:, None]], axis=1)
    there = cv2.warpAffine(
        sdf.astype(np.float32),
        affine,
        (side, side),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=1e3,
    )
    inside = (there < 0).view(np.uint8)
    x, y, w, h = cv2.boundingRect(inside)
    if w == 0:
        return np.ones((1, 1), bool)
    _, parts, stats, _ = cv2.connectedComponentsWithStats(inside[y : y + h, x : x + w], connectivity=4)
    best = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    x, y, w, h, _ = stats[best]
    return np.ascontiguousarray(parts[y : y + h, x : x + w] == best)
