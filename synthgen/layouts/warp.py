"""The seed's own arrangements, bent: mirrored, turned, scaled and elastically deformed as a whole.

Neighbours stay neighbours, so that objects touch as they touch in reality. Elastic fields after Simard,
Steinkraus & Platt, "Best practices for convolutional neural networks" (ICDAR 2003), §2.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from synthgen.geometry import id_map
from synthgen.layouts.survey import Survey
from synthgen.types import Layout, Placed, Size


class Warp:
    """Draws a seed image's objects and bends them; a larger frame is tiled with several of them."""

    def __init__(self, seed: Survey) -> None:
        self.seed = seed
        self._first = np.searchsorted([i.image for i in seed.instances], np.arange(len(seed.sizes)))
        self._ids = [id_map(labels) for labels in seed.labels]
        self._index: list[dict[int, int]] = [{} for _ in seed.sizes]
        sources = {i.index for i in seed.sources}
        self._usable = sources
        # id k + 1 of an image → number of the instance in the survey (empty masks were left out there).
        for image, ids in enumerate(self._ids):
            present = [int(k) for k in np.unique(ids) if k]
            members = [i.index for i in seed.instances if i.image == image]
            self._index[image] = dict(zip(present, members, strict=True))

    def sample(self, rng: np.random.Generator, size: Size) -> Layout:
        """A layout of `size`."""
        from scipy.ndimage import find_objects

        image = int(rng.integers(len(self._ids)))
        ids = self._ids[image]
        map_x, map_y = self._field(rng, size, (int(ids.shape[0]), int(ids.shape[1])))
        # Past the image's edge nothing is known; repeating it would double objects, so nothing stands there.
        bent = cv2.remap(ids.astype(np.float32), map_x, map_y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT)
        bent = bent.astype(np.int32)
        objects = []
        for k, place in enumerate(find_objects(bent), 1):
            if place is None:
                continue
            mask = (bent[place] == k).view(np.uint8)
            _, parts, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=4)
            best = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
            left, top, w, h, area = (int(v) for v in stats[best])
            if area < 4:
                continue
            part = np.ascontiguousarray(parts[top : top + h, left : left + w] == best)
            y, x = place[0].start + top, place[1].start + left
            instance = self.seed.instances[self._index[image][k]]
            inside = x > 0 and y > 0 and x + w < size[1] and y + h < size[0]
            if inside and not instance.complete:
                continue  # a cut object whole in the frame would show its straight cut
            source = instance.index if instance.index in self._usable else self._stand_in(rng, instance.class_id, area)
            objects.append(Placed(part, y, x, instance.class_id, source))
        return Layout(size, tuple(objects[i] for i in rng.permutation(len(objects))))

    def _stand_in(self, rng: np.random.Generator, class_id: int, area: int) -> int:
        few = [self.seed.instances[i] for i in sorted(self._usable) if self.seed.instances[i].class_id == class_id]
        few = [few[i] for i in rng.integers(0, len(few), 4)]
        return min(few, key=lambda i: abs(np.log(i.area / area))).index

    def _field(
        self, rng: np.random.Generator, size: Size, source: Size
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Backward maps (H, W) float32, source px, of a mirror, a turn, a scale, a shear and an elastic field."""
        H, W = size
        h, w = source
        turn = (
            float(rng.integers(4)) * np.pi / 2 + rng.uniform(-0.3, 0.3) if self.seed.any_angle else rng.normal(0, 0.05)
        )
        scale, shear = np.exp(rng.normal(0, 0.1, 2)), rng.normal(0, 0.08)
        c, s = np.cos(turn), np.sin(turn)
        linear = np.asarray([[c, -s], [s, c]]) @ np.asarray([[1, shear], [0, 1]]) @ np.diag(scale)
        if rng.random() < 0.5:
            linear = linear @ np.diag([-1.0, 1.0])
        y, x = np.mgrid[0:H, 0:W].astype(np.float64)
        # The frame's middle falls somewhere in the source, so that its whole area can be met.
        room_y, room_x = max(h - H, 0) / 2 + 0.05 * h, max(w - W, 0) / 2 + 0.05 * w
        mid_y, mid_x = (h - 1) / 2 + rng.uniform(-room_y, room_y), (w - 1) / 2 + rng.uniform(-room_x, room_x)
        y, x = y - (H - 1) / 2, x - (W - 1) / 2
        elastic = [self._smooth(rng, size) for _ in range(2)]
        map_x = linear[0, 0] * x + linear[0, 1] * y + mid_x + elastic[0]
        map_y = linear[1, 0] * x + linear[1, 1] * y + mid_y + elastic[1]
        return map_x.astype(np.float32), map_y.astype(np.float32)

    def _smooth(self, rng: np.random.Generator, size: Size) -> NDArray[np.float64]:
        """A smooth random displacement of about a tenth of an object's diameter, px."""
        diameter = float(np.sqrt(np.median([i.area for i in self.seed.instances])))
        rough = rng.normal(size=(max(3, int(size[0] / (2 * diameter)) + 3), max(3, int(size[1] / (2 * diameter)) + 3)))
        field = cv2.resize(rough, (size[1], size[0]), interpolation=cv2.INTER_CUBIC)
        return np.asarray(field * 0.1 * diameter, np.float64)
