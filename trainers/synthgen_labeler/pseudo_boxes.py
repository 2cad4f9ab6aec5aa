"""Learning boxes from the pool: the averaged weights say which boxes they are sure of, and the network learns these.

Pseudo-boxes with a mean teacher, as in Unbiased Teacher (Liu et al., ICLR 2021). How sure is sure enough follows from
how many boxes the labels let expect (`CountThresholds`), which needs no scale of scores. What is neither sure nor plain
background says nothing: a missed object must not be taught as background. Where a box is, is part of its score, by how
much its sides move when the image is turned (variance of jittered boxes: Soft Teacher, Xu et al., ICCV 2021, §3.3).

Centres alone are learned, no sides (Unbiased Teacher, §3.3): sides of the averaged weights lag behind, are as steady as
right ones, and taught they stay what they were: boxes came out too small, however late and lightly they were taught.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from synthgen.types import Json, Mixture
from synthgen_labeler.boxes import BoxTarget, Found, box_target, found_boxes
from synthgen_labeler.consistency import channels
from synthgen_labeler.data import boxes_of
from synthgen_labeler.inference import d4, merged_boxes
from synthgen_labeler.network import Network
from synthgen_labeler.targets import focal_loss
from synthgen_labeler.thresholds import CountThresholds
from synthgen_labeler.watch import Watch, looked_at, windows

VIEWS = (0, 2, 4, 6)  # symmetries of the square in which the teacher looks: turned by 180°, mirrored, both
LEAST_PEAK = 0.05  # of a centre: what is lower is background
LEAST_AREA = 4.0  # px²


class BoxConsistency(nn.Module):
    """The pool's term of the loss where boxes are learned; all of its state goes into a checkpoint.

    shows, shares: (K,) as `Watch` wants them. density: (K,) labelled boxes per px. steps: how many look at the pool.
    radius: of the maximum filter, px. Once the alarm has rung, the pool says nothing more.
    """

    def __init__(self, shows: list[float], shares: list[float], density: list[float], steps: int, radius: int) -> None:
        super().__init__()
        self.radius = radius
        self.thresholds = CountThresholds(density)
        self.watch = Watch(shows, shares, steps)

    def forward(self, student: Network, teacher: Network, batch: dict[str, Tensor], seed: int) -> Tensor | None:
        """The loss of a batch's views; None without any, or after the alarm. seed: of the dropped channels."""
        if "weak" not in batch or self.watch.rung:
            return None
        target = self.answer(teacher, batch)
        strong, shape = batch["strong"], student.shape
        drops = torch.Generator().manual_seed(seed)
        losses = []
        for image, keep in zip(strong, channels(student.encoder.channels, len(batch["weak"]), len(strong), drops),
                               strict=True):
            image = image.contiguous(memory_format=torch.channels_last)
            out = student(image, [k.to(image.device) for k in keep])
            losses.append(focal_loss(out[:, : shape.classes], target["heat"], target["valid"].unsqueeze(1)))
        return torch.stack(losses).mean()

    @torch.no_grad()
    def answer(self, teacher: Network, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Heat-maps (n, K, H, W) and where they say something (n, H, W), for the views of a batch; moves the thresholds
        and tells the watch."""
        weak, valid = batch["weak"], batch["valid"].cpu().numpy()
        found = self.found(teacher, weak, valid)
        K = self.watch.classes
        seen = [torch.from_numpy(np.concatenate([f.scores[f.classes == c] for f in found])) for c in range(K)]
        self.thresholds.update(seen, int(valid.sum()))
        sure, doubted = (level.numpy() for level in self.thresholds.each())
        kept = np.array([np.bincount(f.classes[f.scores >= sure[f.classes]], minlength=K) for f in found])
        named = np.array([np.bincount(f.classes[f.scores >= doubted[f.classes]], minlength=K) for f in found]).sum(0)
        self.watch.see(*(torch.from_numpy(x).to(weak.device) for x in (kept, named)))
        targets = [taught(f, sure, doubted, K, v) for f, v in zip(found, valid, strict=True)]
        return {name: torch.from_numpy(np.stack([getattr(t, name) for t in targets])).to(weak.device)
                for name in ("heat", "valid")}

    def found(self, teacher: Network, weak: Tensor, valid: NDArray[np.bool_]) -> list[Found]:
        """What the teacher finds in each image (n, 3, s, s), in several views of it; nothing in padding."""
        outs = [teacher(d4(weak, k).contiguous(memory_format=torch.channels_last)) for k in VIEWS]
        K = teacher.shape.classes
        merged = merged_boxes(outs, VIEWS, K, teacher.shape.scale).cpu().numpy() * valid[:, None]
        return [found_boxes(one[:K], one[K : K + 4], one[K + 4], radius=self.radius, threshold=LEAST_PEAK,
                            min_area=LEAST_AREA) for one in merged]

    def facts(self, step: int) -> dict[str, Json]:
        """What the curve keeps of the steps since it was last asked: shares by class, and the thresholds now."""
        sure, _ = self.thresholds.each()
        return {"step": step, **self.watch.since(), "threshold": [round(float(t), 4) for t in sure]}


def taught(
    found: Found, sure: NDArray[np.float64], doubted: NDArray[np.float64], classes: int, valid: NDArray[np.bool_]
) -> BoxTarget:
    """Boxes from the score `sure[class]` on are taught; where there is a box from `doubted[class]` on that is not sure,
    nothing is said, but for the sure ones that reach into it. valid: (H, W)."""
    certain, likely = found.scores >= sure[found.classes], found.scores >= doubted[found.classes]
    said = valid.copy()
    for inside, value in ((found.boxes[likely & ~certain], False), (found.boxes[certain], True)):
        for x0, y0, x1, y1 in np.round(inside).astype(int):
            said[y0:y1, x0:x1] = value & valid[y0:y1, x0:x1]
    kept = found.of(certain)
    return box_target(kept.boxes, kept.classes, classes, said)


def boxes_in_labels(train: Mixture, classes: int, side: int) -> tuple[list[float], list[float], list[float]]:
    """Per class: share of windows of side × side px that show a box's middle, share of all boxes, and boxes per px that
    is not ignored; of the images that `looked_at` names."""
    shows, boxes, pixels, n = np.zeros(classes), np.zeros(classes), 0, 0
    for k in looked_at(train):
        _, ids, found, of = boxes_of(train.samples[k])
        boxes, pixels = boxes + np.bincount(of, minlength=classes), pixels + int((ids == 0).sum())
        x, y = ((found[:, :2] + found[:, 2:]) / 2).T
        for rows, columns in windows((ids.shape[0], ids.shape[1]), side):
            here = (y >= rows.start) & (y < rows.stop) & (x >= columns.start) & (x < columns.stop)
            shows, n = shows + (np.bincount(of[here], minlength=classes) > 0), n + 1
    return (shows / max(1, n)).tolist(), (boxes / max(1.0, boxes.sum())).tolist(), (boxes / max(1, pixels)).tolist()
