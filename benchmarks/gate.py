"""The gate judged: how often it cries wolf on real against real, and how often it sees a planted defect.

    python benchmarks/gate.py [--draws 200] [--defect-draws 20] [--data fashion nuclei]

False alarms: the labelled real images are shuffled and dealt into the parts `synthetic`, `seed` and `pool`, so that
nothing differs but chance; a check alarms in a draw when any of its measurements warns or fails. Its rate stands beside
its exact 95 % interval and the level of the check (0.05). Defects: the part called synthetic is damaged in one known
way; the table says how often each check alarmed. Fashion: 28-px photographs with a class. Nuclei: quarters of the
sixteen labelled tiles, 64 px, with masks.
"""

from __future__ import annotations

import argparse
import io
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import PIL.Image

from synthgen import plugins
from synthgen.checks import run_checks, verdict_of
from synthgen.checks.realism import Realism
from synthgen.formats import Reading
from synthgen.formats.detect import open_dataset
from synthgen.geometry import decode, labels_from_masks
from synthgen.metrics.bounds import clopper_pearson
from synthgen.metrics.features import common_size, handcrafted, one_path, spectrum
from synthgen.metrics.ladder import Rung
from synthgen.seeds import rng_of, seed_of
from synthgen.types import Evidence, Image, Labels, Origin, Sample, Task

ASSETS = Path(__file__).parent.parent / "assets"
CHECKS = ("integrity", "realism", "diversity", "drift", "appearance", "leakage", "mask_shift", "copying")
PARTS = {"realism": {"seed against": "realism, seed", "MMD²": "realism, MMD²"}}  # tests at a level of their own
ROWS = ("integrity", "realism", "realism, MMD²", "realism, seed", *CHECKS[2:])
LEVEL = 0.05
ALARM = ("warn", "fail", "error")
Damage = Callable[[list[Sample], list[Sample], np.random.Generator], list[Sample]]


def fashion() -> tuple[list[Sample], tuple[str, ...], Task, tuple[int, int, int]]:
    """The labelled photographs, and how many of them go into synthetic, seed and pool."""
    classes = tuple(plugins.build("formats", "shards", {}).classes(ASSETS / "fashion/test"))
    samples = [replace(s, id=f"{part}-{s.id}") for part in ("seed", "test")
               for s in open_dataset(ASSETS / f"fashion/{part}", "shards", classes, Reading()) if isinstance(s, Sample)]
    return samples, classes, "classify", (120, 50, 800)


def nuclei() -> tuple[list[Sample], tuple[str, ...], Task, tuple[int, int, int]]:
    """Quarters of the labelled tiles."""
    whole = [replace(s, id=f"{part}-{s.id}") for part in ("seed", "pool-truth", "test")
             for s in open_dataset(ASSETS / f"nuclei/{part}", "coco", ("nucleus",), Reading()) if isinstance(s, Sample)]
    return [_cut(s, y, x) for s in whole for y in (0, 64) for x in (0, 64)], ("nucleus",), "instances", (24, 16, 24)


def _cut(sample: Sample, y: int, x: int, side: int = 64) -> Sample:
    labels = sample.labels
    assert labels is not None
    assert labels.masks is not None
    masks = decode(labels.masks, labels.size)[:, y:y + side, x:x + side]
    keep = masks.any((1, 2))
    return Sample(f"{sample.id}-{y}-{x}", sample.image[y:y + side, x:x + side],
                  labels_from_masks(masks[keep], labels.classes[keep]), sample.origin)


def looks(change: Callable[[Image, np.random.Generator], Image]) -> Damage:
    """Damage that changes pixels alone."""
    return lambda synthetic, _, rng: [replace(s, image=change(s.image, rng)) for s in synthetic]


def _jpeg(image: Image, _: np.random.Generator) -> Image:
    out = io.BytesIO()
    PIL.Image.fromarray(image).save(out, "JPEG", quality=50)
    return np.asarray(PIL.Image.open(out), np.uint8)


def _cast(image: Image, _: np.random.Generator) -> Image:
    return np.clip(image * np.array([1.12, 1.0, 0.86]) + np.array([6, 0, 0]), 0, 255).astype(np.uint8)


def _noise(image: Image, rng: np.random.Generator) -> Image:
    return np.clip(np.rint(image + rng.normal(0, 8, image.shape)), 0, 255).astype(np.uint8)


def copies(synthetic: list[Sample], seed: list[Sample], rng: np.random.Generator) -> list[Sample]:
    """One in twenty is a seed image with a little noise, mirrored or not."""
    for k in range(max(1, len(synthetic) // 20)):
        image = seed[int(rng.integers(len(seed)))].image
        noisy = np.clip(image + rng.normal(0, 4, image.shape), 0, 255).astype(np.uint8)
        synthetic[k] = replace(synthetic[k], image=noisy[:, ::-1].copy() if k % 2 else noisy)
    return synthetic


def dropped(synthetic: list[Sample], _: list[Sample], rng: np.random.Generator) -> list[Sample]:
    """Three classes are not drawn at all."""
    gone = set(rng.choice(10, 3, replace=False).tolist())
    rest = [s for s in synthetic if s.labels is not None and s.labels.image_class not in gone]
    return [replace(rest[k % len(rest)], id=f"{rest[k % len(rest)].id}-{k}") for k in range(len(synthetic))]


def prior(synthetic: list[Sample], _: list[Sample], rng: np.random.Generator) -> list[Sample]:
    """Half of the classes are three times as frequent as the others."""
    often = set(rng.choice(10, 5, replace=False).tolist())
    weight = np.array([3.0 if s.labels is not None and s.labels.image_class in often else 1.0 for s in synthetic])
    picks = rng.choice(len(synthetic), len(synthetic), p=weight / weight.sum())
    return [replace(synthetic[int(p)], id=f"{synthetic[int(p)].id}-{k}") for k, p in enumerate(picks)]


def watermark(synthetic: list[Sample], _: list[Sample], __: np.random.Generator) -> list[Sample]:
    """Classes 0 to 4 carry a faint checkerboard."""
    out = []
    for s in synthetic:
        assert s.labels is not None
        board = 6 * ((np.indices(s.image.shape[:2]).sum(0) % 2) * 2 - 1)[..., None]
        marked = np.clip(s.image + board, 0, 255).astype(np.uint8)
        out.append(replace(s, image=marked) if (s.labels.image_class or 0) < 5 else s)
    return out


def masks(change: Callable[[np.ndarray, np.random.Generator], np.ndarray]) -> Damage:
    """Damage that changes masks alone."""
    def damaged(labels: Labels, rng: np.random.Generator) -> Labels:
        assert labels.masks is not None
        new = np.stack([change(m, rng) for m in decode(labels.masks, labels.size)]) if len(labels) else \
            np.zeros((0, *labels.size), bool)
        # One owner per pixel, as what we make has.
        taken = np.zeros(labels.size, bool)
        for k in range(len(new)):
            new[k] &= ~taken
            taken |= new[k]
        keep = new.any((1, 2))
        return labels_from_masks(new[keep], labels.classes[keep])

    return lambda synthetic, _, rng: [replace(s, labels=damaged(s.labels, rng)) for s in synthetic
                                      if s.labels is not None]


def _shifted(mask: np.ndarray, _: np.random.Generator) -> np.ndarray:
    return np.roll(mask, (4, 3), (0, 1))


def _grown(mask: np.ndarray, _: np.random.Generator) -> np.ndarray:
    return cv2.dilate(mask.astype(np.uint8), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (7, 7))).astype(bool)


DEFECTS: dict[str, dict[str, tuple[Damage, tuple[str, ...]]]] = {
    "fashion": {
        "blur 0.7 px": (looks(lambda image, _: cv2.GaussianBlur(image, (0, 0), 0.7)), ("realism", "appearance")),
        "noise of 8 levels": (looks(_noise), ("realism", "appearance")),
        "JPEG at quality 50": (looks(_jpeg), ("realism",)),
        "colour cast": (looks(_cast), ("realism", "appearance")),
        "three classes dropped": (dropped, ("drift",)),
        "half of the classes thrice": (prior, ("drift",)),
        "5 % noisy copies of the seed": (copies, ("copying",)),
        "watermark on half of the classes": (watermark, ("leakage",)),
    },
    "nuclei": {
        "blur 0.7 px": (looks(lambda image, _: cv2.GaussianBlur(image, (0, 0), 0.7)), ("realism", "appearance")),
        "noise of 8 levels": (looks(_noise), ("realism", "appearance")),
        "masks shifted by 4, 3 px": (masks(_shifted), ("mask_shift",)),
        "masks dilated by 3 px": (masks(_grown), ("mask_shift",)),
    },
}


class Silent(Realism):
    """Realism without the severity ladder, which takes a third of the time, explains, and decides nothing."""

    @staticmethod
    def _ladder(evidence: Evidence, rng: np.random.Generator) -> dict[str, tuple[Rung, ...]]:  # noqa: ARG004
        return {}


class Deck:
    """The real images of one dataset, their features made once, dealt anew for each draw."""

    def __init__(self, name: str, permutations: int) -> None:
        self.samples, self.classes, self.task, self.sizes = {"fashion": fashion, "nuclei": nuclei}[name]()
        self.side = common_size(s.image.shape[:2] for s in self.samples)
        self.features = self._features(self.samples)
        self.checks = []
        for check in CHECKS:
            takes = plugins.schema(plugins.find("checks", check)).get("properties", {})
            options = {"permutations": permutations} if "permutations" in takes else {}
            kind = Silent if check == "realism" else plugins.find("checks", check)
            self.checks.append((check, kind(**options)))

    def _features(self, samples: Sequence[Sample]) -> dict[str, np.ndarray]:
        images = [one_path(s.image, self.side) for s in samples]
        return {"spectrum": spectrum(images).astype(np.float32), "handcrafted": handcrafted(images).astype(np.float32)}

    def deal(self, seed: int, damage: Damage | None = None) -> list[tuple[str, str]]:
        """(row of the table, verdict) of every measurement of one draw."""
        rng = rng_of(seed_of(seed, "deal"))
        order = rng.permutation(len(self.samples))
        ends = np.cumsum(self.sizes)
        picks = {"synthetic": order[:ends[0]], "seed": order[ends[0]:ends[1]], "pool": order[ends[1]:ends[2]]}
        parts = {name: [replace(self.samples[k], origin=Origin("synthetic", "dealt", known_by="condition"))
                        if name == "synthetic" else self.samples[k] for k in ids] for name, ids in picks.items()}
        features = {name: {f: rows[ids] for f, rows in self.features.items()} for name, ids in picks.items()}
        if damage is not None:
            parts["synthetic"] = damage(parts["synthetic"], parts["seed"], rng)
            features["synthetic"] = self._features(parts["synthetic"])
        evidence = Evidence(parts["synthetic"], parts["seed"], parts["pool"], (), self.classes, self.task, features)
        found = run_checks(self.checks, evidence, seed)
        rows = [(_row(m.check, m.name), m.verdict) for m in found]
        return [*rows, ("gate", "fail" if verdict_of(found) == "fail" else "pass")]


def _row(check: str, name: str) -> str:
    return next((row for word, row in PARTS.get(check, {}).items() if word in name), check)


def alarms(deck: Deck, draws: int, first: int, damage: Damage | None = None) -> Counter[str]:
    """In how many draws each check alarmed."""
    out: Counter[str] = Counter()
    for k in range(draws):
        out.update({check for check, verdict in deck.deal(first + k, damage) if verdict in ALARM})
    return out


def main() -> None:
    """Print both tables for each dataset."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--defect-draws", type=int, default=20)
    parser.add_argument("--permutations", type=int, default=199)
    parser.add_argument("--data", nargs="+", default=["fashion", "nuclei"], choices=["fashion", "nuclei"])
    asked = parser.parse_args()
    for name in asked.data:
        began = time.monotonic()
        deck = Deck(name, asked.permutations)
        found = alarms(deck, asked.draws, 0)
        print(f"\n{name}: real against real, {asked.draws} draws of {' / '.join(map(str, deck.sizes))} images "
              "(synthetic / seed / pool)")
        for check in (*ROWS, "gate"):
            low, high = clopper_pearson(found[check], asked.draws)
            judged = "refused" if check == "gate" else "alarmed"
            ok = "within the level" if low <= LEVEL else "ABOVE THE LEVEL"
            rate = f"{found[check] / asked.draws:.3f} [{low:.3f}, {high:.3f}]"
            print(f"  {check:<14} {judged} in {found[check]:>3}: {rate}  {ok}", flush=True)
        print(f"{name}: planted defects, {asked.defect_draws} draws each; share of draws in which a check alarmed")
        print("  " + "defect".ljust(34) + "  ".join(c.replace("realism, ", "…").ljust(10) for c in ROWS))
        for defect, (damage, expected) in DEFECTS[name].items():
            hit = alarms(deck, asked.defect_draws, 10_000, damage)
            cells = [f"{hit[c] / asked.defect_draws:.2f}" + ("*" if c in expected else "") for c in ROWS]
            print("  " + defect.ljust(34) + "  ".join(cell.ljust(10) for cell in cells), flush=True)
        print(f"  (* = the check it is meant for)   {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
