"""What the agreement filter finds and what it costs, on real nuclei: wrong labels are planted in the four test tiles,
and two labelers are asked that each learned from six other tiles.

    python benchmarks/agreement_filter.py --steps 300

Prints two tables. Pixels: FreeMask's rule as published, with the guard that what is held for likely is never disputed,
and without regions that are no deeper than in real images, which is what the filter does. Instances: the bar on the
best IoU, on the mean probability, on the mean of both and on the larger.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np

from synthgen import plugins
from synthgen.formats import Reading
from synthgen.formats.detect import open_dataset
from synthgen.geometry import decode, labels_from_masks
from synthgen.metrics import consistency as rule
from synthgen.metrics.consistency import Floats
from synthgen.seeds import rng_of
from synthgen.stages.opinions import held
from synthgen.types import Context, Image, Labels, Mixture, Sample

ASSETS = Path(__file__).parents[1] / "assets/nuclei"
KINDS = ("right", "moved by 3 px", "moved by 5 px", "moved by 8 px", "not in the image", "not in the labels")


def tiles(*parts: str) -> list[Sample]:
    return [s for part in parts for s in open_dataset(ASSETS / part, "coco", ("nucleus",), Reading(), None, False)
            if isinstance(s, Sample)]


def planted(sample: Sample, kind: str) -> Iterator[tuple[Image, Labels, np.ndarray, list[int]]]:
    """Image, labels, (H, W) bool which pixels are labelled wrongly, and which instances are wrong."""
    masks = decode(sample.labels.masks, sample.labels.size)
    n = len(masks)
    if kind == "right":
        yield sample.image, sample.labels, np.zeros(sample.labels.size, bool), []
    elif kind.startswith("moved"):
        step = int(kind.split()[2])
        moved = np.roll(masks, (step, step), (1, 2))
        yield sample.image, labels_from_masks(moved, [0] * n), masks.any(0) ^ moved.any(0), list(range(n))
    else:
        for k, mask in enumerate(masks):
            image, labels, wrong = sample.image.copy(), sample.labels, [k]
            if kind == "not in the labels":
                labels, wrong = labels_from_masks(np.delete(masks, k, 0), [0] * (n - 1)), []
            else:
                wiped, ground = cv2.dilate(mask.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0, image[~masks.any(0)]
                image[wiped] = ground[rng_of(k).integers(0, len(ground), np.count_nonzero(wiped))]
            yield image, labels, mask, wrong


def asked(labelers: list, image: Image, labels: Labels) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean loss (H, W), mean best IoU (N,), mean probability (N,)."""
    target, out = rule.target_of(labels), []
    for labeler in labelers:
        (probs,), (pred,) = labeler.probabilities([image]), labeler.label([image], tta=False)
        out.append((rule.cross_entropy(probs, target), rule.found(pred, labels, "instances"), held(probs, labels)))
    return tuple(np.mean(column, 0) for column in zip(*out, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=300)
    steps = parser.parse_args().steps
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
    real, trainer, held_out = tiles("seed", "pool-truth"), plugins.build("trainers", "labeler", {"steps": steps}), []
    for k in range(2):
        mine = [s for i, s in enumerate(real) if i % 2 != k]
        mix = Mixture(mine, np.ones(len(mine), bool), np.full(len(mine), 1 / len(mine)))
        with tempfile.TemporaryDirectory() as folder:
            context = Context(3, "instances", ("nucleus",), Path(folder))
            held_out.append((trainer.fit(mix, [], [], context), real[k::2]))
    labelers = [labeler for labeler, _ in held_out]

    heard = [(*asked([labeler], s.image, s.labels), s.labels) for labeler, part in held_out for s in part]
    pairs = [rule.class_sums(loss, rule.target_of(labels), 2) for loss, _, _, labels in heard]
    means = sum(s for s, _ in pairs) / sum(n for _, n in pairs)
    iou, p = (np.concatenate([row[k] for row in heard]) for k in (1, 2))
    scores: dict[str, Callable[[Floats, Floats], Floats]] = {
        "best IoU": lambda i, _: i, "probability": lambda _, q: q, "mean of both": lambda i, q: (i + q) / 2,
        "larger of both": np.maximum}
    bars = {name: rule.lower_bar(score(iou, p), 0.05) for name, score in scores.items()}
    print(f"{steps} steps; mean loss on held-out tiles: background {means[0]:.3f}, nucleus {means[1]:.3f}")
    print("bars: " + ", ".join(f"{name} {bar.at:.3f}" for name, bar in bars.items()) + f" (n = {len(iou)}, 5 %)\n")

    def published(loss: np.ndarray, target: np.ndarray) -> np.ndarray:
        return loss > (1.25 * means)[target]

    def guarded(loss: np.ndarray, target: np.ndarray) -> np.ndarray:
        return rule.disputed(loss, target, means, 1.25)

    regions = np.concatenate([rule.depths(guarded(loss, rule.target_of(labels))) for loss, _, _, labels in heard])
    rim = rule.upper_bar(regions, 0.05)
    print(f"disputed regions on held-out tiles: {rim.n}, all but {rim.share:.1%} up to {rim.at:.2f} px deep\n")
    rules = {"FreeMask": published, "with guard": guarded,
             "with depth": lambda loss, target: rule.deep(guarded(loss, target), rim.at)}
    pixels, instances = [], []
    for kind in KINDS:
        wrong = {name: [0, 0, 0, 0] for name in rules}
        lost = {name: [0, 0] for name in scores}
        for sample in tiles("test"):
            for image, labels, where, bad in planted(sample, kind):
                loss, i, q = asked(labelers, image, labels)
                for name, row in wrong.items():
                    away = rules[name](loss, rule.target_of(labels))
                    row[:] = np.add(row, [(where & away).sum(), where.sum(), (~where & away).sum(), (~where).sum()])
                chosen = bad if kind != "right" else range(len(labels))
                for name, score in scores.items():
                    lost[name][0] += int((score(i, q)[list(chosen)] < bars[name].at).sum())
                    lost[name][1] += len(chosen)
        pixels.append([kind, *(f"{r[0] / r[1]:.0%}" if r[1] else "–" for r in wrong.values()),
                       *(f"{r[2] / r[3]:.1%}" for r in wrong.values())])
        instances.append([kind, *(f"{a} of {b}" if b else "–" for a, b in lost.values())])
    columns = [f"wrong px ignored: {name}" for name in rules] + [f"right px lost: {name}" for name in rules]
    for head, rows in (("labels", *columns), pixels), (("labels", *(f"dropped by {s}" for s in scores)), instances):
        print("| " + " | ".join(head) + " |\n|" + "---|" * len(head))
        print("\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n")


if __name__ == "__main__":
    main()
