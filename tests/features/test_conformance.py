"""`check_features` bites: each broken extractor below breaks one promise, and is told which."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synthgen.features import identity, keep, kept
from synthgen.testing.features import check_features
from synthgen.types import Context, Dataset, Image, Json


class Good:
    """Mean and sd, less the pool's mean."""

    def fit(self, pool: Dataset, context: Context) -> None:
        self.mean = float(np.mean(sorted(s.image.mean() for s in pool)))

    def features(self, images: Sequence[Image]) -> Any:
        return np.asarray([[i.mean() - self.mean, i.std()] for i in images], np.float32).reshape(-1, 2)

    def identity(self) -> dict[str, Json]:
        return identity("good", "1", weights=str(self.mean))

    def save(self, folder: Path) -> None:
        keep(folder, self.identity())

    def load(self, folder: Path) -> None:
        self.mean = float(kept(folder, "good")["weights"])


class Doubles(Good):
    def features(self, images: Sequence[Image]) -> Any:
        return super().features(images).astype(np.float64)


class Flat(Good):
    def features(self, images: Sequence[Image]) -> Any:
        return super().features(images) * 0


class Divides(Good):
    def features(self, images: Sequence[Image]) -> Any:
        return np.asarray([[i.mean() / i.std() if i.std() else np.nan, 1] for i in images], np.float32).reshape(-1, 2)


class LosesOne(Good):
    def features(self, images: Sequence[Image]) -> Any:
        return super().features(images[1:])


class LooksAtNeighbours(Good):
    def features(self, images: Sequence[Image]) -> Any:
        rows = super().features(images)
        return rows - rows.mean(0, keepdims=True) if len(rows) else rows


class Counts(Good):
    calls = 0

    def features(self, images: Sequence[Image]) -> Any:
        self.calls += 1
        return super().features(images) + self.calls


class TakesTheFirst(Good):
    def fit(self, pool: Dataset, context: Context) -> None:
        self.mean = float(pool[0].image.mean())


class Forgets(Good):
    def load(self, folder: Path) -> None:
        super().load(folder)
        self.mean = 0.0


class TakesAnything(Good):
    def load(self, folder: Path) -> None:
        try:
            super().load(folder)
        except Exception:
            self.mean = 0.0


class Nameless(Good):
    def identity(self) -> dict[str, Json]:
        return {**super().identity(), "id": ""}


class HasNoWeights(Good):
    def identity(self) -> dict[str, Json]:
        return {k: v for k, v in super().identity().items() if k != "weights"}


class Pickles(Good):
    def save(self, folder: Path) -> None:
        super().save(folder)
        (folder / "net.pt").write_bytes(b"")


class Writes(Good):
    def features(self, images: Sequence[Image]) -> Any:
        rows = super().features([i[1:] for i in images])
        for image in images:
            image[0] = 1
        return rows


class MovesTorch(Good):
    def fit(self, pool: Dataset, context: Context) -> None:
        import torch

        torch.rand(1)
        super().fit(pool, context)


class MovesPython(Good):
    def fit(self, pool: Dataset, context: Context) -> None:
        random.random()
        super().fit(pool, context)


@pytest.mark.parametrize(("broken", "said"), [
    (Doubles, "must be float32"), (Flat, "get the same features"), (Divides, "must be finite"),
    (LosesOne, "10 images gave 9 rows"), (LooksAtNeighbours, "row k may depend on image k alone"),
    (Counts, "other features the second time"), (TakesTheFirst, "on the same pool, in another order"),
    (Forgets, "after save and load"), (TakesAnything, "took an empty folder"), (Nameless, "id must be the name"),
    (HasNoWeights, "weights is None"), (Pickles, "never as a pickle"), (Writes, "copy before writing"),
    (MovesTorch, "torch's global random state"), (MovesPython, "Python's global random state"),
    (object, "lacks one of fit, features"),
])
def test_each_broken_promise_is_told(broken: Any, said: str) -> None:
    import torch  # noqa: F401  # its random state is looked at only where it is loaded

    with pytest.raises(AssertionError, match=said):
        check_features(broken())


def test_an_extractor_that_keeps_its_promises_passes() -> None:
    check_features(Good())


def test_what_depends_on_the_batch_passes_only_within_the_tolerance_that_it_asks_for() -> None:
    class Nearly(Good):
        def features(self, images: Sequence[Image]) -> Any:
            return super().features(images) * np.float32(1 + 1e-5 * (len(images) == 1))

    check_features(Nearly(), tolerance=1e-4)
    with pytest.raises(AssertionError, match="other features alone"):
        check_features(Nearly())
