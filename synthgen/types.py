"""The nouns, and the verbs that a plug-in may implement.

Conventions, everywhere: images are (H, W, 3) uint8 RGB; masks are (H, W) bool; boxes are float32
``x0 y0 x1 y1`` in pixels with an exclusive maximum, so that ``x1 - x0`` is the width; classes are
indices into the recipe's list of class names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from synthgen.errors import DataError

Image: TypeAlias = NDArray[np.uint8]  # (H, W, 3) RGB
Mask: TypeAlias = NDArray[np.bool_]  # (H, W)
Boxes: TypeAlias = NDArray[np.float32]  # (N, 4) x0 y0 x1 y1, max exclusive, px
Size: TypeAlias = tuple[int, int]  # (height, width), px
Rle: TypeAlias = str  # COCO's compressed run lengths, column by column
Json: TypeAlias = Any  # what json.dumps takes

Task = Literal["instances", "segment", "detect", "classify"]
Kind = Literal["real", "synthetic", "pseudo"]
KnownBy = Literal["person", "simulated", "construction", "condition", "joint", "model"]
State = Literal["accepted", "ignored", "to_review"]
Reviewed = Literal["none", "model", "human"]
Empty = Literal["unknown", "confirmed"]
Strategy = Literal["random", "typical", "uncertainty", "committee", "expected-change"]  # of a queue for people


def _vector(values: Any, n: int, dtype: type, name: str) -> NDArray[Any]:
    array: NDArray[Any] = np.array(values, dtype)  # a copy: freezing it must not freeze the caller's
    if array.shape != (n,):
        raise DataError(f"labels.{name} must have shape ({n},), one per instance, but has {array.shape}")
    array.setflags(write=False)
    return array


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """What is known about one image: N instances, and facts about the image as a whole.

    size: (H, W) of the image, px.
    classes: (N,) int64, indices into the class list.
    boxes: (N, 4) float32 x0 y0 x1 y1, px, max exclusive.
    masks: N run-length strings of the visible (modal) masks, or None when only boxes are known.
    amodal: N run-length strings of the whole objects, hidden parts included, where known.
    scores: (N,) float32 in [0, 1]; 1 = known.
    visible: (N,) float32, visible share of the object inside the frame; nan = unknown.
    truncated: (N,) bool, the object is cut by the image border.
    states: N of accepted | ignored | to_review.
    ignore: run-length string of the pixels that say nothing, or None; of a synthetic sample also under its masks.
    image_class: the class of the whole image (task `classify`), or None; image_score in [0, 1] and image_state
    say of it what scores and states say of instances.
    reviewed: who looked at the image: none | model | human.
    empty: for N = 0, whether somebody confirmed that there is nothing: unknown | confirmed.

    Raises: DataError when shapes disagree.
    """

    size: Size
    classes: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    boxes: Boxes = field(default_factory=lambda: np.zeros((0, 4), np.float32))
    masks: tuple[Rle, ...] | None = None
    amodal: tuple[Rle, ...] | None = None
    scores: NDArray[np.float32] | None = None
    visible: NDArray[np.float32] | None = None
    truncated: NDArray[np.bool_] | None = None
    states: tuple[State, ...] | None = None
    ignore: Rle | None = None
    image_class: int | None = None
    image_score: float = 1.0
    image_state: State = "accepted"
    reviewed: Reviewed = "none"
    empty: Empty = "unknown"

    def __post_init__(self) -> None:
        put = object.__setattr__
        n = len(self.classes)
        put(self, "classes", _vector(self.classes, n, np.int64, "classes"))
        boxes = np.array(self.boxes, np.float32).reshape(-1, 4)
        if len(boxes) != n:
            raise DataError(f"labels.boxes must have shape ({n}, 4), one per class, but has {boxes.shape}")
        boxes.setflags(write=False)
        put(self, "boxes", boxes)
        for name in ("masks", "amodal"):
            rles: tuple[Rle, ...] | None = getattr(self, name)
            if rles is not None and len(rles) != n:
                raise DataError(f"labels.{name} must hold {n} masks, one per class, but holds {len(rles)}")
        ones, nans = np.ones(n, np.float32), np.full(n, np.nan, np.float32)
        put(self, "scores", _vector(ones if self.scores is None else self.scores, n, np.float32, "scores"))
        put(self, "visible", _vector(nans if self.visible is None else self.visible, n, np.float32, "visible"))
        truncated = np.zeros(n, bool) if self.truncated is None else self.truncated
        put(self, "truncated", _vector(truncated, n, np.bool_, "truncated"))
        accepted: State = "accepted"
        states = (accepted,) * n if self.states is None else tuple(self.states)
        if len(states) != n:
            raise DataError(f"labels.states must hold {n} states, one per class, but holds {len(states)}")
        put(self, "states", states)

    def __len__(self) -> int:
        return len(self.classes)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a sample came from: enough to make it again."""

    kind: Kind
    maker: str = "user"  # plug-in name, or "user" for what a person gave
    version: str = ""
    weights: str = ""  # hash of the maker's learned state
    seed: int | None = None
    parents: tuple[str, ...] = ()  # ids of the samples that it was made from
    known_by: KnownBy = "person"


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One image with what is known about it.

    image: (H, W, 3) uint8 RGB. labels: None where nothing is known. meta: JSON facts, read by people.
    Raises: DataError when image and labels disagree in size.
    """

    id: str
    image: Image
    labels: Labels | None = None
    origin: Origin = Origin("real")
    meta: Mapping[str, Json] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.image.ndim != 3 or self.image.shape[2] != 3 or self.image.dtype != np.uint8:
            raise DataError(
                f"sample {self.id}: image must be (H, W, 3) uint8, but is {self.image.shape} {self.image.dtype}"
            )
        if self.labels is not None and self.labels.size != self.image.shape[:2]:
            raise DataError(f"sample {self.id}: labels are for {self.labels.size}, the image is {self.image.shape[:2]}")


Dataset: TypeAlias = Sequence[Sample]


@dataclass(frozen=True, slots=True, eq=False)
class Placed:
    """One object of a layout.

    mask: (h, w) bool, the whole object (amodal), cropped to its own box.
    top, left: px, where the crop's corner stands in the image; may be negative.
    class_id: index into the class list.
    source: index of the bank instance whose pixels it takes, or None.
    affine: (2, 3) float64, backward map from crop (x, y) to the source's patch (x, y), or None.
    """

    mask: Mask
    top: int
    left: int
    class_id: int
    source: int | None = None
    affine: NDArray[np.float64] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """What an image must show: its size and its objects from back to front."""

    size: Size
    objects: tuple[Placed, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Mixture:
    """Samples to train on, and how often to show which.

    samples: N samples. real: (N,) bool. weights: (N,) float64, summing to 1 within the real and
    within the synthetic ones. real_share: share of each batch that is real. synthetic_until: share of
    the steps, from the start, that shows synthetic samples only (a curriculum); 0 = none. augment:
    albumentations transforms by class name with their options; None = the trainer's own choice.
    """

    samples: Dataset
    real: NDArray[np.bool_]
    weights: NDArray[np.float64]
    real_share: float = 1.0
    synthetic_until: float = 0.0
    augment: tuple[Mapping[str, Json], ...] | None = None

    def draw(self, progress: float, n: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """(n,) int64 indices of the samples to show when `progress` in [0, 1] of the steps is done."""
        share = self.real_share
        if not self.real.any() or (progress < self.synthetic_until and not self.real.all()):
            share = 0.0
        elif self.real.all():
            share = 1.0
        # Stochastic rounding of n·share: exact on average, and never far off within a batch.
        n_real = int(n * share + rng.random())
        picks = []
        for flag, count in ((True, n_real), (False, n - n_real)):
            ids = np.flatnonzero(self.real == flag)
            if count:
                picks.append(rng.choice(ids, count, p=self.weights[ids] / self.weights[ids].sum()))
        return np.concatenate(picks).astype(np.int64)


Log: TypeAlias = Callable[[str, float, float], None]  # (what, done, total)


def silent(_what: str, _done: float, _total: float) -> None:
    """Says nothing."""


@runtime_checkable
class Labeler(Protocol):
    """Labels images of any size, with scores in [0, 1]; tta: average over flips and quarter turns.

    features: (N, D) float32 of the images, for the checks.
    """

    def label(self, images: Sequence[Image], *, tta: bool = True) -> Iterator[Labels]: ...
    def features(self, images: Sequence[Image]) -> NDArray[np.float32]: ...
    def save(self, folder: Path) -> None: ...


@runtime_checkable
class Probabilistic(Protocol):
    """What a labeler may say beside its labels: how sure it is.

    probabilities: for each image, in order, float32 that sums to 1 along the first axis: (K + 1, H, W) of each pixel,
    background first; (K,) of the whole image for task `classify`. The filter asks labelers that can say it about every
    pixel of a synthetic label, and others only whether they find its instances.
    """

    def probabilities(self, images: Sequence[Image]) -> Iterator[NDArray[np.float32]]: ...


@dataclass(frozen=True, slots=True)
class Member:
    """A labeler of the committee, trained on the seed but for the images with the ids `unseen`."""

    labeler: Labeler
    unseen: tuple[str, ...]


def _nobody() -> Sequence[Member]:
    return ()


@dataclass(frozen=True, slots=True)
class Context:
    """What a plug-in is told about the run that it works in.

    seed: of its own randomness. folder: scratch space, for checkpoints and curves. threads, workers: threads of one
    process, and processes that it may start; neither may change a byte of what comes out. base: where relative paths
    in options start. committee: labelers that learned from parts of the seed, loaded when asked for; for generators
    that say LEARNS = True, empty otherwise.
    """

    seed: int
    task: Task
    classes: tuple[str, ...]
    folder: Path
    device: str = "cpu"
    threads: int = 1
    log: Log = silent
    base: Path = Path()
    workers: int = 1
    committee: Callable[[], Sequence[Member]] = _nobody


@runtime_checkable
class Generator(Protocol):
    """Makes labelled samples; sample k depends on seed k and on what was fitted, on nothing else.

    A class may say more of itself: TASKS, the tasks that it does (without: instances and segment). LEARNS = True:
    its labels are as good as what a network learned of them; the committee is trained first, so that `fit` and the
    filter may ask it. A long `fit` goes on at its last checkpoint in `context.folder`. SAMPLING: the names of options
    that change what `sample` gives and not what `fit` learns; `fit` is not done anew for them. LEARNED: by option,
    values of these that `fit` has to learn all the same. A warning that `fit` leaves in `warning.json` of its folder,
    {"warning": why}, becomes an event of the run.
    """

    def fit(self, real: Dataset, pool: Dataset, context: Context) -> None: ...
    def sample(self, seeds: Sequence[int]) -> Iterator[Sample]: ...
    def save(self, folder: Path) -> None: ...
    def load(self, folder: Path, device: str = "cpu") -> None: ...


@runtime_checkable
class Trainer(Protocol):
    """Makes a labeler; `load` gives back what `save` wrote.

    calibrate: the labeler with scores that mean what they say, from labelers that were trained without the
    samples that they are paired with. A class that can learn from unlabelled images says so of itself: SELF_TRAINING,
    a mapping of the options that switch it on to the values that do. One of them left out, 0, false or null means
    that `fit` does not look at the pool; it never looks at labels there. Without SELF_TRAINING no pool is among the
    needs of a training.
    """

    def fit(self, train: Mixture, val: Dataset, pool: Dataset, context: Context) -> Labeler: ...
    def calibrate(self, labeler: Labeler, held_out: Sequence[tuple[Labeler, Dataset]]) -> Labeler: ...
    def load(self, folder: Path, device: str = "cpu", threads: int = 1) -> Labeler: ...


@runtime_checkable
class FeatureExtractor(Protocol):
    """Turns images into rows of numbers in which datasets are compared.

    fit: learns from unlabelled images, or does nothing; a class that learns says `FITS = True`, and is then fitted once
    per pool, saved and loaded. features: (N, D) float32, finite; row k depends on image k alone. All images have one
    side and came through `metrics.features.one_path`. identity: {"id", "version", "weights", "preprocessing"}, the last
    two as hashes: numbers are comparable only where all of it is the same. It may add "images", how many it learned
    from, and "note", what a reader has to know. save, load: no pickles.
    """

    def fit(self, pool: Dataset, context: Context) -> None: ...
    def features(self, images: Sequence[Image]) -> NDArray[np.float32]: ...
    def identity(self) -> Mapping[str, Json]: ...
    def save(self, folder: Path) -> None: ...
    def load(self, folder: Path) -> None: ...


@runtime_checkable
class LabellingFunction(Protocol):
    """Says of an image what a rule of its own sees in it: an image class, boxes or masks; None = it abstains.

    Labels without instances are a statement too: nothing is there. A class may say more of itself: TASKS, as a
    generator. REFINES = True: it is called with (image, labels) and works on what another function said. It may have
    `prepare(context)`, called once in each process before the first image, and `counts()`, how often what happened.
    """

    def __call__(self, image: Image) -> Labels | None: ...


Verdict = Literal["pass", "warn", "fail", "inconclusive", "error", "skipped", "waived", "info"]
"""waived: somebody answers for it, until a day; info: a number for readers that decides nothing."""


@dataclass(frozen=True, slots=True)
class Flag:
    """A synthetic sample that a check asks to take out: its id, why, the score that says so, and the id of the real
    sample that it is to be compared with, where there is one."""

    id: str
    reason: str
    score: float
    nearest: str = ""


@dataclass(frozen=True, slots=True)
class Measurement:
    """One number with everything that is needed to distrust it.

    value, interval: the estimate and its confidence interval (95 % unless `why` says otherwise); value is nan
    where nothing could be measured (skipped, error).
    null: the interval that real against real would give, where that is known.
    detectable: the smallest effect that this many images could have shown.
    n: images per side. unit: of the value. why: the verdict in words. remedy: what to do about it.
    p: of the test alone. q: corrected for all that the check tested beside it.
    worst, best: sample ids, worst and best first. ladder: (step, value) of real images degraded in known steps, by
    rising value. flagged: samples that the dataset would be sounder without; the gate takes them out
    after generation and measures what remains.
    """

    check: str
    name: str
    verdict: Verdict
    value: float
    unit: str
    why: str
    interval: tuple[float, float] | None = None
    null: tuple[float, float] | None = None
    detectable: float | None = None
    p: float | None = None
    q: float | None = None
    n: tuple[int, int] = (0, 0)
    remedy: str = ""
    hard: bool = False  # a failed hard check refuses the dataset; others warn
    worst: tuple[str, ...] = ()
    best: tuple[str, ...] = ()
    ladder: tuple[tuple[str, float], ...] = ()
    flagged: tuple[Flag, ...] = ()


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the checks may look at.

    synthetic, seed, pool, test: datasets (test is empty unless the final evaluation opened it).
    features: dataset name (synthetic, seed, pool) → family (spectrum, handcrafted, …) → (N, D) float32, made
    through one identical path; row k is sample k's where N is the dataset's length, else a subsample's.
    scores: arm → {"per_image": `metrics.accuracy.score_image` of each test image, in one order}; `mixed` is
    what the run trained, `real` the same steps on the seed alone. independent: of the synthetic samples one
    rendering per layout, since renderings of one layout are no new draw; all of them where nothing is said.
    agreement: "synthetic" → {"per_image", "ids"} and "real" → {"per_image"}: records against labelers that learned from
    the seed without the image in question. seed_name: what the seed is called in texts.
    """

    synthetic: Dataset
    seed: Dataset
    pool: Dataset
    test: Dataset
    classes: tuple[str, ...]
    task: Task
    features: Mapping[str, Mapping[str, NDArray[np.float32]]]
    scores: Mapping[str, Mapping[str, Json]] = field(default_factory=dict)
    independent: Dataset = ()
    agreement: Mapping[str, Mapping[str, Json]] = field(default_factory=dict)
    seed_name: str = "seed"

    def __post_init__(self) -> None:
        if not len(self.independent):
            object.__setattr__(self, "independent", self.synthetic)


@runtime_checkable
class Check(Protocol):
    """Asks one question of a dataset."""

    def __call__(self, evidence: Evidence, rng: np.random.Generator) -> Sequence[Measurement]: ...
