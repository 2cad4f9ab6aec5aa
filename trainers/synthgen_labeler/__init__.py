"""`labeler`: the compact labeler. One small network, trained with PyTorch Lightning from a handful of labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from pydantic import ConfigDict, Field, field_validator
from pydantic.dataclasses import dataclass

from synthgen.errors import DataError
from synthgen.hub import Pinned, Place, check_folder, pinned
from synthgen.types import Boxes, Context, Dataset, Json, Labeler, Mixture

if TYPE_CHECKING:
    from synthgen_labeler.inference import NetworkLabeler

LITE0 = "efficientnet-lite0"
CHECKPOINT_EVERY = 50  # steps between checkpoints: what a kill can cost
FEWEST_BEFORE = 4  # steps before the pool, at three of which it is seen which of its labels are steady


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid", use_attribute_docstrings=True))
class LabelerTrainer:
    """Trains the compact labeler; the same data, options and seed give the same weights on the same machine."""

    TASKS: ClassVar[tuple[str, ...]] = ("instances", "segment", "detect", "classify")
    SELF_TRAINING: ClassVar[Mapping[str, Json]] = {"pool": 1.0}

    encoder: Literal["efficientnet-lite0"] | Pinned | Path = LITE0
    """What images are seen with: efficientnet-lite0; the folder of a model of transformers (DINOv2, SegFormer, RT-DETR
    and others); or one on the Hub as OWNER/NAME@COMMIT, with 40 hex digits, fetched when it is first needed."""
    weights: Literal["imagenet", "random"] | Path = "imagenet"
    """Weights of efficientnet-lite0: imagenet (inside the installed package), random, or a .safetensors file."""
    frozen: Annotated[float, Field(ge=0, le=1)] | None = None
    """Share of the encoder, from the image on, that is not trained; null = 0 of efficientnet-lite0, 1 of others."""
    steps: Annotated[int, Field(ge=1)] = 400
    """Optimiser steps."""
    batch: Annotated[int, Field(ge=1)] = 8
    """Images per step."""
    crop: Annotated[int, Field(ge=32, multiple_of=32)] = 96
    """Side of the training crops, px; for classify, the side that images are resized to."""
    width: Annotated[int, Field(ge=8, multiple_of=8)] = 64
    """Channels of the feature pyramid."""
    rate: Annotated[float, Field(gt=0)] = 1e-3
    """Highest learning rate of what is new."""
    encoder_rate: Annotated[float, Field(ge=0)] | None = None
    """Highest learning rate of the encoder; null = 3e-4 for efficientnet-lite0, 1e-5 for others."""
    tone: Annotated[float, Field(gt=0, le=4)] | None = None
    """Exponent on grey values before the encoder; null = chosen so that dim objects become mid-grey."""
    zoom: Annotated[float, Field(gt=0, le=4)] = 1.0
    """Enlargement of images before the encoder, for objects of a few pixels."""
    radius: Annotated[int, Field(ge=1, le=64)] | None = None
    """Centres closer than this are one object's, px; null = a quarter of the labelled objects' median diameter."""
    decay: Annotated[float, Field(ge=0, lt=1)] = 0.99
    """Decay of the averaged weights."""
    pool: Annotated[float, Field(ge=0, le=32)] = 0.0
    """Unlabelled images of the pool per labelled one in a batch; 0 = the pool is not looked at."""
    pool_from: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Share of the steps, from the start, that learns from labels alone before the pool comes in."""
    pool_weight: Annotated[float, Field(gt=0)] = 1.0
    """Weight of the pool's loss beside the labels'."""
    pool_prior: Literal["seed"] | None = None
    """seed = classes are taken to be as frequent in the pool as among the labelled images, and what the labeler teaches
    itself is weighed so (task classify); null = nothing is known of it. Wrong where labels were chosen class by class
    and the pool was not."""
    pool_first: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the pool that the first half of the looks at it is taken from: the images whose labels changed least
    while labels alone were learned from; 1 = all of it at once."""

    @field_validator("encoder")
    @classmethod
    def _holds_a_model(cls, value: str | Path) -> str | Path:
        """Raises: ValueError for a folder that is there and holds no model, or none that may be read."""
        if isinstance(value, Path) and value.exists():
            check_folder(value)
        return value

    def __post_init__(self) -> None:
        if self.encoder != LITE0 and self.weights != "imagenet":
            raise ValueError(f"weights are those of {LITE0}; another encoder brings its own: leave weights out")
        if self.pool and self.pool_first < 1 and self.pool_start < FEWEST_BEFORE:
            raise ValueError(f"pool_first {self.pool_first:g} asks which labels change while labels alone are learned "
                             f"from, and pool_from {self.pool_from:g} of {self.steps} steps is {self.pool_start} "
                             f"steps; {FEWEST_BEFORE} are needed: raise pool_from or steps, or leave pool_first out")

    @property
    def pool_start(self) -> int:
        """The first step that looks at the pool."""
        return round(self.pool_from * self.steps)

    def fit(self, train: Mixture, val: Dataset, pool: Dataset, context: Context) -> Labeler:
        """Train; an interrupted training in the same folder goes on at its last checkpoint. With `pool` over 0 the
        folder also holds `pool.json`, which says whether learning from the pool was given up, and why.

        Raises: DataError when the task is not one it knows, there is nothing to train on, no pool where `pool` asks
        for one, or no encoder where `encoder` says; EnvironmentProblem when that needs a library that is missing.
        """
        del val  # no checkpoint is chosen, so nothing is looked at meanwhile
        if context.task not in self.TASKS:
            raise DataError(f"the labeler does not do task {context.task}; it does {', '.join(self.TASKS)}")
        if not len(train.samples):
            raise DataError("there is nothing to train on: the mix is empty")
        if self.pool_prior and context.task != "classify":
            raise DataError(f"pool_prior: it weighs classes of whole images, and task {context.task} has none; leave "
                            "it out")
        if self.pool and not len(pool):
            raise DataError(f"pool: {self.pool:g} asks for unlabelled images, and there are none: name some as "
                            "data.pool, or leave the option out")
        from synthgen_labeler.fitting import fit

        return fit(self, train, pool, context)

    def calibrate(self, labeler: Labeler, held_out: Sequence[tuple[Labeler, Dataset]]) -> Labeler:
        """The labeler with the temperature that its siblings needed on images they had not seen (Guo et al. 2017)."""
        from synthgen_labeler.calibration import calibrate
        from synthgen_labeler.inference import NetworkLabeler

        assert isinstance(labeler, NetworkLabeler)
        return calibrate(labeler, [(other, data) for other, data in held_out if isinstance(other, NetworkLabeler)])

    def load(self, folder: Path, device: str = "cpu", threads: int = 1) -> NetworkLabeler:
        """The labeler that `save` wrote. Raises: DataError when there is none."""
        from synthgen_labeler.inference import load

        return load(folder, device, threads)

    def place_of_encoder(self, base: Path) -> Place | None:
        """Where the encoder is; None = it comes with the labeler. base: folder that a relative path starts from."""
        if self.encoder == LITE0:
            return None
        return Place(base / self.encoder) if isinstance(self.encoder, Path) else pinned(self.encoder)

    def tone_for(self, samples: Dataset) -> float:
        """The exponent that lifts the median grey value of the objects to 0.45; 1 where they are bright enough."""
        if self.tone is not None:
            return self.tone
        from synthgen.geometry import id_map

        inside = []
        for k in range(min(len(samples), 64)):
            sample, labels = samples[k], samples[k].labels
            if labels is not None and labels.masks:
                inside.append(sample.image[id_map(labels) > 0].mean(-1))
            elif labels is not None and len(labels):
                H, W = labels.size
                shown = np.clip(labels.boxes, 0, [W - 1, H - 1, W, H])
                inside += [sample.image[rows].mean(-1).reshape(-1) for rows in _middles(shown)]
        if not inside:
            return 1.0
        median = float(np.clip(np.median(np.concatenate(inside)) / 255, 0.01, 1))
        return float(np.round(np.clip(np.log(0.45) / np.log(median), 0.4, 1.0), 3)) if median < 0.4 else 1.0

    def radius_for(self, samples: Dataset) -> int:
        """A quarter of the median equivalent diameter of the objects, px: half-way between one's centre and its rim; of
        boxes a quarter of the median side."""
        if self.radius is not None:
            return self.radius
        from synthgen.geometry import areas

        sizes = [np.zeros(0)]
        for k in range(min(len(samples), 64)):
            labels = samples[k].labels
            if labels is not None and labels.masks:
                sizes.append(np.sqrt(areas(labels.masks, labels.size) * 4 / np.pi))
            elif labels is not None:
                sizes.append(np.sqrt((labels.boxes[:, 2:] - labels.boxes[:, :2]).prod(1)).astype(np.float64))
        every = np.concatenate(sizes)
        return int(np.clip(np.round(np.median(every) / 4), 1, 64)) if len(every) else 3


def _middles(boxes: Boxes) -> list[tuple[slice, slice]]:
    """The rows and columns of each box's inner half, at least one pixel: hardly any background."""
    out = []
    for x0, y0, x1, y1 in boxes.tolist():
        top, left = int(y0 + (y1 - y0) / 4), int(x0 + (x1 - x0) / 4)
        bottom, right = max(top + 1, int(y1 - (y1 - y0) / 4)), max(left + 1, int(x1 - (x1 - x0) / 4))
        out.append((slice(top, bottom), slice(left, right)))
    return out
