"""Feature extractors that need torch: `imagenet`, `pool-ssl`, `random-conv`, `transformers`.

Importing this imports no torch; that waits until features are asked for. All of them run on the CPU with one thread and
one image at a time: a convolution's last digits depend on how many images share the batch, and row k must depend on
image k alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from synthgen.errors import DataError
from synthgen.features import check_same, hash_json, identity, keep, kept
from synthgen.features.weights import imagenet_weights
from synthgen.hub import Commit, Place, Repo
from synthgen.types import Context, Dataset, Image, Json

if TYPE_CHECKING:
    from synthgen_features.convnet import Net
    from synthgen_features.hub import Model
    from synthgen_features.imagenet import Lite0

OPTIONS = ConfigDict(extra="forbid", use_attribute_docstrings=True)
FEW = 500  # pool images below which an encoder learned from them is called one of few images
SEED = 20020  # of every encoder here: one seed for all runs, so that runs on one pool can be compared
VIEWS = "RGB / 255; of each of four layers the mean and the sd over the image"


@dataclass(kw_only=True, config=OPTIONS)
class ImageNet:
    """EfficientNet-Lite0 with ImageNet weights that an installed package carries; needs no network."""

    def __post_init__(self) -> None:
        self._net: Lite0 | None = None

    def fit(self, pool: Dataset, context: Context) -> None:
        """Nothing is learned."""
        del pool, context

    def features(self, images: Sequence[Image]) -> NDArray[np.float32]:
        """(N, 472) float32: the maps at strides 8, 16 and 32, averaged over the image (Tan & Le 2019).

        Raises: EnvironmentProblem when the weights are not there, or are not the ones they should be.
        """
        from synthgen_features.imagenet import Lite0

        self._net = self._net or Lite0()
        return self._net.features(images)

    def identity(self) -> dict[str, Json]:
        """Who made the numbers. Raises: EnvironmentProblem, as `features`."""
        about = "RGB / 255, ImageNet's mean and sd; means of maps at strides 8, 16, 32"
        return identity("imagenet", "1", weights=imagenet_weights()[1][:16], preprocessing=about)

    def save(self, folder: Path) -> None:
        """Writes the identity alone: the weights stay in their package."""
        keep(folder, self.identity())

    def load(self, folder: Path) -> None:
        """Raises: DataError when the folder holds another extractor, or was saved with other weights."""
        check_same(folder, self.identity())


@dataclass(kw_only=True, config=OPTIONS)
class RandomConv:
    """Small convolutional networks with random weights, batch norm calibrated on the pool: a floor that costs nothing.

    That random features tell datasets apart nearly as well as trained ones: Lee et al. 2022 (arXiv 2208.09218).
    """

    FITS: ClassVar[bool] = True

    nets: Annotated[int, Field(ge=1, le=8)] = 3
    """Networks, each with random weights of its own; their features stand side by side."""

    def __post_init__(self) -> None:
        self._nets: list[Net] = []
        self._known: dict[str, Json] = {}

    def fit(self, pool: Dataset, context: Context) -> None:
        """Draw the weights and set batch norm's means and variances to the pool's.

        Raises: DataError for an empty pool.
        """
        from synthgen_features.convnet import calibrate, drawn, hash_nets, tiles

        images = tiles(pool, "random-conv")
        self._nets = [calibrate(drawn(SEED + k), images, context.log) for k in range(self.nets)]
        self._known = {**identity("random-conv", "1", weights=hash_nets(self._nets), preprocessing=VIEWS),
                       "images": len(pool)}

    def features(self, images: Sequence[Image]) -> NDArray[np.float32]:
        """(N, 576 · nets) float32. Raises: DataError when it was not fitted."""
        from synthgen_features.convnet import pooled

        return np.concatenate([pooled(net, images) for net in _fitted(self._nets, "random-conv")], axis=1)

    def identity(self) -> dict[str, Json]:
        """Who made the numbers. Raises: DataError when it was not fitted."""
        _fitted(self._nets, "random-conv")
        return dict(self._known)

    def save(self, folder: Path) -> None:
        """`net-0.safetensors`, … and the identity. Raises: DataError when it was not fitted."""
        from synthgen_features.convnet import save

        keep(folder, self.identity())
        save(self._nets, folder)

    def load(self, folder: Path) -> None:
        """Raises: DataError when there is none here."""
        from synthgen_features.convnet import load

        self._known, self._nets = kept(folder, "random-conv"), load(folder)


@dataclass(kw_only=True, config=OPTIONS)
class PoolSsl:
    """A small encoder that taught itself on the pool: SimCLR on random crops, trained once per pool.

    Of two crops it learns whether they come from one image (Chen et al. 2020, arXiv 2002.05709, equation 1). Crops are
    flipped but never recoloured, blurred or resized: features have to keep seeing what generators get wrong.
    """

    FITS: ClassVar[bool] = True

    steps: Annotated[int, Field(ge=1, le=10_000)] = 150
    """Optimiser steps."""
    batch: Annotated[int, Field(ge=2, le=1024)] = 48
    """Images per step; each gives two crops."""
    crop: Annotated[int, Field(ge=16, le=128)] = 48
    """Side of a crop, px; at most three quarters of the images' side."""
    temperature: Annotated[float, Field(gt=0, le=10)] = 0.5
    """Of the similarities: lower looks at the hardest crops alone."""
    rate: Annotated[float, Field(gt=0, le=1)] = 1e-3
    """Learning rate (Adam)."""
    few: Literal["warn", "random-conv"] = "warn"
    """With fewer than 500 pool images: train all the same and warn, or leave the weights random and say so."""

    def __post_init__(self) -> None:
        self._nets: list[Net] = []
        self._known: dict[str, Json] = {}

    def fit(self, pool: Dataset, context: Context) -> None:
        """Train on the pool; the same images in any order give the same weights on the same machine.

        The seed is fixed and context's is not used, so that two runs on one pool can be compared.
        Raises: DataError for a pool of fewer than 2 images.
        """
        from synthgen_features.convnet import calibrate, drawn, hash_nets, tiles
        from synthgen_features.simclr import train

        images, note, learned = tiles(pool, "pool-ssl", at_least=2), "", True
        if len(pool) < FEW:
            learned = self.few == "warn"
            note = (f"it learned from random crops of only {len(pool)} pool images" if learned else
                    f"its weights are random, as the recipe says for a pool of only {len(pool)} images")
            note += f", and {FEW} or more make its features trustworthy"
        net = drawn(SEED)
        if learned:
            train(net, images, SEED, steps=self.steps, batch=self.batch, crop=self.crop, rate=self.rate,
                  temperature=self.temperature, log=context.log)
        self._nets = [calibrate(net, images, context.log)]
        self._known = {**identity("pool-ssl", "1", weights=hash_nets(self._nets), preprocessing=VIEWS),
                       "images": len(pool), **({"note": note} if note else {})}

    def features(self, images: Sequence[Image]) -> NDArray[np.float32]:
        """(N, 576) float32: mean and sd of four layers. Raises: DataError when it was not fitted."""
        from synthgen_features.convnet import pooled

        return pooled(_fitted(self._nets, "pool-ssl")[0], images)

    def identity(self) -> dict[str, Json]:
        """Who made the numbers. Raises: DataError when it was not fitted."""
        _fitted(self._nets, "pool-ssl")
        return dict(self._known)

    def save(self, folder: Path) -> None:
        """`net-0.safetensors` and the identity. Raises: DataError when it was not fitted."""
        from synthgen_features.convnet import save

        keep(folder, self.identity())
        save(self._nets, folder)

    def load(self, folder: Path) -> None:
        """Raises: DataError when there is none here."""
        from synthgen_features.convnet import load

        self._known, self._nets = kept(folder, "pool-ssl"), load(folder)


@dataclass(kw_only=True, config=OPTIONS)
class Transformers:
    """Any vision encoder that the library transformers loads: DINOv2, a CLIP vision tower, ConvNeXt and others."""

    path: Path | None = None
    """Folder of a saved model: config.json, model.safetensors, preprocessor_config.json."""
    repo: Annotated[Repo, Field(examples=["facebook/dinov2-small"])] | None = None
    """Instead of a folder: a model on the Hub. It is fetched when it is first needed, and only where this is said."""
    revision: Commit | None = None
    """With repo: the commit to take, 40 hex digits; a branch or tag could change what it means."""
    tokens: Literal["first", "mean"] = "first"
    """Of a transformer's tokens: the first (the class token), or the mean of all. Convolutional maps are averaged."""

    def __post_init__(self) -> None:
        self._place = Place(self.path, self.repo, self.revision)
        self._model: Model | None = None

    def fit(self, pool: Dataset, context: Context) -> None:
        """Nothing is learned."""
        del pool, context

    def features(self, images: Sequence[Image]) -> NDArray[np.float32]:
        """(N, D) float32 of the last hidden layer; images are prepared as the folder's processor config says.

        Raises: EnvironmentProblem when the library is not installed or the Hub cannot be reached; DataError for a
        folder that holds no such model, no safetensors, or not all of its weights.
        """
        return self._loaded().features(images)

    def identity(self) -> dict[str, Json]:
        """Who made the numbers. Raises: as `features`."""
        model = self._loaded()
        return identity("transformers", "1", weights=model.weights,
                        preprocessing=[model.preprocessing, self.tokens, hash_json(model.config)])

    def save(self, folder: Path) -> None:
        """Writes the identity alone: the weights stay where they are. Raises: as `features`."""
        keep(folder, self.identity())

    def load(self, folder: Path) -> None:
        """Raises: DataError when the folder holds another extractor or other weights; else as `features`."""
        check_same(folder, self.identity())

    def _loaded(self) -> Model:
        from synthgen_features.hub import load

        self._model = self._model or load(self._place, self.tokens)
        return self._model


def _fitted(nets: list[Net], name: str) -> list[Net]:
    if not nets:
        raise DataError(f"the extractor {name} has learned nothing yet; call fit with a pool, or load")
    return nets
