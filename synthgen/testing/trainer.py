"""What a trainer and its labeler must keep."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from synthgen import plugins
from synthgen.checks.integrity import KINDS, defects
from synthgen.errors import SynthgenError
from synthgen.store import labels_to_json
from synthgen.testing.promises import no_pickles
from synthgen.testing.tiny import digest, tiny_images
from synthgen.types import Context, Image, Json, Labeler, Labels, Mixture, Probabilistic, Trainer


def check_trainer(trainer: Trainer, mixture: Mixture, context: Context) -> None:
    """Assert that a trainer and its labelers keep their promises; give it options that train for a few steps, enough
    to find something: of a labeler that finds nothing hardly anything is compared.

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
    found, seen_once = _labelled(labeler, images), _labelled(labeler, images, tta=False)
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
    assert len(seen_once) == len(images), "without tta some images got no labels"
    for image, labels in zip(images, labeler.label(images, tta=False), strict=True):
        _sound_labels(labels, image, context)
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
    no_pickles(saved)
    loaded = trainer.load(saved)
    assert _labelled(loaded, images) == found, (
        "after save and load it labels otherwise; save must keep all that labelling needs"
    )
    assert _labelled(loaded, images, tta=False) == seen_once, "after save and load it labels otherwise without tta"
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
    for tta in (True, False):  # which may be calibrated apart
        for image, labels in zip(images, adjusted.label(images, tta=tta), strict=True):
            _sound_labels(labels, image, context)
    assert _labelled(labeler, images) == found, (
        "calibrate changed the labeler that it was given; it must give back another one"
    )


def _labelled(labeler: Labeler, images: Sequence[Image], *, tta: bool = True) -> list[Json]:
    return [labels_to_json(labels) for labels in labeler.label(images, tta=tta)]


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
