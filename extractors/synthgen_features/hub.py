"""Vision encoders through transformers, from a folder or from the Hub at a pinned commit; never with code of theirs."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from synthgen.errors import DataError, EnvironmentProblem
from synthgen.types import Image, Json
from synthgen_features.convnet import hash_state, one_thread, seeded

# Weights that the last hidden layer does not pass through, and that many checkpoints therefore lack.
UNUSED = ("pooler.", "classifier.", "head.")


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
        with one_thread(), _silent():
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


def load(path: Path | None, repo: str | None, revision: str | None, tokens: str) -> Model:
    """The encoder of a folder, or of a repository on the Hub at a commit.

    Raises: EnvironmentProblem when transformers is not installed; DataError when there is no such model in
    safetensors, when it lacks weights, or when it sees no images.
    """
    # Before the import, which reads it: nothing is told to anybody.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        from transformers import AutoImageProcessor, AutoModel
    except ImportError:
        raise EnvironmentProblem("the extractor transformers needs the library transformers; say: "
                                 "pip install 'synthgen-cv[transformers]'") from None
    where = str(path) if path is not None else str(repo)
    common: dict[str, Any] = {"trust_remote_code": False, "local_files_only": path is not None, "revision": revision}
    try:
        with _silent(), seeded(0):
            net, told = AutoModel.from_pretrained(where, use_safetensors=True, output_loading_info=True,
                                                  dtype=torch.float32, **common)
            # The variant that needs no torchvision, and resizes as the models were trained: through Pillow.
            processor = AutoImageProcessor.from_pretrained(where, backend="pil", **common)
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        first = " ".join(str(error).split())[:200]
        raise DataError(f"{where}: no vision model can be loaded from here ({first}); it must hold config.json, "
                        "model.safetensors and preprocessor_config.json") from None
    net = getattr(net, "vision_model", net)  # of CLIP and its like only the tower that sees
    if not hasattr(net, "config") or net.main_input_name != "pixel_values":
        raise DataError(f"{where}: a {net.config.model_type} model takes {net.main_input_name}, not images; name a "
                        "vision model")
    mine = set(net.state_dict())
    missing = sorted(name for name in told["missing_keys"]
                     if name.removeprefix("vision_model.") in mine and not name.startswith(UNUSED))
    if missing:
        raise DataError(f"{where}: the checkpoint lacks {len(missing)} of the model's weights, {missing[0]} for one, "
                        "which would be drawn at random; name a folder that holds all of them")
    return Model(net, processor, tokens)


@contextmanager
def _silent() -> Iterator[None]:
    """transformers' own bars and notes would stand between ours."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
