"""`compose`: seed objects, or new outlines filled with their pixels, painted onto backgrounds. Labels are exact.

After Dwibedi, Misra & Hebert, "Cut, Paste and Learn" (ICCV 2017): the same layout under several blends, so that
a labeler learns to look past the seams; occlusion is resolved before labels are written.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

import synthgen
from synthgen.errors import DataError
from synthgen.geometry import decode, id_map, mask_box, only_accepted
from synthgen.images import list_images, read_image
from synthgen.layouts import Arrangement, LayoutModel, LayoutName, Resample, Survey, layout_model, survey
from synthgen.layouts.painted import Painted, labels_of
from synthgen.layouts.regions import hold_regions, one_of_each, parted
from synthgen.noise import NoiseModel, noise_model
from synthgen.seeds import rng_of, seed_of
from synthgen.store import Stored, write_all
from synthgen.types import Context, Dataset, Image, Labels, Origin, Sample, Task
from synthgen_compose.background import covered, fitted, object_free
from synthgen_compose.bank import Cutout, cut
from synthgen_compose.harmonise import blur_to, sharpness
from synthgen_compose.outline import outlined
from synthgen_compose.render import Blend, Stamp, canvas_on, finished, paint, stamped

Background = Literal["inpaint", "keep"]


@dataclass(kw_only=True, config=ConfigDict(extra="forbid", use_attribute_docstrings=True))
class Compose:
    """Composites with exact labels; sample k depends on seed k, on the options and on the seed images alone."""

    TASKS: ClassVar[tuple[str, ...]] = ("instances", "segment", "detect")

    layout: LayoutName = "shape"
    """resample = the seed's objects moved; warp = its arrangements bent; shape = new outlines."""
    background: Annotated[tuple[Background | Path, ...], Field(min_length=1)] = ("inpaint",)
    """inpaint = seed images freed of their objects; keep = seed images with their own objects; or a folder."""
    blend: Annotated[tuple[Blend, ...], Field(min_length=1)] = ("feather", "gaussian", "poisson")
    """Blends, taken in turn for the same layout: feather | gaussian | poisson | hard, and add: light adds up, as in
    fluorescence, where objects glow through each other."""
    density: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] = (0.7, 1.3)
    """Range of the number of objects, relative to the seed's."""
    touching: Annotated[float, Field(ge=0, le=1)] | None = None
    """Share of objects put against another one on purpose; null = as often as in the seed."""
    min_visible: Annotated[float, Field(ge=0, le=1)] = 0.15
    """Objects that others hide but for less than this share are not labelled; their pixels are ignored."""
    gain_sd: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Spread of the objects' contrast (standard deviation of its logarithm)."""
    match: Annotated[float, Field(ge=0, le=1)] = 1.0
    """How far an object's surroundings are shifted to the colour of the place it comes to."""
    noise: bool = True
    """Take the sensor's noise from what is pasted, and put fresh noise of its level over what was painted."""
    sharpness: bool = True
    """Blur the sharper of the two where objects come to backgrounds from a folder."""
    size: tuple[Annotated[int, Field(ge=8)], Annotated[int, Field(ge=8)]] | None = None
    """Height and width of the images, px; null = as in the seed, as those with the background keep always are."""

    def __post_init__(self) -> None:
        if self.density[0] > self.density[1]:
            raise ValueError(f"density: the lower end {self.density[0]} is above the upper end {self.density[1]}")
        self._fitted: _Fitted | None = None

    @property
    def variants(self) -> int:
        """How many samples share a layout: one per blend."""
        return len(self.blend)

    def fit(self, real: Dataset, pool: Dataset, context: Context) -> None:
        """Cut the bank, model the layouts, measure the noise. Labels that were not accepted are not used. For task
        detect, what has no mask is cut out along an outline that fits its box (`outlined`), and the samples have boxes
        alone: those of the pixels that show.

        Raises: DataError when the seed has too little to compose from, its objects leave no background, or a
        background folder is empty.
        """
        del pool  # its images may hold objects: no background to paste on
        real = [s if s.labels is None else dataclasses.replace(s, labels=only_accepted(s.labels)) for s in real]
        given, regions = real, hold_regions(real, context.task)
        if context.task == "detect":
            given = real = [outlined(sample) for sample in real]
        if regions:
            real = [parted(sample) for sample in real]
        seed = survey(real)
        folders: list[list[Path]] = []
        for source in self.background:
            if isinstance(source, Path):
                files = list_images(context.base / source)
                if not files:
                    raise DataError(f"{context.base / source}: there are no images here to use as backgrounds")
                folders.append(files)
        labelled = [k for k in range(len(real)) if (lab := real[k].labels) is not None and lab.masks is not None]
        grounds = [k for k in labelled if (lab := real[k].labels) is not None and not covered(lab).all()]
        if "inpaint" in self.background and not grounds:
            raise DataError(
                "background inpaint: the seed's objects leave no background to fill from; say background: [keep], or "
                "name a folder of images without objects"
            )
        grain = noise_model(real)
        self._fitted = _Fitted(
            given,
            regions,
            real,
            labelled,
            grounds,
            seed,
            cut(real, seed, grain if self.noise else None),
            layout_model(self.layout, seed, self.density, self.touching),
            Arrangement(seed, Resample(seed), self.density, seed.touching if self.touching is None else self.touching),
            grain,
            folders,
            context.seed,
            context.base,
            context.task,
        )

    def sample(self, seeds: Sequence[int]) -> Iterator[Sample]:
        """One sample per seed. Seeds that differ only in their low 8 bits share layout and background, and differ in
        the blend (low bits modulo the number of blends)."""
        f = self._fitted
        assert f is not None, "fit or load comes first"
        scene: _Scene | None = None
        for seed in seeds:
            if scene is None or scene.layout != seed >> 8:
                scene = self._scene(f, seed >> 8)
            blend = self.blend[(seed & 0xFF) % len(self.blend)]
            ground = scene.ground
            canvas = canvas_on(ground.pixels)
            for stamp, gain in zip(scene.stamps, scene.gains, strict=True):
                paint(canvas, stamp, blend, gain, self.match)
            noise = ground.noise if self.noise else None
            yield Sample(
                f"compose-{seed:016x}",
                finished(canvas, ground.image, noise, rng_of(seed_of(seed, "noise"))),
                scene.labels,
                Origin("synthetic", "compose", synthgen.__version__, "", seed, scene.parents, "construction"),
                {
                    "blend": blend,
                    "layout": self.layout,
                    "background": ground.kind,
                    "sources": list(scene.sources),
                },
            )

    def _scene(self, f: _Fitted, layout: int) -> _Scene:
        """All that the samples of one layout share."""
        rng = rng_of(seed_of(layout, "compose"))
        ground = self._background(f, rng)
        painted = ground.painted
        if ground.kind == "keep":
            things = f.extra.add(rng, painted.size, painted.ids != 0, share=float(rng.uniform(0.2, 0.7)))
        else:
            things = f.layouts.sample(rng, painted.size).objects
        stamps: list[Stamp] = []
        gains: list[float] = []
        for thing in things:
            assert thing.source is not None
            gain = float(np.exp(rng.normal(0, self.gain_sd)))
            stamp = stamped(painted, thing, f.cutouts[thing.source], ground.soften)
            if stamp is not None:
                stamps.append(stamp)
                gains.append(gain)
        labels = labels_of(painted, self.min_visible)
        if f.task == "detect":
            labels = dataclasses.replace(labels, masks=None, amodal=None)
        if f.regions:
            labels = one_of_each(labels)
        sources = [s for s in painted.sources if s >= 0]
        parents = (ground.parent, *sorted({f.seed_id(s) for s in sources}))
        return _Scene(layout, ground, stamps, gains, labels, sources, parents)

    def save(self, folder: Path) -> None:
        """The seed images; everything else follows from them and the options."""
        f = self._fitted
        assert f is not None, "fit comes first"
        write_all(folder / "seed", f.given)
        (folder / "compose.json").write_text(json.dumps({"seed": f.root, "base": str(f.base), "task": f.task}) + "\n")

    def load(self, folder: Path, device: str = "cpu") -> None:
        """What `save` wrote."""
        del device  # pixels are moved on the CPU
        about = json.loads((folder / "compose.json").read_text())
        self.fit(
            list(Stored(folder / "seed")), [],
            Context(about["seed"], about.get("task", "instances"), (), folder, base=Path(about["base"])),
        )

    def _background(self, f: _Fitted, rng: np.random.Generator) -> _Ground:
        """What the objects of one sample are put on."""
        source = self.background[rng.integers(len(self.background))]
        k = int(rng.choice(f.grounds if source == "inpaint" else f.labelled))
        sample = f.real[k]
        assert sample.labels is not None
        turn = int(rng.integers(8)) if f.survey.any_angle else 4 * int(rng.integers(2))
        size = self.size or sample.labels.size
        if isinstance(source, Path):
            files = f.folders[[p for p in self.background if isinstance(p, Path)].index(source)]
            file = files[rng.integers(len(files))]
            pixels = fitted(_turned(read_image(file), turn), size, rng).astype(np.float32)
            soften = 0.0
            if self.sharpness:
                there, here = sharpness(pixels), sharpness(sample.image.astype(np.float32))
                if there > here:
                    pixels = cv2.GaussianBlur(pixels, (0, 0), max(blur_to(pixels, here), 0.1))
                else:
                    soften = blur_to(sample.image.astype(np.float32), there)
            image = cv2.convertScaleAbs(pixels)
            grainy = noise_model([Sample("background", image)])
            return _Ground(image, pixels, _nobodys(image), file.name, "folder", grainy, soften)
        if source == "inpaint":
            image = fitted(_turned(f.object_free(k), turn), size, rng)
            return _Ground(image, image, _nobodys(image), sample.id, "inpaint", f.noise)
        image, ids = _turned(sample.image, turn), _turned(id_map(sample.labels), turn)
        painted = _nobodys(image)
        if sample.labels.ignore is not None:
            painted.ids[_turned(decode([sample.labels.ignore], sample.labels.size)[0], turn)] = -1
        for number in np.unique(ids[ids > 0]):
            own = ids == number
            box = mask_box(own)
            assert box is not None
            x0, y0, x1, y1 = box
            painted.ids[own] = len(painted.classes) + 1
            painted.classes.append(int(sample.labels.classes[number - 1]))
            painted.areas.append(int(own.sum()))
            painted.amodal.append((own[y0:y1, x0:x1].copy(), y0, x0))
            painted.sources.append(-1)
        return _Ground(image, image, painted, sample.id, "keep", f.noise)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class _Ground:
    """A background (H, W, 3), rounded and before it was, the objects that it shows, the id of the image that it was
    made from, what kind it is (inpaint, keep, folder), the grain that it has, and the blur (sigma, px) that makes
    objects no sharper than it is."""

    image: Image
    pixels: Image | NDArray[np.float32]
    painted: Painted
    parent: str
    kind: str
    noise: NoiseModel
    soften: float = 0.0


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class _Scene:
    """What the samples of one layout share: everything but the blend and the noise. layout: the seed of it."""

    layout: int
    ground: _Ground
    stamps: list[Stamp]
    gains: list[float]
    labels: Labels
    sources: list[int]
    parents: tuple[str, ...]


def _nobodys(image: Image) -> Painted:
    """A frame as large as a background (H, W, 3), in which nothing was painted."""
    return Painted(np.zeros(image.shape[:2], np.int32))


class _Fitted:
    """What `fit` learned. given: the seed; real: the same, where its labels are class masks (regions) in parts."""

    def __init__(
        self,
        given: Dataset,
        regions: bool,
        real: Dataset,
        labelled: list[int],
        grounds: list[int],
        seed: Survey,
        cutouts: dict[int, Cutout],
        layouts: LayoutModel,
        extra: Arrangement,
        noise: NoiseModel,
        folders: list[list[Path]],
        root: int,
        base: Path,
        task: Task,
    ) -> None:
        self.real, self.labelled, self.grounds, self.survey, self.cutouts = real, labelled, grounds, seed, cutouts
        self.layouts, self.extra, self.noise, self.folders, self.root, self.base = (
            layouts,
            extra,
            noise,
            folders,
            root,
            base,
        )
        self.task, self.given, self.regions = task, given, regions
        self._free: dict[int, NDArray[np.uint8]] = {}

    def seed_id(self, source: int) -> str:
        """Id of the seed image that a survey instance stands in."""
        return self.real[self.labelled[self.survey.instances[source].image]].id

    def object_free(self, k: int) -> NDArray[np.uint8]:
        """Seed image k without its objects; the last 64 are kept."""
        if k not in self._free:
            if len(self._free) >= 64:
                self._free.pop(next(iter(self._free)))
            sample = self.real[k]
            assert sample.labels is not None
            self._free[k] = object_free(
                sample.image, sample.labels, rng_of(seed_of(self.root, "object-free", sample.id))
            )
        return self._free[k]


def _turned(array: NDArray[Any], k: int) -> NDArray[Any]:
    """Symmetry k of the square (0…7): mirrored for k ≥ 4, then k mod 4 quarter turns."""
    return np.ascontiguousarray(np.rot90(array[:, ::-1] if k >= 4 else array, k % 4))
