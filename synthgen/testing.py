"""What a plug-in must keep, as checks that its own tests can call: one line each.

Each check runs the plug-in on a few small images and raises AssertionError with a sentence that says what
was promised, what was seen and, where it helps, what usually causes it. A third party's whole test may be::

    from synthgen.testing import check_generator, tiny_real
    check_generator(Dots(radius=3), tiny_real())
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import random
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from synthgen import plugins
from synthgen.checks.integrity import KINDS, defects
from synthgen.errors import SynthgenError
from synthgen.formats import Format, Loss, Problem, Reading
from synthgen.geometry import encode, labels_from_ids, labels_from_masks
from synthgen.images import hash_image
from synthgen.seeds import rng_of, seed_of
from synthgen.store import labels_to_json
from synthgen.types import (
    Check,
    Context,
    Evidence,
    Generator,
    Image,
    Json,
    Labeler,
    Labels,
    Measurement,
    Mixture,
    Origin,
    Probabilistic,
    Sample,
    Size,
    State,
    Task,
    Trainer,
    Verdict,
)

T = TypeVar("T")
PICKLES = (".pkl", ".pickle", ".pt", ".pth", ".ckpt", ".joblib", ".npy.pkl", ".bin")
SMALLEST = 12  # px that must be left of a drawn object once others lie over it
TINY_PIXELS: tuple[Size, ...] = ((1, 1), (1, 40), (40, 1), (33, 31), (64, 80))


def tiny_real(n: int = 4, size: Size = (64, 80), classes: int = 2, seed: int = 0) -> list[Sample]:
    """Small labelled images as a person would give them: textured ellipses on an uneven ground.

    Each holds about eight objects, classes in turn, class k brighter than class k − 1; among them a pair that
    touches, one that the border cuts and, in the first image, one of few pixels. Ids are `real-000000`, …;
    the same arguments give the same bytes.
    """
    return [_drawn(k, size, classes, rng_of(seed_of(seed, "tiny_real", k))) for k in range(n)]


def _drawn(number: int, size: Size, classes: int, rng: np.random.Generator) -> Sample:
    H, W = size
    y, x = np.mgrid[0:H, 0:W].astype(np.float64)
    picture = 40 + 20 * np.sin(x / W * 3 + rng.uniform(0, 6)) + 15 * y / H
    ids, kinds = np.zeros(size, np.int32), {}
    scale = min(H, W) / 64
    # A grid with jitter keeps most objects apart; the second stands against the first, the third over the border.
    places = [(cy, cx) for cy in np.arange(13, 64, 20) * H / 64 for cx in np.arange(12, 80, 22) * W / 80]
    order = rng.permutation(len(places))
    for k, place in enumerate(order[:9]):
        cy, cx = np.asarray(places[place]) + rng.normal(0, 1.5, 2)
        a, b = np.sort(rng.uniform(4.5, 8, 2) * scale)
        turn = rng.uniform(0, np.pi)
        if k == 1:
            cy, cx = places[order[0]][0], places[order[0]][1] + 12 * scale
        elif k == 2:
            cy = 0.0
        elif k == 8 and number == 0:
            a = b = 2.2
        u, v = np.cos(turn) * (x - cx) + np.sin(turn) * (y - cy), np.cos(turn) * (y - cy) - np.sin(turn) * (x - cx)
        inside = ((u / b) ** 2 + (v / a) ** 2 <= 1) & ((ids == 0) | (ids == 1))
        if not inside.any():
            continue
        ids[inside] = k + 1
        kinds[k + 1] = k % classes
        texture = 12 * np.sin(u * 1.3) * np.cos(v * 0.9)
        picture[inside] = (120 + 90 * (k % classes + 1) / classes + texture)[inside]
    for k in list(kinds):
        if np.count_nonzero(ids == k) < SMALLEST:
            ids[ids == k] = 0
    colour = np.asarray([1.0, 0.92, 0.8])
    image = np.clip(picture[..., None] * colour + rng.normal(0, 3, (H, W, 3)), 0, 255).astype(np.uint8)
    labels = labels_from_ids(ids, kinds, reviewed="human")
    return Sample(f"real-{number:06d}", image, labels, meta={"file": f"real-{number}.png"})


def tiny_context(folder: Path, task: Task = "instances", classes: int = 2) -> Context:
    """A context as a run would give it: one thread, on the CPU, a folder to work in."""
    return Context(11, task, tuple(f"class {k}" for k in range(classes)), folder)


def tiny_recipe(folder: Path) -> Path:
    """The path of a recipe on data written beside it: a seed of 4 images and a test of 5 as COCO, a pool of 5.

    It trains for a few seconds. Overrides make it another one: `load(tiny_recipe(tmp), ["generate.a.use=dots"])`.
    """
    classes = ["class 0", "class 1"]
    for name, form, samples in (
        ("seed", "coco", tiny_real(4, seed=1)),
        ("pool", "images", tiny_real(5, seed=2)),
        ("test", "coco", tiny_real(5, seed=3)),
    ):
        writer: Format = plugins.build("formats", form, {})
        writer.write(samples, folder / name, classes)
    train = {"use": "labeler", "weights": "random", "steps": 4, "batch": 2, "crop": 32, "width": 8}
    recipe = {
        "schema": "synthgen/1",
        "name": "tiny",
        "task": "instances",
        "seed": 7,
        "classes": classes,
        "shard_size": 4,
        "data": {
            "seed": {"path": "seed", "format": "coco"},
            "pool": {"path": "pool", "format": "images"},
            "test": {"path": "test", "format": "coco"},
        },
        "generate": [{"name": "a", "use": "compose", "layout": "resample", "count": 12}],
        "train": {**train, "calibration_folds": 2},
        "label": {"tta": False},
        "evaluate": {"permutations": 19},
        "export": ["coco", "yolo"],
        "run": {"out": str(folder / "runs"), "device": "cpu", "workers": 1},
    }
    path = folder / "recipe.yaml"
    path.write_text(json.dumps(recipe, indent=1) + "\n")  # JSON is YAML too
    return path


def digest(sample: Sample) -> str:
    """A hash of everything that a sample is: pixels, labels, origin, id and meta."""
    o = sample.origin
    labels = None if sample.labels is None else labels_to_json(sample.labels)
    about = {
        "id": sample.id,
        "meta": dict(sample.meta),
        "labels": labels,
        "origin": [o.kind, o.maker, o.version, o.weights, o.seed, list(o.parents), o.known_by],
    }
    text = json.dumps(about, sort_keys=True, default=str)
    return hashlib.sha256((hash_image(sample.image) + text).encode()).hexdigest()


def check_generator(
    generator: Generator, real: Sequence[Sample], task: Task = "instances", *, tolerance: int = 0
) -> None:
    """Assert that a generator keeps its promises on `real`.

    Sample k depends on seed k alone: alone, in a batch, in any order, twice. Labels are sound (every defect that
    the check `integrity` looks for). The origin says synthetic, the seed and the parents. A generator that was
    saved and loaded, and a fresh one with the same options fitted on the same images, make the same samples.
    The global random state and the images given are left as they were, and nothing saved is a pickle.

    generator: not fitted yet. tolerance: grey levels by which pixels may differ between one batch size and
    another, for neural samplers whose batch size is fingerprinted; 0 = same bytes.
    Raises: AssertionError.
    """
    assert isinstance(generator, Generator), (
        f"{type(generator).__name__} lacks one of fit, sample, save, load, so it is no synthgen.types.Generator"
    )
    again = _fresh(generator)
    known = [s.labels for s in real if s.labels is not None]
    classes = 1 + max((int(c) for labels in known for c in [*labels.classes, labels.image_class or 0]), default=0)
    before = [digest(s) for s in real]
    # Two that differ in the low bits only, as renderings of one layout do; and both ends of the range.
    first = seed_of(1, "check", 0) & ~0xFF
    seeds = [first, first | 1, seed_of(1, "check", 1), 0, 2**63 - 1]
    with tempfile.TemporaryDirectory() as scratch, _untouched_randomness("the generator"):
        folder = Path(scratch)
        context = tiny_context(folder, task, classes)
        generator.fit(real, [], context)
        batch = list(generator.sample(seeds))
        assert len(batch) == len(seeds), f"{len(seeds)} seeds gave {len(batch)} samples; it must be one each, in order"
        assert list(generator.sample([])) == [], "no seeds must give no samples"
        for seed, sample in zip(seeds, batch, strict=True):
            _sound(sample, seed, classes, task)
        twice = [seed for seed in seeds for _ in range(2)]
        for how, calls in (
            ("one by one", [[s] for s in seeds]),
            ("in reverse", [seeds[::-1]]),
            ("each twice", [twice]),
        ):
            made = [sample for call in calls for sample in generator.sample(call)]
            for seed, sample in zip([seed for call in calls for seed in call], made, strict=True):
                _same(
                    batch[seeds.index(seed)],
                    sample,
                    tolerance,
                    f"seed {seed} made another sample {how} than in a batch; sample k may depend on seed k alone "
                    "(is one random generator shared between samples, or something kept from the last one?)",
                )
        saved = folder / "saved"
        saved.mkdir()
        generator.save(saved)
        _no_pickles(saved)
        loaded = _fresh(again)
        loaded.load(saved)
        for old, new in zip(batch, loaded.sample(seeds), strict=True):
            _same(
                old,
                new,
                0,
                f"after save and load, seed {old.origin.seed} makes another sample; "
                "save must keep all that fit learned",
            )
        again.fit(real, [], context)
        for old, new in zip(batch, again.sample(seeds), strict=True):
            _same(
                old,
                new,
                0,
                f"a fresh instance with the same options and images makes another sample of seed "
                f"{old.origin.seed}; "
                "fit may take randomness from context.seed alone",
            )
    assert before == [digest(s) for s in real], "the images it was fitted on were changed; copy before writing"


def _sound(sample: Sample, seed: int, classes: int, task: Task) -> None:
    labels, o = sample.labels, sample.origin
    wrong = sorted(defects(labels, classes, task))
    assert not wrong, f"the sample of seed {seed} has labels with defects: {'; '.join(KINDS[k] for k in wrong)}"
    assert labels is not None
    assert o.kind == "synthetic", f"origin.kind must be 'synthetic', but is {o.kind!r}"
    assert o.seed == seed, f"origin.seed must be the seed it was made from ({seed}), but is {o.seed}"
    assert o.parents, "origin.parents is empty; it must name the samples that this one was made from"
    assert all(isinstance(p, str) and p for p in o.parents), f"origin.parents must be ids, but is {o.parents}"
    assert o.maker not in ("", "user"), "origin.maker must be the plug-in's name"
    json.dumps(dict(sample.meta), allow_nan=False)


def _same(old: Sample, new: Sample, tolerance: int, why: str) -> None:
    if digest(old) == digest(new):
        return
    if tolerance and old.image.shape == new.image.shape:
        far = int(np.abs(old.image.astype(int) - new.image).max())
        assert digest(dataclasses.replace(old, image=new.image)) == digest(new), f"{why}; more than the pixels differ"
        assert far <= tolerance, f"{why}; pixels differ by up to {far} grey levels and {tolerance} were allowed"
        return
    raise AssertionError(f"{why}; {_difference(old, new)}")


def _difference(old: Sample, new: Sample) -> str:
    if old.image.shape != new.image.shape:
        return f"the images are {old.image.shape} and {new.image.shape}"
    pixels = int((old.image != new.image).any(-1).sum())
    a, b = (None if s.labels is None else labels_to_json(s.labels) for s in (old, new))
    parts = [f"{pixels} pixels differ"] if pixels else []
    parts += ["labels differ"] if a != b else []
    parts += [
        f"{name} differs: {x} and {y}"
        for name in ("id", "origin", "meta")
        if (x := getattr(old, name)) != (y := getattr(new, name))
    ]
    return ", ".join(parts)


def check_trainer(trainer: Trainer, mixture: Mixture, context: Context) -> None:
    """Assert that a trainer and its labelers keep their promises; give it options that train for a few steps.

    The same data, options and seed train the same labeler. It labels images of any size, down to one pixel, with
    sound labels and scores in [0, 1]; the same image gets the same labels again, whatever stands beside it. What
    was saved labels the same after loading and is no pickle; a folder without a labeler is refused with a
    synthgen error. Calibrated on nothing it is as it was, and calibrated on something its scores stay in [0, 1].
    Where it says how sure it is (`Probabilistic`), its probabilities sum to 1, of each pixel or of the image.
    What it names in SELF_TRAINING are options of its own, and while they are off a pool changes nothing.

    context: its folder is used for two trainings.
    Raises: AssertionError.
    """
    assert isinstance(trainer, Trainer), (
        f"{type(trainer).__name__} lacks one of fit, calibrate, load, so it is no synthgen.types.Trainer"
    )
    before = [digest(s) for s in mixture.samples]
    images = tiny_images()
    switches = getattr(trainer, "SELF_TRAINING", {})
    unknown = sorted(set(switches) - set(plugins.option_names(type(trainer))))
    assert not unknown, f"SELF_TRAINING names options that the trainer does not take: {', '.join(unknown)}"
    off = bool(switches) and not any(getattr(trainer, name) for name in switches)
    labelers = []
    for name in ("once", "again"):
        folder = context.folder / name
        folder.mkdir()
        pool = mixture.samples if off and name == "again" else []
        labelers.append(trainer.fit(mixture, [], pool, dataclasses.replace(context, folder=folder)))
    labeler = labelers[0]
    assert isinstance(labeler, Labeler), (
        f"fit gave a {type(labeler).__name__}, which lacks one of label, features, save"
    )
    found = _labelled(labeler, images)
    assert _labelled(labelers[1], images) == found, (
        "trained again with the same seed it labels otherwise; seed every source of randomness"
    )
    assert before == [digest(s) for s in mixture.samples], (
        "the samples it was trained on were changed; copy before writing"
    )
    for image, labels in zip(images, labeler.label(images), strict=True):
        _sound_labels(labels, image, context)
    assert _labelled(labeler, images) == found, (
        "the same images got other labels the second time; labelling must draw nothing at random"
    )
    assert _labelled(labeler, images[::-1]) == found[::-1], (
        "an image's labels depend on the order in which images are given"
    )
    assert [_labelled(labeler, [i])[0] for i in images] == found, (
        "an image's labels depend on what is labelled beside it"
    )
    assert len(list(labeler.label(images, tta=False))) == len(images), "without tta some images got no labels"
    assert list(labeler.label([])) == [], "no images must give no labels"
    features = labeler.features(images)
    assert features.ndim == 2, f"features must be (N, D), but are {features.shape}"
    assert len(features) == len(images), f"{len(images)} images gave {len(features)} rows of features"
    assert features.dtype == np.float32, f"features must be float32, but are {features.dtype}"
    assert np.isfinite(features).all(), "features hold values that are not finite"
    assert len(labeler.features([])) == 0, "features of no images must have no rows"
    if isinstance(labeler, Probabilistic):
        _sound_probabilities(labeler, images, context)

    saved = context.folder / "saved"
    saved.mkdir()
    labeler.save(saved)
    _no_pickles(saved)
    loaded = trainer.load(saved)
    assert _labelled(loaded, images) == found, (
        "after save and load it labels otherwise; save must keep all that labelling needs"
    )
    assert np.array_equal(loaded.features(images), features), "after save and load its features are others"
    empty = context.folder / "empty"
    empty.mkdir()
    try:
        trainer.load(empty)
    except SynthgenError:
        pass
    except Exception as error:
        raise AssertionError(
            f"loading from a folder without a labeler raised {type(error).__name__}; "
            "raise a synthgen.errors.DataError that names the folder"
        ) from error
    else:
        raise AssertionError("loading from a folder without a labeler raised nothing")

    assert _labelled(trainer.calibrate(labeler, []), images) == found, "calibrated on nothing it labels otherwise"
    adjusted = trainer.calibrate(labeler, [(labelers[1], mixture.samples)])
    for image, labels in zip(images, adjusted.label(images), strict=True):
        _sound_labels(labels, image, context)
    assert _labelled(labeler, images) == found, (
        "calibrate changed the labeler that it was given; it must give back another one"
    )


def tiny_images() -> list[Image]:
    """Images that have broken some labeler: of one pixel, of one row, of one column, black, white, of odd sides."""
    rng = rng_of(5)
    noise = [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in TINY_PIXELS]
    return [*noise, np.zeros((40, 40, 3), np.uint8), np.full((32, 48, 3), 255, np.uint8), tiny_real(1)[0].image]


def _labelled(labeler: Labeler, images: Sequence[Image]) -> list[Json]:
    return [labels_to_json(labels) for labels in labeler.label(images)]


def _sound_probabilities(labeler: Probabilistic, images: Sequence[Image], context: Context) -> None:
    given = list(labeler.probabilities(images))
    assert len(given) == len(images), f"{len(images)} images gave {len(given)} probabilities"
    K = len(context.classes)
    for image, probs in zip(images, given, strict=True):
        shape = (K,) if context.task == "classify" else (K + 1, *image.shape[:2])
        assert probs.shape == shape, f"probabilities must be {shape}, background first, but are {probs.shape}"
        assert probs.dtype == np.float32, f"probabilities must be float32, but are {probs.dtype}"
        assert np.isfinite(probs).all(), "probabilities hold values that are not finite"
        assert probs.min() >= 0, "probabilities must not be negative"
        assert np.allclose(probs.sum(0), 1, atol=1e-3), "probabilities must sum to 1 along the first axis"
    assert all(np.array_equal(a, b) for a, b in zip(given, labeler.probabilities(images), strict=True)), (
        "the same images got other probabilities the second time"
    )


def _sound_labels(labels: Labels, image: Image, context: Context) -> None:
    size = image.shape[:2]
    assert labels.size == size, f"the labels of an image of {size} say that it is {labels.size}"
    wrong = sorted(defects(labels, len(context.classes), context.task))
    assert not wrong, f"labels of an image of {size} have defects: {'; '.join(KINDS[k] for k in wrong)}"
    assert labels.scores is not None
    scores = [*labels.scores.tolist(), labels.image_score]
    assert all(0 <= s <= 1 for s in scores), f"scores must lie in [0, 1], but are {scores}"
    assert labels.reviewed == "model", f"what a labeler gives was reviewed by 'model', not {labels.reviewed!r}"


def check_check(check: Check, evidence: Evidence) -> None:
    """Assert that a check measures and judges as the gate expects.

    It gives measurements that are whole: a verdict that is one, a reason in words, a finite value wherever it says
    pass, ordered intervals, ids that exist. The same evidence and seed give the same, nothing that it was given is
    changed, and the global random state stays. Without synthetic images it may skip or be inconclusive, but
    never passes and never crashes.
    Raises: AssertionError.
    """
    assert isinstance(check, Check), f"{type(check).__name__} cannot be called, so it is no synthgen.types.Check"
    parts = (evidence.synthetic, evidence.seed, evidence.pool, evidence.test)
    before = [digest(s) for part in parts for s in part]
    with _untouched_randomness("the check"):
        measured = list(check(evidence, rng_of(3)))
        again = list(check(evidence, rng_of(3)))
    assert before == [digest(s) for part in parts for s in part], "the evidence was changed by being looked at"
    assert measured, "it measured nothing; give a Measurement with verdict 'skipped' and the reason"
    for m in measured:
        assert isinstance(m, Measurement), f"it gave a {type(m).__name__} where a Measurement was due"
    assert repr(measured) == repr(again), (
        "the same evidence and seed were measured otherwise the second time; draw from the rng given alone"
    )
    ids = {s.id for part in parts for s in part}
    for m in measured:
        name = f"{m.check} / {m.name}"
        assert m.verdict in get_args(Verdict), f"{name}: {m.verdict!r} is none of {get_args(Verdict)}"
        assert m.verdict != "error", f"{name}: error is for checks that crash, and run_checks says so: {m.why}"
        assert m.why.strip(), f"{name}: why is empty; it is the verdict in words"
        judged = m.verdict in ("pass", "fail")
        assert not judged or math.isfinite(m.value), f"{name}: the value {m.value} cannot have been judged"
        for interval in (m.interval, m.null):
            reversed_ = interval is not None and interval[0] > interval[1]
            assert not reversed_, f"{name}: the interval {interval} is the wrong way round"
        assert set(m.worst) <= ids, f"{name}: worst names samples that nobody gave: {sorted(set(m.worst) - ids)[:3]}"
    others = {name: families for name, families in evidence.features.items() if name != "synthetic"}
    nothing = dataclasses.replace(evidence, synthetic=[], features=others)
    for m in _survives(lambda: list(check(nothing, rng_of(3))), "without synthetic images"):
        # A check of the scores on the locked test needs no synthetic image.
        blind = m.verdict == "pass" and not evidence.scores
        assert not blind, f"{m.check} / {m.name}: it passed without a synthetic image to look at"


def check_format(form: Format, tmp: Path) -> None:
    """Assert that a format reads back what it wrote, and names everything that it lost.

    Written twice the bytes are the same and lie inside the folder. Every image comes back with its pixels, in the
    order of the names; each part of the labels comes back as it was, or one of the losses speaks of it (its sentence
    holds the part's name: masks, boxes, scores, states, visible, truncated, amodal, ignored, class, origin, empt…,
    instances, labels). Nothing is quarantined of what it wrote itself. A folder that holds nothing gives nothing, or
    a synthgen error.

    tmp: an empty folder to write in.
    Raises: AssertionError.
    """
    assert isinstance(form, Format), (
        f"{type(form).__name__} lacks one of matches, classes, read, write, so it is no synthgen.formats.Format"
    )
    for name, samples, classes in _round_trips():
        folder = tmp / name.replace(" ", "-")
        losses = form.write(samples, folder, classes)
        assert sorted(p.name for p in tmp.iterdir()) == [folder.name], (
            f"{name}: it wrote outside the folder that it was given"
        )
        form.write(samples, folder.with_name("twice"), classes)
        assert _tree(folder) == _tree(folder.with_name("twice")), f"{name}: written twice, the files differ"
        for loss in losses:
            assert isinstance(loss, Loss), f"{name}: write must give a list of Loss, and gave a {type(loss).__name__}"
            assert loss.count > 0, f"{name}: a loss of {loss.count} is none: {loss.what}"
        items = _survives(partial(_read, form, folder, classes), f"{name}: reading what it wrote")
        refused = [i for i in items if isinstance(i, Problem) and i.action == "quarantined"]
        assert not refused, (
            f"{name}: what it wrote itself is quarantined when read: {refused[0].file}: {refused[0].what}"
        )
        back = [i for i in items if isinstance(i, Sample)]
        said = " | ".join(loss.what.lower() for loss in losses)
        if len(back) < len(samples):
            assert "left out" in said, (
                f"{name}: of {len(samples)} images {len(back)} came back, and no loss says that images are left out"
            )
        else:
            for one, two in zip(samples, back, strict=True):
                _came_back(name, one, two, said)
        if back:
            assert form.matches(folder), f"{name}: matches does not know the folder that it wrote"
            blank = [i for i in form.read(folder, classes, Reading(pixels=False)) if isinstance(i, Sample)]
            assert [s.image.shape for s in blank] == [s.image.shape for s in back], (
                f"{name}: read without pixels, sizes or number differ"
            )
            strange = set(form.classes(folder)) - set(classes)
            assert not strange, f"{name}: classes gives names that nobody wrote: {strange}"
        for path in (folder, folder.with_name("twice")):
            _remove(path)
    hollow = tmp / "hollow"
    hollow.mkdir()
    assert not form.matches(hollow), "matches says yes to an empty folder"
    _survives(partial(_read, form, hollow, ["a"]), "reading an empty folder")
    _remove(hollow)


WHOLE = ("instances", "labels")  # where these are lost, their parts are
PARTS: dict[str, tuple[str, ...]] = {  # part of the labels → words of which a loss must hold one
    "labels": ("label",),
    "instances": (*WHOLE, "boxes"),
    "masks": (*WHOLE, "masks", "outline", "holes", "pixel"),
    "boxes": (*WHOLE, "masks", "boxes", "outline", "pixel"),
    "scores": (*WHOLE, "scores"),
    "states": (*WHOLE, "states"),
    "visible": (*WHOLE, "visible"),
    "truncated": (*WHOLE, "truncated", "masks"),
    "amodal": (*WHOLE, "amodal"),
    "ignore": ("labels", "ignored"),
    "image_class": ("labels", "class"),
    "empty": ("labels", "empt"),
    "reviewed": ("labels", "review", "origin"),
}


def _round_trips() -> Iterator[tuple[str, list[Sample], list[str]]]:
    """Datasets by name that a format writes and reads back."""
    plain = tiny_real(2, classes=2)
    size = (9, 7)
    blank = np.full((*size, 3), 7, np.uint8)
    dot, full = np.zeros((1, *size), bool), np.ones((1, *size), bool)
    dot[0, 8, 6] = True
    edges = [labels_from_masks(mask, [0], reviewed="human") for mask in (dot, full)]
    edges.append(Labels(size, masks=(), reviewed="human", empty="confirmed"))
    edge = [Sample(f"edge-{k}", blank, labels) for k, labels in enumerate(edges)]
    two = ["first", "second"]
    yield "labelled by a person", plain, two
    yield "edge cases", edge, ["first"]
    known = plain[0].labels
    assert known is not None
    n = len(known)
    corner = np.zeros((1, *known.size), bool)
    corner[0, -2:, -2:] = True
    visible = np.where(np.arange(n) % 2, 0.5, np.nan).astype(np.float32)
    states: tuple[State, ...] = ("accepted", "ignored", "to_review")
    told = dataclasses.replace(
        known,
        scores=np.linspace(0, 1, n, dtype=np.float32),
        visible=visible,
        amodal=known.masks,
        states=(states * n)[:n],
        ignore=encode(corner)[0],
        reviewed="model",
    )
    made = Origin("pseudo", "labeler", "1", seed=4, parents=("a", "b"), known_by="model")
    nothing = Sample("b-none", blank, Labels(size, masks=()))
    yield "labelled by a model", [Sample("a-told", plain[0].image, told, made), nothing], two
    classed = [Labels(known.size, image_class=k, reviewed="human") for k in range(2)]
    yield "one class per image", [Sample(f"class-{k}", plain[k].image, labels) for k, labels in enumerate(classed)], two
    yield "without labels", [Sample("bare", blank)], ["first"]


def _came_back(name: str, one: Sample, two: Sample, said: str) -> None:
    assert np.array_equal(one.image, two.image), f"{name}: the pixels of {one.id} came back changed"
    a, b = one.labels, two.labels
    if a is None or b is None:
        lost = ["labels"] if (a is None) != (b is None) else []
    else:
        lost = [part for part in PARTS if part != "labels" and not _alike(part, a, b)]
    for part in lost:
        assert any(word in said for word in PARTS[part]), (
            f"{name}: {part} of {one.id} came back changed, and no loss speaks of it; the losses are: {said or 'none'}"
        )


def _alike(part: str, a: Labels, b: Labels) -> bool:
    if part == "instances":
        return list(a.classes) == list(b.classes)
    if len(a) != len(b):
        return False
    x, y = getattr(a, part), getattr(b, part)
    if isinstance(x, np.ndarray) and isinstance(y, np.ndarray):
        return bool(np.allclose(x, y, atol=1e-4, equal_nan=True))
    if part == "masks" and not len(a):
        return True  # no masks of no instances are no loss
    return bool(x == y)


def _tree(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def _remove(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    folder.rmdir()


def _survives(work: Callable[[], list[T]], what: str) -> list[T]:
    """What `work` gives; nothing when it raises an error meant for people."""
    try:
        return work()
    except SynthgenError:
        return []
    except Exception as error:
        raise AssertionError(
            f"{what}, it raised {type(error).__name__}: {error}; raise a synthgen error that says what is wrong"
        ) from error


def _fresh(generator: Generator) -> Generator:
    """Another instance with the same options, not fitted."""
    options = {name: getattr(generator, name) for name in plugins.option_names(type(generator))}
    made: Generator = type(generator)(**options)
    return made


def _read(form: Format, folder: Path, classes: Sequence[str]) -> list[Sample | Problem]:
    return list(form.read(folder, classes, Reading()))


def _no_pickles(folder: Path) -> None:
    found = [p.name for p in folder.rglob("*") if p.suffix in PICKLES]
    assert not found, (
        f"{found[0]}: state is kept as safetensors, JSON or images, never as a pickle, which can run code when loaded"
    )


@contextmanager
def _untouched_randomness(who: str) -> Iterator[None]:
    plain, numpys = random.getstate(), _numpy_state()
    yield
    assert random.getstate() == plain, (
        f"{who} moved Python's global random state; use random.Random(seed), or numpy's default_rng"
    )
    assert numpys == _numpy_state(), (
        f"{who} moved numpy's global random state; take a numpy.random.Generator from synthgen.seeds.rng_of"
    )


def _numpy_state() -> tuple[bytes, int, int, float]:
    # The legacy state is what we guard, so it must be asked for.
    _, keys, place, has_gauss, gauss = np.random.get_state()  # noqa: NPY002
    array: NDArray[np.uint32] = np.asarray(keys)
    return array.tobytes(), int(place), int(has_gauss), float(gauss)


__all__ = [
    "check_check",
    "check_format",
    "check_generator",
    "check_trainer",
    "digest",
    "tiny_context",
    "tiny_images",
    "tiny_real",
    "tiny_recipe",
]
