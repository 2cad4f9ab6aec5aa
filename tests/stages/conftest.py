"""A whole line in seconds: tiny data, a generator and a trainer that need no training."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass as plain
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from synthgen import plugins
from synthgen.geometry import labels_from_ids
from synthgen.recipe.load import Loaded, load
from synthgen.run import run
from synthgen.testing import tiny_recipe
from synthgen.types import Context, Dataset, Image, Json, Labels, Mixture, Origin, Sample

OPTIONS = ConfigDict(extra="forbid")


@dataclass(kw_only=True, config=OPTIONS)
class Copies:
    """Gives one image of the seed again and again: as a negative, as it is, or with boxes that are not the masks'."""

    as_it_is: bool = False
    bad_box: bool = False
    varied: bool = False

    def __post_init__(self) -> None:
        self.real: list[Sample] = []

    def fit(self, real: Dataset, pool: Dataset, context: Context) -> None:
        self.real = list(real)[:1]

    def sample(self, seeds: Sequence[int]) -> Iterator[Sample]:
        for seed in seeds:
            one = self.real[0]
            assert one.labels is not None
            image = one.image if self.as_it_is else 255 - one.image
            if self.bad_box or self.varied:
                image = image // 2 + seed % 97
            origin = Origin("synthetic", "copies", seed=seed, parents=(one.id,), known_by="construction")
            yield Sample(f"copy-{seed}", image, replace(one.labels, boxes=one.labels.boxes + self.bad_box), origin)

    def save(self, folder: Path) -> None:
        from synthgen.store import write_all

        write_all(folder, self.real)

    def load(self, folder: Path, device: str = "cpu") -> None:
        from synthgen.store import Stored

        self.real = list(Stored(folder))


@plain
class ThresholdLabeler:
    """Bright things are objects, very bright ones of class 1."""

    level: int

    def label(self, images: Sequence[Image], *, tta: bool = True) -> Iterator[Labels]:
        for image in images:
            grey = image.mean(-1)
            n, ids = cv2.connectedComponents((cv2.blur(grey, (3, 3)) > self.level).astype(np.uint8))
            classes = {k: int(grey[ids == k].mean() > 160) for k in range(1, n) if (ids == k).sum() >= 12}
            labels = labels_from_ids(np.where(np.isin(ids, list(classes)), ids, 0), classes, reviewed="model")
            scores = np.linspace(0.05, 0.95, len(labels), dtype=np.float32)
            yield replace(labels, scores=scores)

    def features(self, images: Sequence[Image]) -> Any:
        return np.asarray([[i.mean(), i.std(), 1] for i in images], np.float32).reshape(-1, 3)

    def save(self, folder: Path) -> None:
        (folder / "labeler.json").write_text(json.dumps(self.level))


@dataclass(kw_only=True, config=OPTIONS)
class Threshold:
    """A trainer that learns nothing."""

    level: int = 100

    def fit(self, train: Mixture, val: Dataset, pool: Dataset, context: Context) -> ThresholdLabeler:
        assert len(train.samples)
        return ThresholdLabeler(self.level)

    def calibrate(self, labeler: Any, held_out: Any) -> Any:
        return labeler

    def load(self, folder: Path, device: str = "cpu", threads: int = 1) -> ThresholdLabeler:
        return ThresholdLabeler(json.loads((folder / "labeler.json").read_text()))


@plain
class Point:
    """An entry point of these tests."""

    name: str
    value: str
    kind: type
    dist: None = None

    def load(self) -> type:
        return self.kind


@pytest.fixture(autouse=True)
def _our_plug_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    known = plugins._points
    ours = {
        "generators": (Point("copies", "tests:Copies", Copies),),
        "trainers": (Point("threshold", "tests:Threshold", Threshold),),
    }
    monkeypatch.setattr(plugins, "_points", lambda group: (*known(group), *ours.get(group, ())))


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str, type], None]:
    """Adds a plug-in of a test to those that are installed: group, name, class."""

    def add(group: str, name: str, kind: type) -> None:
        known = plugins._points
        point = Point(name, f"tests:{kind.__name__}", kind)
        monkeypatch.setattr(plugins, "_points", lambda asked: (*known(asked), *((point,) if asked == group else ())))

    return add


class Project:
    """A recipe on disk that a test may change."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.recipe = folder, tiny_recipe(folder)
        self.run_folder = folder / "runs" / "tiny"
        self.told: list[tuple[str, str, str | None]] = []
        self.change(
            train={"use": "threshold", "calibration_folds": 2},
            evaluate={"permutations": 19, "gate": [{"check": "integrity"}]},
        )

    def change(self, **sections: Json) -> None:
        """Replace sections of the recipe."""
        self.recipe.write_text(json.dumps({**json.loads(self.recipe.read_text()), **sections}))

    def load(self, *overrides: str) -> Loaded:
        return load(self.recipe, overrides)

    def run(self, *overrides: str, until: str | None = None) -> Json:
        """Run the line; `made` then says what was made and why."""
        self.told = []
        return run(self.load(*overrides), lambda what, done, total: None, lambda *step: self.told.append(step), until)

    @property
    def made(self) -> dict[str, str]:
        return {unit: why for _, unit, why in self.told if why is not None}

    def json(self, path: str) -> Json:
        return json.loads((self.run_folder / path).read_text())


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


@pytest.fixture(scope="session")
def tree() -> Callable[[Path], dict[str, bytes]]:
    """Every file of a folder with its bytes."""
    return lambda folder: {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()
    }
