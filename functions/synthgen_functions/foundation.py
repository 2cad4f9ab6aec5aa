"""Foundation models as labelling functions: `clip` names an image, `boxes` finds objects by words, `sam` outlines."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from synthgen.errors import DataError
from synthgen.geometry import encode, rle_boxes
from synthgen.hub import Commit, Place, Repo
from synthgen.types import Context, Image, Labels
from synthgen_functions.hub import load
from synthgen_functions.options import OPTIONS

Prompt = Annotated[str, Field(pattern=r"\{\}")]


@dataclass(kw_only=True, config=OPTIONS)
class Clip:
    """The class whose description fits the image best, by a model of images and texts: CLIP, SigLIP (zero-shot)."""

    TASKS: ClassVar[tuple[str, ...]] = ("classify",)

    path: Path | None = None
    """Folder of a saved model with its tokeniser and preprocessor_config.json."""
    repo: Repo | None = None
    """Instead of a folder: a model on the Hub. It is fetched when it is first needed, and only where this is said."""
    revision: Commit | None = None
    """With repo: the commit to take, 40 hex digits."""
    prompt: Prompt = "a photo of a {}."
    """What is said of each class; {} is its words."""
    words: dict[str, str] = Field(default_factory=dict)
    """Words for classes whose names are none; without: the name, _ read as a space."""
    at_least: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Probability below which it abstains."""

    def __post_init__(self) -> None:
        self._place = Place(self.path, self.repo, self.revision)
        self._model: Any = None
        self._texts: Any = None

    def prepare(self, context: Context) -> None:
        """Load the model. Raises: EnvironmentProblem, DataError, as `hub.load`."""
        self._model = load("clip", "AutoModelForZeroShotImageClassification", self._place, context.device)
        self._texts = self._model[2](_texts(self.prompt, self.words, context), padding=True, return_tensors="pt")

    def __call__(self, image: Image) -> Labels | None:
        """The likeliest class, its probability as score (Radford et al. 2021, section 3.1). Raises: DataError."""
        import torch

        net, processor, _ = _ready(self._model, "clip")
        pixels = processor(images=[image], return_tensors="pt", input_data_format="channels_last")["pixel_values"]
        with torch.inference_mode():
            said = net(pixel_values=pixels.float().to(net.device), **self._texts.to(net.device)).logits_per_image[0]
        p = said.softmax(0).cpu().numpy()
        if p.max() < self.at_least:
            return None
        return Labels((image.shape[0], image.shape[1]), image_class=int(p.argmax()),
                      image_score=round(float(p.max()), 6), reviewed="model")


@dataclass(kw_only=True, config=OPTIONS)
class Boxes:
    """Boxes of what the classes' words describe, by OWL-ViT or OWLv2 (zero-shot detection)."""

    TASKS: ClassVar[tuple[str, ...]] = ("instances", "detect")

    path: Path | None = None
    """Folder of a saved model with its tokeniser and preprocessor_config.json."""
    repo: Repo | None = None
    """Instead of a folder: a model on the Hub. It is fetched when it is first needed, and only where this is said."""
    revision: Commit | None = None
    """With repo: the commit to take, 40 hex digits."""
    prompt: Prompt = "a photo of a {}."
    """What is said of each class; {} is its words."""
    words: dict[str, str] = Field(default_factory=dict)
    """Words for classes whose names are none; without: the name, _ read as a space."""
    threshold: Annotated[float, Field(ge=0, le=1)] = 0.2
    """Score from which on a box counts."""

    def __post_init__(self) -> None:
        self._place = Place(self.path, self.repo, self.revision)
        self._model: Any = None
        self._texts: Any = None

    def prepare(self, context: Context) -> None:
        """Load the model. Raises: EnvironmentProblem, DataError, as `hub.load`."""
        self._model = load("boxes", "AutoModelForZeroShotObjectDetection", self._place, context.device)
        self._texts = self._model[2](_texts(self.prompt, self.words, context), padding="max_length",
                                     return_tensors="pt")

    def __call__(self, image: Image) -> Labels:
        """Boxes inside the image, best first (Minderer et al. 2023, "Scaling open-vocabulary object detection").

        Raises: DataError when it was not prepared.
        """
        import torch

        net, processor, _ = _ready(self._model, "boxes")
        H, W = image.shape[:2]
        pixels = processor(images=[image], return_tensors="pt", input_data_format="channels_last")["pixel_values"]
        with torch.inference_mode():
            out = net(pixel_values=pixels.float().to(net.device), **self._texts.to(net.device))
        (found,) = processor.post_process_object_detection(out, threshold=self.threshold, target_sizes=[(H, W)])
        boxes = found["boxes"].cpu().numpy().clip(0, np.array([W, H, W, H])).astype(np.float32).reshape(-1, 4)
        scores = found["scores"].cpu().numpy()
        stay = np.flatnonzero((boxes[:, 2:] > boxes[:, :2]).all(1))
        stay = stay[np.argsort(-scores[stay], kind="stable")]
        return Labels((H, W), found["labels"].cpu().numpy()[stay], boxes[stay], scores=scores[stay], reviewed="model")


@dataclass(kw_only=True, config=OPTIONS)
class Sam:
    """The outline of each box of another function, by Segment Anything."""

    TASKS: ClassVar[tuple[str, ...]] = ("instances", "segment")
    REFINES: ClassVar[bool] = True

    path: Path | None = None
    """Folder of a saved SAM with its preprocessor_config.json."""
    repo: Repo | None = None
    """Instead of a folder: a model on the Hub. It is fetched when it is first needed, and only where this is said."""
    revision: Commit | None = None
    """With repo: the commit to take, 40 hex digits."""

    def __post_init__(self) -> None:
        self._place = Place(self.path, self.repo, self.revision)
        self._model: Any = None

    def prepare(self, context: Context) -> None:
        """Load the model. Raises: EnvironmentProblem, DataError, as `hub.load`."""
        self._model = load("sam", "SamModel", self._place, context.device, words=False)

    def __call__(self, image: Image, labels: Labels) -> Labels:
        """The labels with a mask for each box; ones of which nothing is left are dropped (Kirillov et al. 2023).

        Raises: DataError when it was not prepared.
        """
        import torch
        from transformers import SamProcessor

        net, processor, _ = _ready(self._model, "sam")
        if not len(labels):
            return replace(labels, masks=())
        asked = SamProcessor(processor)(images=image, input_boxes=[labels.boxes.tolist()], return_tensors="pt",
                                        input_data_format="channels_last")
        with torch.inference_mode():
            out = net(pixel_values=asked["pixel_values"].float().to(net.device),
                      input_boxes=asked["input_boxes"].float().to(net.device), multimask_output=False)
        (masks,) = processor.post_process_masks(out.pred_masks.cpu(), asked["original_sizes"],
                                                asked["reshaped_input_sizes"])
        drawn = np.asarray(masks).astype(bool).reshape(len(labels), *labels.size)
        stay = np.flatnonzero(drawn.any((1, 2)))
        assert labels.scores is not None
        rles = encode(drawn[stay])
        return Labels(labels.size, labels.classes[stay], rle_boxes(rles, labels.size), rles,
                      scores=labels.scores[stay], reviewed="model")


def _texts(prompt: str, words: dict[str, str], context: Context) -> list[str]:
    strangers = sorted(set(words) - set(context.classes))
    if strangers:
        raise DataError(f"words: there is no class {strangers[0]!r}; the recipe has {', '.join(context.classes)}")
    return [prompt.replace("{}", words.get(name, name.replace("_", " "))) for name in context.classes]


def _ready(model: Any, who: str) -> Any:
    if model is None:
        raise DataError(f"the function {who} has loaded nothing yet; call prepare")
    return model
