"""What a format must keep."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from synthgen.formats import Format, Loss, Problem, Reading
from synthgen.geometry import encode, labels_from_masks
from synthgen.testing.promises import survives
from synthgen.testing.tiny import tiny_real
from synthgen.types import Labels, Origin, Sample, State

WHOLE = ("instances", "labels")  # where these are lost, their parts are
OF_IMAGE = ("ignore", "image_class", "empty", "reviewed")  # no instance holds these
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
        items = survives(partial(_read, form, folder, classes), f"{name}: reading what it wrote")
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
    survives(partial(_read, form, hollow, ["a"]), "reading an empty folder")
    _remove(hollow)


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
    boxed = [dataclasses.replace(s, labels=dataclasses.replace(s.labels, masks=None)) for s in plain if s.labels]
    yield "boxes alone", boxed, two
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
    if len(a) != len(b) and part not in OF_IMAGE:
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


def _read(form: Format, folder: Path, classes: Sequence[str]) -> list[Sample | Problem]:
    return list(form.read(folder, classes, Reading()))
