"""`diffusion`: a picture for a layout, by flow matching that learns from the seed and from the unlabelled pool.

A layout is drawn first; the network, trained from scratch on pixels, is given its masks and paints it. Crops of the
pool are shown to it with nothing known of them, so that it learns from them what pictures look like, and from the seed
what masks mean. For `classify` the image's class takes the masks' place. Layouts may be learned too: by a network of
their own (`layout: [diffusion]`), or by the same one, which then denoises picture and label together (`mode: joint`).
"""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
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
from synthgen.neural.tensors import chosen, identity_of, read_tensors
from synthgen.neural.watch import Watch
from synthgen.seeds import seed_of
from synthgen.store import write_all, write_json
from synthgen.types import Context, Dataset, Generator, Json, KnownBy, Origin, Sample, Task
from synthgen_diffusion import layouts
from synthgen_diffusion.presets import PRESETS, Preset

if TYPE_CHECKING:
    from synthgen_diffusion.network import Denoiser, Shape
    from synthgen_diffusion.training import Plan, Target

Floats: TypeAlias = NDArray[np.float32]

LOOKED_AT = 12  # samples per look


@dataclass(kw_only=True, config=ConfigDict(extra="forbid", use_attribute_docstrings=True))
class Diffusion:
    """Pictures for layouts, or with them, by flow matching, trained from scratch on seed and pool."""

    TASKS: ClassVar[tuple[str, ...]] = ("instances", "segment", "classify")
    LEARNS: ClassVar[bool] = True
    SAMPLING: ClassVar[tuple[str, ...]] = ("layout", "density", "touching", "min_visible", "size", "guidance",
                                           "sampler", "sampling_steps", "noise", "strength")
    LEARNED: ClassVar[Mapping[str, tuple[str, ...]]] = {"layout": (layouts.NAME,)}

    mode: Literal["condition", "refine", "joint"] = "condition"
    """condition = paint layouts from noise; refine = take another generator's samples, drown them in noise up to
    `strength`, and paint them anew over what is left: their labels stay, their seams go; joint = draw picture and label
    together, without a `layout`: labels are then as good as what the network learned of them, from few labels poor."""
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
    layout: Annotated[tuple[Literal[LayoutName, "diffusion"], ...], Field(min_length=1)] = ("shape", "warp")
    """Layouts, one of them at random for each sample: resample | warp | shape, as for compose; diffusion = arrangements
    that a network of its own learns from the seed's masks, meant for 50 labelled images and more."""
    density: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] = (0.7, 1.3)
    """Range of the number of objects, relative to the seed's; learned layouts have as many as they learned."""
    touching: Annotated[float, Field(ge=0, le=1)] | None = None
    """Share of objects put against another one on purpose; null = as often as in the seed."""
    min_visible: Annotated[float, Field(ge=0, le=1)] = 0.15
    """Objects that others hide but for less than this share are not labelled; their pixels are ignored."""
    size: tuple[Annotated[int, Field(ge=8)], Annotated[int, Field(ge=8)]] | None = None
    """Height and width of the images, px; null = as in the seed."""
    guidance: Annotated[float, Field(ge=0, le=10)] = 1.3
    """How much more than by itself the picture follows the layout (joint: picture and label each other); 1 = by itself,
    in half the time (joint: a third)."""
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
        self._arranges: Denoiser | None = None
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
        drawn = () if self.mode == "joint" else self.layout
        return Wishes(drawn, self.density, self.touching, self.min_visible, self.size)

    def fit(self, real: Dataset, pool: Dataset, context: Context) -> None:
        """Train; an interrupted training in the same folder goes on at its last checkpoint, bit for bit on one device.

        Raises: DataError when the task is not one it does, the seed has no labels to learn from, or too few for learned
        layouts, or samples never stop copying the seed.
        """
        if context.task not in self.TASKS:
            raise DataError(f"diffusion does not do task {context.task}: give masks and use task instances")
        joint = self.mode == "joint"
        if joint and context.task == "classify":
            raise DataError("diffusion in mode joint draws masks: use mode condition for task classify")
        from synthgen_diffusion.network import Shape, built

        scene = Scene(real, pool, context.task, len(context.classes), self.wishes)
        self._refuse_few(scene, context)
        preset = PRESETS[preset_of(self.preset, scene, context.device)]
        if self._base is not None:
            (context.folder / "base").mkdir(exist_ok=True)
            self._base.fit(real, pool, replace(context, folder=context.folder / "base"))
        arranges = self._fit_layouts(scene, preset, context) if self._learns_layouts(scene.task) else None
        self._taught(scene, arranges)
        shape = Shape(scene.tones.colours, 0 if joint else scene.channels,
                      scene.classes if context.task == "classify" else 0, preset.patch, self.widths or preset.widths,
                      preset.blocks, preset.dropout, scene.classes if joint else 0)
        plan = self._plan(scene, preset, shape, context, "joint" if joint else "picture")
        watch = Watch(scene.real, pool, context, frame_of(scene), objects=joint) if plan.looks else None
        folder = context.folder / "training"
        self._train(folder, scene, plan, shape, pool if self.pool else [], context, watch)
        weights = chosen(folder, watch, "diffusion model")
        self._take(scene, built(shape, read_tensors(weights)[0], context.device), arranges)
        if watch is not None:
            watch.write(context.folder, json.loads((folder / "ended.json").read_text())["why"])
        shutil.copy(folder / "curve.json", context.folder / "curve.json")
        shutil.rmtree(folder)
        shutil.rmtree(context.folder / "arranging", ignore_errors=True)

    def _learns_layouts(self, task: Task) -> bool:
        return self.mode == "condition" and layouts.NAME in self.layout and task != "classify"

    def _refuse_few(self, scene: Scene, context: Context) -> None:
        """Learned layouts ask more of a seed than others: too few objects are refused, few images are warned of."""
        if self.mode != "joint" and not self._learns_layouts(scene.task):
            return
        what = "mode: joint" if self.mode == "joint" else "layout: [diffusion]"
        layouts.refuse_few(scene, what)
        said = layouts.warning(scene, what)
        if said:
            write_json(context.folder / "warning.json", {"warning": said})
            warnings.warn(said, RuntimeWarning, stacklevel=3)

    def _fit_layouts(self, scene: Scene, preset: Preset, context: Context) -> Denoiser:
        """A denoiser of fields, trained on the seed's masks: outlines are smooth, so patches are twice as wide."""
        from synthgen_diffusion.network import Shape, built

        shape = Shape(scene.classes, 0, 0, 2 * preset.patch, self.widths or preset.widths, preset.blocks,
                      preset.dropout)
        plan = self._plan(scene, preset, shape, context, "fields")
        folder = context.folder / "arranging"
        if not (folder / "last.safetensors").exists():
            said = replace(context, log=lambda what, done, total: context.log(f"{what} layouts of", done, total))
            self._train(folder, scene, plan, shape, [], said, None)
        return built(shape, read_tensors(folder / "last.safetensors")[0], context.device)

    def _plan(self, scene: Scene, preset: Preset, shape: Shape, context: Context, target: Target) -> Plan:
        from synthgen_diffusion.training import Plan

        steps = self.steps or preset.steps
        looks = max(1, steps // 6) if self.look_every is None else self.look_every
        # Two pixels at the coarsest level: of one there is no spread to normalise by.
        px = max(2 * shape.multiple, side_of(scene, self.px or preset.px, shape.multiple))
        # Of smaller crops as many more as cost the same.
        batch = self.batch or 2 * round(preset.batch / 2 * min(4, max(1, (preset.px / px) ** 2)))
        rate, seed, drop = self.rate or preset.rate, seed_of(context.seed, "diffusion"), self.unconditional
        if target == "fields":
            looks, seed, drop = 0, seed_of(context.seed, "diffusion", "layouts"), 0.0
        return Plan(px, steps, batch, rate, looks, drop, seed, context.device, target)

    def _train(self, folder: Path, scene: Scene, plan: Plan, shape: Shape, pool: Dataset, context: Context,
               watch: Watch | None) -> None:
        """Train in a folder, from its checkpoint where there is one."""
        from synthgen.neural.processes import PARTS
        from synthgen_diffusion.training import train, write_plan

        if not (folder / "plan.json").exists():
            shutil.rmtree(folder, ignore_errors=True)
            scene.save(folder / "scene")
            unlabelled = from_pool(pool, plan.seed)
            if context.task == "classify" and self.pool_classes == "committee":
                unlabelled = taken_for(unlabelled, context)
            write_all(folder / "pool", unlabelled)
            write_plan(folder, plan, shape)
        train_together(train, PARTS, folder, context, watch,
                       lambda step, network: self._look(step, network, scene, watch, context))

    def sample(self, seeds: Sequence[int]) -> Iterator[Sample]:
        """One sample per seed, each drawn alone: what is drawn beside it cannot change its last bit."""
        assert self._scene is not None, "fit or load comes first"
        assert self._network is not None
        for seed in seeds:
            yield self._sample(self._scene, self._network, seed)

    def save(self, folder: Path) -> None:
        """The seed, the networks' shapes and their weights as safetensors."""
        assert self._scene is not None, "fit comes first"
        assert self._network is not None
        from synthgen_diffusion.network import keep

        self._scene.save(folder / "scene")
        if self._base is not None:
            (folder / "base").mkdir(exist_ok=True)
            self._base.save(folder / "base")
        if self._arranges is not None:
            keep(folder / "layouts", self._arranges)
        keep(folder, self._network)

    def load(self, folder: Path, device: str = "cpu") -> None:
        """What `save` wrote. Raises: DataError when there is nothing of this kind."""
        from safetensors import SafetensorError

        from synthgen_diffusion.network import kept

        try:
            scene = load_scene(folder / "scene", self.wishes)
            arranges = kept(folder / "layouts", device) if self._learns_layouts(scene.task) else None
            self._taught(scene, arranges)
            self._take(scene, kept(folder, device), arranges)
            if self._base is not None:
                self._base.load(folder / "base", device)
        except (OSError, ValueError, KeyError, RuntimeError, TypeError, SafetensorError) as error:
            raise DataError(f"{folder}: there is no diffusion model here that can be read ({error})") from None

    def _taught(self, scene: Scene, arranges: Denoiser | None) -> None:
        if arranges is not None:
            scene.teach(layouts.NAME, layouts.Learned(arranges, scene.scale, self.sampling_steps, self.sampler))

    def _take(self, scene: Scene, network: Denoiser, arranges: Denoiser | None) -> None:
        self._scene, self._network, self._arranges = scene, network, arranges
        beside = {} if arranges is None else {f"layouts.{k}": v for k, v in arranges.state_dict().items()}
        self._weights = identity_of(network.state_dict() | beside)

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
        known_by: KnownBy = "condition"
        parents, start, kind = tuple(s.id for s in scene.real), None, scene.classes
        meta: dict[str, Json] = {}
        if self.mode == "joint":
            known_by, labels, condition = "joint", None, np.zeros((0, *scene.size_of(seed)), np.float32)
        elif self._base is not None:
            (first,) = self._base.sample([seed])
            assert first.labels is not None
            labels, start = first.labels, scene.tones.encode(first.image)
            condition = scene.condition(labels, labels.size)
            parents, meta = first.origin.parents, {**first.meta, "refined": self.strength}
        else:
            drawn = scene.draw(seed)
            labels, condition, parents = drawn.labels, drawn.condition, drawn.parents
            meta = {"layout": drawn.layout} if drawn.layout else {}
            kind = kind if labels.image_class is None else labels.image_class
        values, fields = self._walked(network, condition, kind, seed, start)
        if labels is None:
            labels = scene.shown_by(fields)
        origin = Origin("synthetic", "diffusion", synthgen.__version__, self._weights, seed, parents, known_by)
        return Sample(f"diffusion-{seed:016x}", scene.picture(values, seed, self.noise), labels, origin, meta)

    def _walked(self, network: Denoiser, condition: Floats, kind: int, seed: int,
                start: Floats | None) -> tuple[Floats, Floats]:
        """(colours, H, W) and (fields, H, W) from the seed's noise, by the options' way."""
        from synthgen_diffusion.sampling import sample

        (values,) = sample(network, [condition], [kind], [seed], steps=self.sampling_steps, guidance=self.guidance,
                           sampler=self.sampler, start=None if start is None else [start], strength=self.strength)
        return values[: network.shape.colours], values[network.shape.colours :]
