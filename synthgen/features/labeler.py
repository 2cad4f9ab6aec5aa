"""`labeler`: the encoder of the labeler that was trained on the seed alone."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from synthgen import plugins
from synthgen.errors import DataError
from synthgen.features import hash_folder, identity, keep, kept
from synthgen.types import Context, Dataset, Image, Json, Labeler, Trainer


@dataclass(kw_only=True, config=ConfigDict(extra="forbid", use_attribute_docstrings=True))
class LabelerFeatures:
    """What the labeler itself sees: its encoder's features, after training on the seed alone.

    Synthetic and pool images are equally new to it. The seed is not: it gets no such features. Measurements call the
    family `encoder`. It exists only where the run trains that labeler: with a test split and with generated samples.
    """

    LATE: ClassVar[bool] = True  # there is no labeler yet when the gate looks at what was generated

    def __post_init__(self) -> None:
        self.labeler: Labeler | None = None
        self.trainer = ""

    def of(self, labeler: Labeler, trainer: str) -> LabelerFeatures:
        """This extractor with a labeler to look through; trainer: the plug-in that made it."""
        self.labeler, self.trainer = labeler, trainer
        return self

    def fit(self, pool: Dataset, context: Context) -> None:
        """Nothing is learned here: the labeler was trained before."""
        del pool, context

    def features(self, images: Sequence[Image]) -> NDArray[np.float32]:
        """(N, D) float32, whatever the labeler gives. Raises: DataError when it has no labeler."""
        return self._labeler().features(images)

    def identity(self) -> dict[str, Json]:
        """Who made the numbers: weights is the hash of all that the labeler saves. Raises: DataError, as `features`."""
        with tempfile.TemporaryDirectory() as scratch:
            self._labeler().save(Path(scratch))
            return identity("labeler", "1", weights=hash_folder(Path(scratch)), preprocessing=self.trainer)

    def save(self, folder: Path) -> None:
        """The labeler, in a folder of its own, and the name of its trainer. Raises: DataError, as `features`."""
        keep(folder, {**self.identity(), "trainer": self.trainer})
        (folder / "labeler").mkdir(exist_ok=True)
        self._labeler().save(folder / "labeler")

    def load(self, folder: Path) -> None:
        """Raises: DataError when there is no labeler here; PluginError when its trainer is not installed."""
        self.trainer = str(kept(folder, "labeler").get("trainer", ""))
        trainer: Trainer = plugins.build("trainers", self.trainer, {})
        self.labeler = trainer.load(folder / "labeler")

    def _labeler(self) -> Labeler:
        if self.labeler is None:
            raise DataError("the extractor labeler has no labeler to look through; give it one with of(), or load one")
        return self.labeler
