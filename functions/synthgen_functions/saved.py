"""`labeler`: a labeler that was trained somewhere else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from synthgen import plugins
from synthgen.errors import DataError
from synthgen.store import read_json
from synthgen.types import Context, Image, Labels, Trainer
from synthgen.types import Labeler as AnyLabeler
from synthgen_functions.options import OPTIONS


@dataclass(kw_only=True, config=OPTIONS)
class Labeler:
    """Any labeler in a folder, as `4-train/model` of a run; its classes are matched by name."""

    path: Path
    """Folder of a saved labeler."""
    accept: Annotated[float, Field(ge=0, le=1)] = 0.5
    """It votes for what has at least this score, and abstains from images whose class has less."""
    tta: bool = True
    """Average over flips and quarter turns."""

    def __post_init__(self) -> None:
        self._labeler: AnyLabeler | None = None
        self._classes: dict[int, int] = {}

    def prepare(self, context: Context) -> None:
        """Load it. Raises: DataError when the folder holds no labeler, or one that knows none of the classes."""
        about = self.path / "labeler.json"
        if not about.is_file():
            raise DataError(f"{self.path}: there is no labeler here (labeler.json is missing); a run keeps its own in "
                            "4-train/model")
        facts = read_json(about)
        names = facts["settings"]["classes"]
        self._classes = {k: context.classes.index(n) for k, n in enumerate(names) if n in context.classes}
        if not self._classes:
            raise DataError(f"{self.path}: this labeler knows {', '.join(names)}, and none of the recipe's classes "
                            f"({', '.join(context.classes)})")
        trainer: Trainer = plugins.build("trainers", facts["trainer"], {})
        self._labeler = trainer.load(self.path, context.device, context.threads)

    def __call__(self, image: Image) -> Labels | None:
        """What it says of the image. Raises: DataError when it was not prepared."""
        if self._labeler is None:
            raise DataError("the function labeler has loaded nothing yet; call prepare")
        (labels,) = self._labeler.label([image], tta=self.tta)
        if labels.image_class is not None:
            known = labels.image_class in self._classes and labels.image_score >= self.accept
            return replace(labels, image_class=self._classes[labels.image_class]) if known else None
        assert labels.scores is not None
        stay = [k for k, (c, s) in enumerate(zip(labels.classes, labels.scores, strict=True))
                if int(c) in self._classes and s >= self.accept]
        return Labels(labels.size, np.array([self._classes[int(labels.classes[k])] for k in stay], np.int64),
                      labels.boxes[stay], None if labels.masks is None else tuple(labels.masks[k] for k in stay),
                      scores=labels.scores[stay], reviewed="model")
