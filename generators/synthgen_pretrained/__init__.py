"""`pretrained`: for people with weights. Any diffusers pipeline, from a folder or from the Hub at a pinned commit.

The layout comes first, so labels are known by condition: the model paints objects into a seed image (or a background
around its objects), or a whole image through a ControlNet, and what it was asked to paint is what the labels say.
Only safetensors are read, no code of a model's own is run, and a folder needs no network. Importing this imports
neither torch nor diffusers; that waits for `fit`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

import synthgen
from synthgen.errors import DataError
from synthgen.geometry import only_accepted
from synthgen.hub import Commit, Repo
from synthgen.layouts import LayoutName
from synthgen.seeds import seed_of
from synthgen.store import Stored, read_json, write_all, write_json
from synthgen.types import Context, Dataset, Json, Origin, Sample
from synthgen_pretrained.folders import check_controlnet, check_pipeline, fetched, weights_hash
from synthgen_pretrained.frames import colours_of
from synthgen_pretrained.prompts import check_templates
from synthgen_pretrained.scenes import OF_IMAGES, OF_OBJECTS, ClassScenes, Mode, ObjectScenes, Wishes

if TYPE_CHECKING:
    from synthgen_pretrained.lora import State
    from synthgen_pretrained.studio import Studio

OPTIONS = ConfigDict(extra="forbid", use_attribute_docstrings=True)
FILE, TUNED = "pretrained.json", "lora.safetensors"
Byte = Annotated[int, Field(ge=0, le=255)]
Word = Annotated[str, Field(min_length=1)]


@dataclass(frozen=True, kw_only=True, config=OPTIONS)
class Lora:
    """Fine-tuning on the seed: low-rank additions to the U-Net's attention. Rank and rate as in diffusers' own script,
    steps as in its DreamBooth for a handful of images."""

    steps: Annotated[int, Field(ge=1, le=100_000)] = 400
    """Optimiser steps."""
    rank: Annotated[int, Field(ge=1, le=256)] = 4
    """Rank of the additions: more can learn more, and can copy more."""
    rate: Annotated[float, Field(gt=0, le=1)] = 1e-4
    """Learning rate (AdamW)."""
    batch: Annotated[int, Field(ge=1, le=64)] = 1
    """Images per step, all of one size."""


@dataclass(kw_only=True, config=OPTIONS)
class Pretrained:
    """Paints what a layout says with a diffusers pipeline that somebody trained; labels are known by condition."""

    TASKS: ClassVar[tuple[str, ...]] = ("instances", "segment", "detect", "classify")
    LEARNS: ClassVar[bool] = True
    SAMPLING: ClassVar[tuple[str, ...]] = (
        "condition", "colours", "weight", "layout", "density", "touching", "repaint", "min_visible", "negative_prompt",
        "steps", "guidance", "strength", "batch", "noise")

    model: Path | None = None
    """Folder of a pipeline, as diffusers' save_pretrained writes it: model_index.json and a folder for each part."""
    repo: Repo | None = None
    """Instead of a folder: a pipeline on the Hub. It is fetched when first needed, and only where this is said."""
    revision: Commit | None = None
    """With repo: the commit to take, 40 hex digits; a branch or tag could change what it means."""
    mode: Mode = "inpaint-objects"
    """inpaint-objects = objects painted into seed images; inpaint-background = painted around the seed's objects;
    controlnet = whole images for new layouts; for classify: text = from words alone, image = from seed images."""
    controlnet: Path | None = None
    """Folder of a ControlNet, which shows the model where objects are; for mode controlnet, and with inpainting."""
    controlnet_repo: Repo | None = None
    """Instead of that folder: a ControlNet on the Hub."""
    controlnet_revision: Commit | None = None
    """With controlnet_repo: the commit to take."""
    condition: Literal["segmentation", "edges"] = "segmentation"
    """What the ControlNet is shown, as it was trained: areas in their classes' colours, or outlines of the objects."""
    colours: dict[str, tuple[Byte, Byte, Byte]] = dataclasses.field(default_factory=dict)
    """Class → red, green, blue in the segmentation that the ControlNet learned from; others as in Pascal VOC."""
    weight: Annotated[float, Field(ge=0, le=10)] | None = None
    """How much the ControlNet counts; null = the pipeline's own default."""
    layout: LayoutName = "shape"
    """Where new objects stand: resample | warp | shape, as for compose."""
    density: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] = (0.7, 1.3)
    """Range of the number of objects, relative to the seed's; inpaint-objects adds none beyond its upper end."""
    touching: Annotated[float, Field(ge=0, le=1)] | None = None
    """Share of new objects put against another one on purpose; null = as often as in the seed."""
    repaint: Annotated[float, Field(ge=0, le=1)] = 1.0
    """inpaint-objects: share of a seed image's own objects that are painted anew in their place; others stay as they
    are, with their labels."""
    min_visible: Annotated[float, Field(ge=0, le=1)] = 0.15
    """Objects that others hide but for less than this share are not labelled; their pixels are ignored."""
    prompts: Annotated[tuple[Word, ...], Field(min_length=1)] = ("a photo of {classes}",)
    """What the model is told, one at random per sample; {classes}, {class} = the most frequent one, {count}, and the
    names under attributes are filled in."""
    attributes: dict[str, Annotated[tuple[Word, ...], Field(min_length=1)]] = dataclasses.field(default_factory=dict)
    """Name → words of which a prompt takes one at random, e.g. light: [daylight, dusk] for "{class} in {light}"."""
    negative_prompt: str = ""
    """What the image shall not show; the same fields are filled in. inpaint-background: "{classes}" keeps the model
    from painting more of them, which nothing would label."""
    steps: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Denoising steps; null = the pipeline's own default."""
    guidance: Annotated[float, Field(ge=0, le=50)] | None = None
    """How strictly the prompt is followed; null = the pipeline's own default."""
    strength: Annotated[float, Field(gt=0, le=1)] | None = None
    """How far from the seed image the painting may lead; 1 starts from noise; null = the pipeline's own default."""
    side: Annotated[int, Field(ge=16)] | None = None
    """Longer side at which the model works, px; images are resized to it and back. null = what it was made for."""
    batch: Annotated[int, Field(ge=1, le=256)] = 1
    """Images at a time. Above 1 a sample's last digits depend on it; it is halved where memory does not suffice."""
    precision: Literal["float32", "float16", "bfloat16"] = "float32"
    """Of the model's numbers; the shorter ones take half the memory, and are for GPUs."""
    lora: Lora | None = None
    """Fine-tune on the seed first (Stable Diffusion 1 and 2); null = take the model as it is."""
    noise: bool = True
    """Put the sensor's noise back where the model painted with less of it than real images have."""

    def __post_init__(self) -> None:
        if self.density[0] > self.density[1]:
            raise ValueError(f"density: the lower end {self.density[0]} is above the upper end {self.density[1]}")
        if (self.model is None) == (self.repo is None):
            raise ValueError("name either model, the folder of a pipeline, or repo and revision")
        if self.controlnet is not None and self.controlnet_repo is not None:
            raise ValueError("name either controlnet, a folder, or controlnet_repo and controlnet_revision")
        for name, repo, revision in (("", self.repo, self.revision),
                                     ("controlnet_", self.controlnet_repo, self.controlnet_revision)):
            if (repo is None) != (revision is None):
                raise ValueError(f"{name}repo and {name}revision belong together: name both, the revision as a full "
                                 "commit hash of 40 hex digits, or a folder instead")
        guided = self.controlnet is not None or self.controlnet_repo is not None
        if self.mode == "controlnet" and not guided:
            raise ValueError("mode controlnet needs a ControlNet: name controlnet, its folder, or controlnet_repo")
        if guided and self.mode in OF_IMAGES:
            raise ValueError(f"mode {self.mode} has no layout that a ControlNet could be shown; leave controlnet out")
        check_templates((*self.prompts, self.negative_prompt), self.attributes)
        self._studio: Studio | None = None
        self._state: State | None = None
        self._about: dict[str, Json] = {}
        self._real: list[Sample] = []

    def fit(self, real: Dataset, pool: Dataset, context: Context) -> None:
        """Load the pipeline, see that it can draw, survey the seed, and fine-tune where that is asked for; an
        interrupted fine-tuning in the same folder goes on at its last checkpoint.

        Raises: DataError when mode and task do not go together, the seed has too little to lay out, or the model cannot
        be used (a pickle, code of its own, weights that are missing, parts that do not fit); EnvironmentProblem when a
        library is missing, the Hub cannot be reached, or memory does not suffice.
        """
        del pool  # its images may hold objects, which nothing would label
        accepted = [s if s.labels is None else dataclasses.replace(s, labels=only_accepted(s.labels)) for s in real]
        folders = self._folders(context.base)
        self._about = {"seed": context.seed, "task": context.task, "classes": list(context.classes),
                       "base": str(context.base.absolute()), "files": weights_hash(*folders)}
        self._open(accepted, folders, context.device)
        assert self._studio is not None
        self._studio.trial()
        if self.lora is not None:
            from synthgen_pretrained.lora import Training, add, train

            how = Training(self.lora.steps, self.lora.rank, self.lora.rate, self.lora.batch,
                           seed_of(context.seed, "lora"))
            pipeline = self._studio.drawer.pipeline
            self._state, (before, after) = train(pipeline, self._studio.lessons(), how, context.device, context.log,
                                                 context.folder)
            self._about["loss"] = [before, after]
            add(pipeline, self._state)

    def sample(self, seeds: Sequence[int]) -> Iterator[Sample]:
        """One sample per seed, in their order.

        Raises: EnvironmentProblem when memory does not suffice for one image, or the model cannot draw one.
        """
        assert self._studio is not None, "fit or load comes first"
        from synthgen_pretrained.studio import hash_of

        weights = (self._about["files"] + hash_of(self._state))[:32]
        for seed, made in zip(seeds, self._studio.draw(seeds), strict=True):
            facts: dict[str, Any] = {"mode": self.mode, "prompt": made.prompt, "drawn_at": list(made.work)}
            if made.negative:
                facts["negative_prompt"] = made.negative
            if self.mode in ("inpaint-objects", "controlnet"):
                facts["layout"] = self.layout
            origin = Origin("synthetic", "pretrained", synthgen.__version__, weights, seed, made.scene.parents,
                            "condition")
            yield Sample(f"pretrained-{seed:016x}", made.image, made.scene.labels, origin, facts)

    def save(self, folder: Path) -> None:
        """The seed images, what the model's files hash to, and what was fine-tuned; the model stays where it is."""
        assert self._studio is not None, "fit comes first"
        write_all(folder / "seed", self._real)
        if self._state is not None:
            from safetensors.torch import save_file

            save_file(self._state, folder / TUNED)
        write_json(folder / FILE, self._about)

    def load(self, folder: Path, device: str = "cpu") -> None:
        """What `save` wrote, with the model from where it was.

        Raises: DataError when the model's files are not what they were at `fit`; else as `fit`.
        """
        self._about = read_json(folder / FILE)
        folders = self._folders(Path(self._about["base"]))
        found = weights_hash(*folders)
        if found != self._about["files"]:
            raise DataError(f"{folders[0]}: the model's files are not the ones that were there when the generator was "
                            f"fitted (hash {found}, then {self._about['files']}); put them back, or remove "
                            f"{folder} and run again")
        self._open(list(Stored(folder / "seed")), folders, device)
        assert self._studio is not None
        self._state = None
        if (folder / TUNED).exists():
            from safetensors.torch import load_file

            from synthgen_pretrained.lora import add

            self._state = load_file(folder / TUNED)
            add(self._studio.drawer.pipeline, self._state)

    def _folders(self, base: Path) -> tuple[Path, Path | None]:
        """Where the model's files are, and the ControlNet's; fetched where a repository is named, and looked at."""
        model, controlnet = self._named(base)
        check_pipeline(model)
        if controlnet is not None:
            check_controlnet(controlnet)
        return model, controlnet

    def _named(self, base: Path) -> tuple[Path, Path | None]:
        if self.repo is not None and self.revision is not None:
            model = fetched(self.repo, self.revision, pipeline=True)
        else:
            assert self.model is not None
            model = base / self.model
        if self.controlnet_repo is not None and self.controlnet_revision is not None:
            return model, fetched(self.controlnet_repo, self.controlnet_revision, pipeline=False)
        return model, None if self.controlnet is None else base / self.controlnet

    def _open(self, real: list[Sample], folders: tuple[Path, Path | None], device: str) -> None:
        """Load the pipeline and lay out the seed."""
        task, names = self._about["task"], tuple(self._about["classes"])
        modes = OF_IMAGES if task == "classify" else OF_OBJECTS
        if self.mode not in modes:
            raise DataError(f"the generator pretrained cannot do task {task} in mode {self.mode}; take mode "
                            f"{' or '.join(modes)}")
        scenes: ObjectScenes | ClassScenes
        if task == "classify":
            scenes = ClassScenes(real, self.mode, len(names))
        else:
            scenes = ObjectScenes(real, self.mode, Wishes(self.layout, self.density, self.touching, self.repaint,
                                                          self.min_visible))
        from synthgen_pretrained.drawing import Drawer, Settings
        from synthgen_pretrained.loading import load
        from synthgen_pretrained.studio import Studio, Words

        pipeline = load(self.mode, *folders, self.precision, device)
        drawer = Drawer(pipeline, Settings(self.steps, self.guidance, self.strength, self.weight), self.batch, device)
        words = Words(self.prompts, self.attributes, self.negative_prompt, names)
        shown = None if folders[1] is None else (self.condition, colours_of(names, self.colours))
        self._studio = Studio(scenes, drawer, self.mode, words, self.side, shown, self.noise)
        self._real = real
