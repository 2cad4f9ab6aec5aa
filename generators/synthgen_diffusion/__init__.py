"""`diffusion`: a picture for a layout, by flow matching that learns from the seed and from the unlabelled pool.

A layout is drawn first; the network, trained from scratch on pixels, is given its masks and paints it. Crops of the
pool are shown to it with nothing known of them, so that it learns from them what pictures look like, and from the seed
what masks mean. For `classify` the image's class takes the masks' place.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from dataclasses import dataclass as plain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

import synthgen
from synthgen import plugins
from synthgen.errors import DataError, PluginError
from synthgen.layouts import LayoutName
from synthgen.neural.crops import from_pool, taken_for
from synthgen.neural.group import train_together
from synthgen.neural.scene import Scene, Wishes, load_scene
from synthgen.neural.sizes import PresetName, frame_of, preset_of, side_of
from synthgen.neural.tensors import chosen, identity_of, read_tensors, write_tensors
from synthgen.neural.watch import Watch
from synthgen.seeds import seed_of
from synthgen.store import write_all
from synthgen.types import Context, Dataset, Generator, Json, Origin, Sample

if TYPE_CHECKING:
    from synthgen_diffusion.network import Denoiser

LOOKED_AT = 12  # samples per look


@plain(frozen=True, slots=True)
class Preset:
    """Side of the crops (px), of the patches that become channels (px), channels per level, residual blocks per level,
    steps, crops per step, learning rate, dropout."""

    px: int
    patch: int
    widths: tuple[int, ...]
    blocks: int
    steps: int
    batch: int
    rate: float
    dropout: float


PRESETS = {
    "cpu-demo": Preset(64, 2, (64, 64), 1, 600, 16, 1e-3, 0.1),
    "cpu-small": Preset(64, 2, (64, 128), 1, 2000, 16, 1e-3, 0.1),
    "gpu-64": Preset(64, 2, (128, 256, 256), 2, 8000, 128, 4e-4, 0.1),
    "gpu-128": Preset(128, 2, (128, 256, 256), 2, 8000, 64, 4e-4, 0.1),
    "gpu-256": Preset(256, 4, (128, 256, 384), 2, 8000, 32, 3e-4, 0.1),
}


@dataclass(kw_only=True, config=ConfigDict(extra="forbid", use_attribute_docstrings=True))
class Diffusion:
    """Pictures for layouts by flow matching, trained from scratch on seed and pool; labels are the layouts'."""

    TASKS: ClassVar[tuple[str, ...]] = ("instances", "segment", "classify")
    LEARNS: ClassVar[bool] = True
    SAMPLING: ClassVar[tuple[str, ...]] = ("layout", "density", "touching", "min_visible", "size", "guidance",
                                           "sampler", "sampling_steps", "noise", "strength")

    mode: Literal["condition", "refine"] = "condition"
    """condition = paint layouts from noise; refine = take another generator's samples, drown them in noise up to
    `strength`, and paint them anew over what is left: their labels stay, their seams go."""
    base: dict[str, Any] | None = None
    """The generator whose samples are refined: {use: compose, …its options}."""
    strength: Annotated[float, Field(gt=0, le=1)] = 0.5
    """How much noise a refined sample goes through: near 0 nothing changes, at 1 nothing but its layout is left."""
    preset: PresetName = "auto"
    """Size of network and training; auto = cpu-demo on the CPU, else by the size of the images."""
    steps: Annotated[int, Field(ge=1)] | None = None
    """Optimiser steps; null = as the preset says."""
    batch: Annotated[int, Field(ge=2, multiple_of=2)] | None = None
    """Crops per step; null = as the preset says."""
    px: Annotated[int, Field(ge=8)] | None = None
    """Side of the crops, px; null = as the preset says, and no larger than the images."""
    widths: Annotated[tuple[Annotated[int, Field(ge=8, multiple_of=8)], ...], Field(min_length=1)] | None = None
    """Channels per level of the network; null = as the preset says."""
    rate: Annotated[float, Field(gt=0)] | None = None
    """Highest learning rate; null = as the preset says."""
    unconditional: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share of the seed's crops that are shown without their labels."""
    pool: bool = True
    """Whether to learn from the unlabelled pool too."""
    pool_classes: Literal["unknown", "committee"] = "committee"
    """For classify: pool images are shown without a class, or with the one that all labelers of the committee give."""
    look_every: Annotated[int, Field(ge=0)] | None = None
    """Steps between looks at samples, which end the training when it copies or collapses; 0 = none, null = six."""
    layout: Annotated[tuple[LayoutName, ...], Field(min_length=1)] = ("shape", "warp")
    """Layouts, one of them at random for each sample: resample | warp | shape, as for compose."""
    density: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] = (0.7, 1.3)
    """Range of the number of objects, relative to the seed's."""
    touching: Annotated[float, Field(ge=0, le=1)] | None = None
    """Share of objects put against another one on purpose; null = as often as in the seed."""
    min_visible: Annotated[float, Field(ge=0, le=1)] = 0.15
    """Objects that others hide but for less than this share are not labelled; their pixels are ignored."""
    size: tuple[Annotated[int, Field(ge=8)], Annotated[int, Field(ge=8)]] | None = None
    """Height and width of the images, px; null = as in the seed."""
    guidance: Annotated[float, Field(ge=0, le=10)] = 1.3
    """How much more than by itself the picture follows the layout; 1 = by itself, in half the time."""
    sampler: Literal["euler", "dpm"] = "euler"
    """How the path from noise to picture is walked: euler, or dpm = DPM-Solver++ of second order."""
    sampling_steps: Annotated[int, Field(ge=1, le=1000)] = 12
    """Steps of that path."""
    noise: bool = True
    """Put the sensor's noise back where the picture has less of it than real ones."""

    def __post_init__(self) -> None:
        if self.density[0] > self.density[1]:
            raise ValueError(f"density: the lower end {self.density[0]} is above the upper end {self.density[1]}")
        if (self.mode == "refine") != (self.base is not None):
            raise ValueError("mode refine and base belong together: base names whose samples are refined, "
                             "{use: compose}")
        self._base = self._built()
        self._scene: Scene | None = None
        self._network: Denoiser | None = None
        self._weights = ""

    def _built(self) -> Generator | None:
        """The generator whose samples are refined, not fitted yet. Raises: ValueError for options that it has not."""
        if self.base is None:
            return None
        options = dict(self.base)
        try:
            built: Generator = plugins.build("generators", str(options.pop("use", "compose")), options)
        except PluginError as error:
            raise ValueError(f"base: {error}") from None
        return built

    @property
    def variants(self) -> int:
        """How many samples share a layout: as many as of the generator that is refined."""
        return int(getattr(self._base, "variants", 1))

    @property
    def wishes(self) -> Wishes:
        """What the layouts shall be like."""
        return Wishes(self.layout, self.density, self.touching, self.min_visible, self.size)

    def fit(self, real: Dataset, pool: Dataset, context: Context) -> None:
        """Train; an interrupted training in the same folder goes on at its last checkpoint, bit for bit on one device.

        Raises: DataError when the task is not one it does, the seed has no labels to learn from, or samples never stop
        copying the seed.
        """
        if context.task not in self.TASKS:
            raise DataError(f"diffusion does not do task {context.task}: give masks and use task instances")
        from synthgen.neural.processes import PARTS
        from synthgen_diffusion.network import Shape
        from synthgen_diffusion.training import Plan, train, write_plan

        scene = Scene(real, pool, context.task, len(context.classes), self.wishes)
        preset = PRESETS[preset_of(self.preset, scene, context.device)]
        widths = self.widths or preset.widths
        shape = Shape(scene.tones.colours, scene.channels, scene.classes if context.task == "classify" else 0,
                      preset.patch, widths, preset.blocks, preset.dropout)
        steps = self.steps or preset.steps
        looks = max(1, steps // 6) if self.look_every is None else self.look_every
        # Two pixels at the coarsest level: of one there is no spread to normalise by.
        px = max(2 * shape.multiple, side_of(scene, self.px or preset.px, shape.multiple))
        # Of smaller crops as many more as cost the same.
        batch = self.batch or 2 * round(preset.batch / 2 * min(4, max(1, (preset.px / px) ** 2)))
        plan = Plan(px, steps, batch, self.rate or preset.rate, looks, self.unconditional,
                    seed_of(context.seed, "diffusion"), context.device)
        if self._base is not None:
            (context.folder / "base").mkdir(exist_ok=True)
            self._base.fit(real, pool, replace(context, folder=context.folder / "base"))
        folder = context.folder / "training"
        if not (folder / "plan.json").exists():
            shutil.rmtree(folder, ignore_errors=True)
            scene.save(folder / "scene")
            unlabelled = from_pool(pool, plan.seed) if self.pool else []
            if context.task == "classify" and self.pool_classes == "committee":
                unlabelled = taken_for(unlabelled, context)
            write_all(folder / "pool", unlabelled)
            write_plan(folder, plan, shape)
        watch = Watch(scene.real, pool, context, frame_of(scene)) if looks else None
        train_together(train, PARTS, folder, context, watch,
                       lambda step, network: self._look(step, network, scene, watch, context))
        self._take(scene, shape, read_tensors(chosen(folder, watch, "diffusion model"))[0], context.device)
        if watch is not None:
            watch.write(context.folder, json.loads((folder / "ended.json").read_text())["why"])
        shutil.copy(folder / "curve.json", context.folder / "curve.json")
        shutil.rmtree(folder)

    def sample(self, seeds: Sequence[int]) -> Iterator[Sample]:
        """One sample per seed, each drawn alone: what is drawn beside it cannot change its last bit."""
        assert self._scene is not None, "fit or load comes first"
        assert self._network is not None
        for seed in seeds:
            yield self._sample(self._scene, self._network, seed)

    def save(self, folder: Path) -> None:
        """The seed, the network's shape and its weights as safetensors."""
        assert self._scene is not None, "fit comes first"
        assert self._network is not None
        self._scene.save(folder / "scene")
        if self._base is not None:
            (folder / "base").mkdir(exist_ok=True)
            self._base.save(folder / "base")
        write_tensors(folder / "weights.safetensors", self._network.state_dict())
        (folder / "network.json").write_text(json.dumps(asdict(self._network.shape), indent=1) + "\n")

    def load(self, folder: Path, device: str = "cpu") -> None:
        """What `save` wrote. Raises: DataError when there is nothing of this kind."""
        from safetensors import SafetensorError

        from synthgen_diffusion.network import Shape

        try:
            about = json.loads((folder / "network.json").read_text())
            shape = Shape(**{**about, "widths": tuple(about["widths"])})
            scene, state = load_scene(folder / "scene", self.wishes), read_tensors(folder / "weights.safetensors")[0]
            self._take(scene, shape, state, device)
            if self._base is not None:
                self._base.load(folder / "base", device)
        except (OSError, ValueError, KeyError, RuntimeError, TypeError, SafetensorError) as error:
            raise DataError(f"{folder}: there is no diffusion model here that can be read ({error})") from None

    def _take(self, scene: Scene, shape: Any, state: Any, device: str) -> None:
        import torch

        from synthgen_diffusion.network import Denoiser

        if device == "cpu":
            torch.set_num_threads(1)
        with torch.random.fork_rng():  # a network draws its first weights, which are replaced
            network = Denoiser(shape)
        network.load_state_dict(state)
        self._network = network.to(device).eval()
        self._scene = scene
        self._weights = identity_of(state)

    def _look(self, step: int, network: Denoiser, scene: Scene, watch: Watch | None, context: Context) -> str:
        """Samples of a network in training, looked at; why to end, or ""."""
        assert watch is not None
        samples = []
        for k in range(LOOKED_AT):
            seed = seed_of(context.seed, "look", k) & ~0xFF
            samples.append(self._sample(scene, network, seed))
            context.log(f"look at step {step} of", k + 1, LOOKED_AT)
        watch.look(step, samples)
        write_all(context.folder / "looked" / f"{step:06d}", samples)
        return watch.alarm

    def _sample(self, scene: Scene, network: Denoiser, seed: int) -> Sample:
        from synthgen_diffusion.sampling import sample

        if self._base is None:
            drawn = scene.draw(seed)
            labels, condition, start = drawn.labels, drawn.condition, None
            parents, meta = drawn.parents, dict[str, Json](layout=drawn.layout) if drawn.layout else {}
        else:
            (first,) = self._base.sample([seed])
            assert first.labels is not None
            labels, start = first.labels, [scene.tones.encode(first.image)]
            condition = scene.condition(labels, labels.size)
            parents, meta = first.origin.parents, {**first.meta, "refined": self.strength}
        kind = scene.classes if labels.image_class is None else labels.image_class
        (values,) = sample(network, [condition], [kind], [seed], steps=self.sampling_steps, guidance=self.guidance,
                           sampler=self.sampler, start=start, strength=self.strength)
        origin = Origin("synthetic", "diffusion", synthgen.__version__, self._weights, seed, parents, "condition")
        return Sample(f"diffusion-{seed:016x}", scene.picture(values, seed, self.noise), labels, origin, meta)
