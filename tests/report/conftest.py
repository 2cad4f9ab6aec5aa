"""A run folder as `run` leaves it, made by hand from tiny images: no training, no stage is run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synthgen.geometry import labels_from_masks
from synthgen.metrics.accuracy import score_image
from synthgen.store import write_all, write_atomic, write_json
from synthgen.types import Json, Labels, Origin, Sample, State


@dataclass(frozen=True)
class Fabric:
    """What a fabricated run holds, and how far it went."""

    name: str = "dots"
    task: str = "instances"
    classes: tuple[str, ...] = ("dot",)
    pool: bool = True
    test: bool = True
    synthetic: bool = True
    until: str = "7-export"
    verdict: str = "warn"
    utility: str = "INCONCLUSIVE"
    quarantined: tuple[str, ...] = ()     # ids that the screen took out
    answers: bool = True                  # 6-evaluate holds the labels that the test images got


def dots(
    seed: int, prefix: str, n: int, classes: int = 1, task: str = "instances", file: str = "{}.png"
) -> list[Sample]:
    """n dim images of 40 × 48 px with two or three squares each."""
    rng = np.random.default_rng(seed)
    out = []
    for k in range(n):
        image = rng.integers(0, 12, (40, 48, 3)).astype(np.uint8)
        masks = np.zeros((2 + k % 2, 40, 48), bool)
        for j, mask in enumerate(masks):
            y, x = int(rng.integers(2, 28)), 3 + 15 * j
            mask[y:y + 8, x:x + 7 + k % 3] = True
            image[mask] = 40 + 15 * j
        labels = labels_from_masks(masks, [(j + k) % classes for j in range(len(masks))], reviewed="human")
        if task == "classify":
            labels = Labels(size=(40, 48), image_class=k % classes)
        out.append(Sample(f"{prefix}-{k:06d}", image, labels, Origin("real"), {"file": file.format(f"{prefix}-{k}")}))
    return out


def measurement(check: str, name: str, verdict: str, why: str, **more: Any) -> Json:
    """A measurement as the verdict holds it."""
    return {
        "check": check,
        "name": name,
        "verdict": verdict,
        "value": None,
        "unit": "",
        "why": why,
        "interval": None,
        "null": None,
        "detectable": None,
        "p": None,
        "n": [6, 4],
        "remedy": "",
        "hard": False,
        "worst": [],
        **more,
    }


@pytest.fixture
def measured() -> Callable[..., Json]:
    """Make a measurement."""
    return measurement


@pytest.fixture
def fabricate(tmp_path: Path) -> Callable[..., Path]:
    """Make a run folder; gives its path."""
    return lambda **wanted: weave(tmp_path / "runs", Fabric(**wanted))


def weave(runs: Path, fabric: Fabric) -> Path:
    """The run folder of a fabric."""
    folder = runs / fabric.name
    resolved: dict[str, Any] = {
        "schema": "synthgen/1",
        "name": fabric.name,
        "task": fabric.task,
        "classes": list(fabric.classes),
        "shard_size": 4,
        "data": {"seed": {"path": "/nowhere/seed"}},
        "train": {"use": "labeler", "steps": 5},
        "export": ["coco"],
        "generate": [{"name": "paste", "use": "compose", "count": 6}] if fabric.synthetic else [],
    }
    for name in ("pool", "test"):
        if getattr(fabric, name):
            resolved["data"][name] = {"path": f"/nowhere/{name}"}
    parts = _parts(fabric)
    units = dict.fromkeys(_units(fabric), "k" * 64)
    write_json(folder / "recipe.resolved.json", resolved)
    write_atomic(folder / "recipe.yaml", b"# Dots <b>on</b> grey.\nschema: synthgen/1\n")
    write_json(
        folder / "recipe.lock.json",
        {
            "synthgen": "0.1.0",
            "python": "3.11.7",
            "device": "cpu",
            "seed": 7,
            "recipe": "a" * 64,
            "overrides": ["train.steps=5"],
            "units": units,
        },
    )
    for unit in units:
        if unit.split("/")[0] <= fabric.until and not (unit.startswith("7-export") and fabric.verdict == "fail"):
            _make(folder / unit, unit, fabric, parts)
            write_json(folder / unit / "done.json", {"key": "k" * 64, "needs": {"version": "synthgen-cv 0.1.0"}})
    write_atomic(folder / "events.jsonl", b'{"time": 1.0, "what": "end", "verdict": "warn"}\n')
    return folder


def _units(fabric: Fabric) -> list[str]:
    data = ["seed"] + ["pool"] * fabric.pool + ["test"] * fabric.test + ["guard"]
    return (
        [f"0-ingest/{d}" for d in data]
        + ["1-generate/paste", "2-filter", "2-screen/quarantine", "2-screen/verdict"] * fabric.synthetic
        + ["3-mix", "4-train/mixed"]
        + ["4-train/seed-only"] * fabric.synthetic
        + ["4-train/model"]
        + ["5-label"] * fabric.pool
        + ["6-evaluate", "7-export/coco"]
    )


def _parts(fabric: Fabric) -> dict[str, list[Sample]]:
    n, task = len(fabric.classes), fabric.task
    made = [
        replace(
            s, origin=Origin("synthetic", "compose", known_by="construction"),
            meta={"blend": "hard" if k % 2 else "feather", "layout": "shape"},
        )
        for k, s in enumerate(dots(1, "paste", 6, n, task))
    ]
    pool, test = dots(2, "pool", 5, n, task), dots(3, "test", 4, n, task)
    predicted = Origin("pseudo", "labeler", known_by="model")
    return {"seed": dots(0, "seed", 4, n, task), "made": made, "pool": pool, "test": test,
            "labelled": [replace(s, labels=doubtful(s.labels), origin=predicted) for s in pool if s.labels is not None],
            "answers": [replace(s, labels=doubtful(s.labels, n)) for s in test if s.labels is not None]}


def doubtful(labels: Labels, classes: int = 1) -> Labels:
    """Labels that a labeler might give: the first object lost, the rest to review or accepted; wrong classes."""
    if labels.image_class is not None:
        return replace(labels, image_class=(labels.image_class * 2) % classes, image_score=0.7)
    possible: tuple[State, ...] = ("to_review", "accepted", "ignored")
    states = possible[: len(labels) - 1]
    assert labels.masks is not None
    return Labels(size=labels.size, classes=labels.classes[1:], boxes=labels.boxes[1:], masks=labels.masks[1:],
                  scores=np.full(len(labels) - 1, 0.4, np.float32), states=states)


def _make(folder: Path, unit: str, fabric: Fabric, parts: dict[str, list[Sample]]) -> None:
    stage, _, name = unit.partition("/")
    if stage == "0-ingest" and name == "guard":
        write_json(folder / "guard.json", {"test": {"test-000000": "h"}, "leaks": []})
    elif stage == "0-ingest":
        known = parts[name] if name != "pool" else [replace(s, labels=None) for s in parts["pool"]]
        write_all(folder, known, 4)
        write_atomic(
            folder / "quarantine.jsonl",
            b'{"file": "<script>bad</script>.png", "item": "", "what": "cut off", "action": "quarantined"}\n'
            if name == "seed"
            else b"",
        )
    elif stage == "1-generate":
        write_all(folder / "shards", parts["made"], 4)
    elif stage == "2-filter":
        write_json(folder / "summary.json", {"made": 6, "kept": 5, "reasons": {"image: double": 1}})
        write_json(folder / "index.json", {"kept": [0, 1, 2, 3, 5], "labels": {}})
        write_atomic(
            folder / "dropped.jsonl", b'{"id": "paste-000004", "reason": "the same pixels as an earlier image"}\n'
        )
    elif unit == "2-screen/quarantine":
        row = '{"id": "%s", "check": "copying", "reason": "a copy", "score": 0.1, "nearest": "seed-000000"}\n'
        write_atomic(folder / "quarantine.jsonl", "".join(row % name for name in fabric.quarantined).encode())
    elif unit == "2-screen/verdict":
        write_json(folder / "verdict.json", {"verdict": "pass", "measurements": [], "before": []})
    elif stage == "3-mix":
        write_json(folder / "summary.json", {"real": 4, "synthetic": 5, "real_share": 0.5, "classes": {}})
    elif stage == "4-train" and name != "model":
        write_json(folder / "curve.json", {"step_loss": [[1, 2.0], [5, 1.0]]})
    elif stage == "5-label":
        write_all(folder / "shards", parts["labelled"], 4)
        counts = {"accepted": 5, "to_review": 5, "ignored": 0}
        write_json(folder / "summary.json", {"images": 5, "instances": counts, "image_classes": counts, "empty": 0})
    elif stage == "6-evaluate":
        _evaluate(folder, fabric, parts)
    elif stage == "7-export":
        write_json(
            folder / "losses.json", {"images": 14, "losses": [{"what": "scores", "count": 3, "example": "pool-0"}]}
        )


def _evaluate(folder: Path, fabric: Fabric, parts: dict[str, list[Sample]]) -> None:
    records = [score_image(a.labels, t.labels) for a, t in zip(parts["answers"], parts["test"], strict=True)
               if fabric.test and a.labels is not None and t.labels is not None]
    metric = "accuracy" if fabric.task == "classify" else "ap50"
    row = {"n": len(records), **({metric: {"value": 0.6, "interval": [0.4, 0.8]}} if records else {})}
    arms = ("mixed", "real") if fabric.synthetic else ("mixed",)
    found = []
    if fabric.synthetic:
        word = {"HELPS": "pass", "NON-INFERIOR": "pass", "HARMS": "fail"}.get(fabric.utility, "inconclusive")
        found = [
            *(
                measurement("integrity", name, "pass", f"none of 5 samples: {name}", hard=True, n=[5, 0])
                for name in "abcd"
            ),
            measurement(
                "realism",
                "encoder: synthetic against pool",
                "warn",
                "by encoder features, they can be told",
                value=0.9,
                interval=[0.7, 1.0],
                null=[0.2, 0.7],
                unit="AUC",
                detectable=0.8,
                remedy="look at the worst",
                worst=["paste-000001", "paste-000004"],
            ),
            measurement(
                "utility",
                metric,
                word,
                f"{fabric.utility}: {metric} is 0.6 with and 0.5 without",
                value=0.1,
                interval=[-0.1, 0.3],
                unit=metric,
                hard=True,
                remedy="about 31 test images (now 4) would settle it",
            ),
        ]
        if fabric.verdict == "fail" and fabric.utility != "HARMS":
            found.append(
                measurement(
                    "integrity",
                    "overlap",
                    "fail",
                    "3 of 5 samples: two masks claim one pixel",
                    hard=True,
                    value=0.6,
                    remedy="mend the generator",
                )
            )
    write_json(folder / "scores.json", {"test": {a: {"per_image": records} for a in arms}, "pool": []})
    write_json(
        folder / "verdict.json",
        {"verdict": fabric.verdict, "measurements": found, "test": dict.fromkeys(arms, row), "pool": None},
    )
    if fabric.answers and fabric.test:
        write_all(folder / "test-labels", parts["answers"], 4)
