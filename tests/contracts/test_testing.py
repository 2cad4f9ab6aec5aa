"""The conformance checks bite: each broken plug-in below breaks one promise, and is told which."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synthgen.formats import Loss, Problem
from synthgen.formats.shards import Shards
from synthgen.geometry import labels_from_masks
from synthgen.seeds import rng_of
from synthgen.testing import (
    check_check,
    check_format,
    check_generator,
    check_trainer,
    digest,
    tiny_context,
    tiny_images,
    tiny_real,
)
from synthgen.types import Context, Dataset, Evidence, Labels, Measurement, Mixture, Origin, Sample


class Good:
    """Dots, one per image, where the seed says."""

    def fit(self, real: Dataset, pool: Dataset, context: Context) -> None:
        self.ground = int(np.mean([s.image.mean() for s in real]))
        self.parents = tuple(s.id for s in real)

    def sample(self, seeds: Sequence[int]) -> Iterator[Sample]:
        return (self.one(seed) for seed in seeds)

    def one(self, seed: int) -> Sample:
        mask = np.zeros((1, 20, 24), bool)
        y, x = rng_of(seed).integers(0, 16, 2)
        mask[0, y : y + 4, x : x + 4] = True
        image = np.full((20, 24, 3), self.ground, np.uint8)
        image[mask[0]] = 255
        origin = Origin("synthetic", "good", seed=seed, parents=self.parents, known_by="construction")
        return Sample(f"good-{seed}", image, labels_from_masks(mask, [0]), origin)

    def save(self, folder: Path) -> None:
        (folder / "x.txt").write_text(f"{self.ground} {' '.join(self.parents)}")

    def load(self, folder: Path, device: str = "cpu") -> None:
        ground, *parents = (folder / "x.txt").read_text().split()
        self.ground, self.parents = int(ground), tuple(parents)


class Counts(Good):
    def sample(self, seeds: Sequence[int]) -> Iterator[Sample]:
        return (self.one(seed + k) for k, seed in enumerate(seeds))


class Remembers(Good):
    drawn = 0

    def one(self, seed: int) -> Sample:
        self.drawn += 1
        sample = super().one(seed)
        return replace(sample, image=sample.image // self.drawn)


class LosesOne(Good):
    def sample(self, seeds: Sequence[int]) -> Iterator[Sample]:
        return (self.one(seed) for seed in seeds[1:])


class WrongBox(Good):
    def one(self, seed: int) -> Sample:
        sample = super().one(seed)
        return replace(sample, labels=replace(sample.labels, boxes=sample.labels.boxes + 1))


class SaysReal(Good):
    def one(self, seed: int) -> Sample:
        return replace(super().one(seed), origin=replace(super().one(seed).origin, kind="real"))


class Orphan(Good):
    def one(self, seed: int) -> Sample:
        return replace(super().one(seed), origin=replace(super().one(seed).origin, parents=()))


class Forgets(Good):
    def load(self, folder: Path, device: str = "cpu") -> None:
        self.ground, self.parents = 0, ("a",)


class Pickles(Good):
    def save(self, folder: Path) -> None:
        super().save(folder)
        (folder / "state.pkl").write_bytes(b"")


class Fickle(Good):
    def fit(self, real: Dataset, pool: Dataset, context: Context) -> None:
        super().fit(real, pool, context)
        self.ground = id(self) // 16 % 200


class MovesNumpy(Good):
    def fit(self, real: Dataset, pool: Dataset, context: Context) -> None:
        np.random.random()  # noqa: NPY002
        super().fit(real, pool, context)


class MovesPython(Good):
    def one(self, seed: int) -> Sample:
        random.random()
        return super().one(seed)


class Scribbles(Good):
    def fit(self, real: Dataset, pool: Dataset, context: Context) -> None:
        super().fit(real, pool, context)
        real[0].image[0] = 0


def test_a_generator_that_keeps_its_promises_passes() -> None:
    check_generator(Good(), tiny_real(2))


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (Counts, "origin.seed must be the seed"),
        (Remembers, "sample k may depend on seed k alone"),
        (LosesOne, "it must be one each"),
        (WrongBox, "a box is not its mask's tight box"),
        (SaysReal, "origin.kind must be 'synthetic'"),
        (Orphan, "origin.parents is empty"),
        (Forgets, "save must keep all that fit learned"),
        (Pickles, "never as a pickle"),
        (Fickle, "randomness from context.seed alone"),
        (MovesNumpy, "moved numpy's global random state"),
        (MovesPython, "moved Python's global random state"),
        (Scribbles, "images it was fitted on were changed"),
    ],
)
def test_a_generator_that_breaks_a_promise_is_told_which(kind: type[Good], said: str) -> None:
    with pytest.raises(AssertionError) as caught:
        check_generator(kind(), tiny_real(2))
    assert said in str(caught.value)


def test_what_is_no_generator_is_told_what_it_lacks() -> None:
    with pytest.raises(AssertionError, match="lacks one of fit, sample, save, load"):
        check_generator(object(), tiny_real(1))  # type: ignore[arg-type]


class GoodLabeler:
    """Finds nothing."""

    def label(self, images: Sequence[Any], *, tta: bool = True) -> Iterator[Labels]:
        return (Labels(i.shape[:2], masks=(), reviewed="model") for i in images)

    def features(self, images: Sequence[Any]) -> Any:
        return np.zeros((len(images), 2), np.float32)

    def save(self, folder: Path) -> None:
        (folder / "x.json").write_text("1")


class GoodTrainer:
    """Learns nothing."""

    kind: type[GoodLabeler] = GoodLabeler

    def fit(self, train: Mixture, val: Dataset, pool: Dataset, context: Context) -> GoodLabeler:
        return self.kind()

    def calibrate(self, labeler: Any, held_out: Any) -> Any:
        return labeler

    def load(self, folder: Path, device: str = "cpu", threads: int = 1) -> GoodLabeler:
        if not (folder / "x.json").exists():
            from synthgen.errors import DataError

            raise DataError(f"{folder}: nothing here")
        return self.kind()


class Unsteady(GoodLabeler):
    def __init__(self) -> None:
        self.calls = 0

    def label(self, images: Sequence[Any], *, tta: bool = True) -> Iterator[Labels]:
        self.calls += 1
        return (Labels(i.shape[:2], masks=(), image_score=1 / self.calls, reviewed="model") for i in images)


class Neighbourly(GoodLabeler):
    def label(self, images: Sequence[Any], *, tta: bool = True) -> Iterator[Labels]:
        return (Labels(i.shape[:2], masks=(), image_score=1 / (1 + len(images)), reviewed="model") for i in images)


class Overconfident(GoodLabeler):
    def label(self, images: Sequence[Any], *, tta: bool = True) -> Iterator[Labels]:
        return (Labels(i.shape[:2], masks=(), image_score=1.5, reviewed="model") for i in images)


class OverconfidentInOneView(GoodLabeler):
    def label(self, images: Sequence[Any], *, tta: bool = True) -> Iterator[Labels]:
        return (Labels(i.shape[:2], masks=(), image_score=1 if tta else 1.5, reviewed="model") for i in images)


class Transposed(GoodLabeler):
    def label(self, images: Sequence[Any], *, tta: bool = True) -> Iterator[Labels]:
        return (Labels(i.shape[1::-1], masks=(), reviewed="model") for i in images)


class Flat(GoodLabeler):
    def features(self, images: Sequence[Any]) -> Any:
        return np.zeros(len(images), np.float32)


class Unsure(GoodLabeler):
    """Says how sure it is, as it should."""

    def probabilities(self, images: Sequence[Any]) -> Iterator[Any]:
        return (np.full((3, *i.shape[:2]), 1 / 3, np.float32) for i in images)


class Unnormalised(Unsure):
    def probabilities(self, images: Sequence[Any]) -> Iterator[Any]:
        return (np.full((3, *i.shape[:2]), 0.5, np.float32) for i in images)


class Groundless(Unsure):
    def probabilities(self, images: Sequence[Any]) -> Iterator[Any]:
        return (np.full((2, *i.shape[:2]), 0.5, np.float32) for i in images)


class KeyErrors(GoodTrainer):
    def load(self, folder: Path, device: str = "cpu", threads: int = 1) -> GoodLabeler:
        if not (folder / "x.json").exists():
            raise KeyError("x")
        return self.kind()


def trains(trainer: Any, folder: Path) -> None:
    check_trainer(trainer, Mixture(tiny_real(1), np.ones(1, bool), np.ones(1)), tiny_context(folder))


@pytest.mark.parametrize("kind", [GoodLabeler, Unsure])
def test_a_trainer_that_keeps_its_promises_passes(kind: type[GoodLabeler], tmp_path: Path) -> None:
    trainer = GoodTrainer()
    trainer.kind = kind
    trains(trainer, tmp_path)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (Unsteady, "got other labels the second time"),
        (Neighbourly, "depend on what is labelled beside it"),
        (Overconfident, "scores must lie in [0, 1]"),
        (OverconfidentInOneView, "scores must lie in [0, 1]"),
        (Transposed, "say that it is"),
        (Flat, "features must be (N, D)"),
        (Unnormalised, "probabilities must sum to 1"),
        (Groundless, "background first"),
    ],
)
def test_a_labeler_that_breaks_a_promise_is_told_which(kind: type[GoodLabeler], said: str, tmp_path: Path) -> None:
    trainer = GoodTrainer()
    trainer.kind = kind
    with pytest.raises(AssertionError) as caught:
        trains(trainer, tmp_path)
    assert said in str(caught.value)


def test_a_trainer_that_meets_an_empty_folder_with_a_bare_error_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="raised KeyError; raise a synthgen"):
        trains(KeyErrors(), tmp_path)


def measured(**known: Any) -> Measurement:
    facts: dict[str, Any] = {
        "check": "c",
        "name": "n",
        "verdict": "warn",
        "value": 1.0,
        "unit": "",
        "why": "since",
        **known,
    }
    return Measurement(**facts)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ([], "it measured nothing"),
        ([1], "gave a int where"),
        ([measured(verdict="fine")], "is none of"),
        ([measured(verdict="error")], "error is for checks that crash"),
        ([measured(why=" ")], "why is empty"),
        ([measured(verdict="pass", value=float("nan"))], "cannot have been judged"),
        ([measured(interval=(2.0, 1.0))], "the wrong way round"),
        ([measured(worst=("nobody",))], "worst names samples that nobody gave"),
        ([measured(verdict="pass")], "passed without a synthetic image"),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_a_check_that_breaks_a_promise_is_told_which(found: list[Any], said: str) -> None:
    real = tiny_real(2)
    evidence = Evidence(real, real, [], [], ("a", "b"), "instances", {})
    with pytest.raises(AssertionError) as caught:
        check_check(lambda evidence, rng: found, evidence)
    assert said in str(caught.value)


class Darkens(Shards):
    """Loses a grey level."""

    def write(self, samples: Any, folder: Path, classes: Sequence[str]) -> list[Loss]:
        return super().write((replace(s, image=s.image // 2) for s in samples), folder, classes)


class DropsScores(Shards):
    """Loses scores and tells nobody."""

    def write(self, samples: Any, folder: Path, classes: Sequence[str]) -> list[Loss]:
        plain = (s if s.labels is None else replace(s, labels=replace(s.labels, scores=None)) for s in samples)
        return super().write(plain, folder, classes)


class TellsOfScores(DropsScores):
    """Loses scores and says so."""

    def write(self, samples: Any, folder: Path, classes: Sequence[str]) -> list[Loss]:
        super().write(samples, folder, classes)
        return [Loss("scores", 1, "a")]


class Refuses(Shards):
    """Does not read what it wrote."""

    def read(self, path: Path, classes: Sequence[str], reading: Any) -> Iterator[Sample | Problem]:
        for item in super().read(path, classes, reading):
            yield Problem("x", "", "it is odd", "quarantined") if isinstance(item, Sample) else item


def test_a_format_that_names_what_it_loses_passes(tmp_path: Path) -> None:
    check_format(TellsOfScores(), tmp_path)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (Darkens, "came back changed"),
        (DropsScores, "scores of a-told came back changed, and no loss"),
        (Refuses, "it is odd"),
    ],
)
def test_a_format_that_breaks_a_promise_is_told_which(kind: type[Shards], said: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError) as caught:
        check_format(kind(), tmp_path)
    assert said in str(caught.value)


@pytest.mark.parametrize("size", [(64, 80), (40, 40), (200, 120), (16, 16)])
def test_tiny_images_are_the_same_each_time_and_sound(size: tuple[int, int]) -> None:
    one, two = tiny_real(2, size, 3), tiny_real(2, size, 3)
    assert [digest(s) for s in one] == [digest(s) for s in two]
    assert [s.image.shape for s in one] == [(*size, 3)] * 2
    assert digest(one[0]) != digest(tiny_real(2, size, 3, seed=1)[0])


def test_tiny_images_hold_objects_that_touch_and_objects_that_the_border_cuts() -> None:
    from synthgen.layouts import survey

    found = survey(tiny_real())
    assert {i.class_id for i in found.instances} == {0, 1}
    assert 0.1 < found.touching < 0.6
    assert 0.1 < found.truncated < 0.6
    assert min(i.area for i in found.instances) < 30
    assert tiny_real(0) == []
    assert {i.shape[0] for i in tiny_images()} >= {1}
