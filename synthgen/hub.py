"""Models of the library transformers, from a folder or from the Hub at a pinned commit; never with code of theirs.

Only safetensors are read. A folder needs no network, and the Hub is asked only where a repository is named. Importing
this imports neither torch nor transformers; that waits for models.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from synthgen.errors import DataError, EnvironmentProblem
from synthgen.types import Json

Repo = Annotated[str, Field(pattern=r"^[\w.-]+/[\w.-]+$")]
Commit = Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]
Pinned = Annotated[str, Field(pattern=r"^[\w.-]+/[\w.-]+@[0-9a-f]{40}$",
                              examples=["OWNER/NAME@COMMIT (a commit has 40 hex digits)"])]
"""A repository at a commit, in one text."""
FILES = "config.json, model.safetensors and preprocessor_config.json"
# Weights that the last hidden layer does not pass through, and that many checkpoints therefore lack.
UNUSED = ("pooler.", "classifier.", "head.")
COUNTER = "num_batches_tracked"  # of batch normalisation: no weight, and not everywhere saved


@dataclass(frozen=True, slots=True)
class Place:
    """Where a model is: a folder, or a repository on the Hub at a commit of 40 hex digits.

    Raises: ValueError unless it is one of the two.
    """

    path: Path | None = None
    repo: str | None = None
    revision: str | None = None

    def __post_init__(self) -> None:
        if (self.path is None) == (self.repo is None):
            raise ValueError("name either path, the folder of a saved model, or repo and revision")
        if (self.repo is None) != (self.revision is None):
            raise ValueError("repo and revision belong together: name both, or path alone")

    def __str__(self) -> str:
        return str(self.path) if self.path is not None else f"{self.repo}@{self.revision}"


def pinned(text: str) -> Place:
    """The place that a `Pinned` text names."""
    repo, _, revision = text.partition("@")
    return Place(repo=repo, revision=revision)


def check_folder(folder: Path) -> None:
    """Raises: ValueError when a folder holds no model, or only pickled weights, which can run any code when read."""
    if not (folder / "config.json").is_file():
        raise ValueError(f"{folder} holds no model of transformers; it must hold {FILES}")
    if not any(folder.glob("*.safetensors")):
        raise ValueError(f"{folder} holds no weights as .safetensors, and nothing else is read")


def library(who: str) -> Any:
    """The library transformers. who: what needs it, in words. Raises: EnvironmentProblem when it is not installed."""
    # Before the import, which reads it: nothing is told to anybody.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        import transformers
    except ImportError:
        raise EnvironmentProblem(f"{who} needs the library transformers; say: "
                                 "pip install 'synthgen-cv[transformers]'") from None
    return transformers


def load_network(who: str, place: Place, kind: str | None) -> tuple[Any, tuple[str, ...]]:
    """A network in float32, and the names of the weights that its checkpoint lacks; those were drawn at random, the
    same each time. kind: the class of transformers that reads it; None = the one for features.

    Raises: EnvironmentProblem when transformers is not installed, or a model on the Hub is not on this machine and the
    Hub cannot be reached; DataError when there is no such model in safetensors.
    """
    with _reading(who, place) as (transformers, where, common):
        import torch

        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            about, _ = transformers.PreTrainedConfig.get_config_dict(where, **common)
            reader = _reader(about, transformers) if kind is None else getattr(transformers, kind)
            net, told = reader.from_pretrained(where, use_safetensors=True, output_loading_info=True,
                                               dtype=torch.float32, **common)
    return net.eval(), tuple(sorted(told["missing_keys"]))


def load_processor(who: str, place: Place) -> Any:
    """What makes pixels of images, as the model was trained. Raises: as `load_network`."""
    with _reading(who, place) as (transformers, where, common):
        # The variant that needs no torchvision, and resizes as the models were trained: through Pillow.
        return transformers.AutoImageProcessor.from_pretrained(where, backend="pil", **common)


def load_tokenizer(who: str, place: Place) -> Any:
    """What makes tokens of words. Raises: as `load_network`."""
    with _reading(who, place) as (transformers, where, common):
        return transformers.AutoTokenizer.from_pretrained(where, **common)


def preprocessing(who: str, place: Place) -> dict[str, Json]:
    """What preprocessor_config.json says, and no more. Raises: as `load_network`."""
    with _reading(who, place) as (transformers, where, common):
        said, _ = transformers.ImageProcessingMixin.get_image_processor_dict(where, **common)
        return dict(said)


def load_encoder(who: str, place: Place) -> Any:
    """The encoder, in float32, of any model that sees: of one that also reads, or that finds objects, the part that
    turns an image into features.

    Raises: as `load_network`; DataError also when it sees no images, or when the checkpoint lacks weights of that part.
    """
    net, lost = load_network(who, place, None)
    eye, prefix = vision_part(net)
    if not hasattr(eye, "config") or eye.main_input_name != "pixel_values":
        raise DataError(f"{place}: a {net.config.model_type} model takes {net.main_input_name}, not images; name a "
                        "vision model")
    of_eye = [name for name in lost if name.startswith(prefix) and not name.endswith(COUNTER)]
    refuse_missing(place, [name for name in of_eye if not name.removeprefix(prefix).startswith(UNUSED)])
    return eye


def vision_part(net: Any) -> tuple[Any, str]:
    """The module that turns an image into features, and what its weights' names begin with inside the whole."""
    if hasattr(net, "vision_model"):              # of CLIP and its like only the tower that sees
        return net.vision_model, "vision_model."
    inner = getattr(getattr(net, "backbone", None), "model", None)
    return (net, "") if inner is None else (inner, "backbone.model.")  # of RT-DETR and its like what comes before


def refuse_missing(place: Place, missing: list[str]) -> None:
    """Raises: DataError when weights are missing: a network with some drawn at random is not the one that was named."""
    if missing:
        raise DataError(f"{place}: the checkpoint lacks {len(missing)} of the model's weights, {missing[0]} for one, "
                        "which would be drawn at random; name a folder that holds all of them")


def from_config(who: str, config: dict[str, Any]) -> Any:
    """The encoder that a configuration (`to_dict()` of an encoder's `config`) describes, its weights drawn at random.

    Raises: EnvironmentProblem when transformers is not installed; ValueError when it knows no such model.
    """
    transformers = library(who)
    with silent():
        known = transformers.AutoConfig.for_model(**config)
        maker = _reader(config, transformers)
        net = maker.from_config(known) if maker is transformers.AutoModel else maker(known)
        return vision_part(net)[0].eval()


@contextmanager
def silent() -> Iterator[None]:
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


@contextmanager
def _reading(who: str, place: Place) -> Iterator[tuple[Any, str, dict[str, Any]]]:
    """The library, where it shall read, and how; what goes wrong inside is told in our words."""
    transformers = library(who)
    common = {"trust_remote_code": False, "local_files_only": place.path is not None, "revision": place.revision}
    try:
        with silent():
            yield transformers, str(place.path or place.repo), common
    except Exception as error:  # what the libraries raise has no common base
        first = " ".join(str(error).split())[:200]
        if place.repo is not None and "connect" in first:
            raise EnvironmentProblem(
                f"{place}: the model of {who} is not on this machine and the Hub cannot be reached ({first}); where "
                f"there is a network say: hf download {place.repo} --revision {place.revision} --local-dir FOLDER, and "
                "name that folder instead") from None
        raise DataError(f"{place}: {who} cannot load its model from here ({first}); it must hold {FILES}") from None


def _reader(about: dict[str, Any], transformers: Any) -> Any:
    """The class that reads the encoder of a configuration: some were saved without the model that they are part of.

    Raises: ValueError when its backbone is another model, for which the Hub would be asked.
    """
    if isinstance(about.get("backbone"), str) and not about.get("backbone_config"):
        raise ValueError(f"its backbone is another model, {about['backbone']}, which is not part of it")
    known, name = transformers.CONFIG_MAPPING, about.get("model_type")
    if name not in known or known[name] in transformers.MODEL_MAPPING:
        return transformers.AutoModel
    return transformers.MODEL_FOR_BACKBONE_MAPPING[known[name]]  # AutoBackbone would ask the Hub about a folder
