"""What a labelling function must keep, as one check that its own tests can call."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from synthgen.store import labels_to_json
from synthgen.testing.promises import untouched_randomness
from synthgen.testing.tiny import tiny_context, tiny_images, tiny_real
from synthgen.types import Image, Json, LabellingFunction, Labels, Task


def check_function(function: LabellingFunction, task: Task = "instances", classes: int = 2) -> None:
    """Assert that a labelling function keeps its promises, on images of one pixel, of one line and ordinary ones.

    It gives Labels of the image's size with classes of the recipe, boxes inside the image, masks of that size and
    scores in [0, 1], or None; says the same of an image whatever it was shown before; and leaves the image, and
    everybody else's random numbers, as they were. function: a function (image) → Labels | None, or one of a class
    with REFINES = True, which is given the labels of tiny real images.
    """
    real = tiny_real(2, classes=classes)
    shown: list[tuple[Any, ...]] = [(image,) for image in [*tiny_images(), *(s.image for s in real)]]
    if getattr(function, "REFINES", False):
        shown = [(s.image, s.labels) for s in real]
        shown += [(image, Labels((image.shape[0], image.shape[1]))) for image in tiny_images()]
    with tempfile.TemporaryDirectory() as scratch, untouched_randomness("the labelling function"):
        if hasattr(function, "prepare"):
            function.prepare(tiny_context(Path(scratch), task, classes))
        first = [_asked(function, arguments, task, classes) for arguments in shown]
        again = [_asked(function, arguments, task, classes) for arguments in reversed(shown)][::-1]
    assert first == again, "the labelling function says another thing of an image when it is asked again"


def _asked(function: Any, arguments: Sequence[Any], task: Task, classes: int) -> Json:
    image: Image = arguments[0]
    before = image.tobytes()
    found = function(*arguments)
    assert image.tobytes() == before, "the labelling function changed the image that it was given"
    assert found is None or isinstance(found, Labels), (
        f"a labelling function gives Labels, or None to abstain, not {type(found).__name__}")
    if found is None:
        return None
    H, W = image.shape[:2]
    assert found.size == (H, W), f"its labels are for {found.size}, the image is {(H, W)}"
    assert found.scores is not None
    given = [*found.classes.tolist(), *([] if found.image_class is None else [found.image_class])]
    assert all(0 <= c < classes for c in given), f"it says the classes {given}; there are {classes}"
    assert ((found.scores >= 0) & (found.scores <= 1)).all(), "scores must lie in [0, 1]"
    assert 0 <= found.image_score <= 1, "image_score must lie in [0, 1]"
    inside = (found.boxes >= 0).all() and (found.boxes <= np.array([W, H, W, H])).all()
    assert inside, f"boxes must lie in the image of {W} × {H} px, but are {found.boxes.tolist()}"
    assert (found.boxes[:, 2:] > found.boxes[:, :2]).all(), "boxes must not be empty"
    if task != "classify":
        assert found.image_class is None, f"an image class is no label for task {task}"
    return labels_to_json(found)
