"""Small data that tests are run on: drawn, never read from a file."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np

from synthgen import plugins
from synthgen.formats import Format
from synthgen.geometry import labels_from_ids
from synthgen.images import hash_image
from synthgen.seeds import rng_of, seed_of
from synthgen.store import labels_to_json
from synthgen.types import Context, Image, Sample, Size, Task

SMALLEST = 12  # px that must be left of a drawn object once others lie over it
TINY_PIXELS: tuple[Size, ...] = ((1, 1), (1, 40), (40, 1), (33, 31), (64, 80))


def tiny_real(n: int = 4, size: Size = (64, 80), classes: int = 2, seed: int = 0) -> list[Sample]:
    """Small labelled images as a person would give them: textured ellipses on an uneven ground.

    Each holds about eight objects, classes in turn, class k brighter than class k − 1; among them a pair that
    touches, one that the border cuts and, in the first image, one of few pixels. Ids are `real-000000`, …;
    the same arguments give the same bytes.
    """
    return [_drawn(k, size, classes, rng_of(seed_of(seed, "tiny_real", k))) for k in range(n)]


def _drawn(number: int, size: Size, classes: int, rng: np.random.Generator) -> Sample:
    H, W = size
    y, x = np.mgrid[0:H, 0:W].astype(np.float64)
    picture = 40 + 20 * np.sin(x / W * 3 + rng.uniform(0, 6)) + 15 * y / H
    ids, kinds = np.zeros(size, np.int32), {}
    scale = min(H, W) / 64
    # A grid with jitter keeps most objects apart; the second stands against the first, the third over the border.
    places = [(cy, cx) for cy in np.arange(13, 64, 20) * H / 64 for cx in np.arange(12, 80, 22) * W / 80]
    order = rng.permutation(len(places))
    for k, place in enumerate(order[:9]):
        cy, cx = np.asarray(places[place]) + rng.normal(0, 1.5, 2)
        a, b = np.sort(rng.uniform(4.5, 8, 2) * scale)
        turn = rng.uniform(0, np.pi)
        if k == 1:
            cy, cx = places[order[0]][0], places[order[0]][1] + 12 * scale
        elif k == 2:
            cy = 0.0
        elif k == 8 and number == 0:
            a = b = 2.2
        u, v = np.cos(turn) * (x - cx) + np.sin(turn) * (y - cy), np.cos(turn) * (y - cy) - np.sin(turn) * (x - cx)
        inside = ((u / b) ** 2 + (v / a) ** 2 <= 1) & ((ids == 0) | (ids == 1))
        if not inside.any():
            continue
        ids[inside] = k + 1
        kinds[k + 1] = k % classes
        texture = 12 * np.sin(u * 1.3) * np.cos(v * 0.9)
        picture[inside] = (120 + 90 * (k % classes + 1) / classes + texture)[inside]
    for k in list(kinds):
        if np.count_nonzero(ids == k) < SMALLEST:
            ids[ids == k] = 0
    colour = np.asarray([1.0, 0.92, 0.8])
    image = np.clip(picture[..., None] * colour + rng.normal(0, 3, (H, W, 3)), 0, 255).astype(np.uint8)
    labels = labels_from_ids(ids, kinds, reviewed="human")
    return Sample(f"real-{number:06d}", image, labels, meta={"file": f"real-{number}.png"})


def tiny_images() -> list[Image]:
    """Images that have broken some labeler: of one pixel, of one row, of one column, black, white, of odd sides."""
    rng = rng_of(5)
    noise = [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in TINY_PIXELS]
    return [*noise, np.zeros((40, 40, 3), np.uint8), np.full((32, 48, 3), 255, np.uint8), tiny_real(1)[0].image]


def tiny_context(folder: Path, task: Task = "instances", classes: int = 2) -> Context:
    """A context as a run would give it: one thread, on the CPU, a folder to work in."""
    return Context(11, task, tuple(f"class {k}" for k in range(classes)), folder)


def tiny_recipe(folder: Path) -> Path:
    """The path of a recipe on data written beside it: a seed of 4 images and a test of 5 as COCO, a pool of 5.

    It trains for a few seconds. Overrides make it another one: `load(tiny_recipe(tmp), ["generate.a.use=dots"])`.
    """
    classes = ["class 0", "class 1"]
    for name, form, samples in (
        ("seed", "coco", tiny_real(4, seed=1)),
        ("pool", "images", tiny_real(5, seed=2)),
        ("test", "coco", tiny_real(5, seed=3)),
    ):
        writer: Format = plugins.build("formats", form, {})
        writer.write(samples, folder / name, classes)
    train = {"use": "labeler", "weights": "random", "steps": 4, "batch": 2, "crop": 32, "width": 8}
    recipe = {
        "schema": "synthgen/1",
        "name": "tiny",
        "task": "instances",
        "seed": 7,
        "classes": classes,
        "shard_size": 4,
        "data": {
            "seed": {"path": "seed", "format": "coco"},
            "pool": {"path": "pool", "format": "images"},
            "test": {"path": "test", "format": "coco"},
        },
        "generate": [{"name": "a", "use": "compose", "layout": "resample", "count": 12}],
        "train": {**train, "calibration_folds": 2},
        "label": {"tta": False},
        "evaluate": {"permutations": 19},
        "export": ["coco", "yolo"],
        "run": {"out": str(folder / "runs"), "device": "cpu", "workers": 1},
    }
    path = folder / "recipe.yaml"
    path.write_text(json.dumps(recipe, indent=1) + "\n")  # JSON is YAML too
    return path


def digest(sample: Sample) -> str:
    """A hash of everything that a sample is: pixels, labels, origin, id and meta."""
    o = sample.origin
    labels = None if sample.labels is None else labels_to_json(sample.labels)
    about = {
        "id": sample.id,
        "meta": dict(sample.meta),
        "labels": labels,
        "origin": [o.kind, o.maker, o.version, o.weights, o.seed, list(o.parents), o.known_by],
    }
    text = json.dumps(about, sort_keys=True, default=str)
    return hashlib.sha256((hash_image(sample.image) + text).encode()).hexdigest()
