"""What the dense heads are taught, and how wrong they are."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

IGNORE = -1


@dataclass(frozen=True, slots=True)
class Target:
    """classes (H, W) int64, −1 = ignored; centre (H, W) float32 in [0, 1]; offset (2, H, W) float32 px, dy dx;
    edge (H, W) float32, extra weight of pixels between touching objects; inside (H, W) bool."""

    classes: NDArray[np.int64]
    centre: NDArray[np.float32]
    offset: NDArray[np.float32]
    edge: NDArray[np.float32]


def target_of(ids: NDArray[np.int32], classes: NDArray[np.int64]) -> Target:
    """Targets from an (H, W) map of instances: −1 ignored, 0 background, k + 1 of class `classes[k]`.

    Centre: a Gaussian at each instance's centroid whose sigma grows with the object, as in CenterNet.
    Offsets: from each of its pixels to the centroid (Panoptic-DeepLab §3).
    Edge: 1 where two instances come within 3 px of each other (after the weight map of Ronneberger 2015, eq. 2).
    """
    H, W = ids.shape
    lookup = np.concatenate([[0], classes + 1, [IGNORE]])  # id −1 takes the last
    class_map = lookup[ids]
    centre = np.zeros((H, W), np.float32)
    offset = np.zeros((2, H, W), np.float32)
    near = np.zeros((H, W), np.uint8)
    kernel = np.ones((3, 3), np.uint8)
    for k in np.unique(ids[ids > 0]):
        mask = ids == k
        ys, xs = np.nonzero(mask)
        cy, cx = ys.mean(), xs.mean()
        offset[0, ys, xs], offset[1, ys, xs] = cy - ys, cx - xs
        sigma = np.clip(0.12 * np.sqrt(len(ys)) * 1.13, 1.2, 12.0)  # 12 % of the equivalent diameter
        r = int(np.ceil(3 * sigma))
        y0, y1 = max(int(cy) - r, 0), min(int(cy) + r + 1, H)
        x0, x1 = max(int(cx) - r, 0), min(int(cx) + r + 1, W)
        gy = np.exp(-0.5 * ((np.arange(y0, y1) - cy) / sigma) ** 2)
        gx = np.exp(-0.5 * ((np.arange(x0, x1) - cx) / sigma) ** 2)
        patch = centre[y0:y1, x0:x1]
        np.maximum(patch, (gy[:, None] * gx[None]).astype(np.float32), out=patch)
        # A small object whose centroid falls between pixels has a peak too; offsets carry the remainder.
        centre[min(round(cy), H - 1), min(round(cx), W - 1)] = 1.0
        y0, y1, x0, x1 = max(ys.min() - 3, 0), ys.max() + 4, max(xs.min() - 3, 0), xs.max() + 4
        near[y0:y1, x0:x1] += cv2.dilate(mask[y0:y1, x0:x1].astype(np.uint8), kernel, iterations=2)
    return Target(class_map, centre, offset, (near > 1).astype(np.float32))


def dense_loss(out: Tensor, target: dict[str, Tensor], classes: int) -> dict[str, Tensor]:
    """Losses of dense outputs (B, C, H, W): class cross-entropy, centre focal loss, offset L1 on objects."""
    valid = target["classes"] != IGNORE  # (B, H, W)
    weight = (1 + 3 * target["edge"]) * valid
    ce = F.cross_entropy(out[:, : classes + 1], target["classes"], ignore_index=IGNORE, reduction="none")
    loss_class = (ce * weight).sum() / weight.sum().clamp(min=1)
    loss_centre = focal_loss(out[:, classes + 1], target["centre"], valid)
    inside = (target["classes"] > 0).unsqueeze(1)
    l1 = F.smooth_l1_loss(out[:, classes + 2 : classes + 4], target["offset"], reduction="none", beta=1.0)
    loss_offset = (l1 * inside).sum() / (2 * inside.sum()).clamp(min=1)
    return {"class": loss_class, "centre": loss_centre, "offset": 0.1 * loss_offset}


def focal_loss(heat: Tensor, truth: Tensor, valid: Tensor) -> Tensor:
    """Penalty-reduced focal loss of a heat-map's logits (CenterNet, eq. 1; alpha 2, beta 4), over its peaks."""
    log_p, log_q = F.logsigmoid(heat), F.logsigmoid(-heat)
    peak = (truth > 0.95) & valid
    focal = torch.where(
        peak, -((-heat).sigmoid() ** 2) * log_p, -((1 - truth) ** 4) * (heat.sigmoid() ** 2) * log_q * valid
    )
    return focal.sum() / peak.sum().clamp(min=1)
