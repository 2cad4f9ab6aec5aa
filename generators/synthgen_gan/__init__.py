"""`gan`: a picture for a layout, painted in one pass by a network that learned against a critic.

A layout is drawn first; the painter is given its masks and noise. The critic says of each pixel which class it shows,
or that it is painted, and so asks for pictures that look real and show what their masks say. Crops of the pool, of
which nothing is known, teach it what is real. For `classify` the image's class takes the masks' place.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from dataclasses import dataclass as plain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

import synthgen
from synthgen.errors import DataError
from synthgen.layouts import LayoutName
from synthgen.neural.crops import from_pool, taken_for
from synthgen.neural.group import train_together
from synthgen.neural.scene import Scene, Wishes, load_scene
from synthgen.neural.sizes import PresetName, frame_of, preset_of, side_of
from synthgen.neural.tensors import chosen, identity_of, read_tensors, write_tensors
from synthgen.neural.watch import Watch
from synthgen.seeds import seed_of
from synthgen.store import read_json, write_all, write_json
from synthgen.types import Context, Dataset, Origin, Sample
from synthgen_gan.things import Looks

if TYPE_CHECKING:
    from synthgen_gan.network import Painter, Shape

LOOKED_AT = 12  # samples per look
FARTHEST = 32.0  # standard deviations from the mean that a painted value may be
Widths = Annotated[tuple[Annotated[int, Field(ge=4)], ...], Field(min_length=1, max_length=7)]


@plain(frozen=True, slots=True)
class Preset:
    """Side of the crops (px), channels per level of painter and critic, steps, crops per step, learning rates of
    painter and critic."""

    px: int
    widths: tuple[int, ...]
    critic: tuple[int, ...]
    steps: int
    batch: int
    rate: float
    critic_rate: float


PRESETS = {
    "cpu-demo": Preset(64, (16, 32, 64, 64), (32, 64, 64), 400, 8, 5e-4, 1e-3),
    "cpu-small": Preset(64, (16, 32, 64, 64), (32, 64, 64), 3000, 8, 5e-4, 1e-3),
    "gpu-64": Preset(64, (64, 128, 256, 256), (128, 256, 256), 20000, 64, 1e-4, 4e-4),
    "gpu-128": Preset(128, (32, 64, 128, 256, 256), (64, 128, 256, 256), 20000, 32, 1e-4, 4e-4),
    "gpu-256": Preset(256, (32, 64, 128, 256, 256, 256), (64, 128, 256, 256, 256), 20000, 16, 1e-4, 4e-4),
}


@dataclass(kw_only=True, config=ConfigDict(extra="forbid", use_attribute_docstrings=True))
class Gan:
    """Pictures for layouts in one pass, by a painter trained from scratch against a critic; labels are the layouts'."""

    TASKS: ClassVar[tuple[str, ...]] = ("instances", "segment", "classify")
    LEARNS: ClassVar[bool] = True
    SAMPLING: ClassVar[tuple[str, ...]] = ("layout", "density", "touching", "min_visible", "size", "noise")

    preset: PresetName = "auto"
    """Size of networks and training; auto = cpu-demo on the CPU, else by the size of the images."""
    steps: Annotated[int, Field(ge=1)] | None = None
    """Steps of critic and painter; null = as the preset says."""
    batch: Annotated[int, Field(ge=4, multiple_of=2)] | None = None
    """Crops per step; null = as the preset says, more where crops are smaller."""
    px: Annotated[int, Field(ge=8)] | None = None
    """Side of the crops, px; null = as the preset says, and no larger than the images."""
    widths: Widths | None = None
    """Channels of the painter per level, from pixels to the coarsest; null = as the preset says."""
    critic: Widths | None = None
    """Channels of the critic per level, from half as fine as pixels; null = as the preset says."""
    rate: Annotated[float, Field(gt=0)] | None = None
    """Highest learning rate of the painter; null = as the preset says."""
    critic_rate: Annotated[float, Field(gt=0)] | None = None
    """Highest learning rate of the critic; null = as the preset says."""
    likeness: Annotated[float, Field(ge=0)] = 5.0
    """Weight, at first, of how far coarse colours are from the real picture's; it helps short trainings."""
    labelmix: Annotated[float, Field(ge=0)] = 10.0
    """Weight of LabelMix: of a mixture of real and painted the critic shall say what it says of the parts."""
    calm: Annotated[float, Field(ge=0)] = 0.05
    """Weight of R1, which keeps the critic from being steep near real pictures."""
    variety: Annotated[float, Field(ge=0)] = 0.02
    """For classify: weight of how much two pictures of one class shall differ."""
    pool: bool = True
    """Whether to learn from the unlabelled pool too."""
    pool_classes: Literal["unknown", "committee"] = "committee"
    """For classify: a pool image is real and no more, or of the class that all labelers of the committee give it."""
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
    noise: bool = True
    """Put the sensor's noise back where the picture has less of it than real ones."""

    def __post_init__(self) -> None:
        if self.density[0] > self.density[1]:
            raise ValueError(f"density: the lower end {self.density[0]} is above the upper end {self.density[1]}")
        self._scene: Scene | None = None
        self._looks: Looks | None = None
        self._network: Painter | None = None
        self._weights = ""

    @property
    def wishes(self) -> Wishes:
        """What the layouts shall be like."""
        return Wishes(self.layout, self.density, self.touching, self.min_visible, self.size)

    def fit(self, real: Dataset, pool: Dataset, context: Context) -> None:
        """Train; an interrupted training in the same folder goes on at its last checkpoint, bit for bit on one device.

        Raises: DataError when the task is not one it does, the seed has no labels to learn from, or samples never stop
        copying the seed or being all alike.
        """
        if context.task not in self.TASKS:
            raise DataError(f"gan does not do task {context.task}: give masks and use task instances")
        from synthgen.neural.processes import PARTS
        from synthgen_gan.training import Plan, read_plan, train, write_plan

        scene = Scene(real, pool, context.task, len(context.classes), self.wishes)
        preset = PRESETS[preset_of(self.preset, scene, context.device)]
        shape = self._shape(scene, preset)
        steps = self.steps or preset.steps
        looks = max(1, steps // 6) if self.look_every is None else self.look_every
        # Of smaller crops as many more as cost the same.
        batch = self.batch or 2 * round(preset.batch / 2 * min(4, max(1, (preset.px / shape.side) ** 2)))
        plan = Plan(shape.side, steps, batch, self.rate or preset.rate,
                    self.critic_rate or preset.critic_rate, looks, self.likeness, self.labelmix, self.calm,
                    self.variety, seed_of(context.seed, "gan"), context.device)
        folder = context.folder / "training"
        if not (folder / "plan.json").exists():
            shutil.rmtree(folder, ignore_errors=True)
            scene.save(folder / "scene")
            unlabelled = from_pool(pool, plan.seed) if self.pool else []
            if context.task == "classify" and self.pool_classes == "committee":
                unlabelled = taken_for(unlabelled, context)
            write_all(folder / "pool", unlabelled)
            write_plan(folder, plan, shape)
        self._looks = Looks(scene)
        watch = Watch(scene.real, pool, context, frame_of(scene)) if looks else None
        train_together(train, PARTS, folder, context, watch,
                       lambda step, network: self._look(step, network, scene, watch, context))
        _, shape = read_plan(folder)
        self._take(scene, shape, read_tensors(chosen(folder, watch, "gan"))[0], context.device)
        if watch is not None:
            watch.write(context.folder, read_json(folder / "ended.json")["why"])
        shutil.copy(folder / "curve.json", context.folder / "curve.json")
        shutil.rmtree(folder)

    def sample(self, seeds: Sequence[int]) -> Iterator[Sample]:
        """One sample per seed, each painted alone: what is painted beside it cannot change its last bit."""
        assert self._scene is not None, "fit or load comes first"
        assert self._network is not None
        for seed in seeds:
            yield self._sample(self._scene, self._network, seed)

    def save(self, folder: Path) -> None:
        """The seed, the networks' shape, and the painter's weights as safetensors."""
        assert self._scene is not None, "fit comes first"
        assert self._network is not None
        self._scene.save(folder / "scene")
        write_tensors(folder / "weights.safetensors", self._network.state_dict())
        write_json(folder / "network.json", asdict(self._network.shape))

    def load(self, folder: Path, device: str = "cpu") -> None:
        """What `save` wrote. Raises: DataError when there is nothing of this kind."""
        from safetensors import SafetensorError

        from synthgen_gan.network import shape_of

        try:
            shape = shape_of(read_json(folder / "network.json"))
            scene = load_scene(folder / "scene", self.wishes)
            self._take(scene, shape, read_tensors(folder / "weights.safetensors")[0], device)
        except (OSError, ValueError, KeyError, RuntimeError, TypeError, SafetensorError) as error:
            raise DataError(f"{folder}: there is no gan model here that can be read ({error})") from None

    def _shape(self, scene: Scene, preset: Preset) -> Shape:
        from synthgen_gan.network import Shape, multiple_of

        widths, critic, tones = self.widths or preset.widths, self.critic or preset.critic, scene.tones
        side = side_of(scene, self.px or preset.px, multiple_of(widths, critic))
        low, high = -tones.mean / tones.sd, (1 - tones.mean) / tones.sd
        return Shape(tones.colours, scene.channels, scene.classes if scene.task == "classify" else 0, widths, critic,
                     side, max(low, -FARTHEST), min(high, FARTHEST))

    def _take(self, scene: Scene, shape: Shape, state: Any, device: str) -> None:
        import torch

        from synthgen_gan.network import Painter

        if device == "cpu":
            torch.set_num_threads(1)
        with torch.random.fork_rng():  # a network draws its first weights, which are replaced
            network = Painter(shape)
        network.load_state_dict(state)
        self._network = network.to(device).eval()
        self._scene, self._looks = scene, Looks(scene)
        self._weights = identity_of(state)

    def _look(self, step: int, network: Painter, scene: Scene, watch: Watch | None, context: Context) -> str:
        """Samples of a painter in training, looked at; why to end, or ""."""
        assert watch is not None
        samples = []
        for k in range(LOOKED_AT):
            samples.append(self._sample(scene, network, seed_of(context.seed, "look", k) & ~0xFF))
            context.log(f"look at step {step} of", k + 1, LOOKED_AT)
        watch.look(step, samples)
        write_all(context.folder / "looked" / f"{step:06d}", samples)
        return watch.alarm

    def _sample(self, scene: Scene, network: Painter, seed: int) -> Sample:
        from synthgen_gan.sampling import paint

        drawn = scene.draw(seed)
        assert self._looks is not None
        values = paint(network, self._looks, drawn.condition, drawn.labels.image_class or 0, seed)
        origin = Origin("synthetic", "gan", synthgen.__version__, self._weights, seed, drawn.parents, "condition")
        meta = {"layout": drawn.layout} if drawn.layout else {}
        return Sample(f"gan-{seed:016x}", scene.picture(values, seed, self.noise), drawn.labels, origin, meta)
