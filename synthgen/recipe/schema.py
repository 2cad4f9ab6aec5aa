"""What a recipe may say. One class per section; the string under a field is its help.

Every section is strict: an unknown key is an error. Options of a plug-in stand beside its `use:` and are
checked against the plug-in's own constructor.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from synthgen.images import MAX_PIXELS, Bits
from synthgen.types import Strategy, Task

Share = Annotated[float, Field(ge=0, le=1)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$", max_length=60)]


class Section(BaseModel):
    """A part of the recipe: unknown keys are errors, values do not change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)


class Open(Section):
    """A part that names a plug-in: what is not a key of its own is an option of that plug-in."""

    model_config = ConfigDict(extra="allow", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)

    @property
    def options(self) -> dict[str, Any]:
        """The plug-in's own options."""
        return dict(self.model_extra or {})


class Source(Section):
    """One dataset on disk."""

    path: Path
    """Folder (or COCO file), relative to the recipe file."""
    format: Annotated[str, Field(examples=["coco"])] = "auto"
    """How it is written: coco | yolo | voc | cvat | labelstudio | imagefolder | masks | images | shards, or auto
    to look."""
    split: Annotated[str, Field(min_length=1)] | None = None
    """Take only the images of this split (such as train), where the dataset says which is of which; null = all."""
    limit: Annotated[int, Field(ge=1)] | None = None
    """Take only the first so many images; with limit_per_class, of each class."""
    limit_per_class: bool = False
    """Count `limit` for each image class separately (task classify)."""


class Data(Section):
    """What there is: a labelled seed, and where there are, an unlabelled pool and a locked test split."""

    seed: Source
    """The labelled images that a person made."""
    pool: Source | None = None
    """Unlabelled images of the same kind; any labels in it are not read."""
    pool_truth: Source | None = None
    """Labels of the pool, kept aside. Used only to simulate a person's answer and to score the
    pseudo-labels, and every number that used it says so."""
    test: Source | None = None
    """Labelled images locked away by hash; only the final evaluation and `synthgen benchmark` open them."""
    bits: Bits = 16
    """Bits that a 16-bit grey image really uses (a 12-bit camera: 12)."""
    max_pixels: Annotated[int, Field(ge=1, le=MAX_PIXELS * 2)] = MAX_PIXELS
    """Images whose header promises more pixels than this are not decoded."""
    max_bad_fraction: Share = 0.02
    """Share of unreadable or invalid items above which the run stops (exit 5)."""
    leaks: Literal["refuse", "warn"] = "refuse"
    """What to do when a test image also stands in seed or pool."""


class Generate(Open):
    """One generator: how many samples it makes, of which layouts."""

    name: Name
    """How the report and -S speak of it."""
    use: str = "compose"
    """The generator plug-in."""
    count: Annotated[int, Field(ge=0, le=10_000_000)] = 400
    """How many samples to make."""
    enabled: bool = True
    """False: checked, but not run."""


class Filter(Section):
    """What is dropped before mixing, with the reason kept."""

    min_visible: Share = 0.2
    """Instances that others hide but for less than this share become ignored pixels."""
    min_area: Annotated[int, Field(ge=1)] = 12
    """Instances with fewer visible pixels than this become ignored pixels."""
    duplicates: Literal["drop", "keep"] = "drop"
    """Synthetic images that are pixel for pixel the same as an earlier one or as a seed image."""
    agreement: Literal["auto", "off"] = "auto"
    """auto: where a generator does not know its labels exactly, labelers that each learned without a part of the seed
    are asked whether image and label agree, by what they say of real images that they did not see; off: nobody asks."""
    tolerance: Annotated[float, Field(gt=0)] = 1.25
    """Pixels become ignored when their label surprises the labelers by more than this times the mean of its class on
    real images, and when they hold it for less likely than not."""
    real_loss: Annotated[float, Field(gt=0, le=0.5)] = 0.05
    """What the bars for instances and images may cost: the share of real ones, of images that the labelers did not see,
    that would be lost."""
    max_lost: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Images that lose more than this share of their instances or of their instances' pixels are rejected, unless real
    images lose as much."""
    keep_hard: Annotated[float, Field(ge=0, lt=1)] = 0.3
    """A filter prefers what is easy. Where it left a smaller share of hard samples, of which the labelers are as unsure
    as of the hardest third of the real images, than a learned generator made, those left are shown more often, up to
    the share that it made and to this one at most; 0 = never."""
    resample: Literal["none", "hardness"] = "none"
    """hardness: a learned generator's samples are shown the more often, the harder their classes are on real images."""


class Mix(Section):
    """How real and synthetic samples are shown to the labeler."""

    real: Share = 0.5
    """Share of each batch that is real."""
    per_class: Literal["none", "balance"] = "none"
    """balance: samples of rare classes are shown more often, so that classes are met equally often."""
    synthetic_until: Share = 0.0
    """Curriculum: for this share of the steps show synthetic samples only."""
    augment: Literal["default", "none"] | tuple[dict[str, Any], ...] = "default"
    """Albumentations transforms by class name, each {type: …, …its options}; or default, or none."""


class Train(Open):
    """The labeler."""

    use: str = "labeler"
    """The trainer plug-in."""
    calibration_folds: Annotated[int, Field(ge=0, le=10)] = 2
    """Folds of the seed for the temperature of the scores: each is held out once; 0 = uncalibrated."""


class Certify(Section):
    """The promise about the pool's labels: on how many images it can be given is found out by the audit."""

    max_error: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """The mean loss per image that the accepted labels may have: for classify the share of wrong ones, for objects
    1 − F1 at IoU 0.5, for segment 1 − Dice."""
    confidence: Annotated[float, Field(ge=0.5, lt=1)] = 0.9
    """How sure the promise is, over draws of the audit."""
    of: Literal["accepted", "output"] = "accepted"
    """accepted: the mean is over the images whose labels are accepted; output: over the whole pool, where people label
    the rest (PAC labels)."""
    pixels: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Also find by how many px the model's masks must be eroded so that of an image's remaining pixels at most this
    share is wrong, on average over the pool (tasks instances and segment); null = not asked."""


class Audit(Section):
    """Images of the pool, drawn at random, whose labels a person gives; nothing is ever trained on them."""

    images: Annotated[int, Field(ge=1)] = 60
    """How many. More certify more; growing the audit keeps the answers that there are."""
    answers: Literal["people", "simulated"] = "people"
    """people: the run waits for them (synthgen review); simulated: data.pool_truth stands in for a person, and every
    number that rests on it says so."""


class Queue(Section):
    """Which images people should look at next, beside the audit; their answers join the seed."""

    minutes: Annotated[float, Field(gt=0)] = 60.0
    """People's time. How many images that are follows from what they took so far, or from `seconds`."""
    seconds: Annotated[float, Field(gt=0)] = 30.0
    """Time for one image, until five were measured."""
    shares: dict[Strategy, Share] = {"typical": 0.5, "uncertainty": 0.5}
    """Parts of the queue by strategy, relative: typical (and diverse; teaches most at tens of labels), uncertainty
    (the doubtful, class by class), committee (labelers of the folds disagree), expected-change, random."""

    @model_validator(mode="after")
    def _some_share(self) -> Queue:
        if not any(self.shares.values()):
            raise PydanticCustomError("no_share", "shares: one strategy at least needs a share above 0")
        return self


class Function(Open):
    """One labelling function that votes beside the labeler."""

    name: Name
    """How the report speaks of it."""
    use: Annotated[str, Field(examples=["otsu"])]
    """The labelling function plug-in; or rules.py:NAME, a function image → Labels | None of a Python file beside the
    recipe, which is run for it."""
    of: Name | None = None
    """The function, or `labeler`, whose labels this one works on; that one then does not vote itself."""


class Label(Section):
    """How the pool is labelled."""

    accept: Share = 0.5
    """Instances with a calibrated score of at least this are accepted."""
    ignore: Share = 0.15
    """Instances below this are dropped into the ignored pixels; between the two: for a person."""
    tta: bool = True
    """Average over flips and quarter turns."""
    functions: tuple[Function, ...] = ()
    """Labelling functions that vote beside the labeler; none: the labeler's labels are the pool's."""
    combine: Literal["dawid-skene", "majority"] = "dawid-skene"
    """How votes become one label: dawid-skene learns from the votes alone how far to trust whom; majority counts."""
    errors: bool = True
    """Rank the labels of the seed by how wrong they look to labelers that did not learn from them (needs
    train.calibration_folds); it proposes, and changes none."""
    certify: Certify | None = None
    """Ask for a certificate: labels are then accepted image by image, as far as it reaches, and not at all without."""
    audit: Audit = Audit()
    """What the certificate rests on."""
    queue: Queue | None = None
    """What people are asked to label next; null = what waits in the pool's order."""


class GateEntry(Open):
    """One check of the gate and its bound."""

    check: str
    """The check plug-in."""


class Features(Open):
    """One feature extractor, and what its numbers are called. Its name alone says the same as {use: NAME}."""

    use: str
    """The feature extractor plug-in."""
    name: Name | None = None
    """How measurements call this family of features; null = as the extractor (`labeler`: encoder)."""

    @property
    def family(self) -> str:
        """What measurements call its features."""
        return self.name or FAMILY.get(self.use, self.use)


FAMILY = {"labeler": "encoder"}  # families that are not called as their extractor


def _named(value: Any) -> Any:
    return {"use": value} if isinstance(value, str) else value


class Waiver(Section):
    """A person's word that a check's outcome is acceptable; the dataset's verdict is then a warning at best."""

    check: str
    """The check."""
    name: str = ""
    """One measurement of it, as the report names it; without: all of them."""
    reason: Annotated[str, Field(min_length=8)]
    """Why, for whoever reads the report."""
    until: date
    """The last day on which it holds, as 2027-01-31."""
    by: Annotated[str, Field(min_length=1)]
    """Who answers for it."""


class Evaluate(Section):
    """What the dataset must show before it is exported."""

    gate: tuple[GateEntry, ...] = tuple(
        GateEntry(check=c) for c in ("integrity", "copying", "leakage", "mask_shift", "realism", "diversity",
                                     "appearance", "drift", "agreement", "utility"))
    """The checks, in the order of the report."""
    features: tuple[Annotated[Features, BeforeValidator(_named, json_schema_input_type=str | Features)], ...] = tuple(
        Features(use=name) for name in ("spectrum", "handcrafted", "labeler"))
    """What the checks see images by: feature extractors, each by name or as {use: NAME, …its options}. Without it:
    spectrum, handcrafted and labeler."""
    on_inconclusive: Literal["warn", "fail"] = "warn"
    """What an inconclusive check means for the verdict."""
    permutations: Annotated[int, Field(ge=19, le=100_000)] = 999
    """Permutations per test."""
    waivers: tuple[Waiver, ...] = ()
    """Outcomes that somebody answers for, each with a reason, a last day and a name."""
    max_quarantine: Share = 0.1
    """Share of the synthetic samples that the gate may take out after generation, copies say, before it refuses."""


ArmName = Literal["real", "real+augment", "synthetic", "mixed", "mixed-unfiltered", "pseudo", "mixed+pseudo",
                  "self-training", "mixed+self-training"]
ARM_NAMES: tuple[ArmName, ...] = get_args(ArmName)


class Benchmark(Section):
    """What `synthgen benchmark` trains to find out whether synthetic data help; no part of a run."""

    arms: Annotated[tuple[ArmName, ...], Field(min_length=1)] = ARM_NAMES
    """What is compared: the seed alone, the same with strong augmentation, synthetic only, both, both without the
    filter, seed and pseudo-labelled pool, all three; seed and pool, and all three, where the labeler learns from the
    pool while it is trained. Arms that the recipe has no data for are left out, and said."""
    seeds: Annotated[int, Field(ge=1, le=100)] = 5
    """Repetitions, each with synthetic images and trainings of its own; fewer than 3 decide nothing."""
    seed_sizes: tuple[Annotated[int, Field(ge=1)], ...] = ()
    """Labelled images to pretend to have (of each class for classify), drawn anew for each repetition; none: all."""
    ratios: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = ()
    """Further shares of real samples in a batch to train the arm `mixed` with."""
    margin: Annotated[float, Field(ge=0, lt=1)] = 0.02
    """How much worse than the seed alone still counts as no worse."""


class Run(Section):
    """How the run is done; nothing here changes what comes out, and nothing here is fingerprinted."""

    out: Path = Path("runs")
    """Folder of run folders, relative to the working directory."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to train."""
    workers: Literal["auto"] | Annotated[int, Field(ge=1, le=256)] = "auto"
    """Processes and threads; auto = the cores of this machine."""


class Recipe(Section):
    """A whole recipe."""

    schema_: Annotated[Literal["synthgen/1"], Field(alias="schema")]
    """Version of this format."""
    name: Name
    """Name of the run folder."""
    task: Task
    """instances: every object with its mask; segment: of every pixel its class; detect: boxes; classify: one class per
    image."""
    classes: Annotated[tuple[str, ...], Field(min_length=1, examples=[["nucleus"]])]
    """Class names, in the order of their indices. What is labelled with another name is left out of the labels, and
    listed in 0-ingest/seed/quarantine.jsonl."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 7
    """The root of all randomness."""
    shard_size: Annotated[int, Field(ge=1, le=100_000)] = 64
    """Samples per shard: the unit of work that survives a kill."""
    data: Data
    """What there is on disk: seed, pool, test."""
    generate: tuple[Generate, ...] = ()
    """The generators, each with its own name; none: the labeler learns from the seed alone."""
    filter: Filter = Filter()
    """What is dropped before mixing, with the reason kept."""
    mix: Mix = Mix()
    """How real and synthetic samples are shown to the labeler."""
    train: Train = Train()
    """The labeler that learns from the mixture, and then labels the pool."""
    label: Label = Label()
    """How the pool is labelled."""
    evaluate: Evaluate = Evaluate()
    """What the dataset must show before it is exported."""
    export: tuple[str, ...] = ("coco",)
    """Formats of the labelled dataset."""
    benchmark: Benchmark = Benchmark()
    """What `synthgen benchmark` trains to find out whether synthetic data help."""
    run: Run = Run()
    """How the run is done; nothing here changes what comes out."""

    @model_validator(mode="after")
    def _names_are_unique(self) -> Recipe:
        names = [g.name for g in self.generate]
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise PydanticCustomError("duplicate_name", f"generate: the name {twice[0]!r} stands twice; "
                                                        "every generator needs its own")
        if len(set(self.classes)) < len(self.classes):
            raise PydanticCustomError("duplicate_name", "classes: a class name stands twice")
        return self
