"""Vision encoders through transformers, as features."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from synthgen.hub import Place, load_encoder, load_processor, silent
from synthgen.types import Image, Json
from synthgen_features.convnet import hash_state, one_thread


class Model:
    """An encoder and its preprocessing. weights: hash. config, preprocessing: JSON, as the folder says."""

    def __init__(self, net: Any, processor: Any, tokens: str) -> None:
        self.net, self.processor, self.tokens = net.eval(), processor, tokens
        self.weights = hash_state(net.state_dict())
        said = processor.to_dict()
        self.preprocessing: Json = json.loads(json.dumps({k: v for k, v in said.items() if "version" not in k},
                                                         default=str))
        self.config: Json = str(net.config.model_type)

    @torch.inference_mode()
    def features(self, images: Sequence[Image]) -> NDArray[np.float32]:
        """(N, D) float32, one image at a time."""
        rows = []
        with one_thread(), silent():
            for image in images:
                pixels = self.processor(images=[image], return_tensors="pt", input_data_format="channels_last")
                hidden: Tensor = self.net(pixel_values=pixels["pixel_values"].float()).last_hidden_state
                if hidden.ndim == 4:  # (1, D, h, w), a convolutional map
                    row = hidden.mean((2, 3))
                else:  # (1, tokens, D)
                    row = hidden[:, 0] if self.tokens == "first" else hidden.mean(1)
                rows.append(row[0].numpy().astype(np.float32))
        return np.stack(rows) if rows else np.zeros((0, self._width()), np.float32)

    def _width(self) -> int:
        found = getattr(self.net.config, "hidden_size", None) or self.net.config.hidden_sizes[-1]
        return int(found)


def load(place: Place, tokens: str) -> Model:
    """The encoder of a place. Raises: EnvironmentProblem, DataError, as `hub.load_encoder`."""
    who = "the extractor transformers"
    return Model(load_encoder(who, place), load_processor(who, place), tokens)
