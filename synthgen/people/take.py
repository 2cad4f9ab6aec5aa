"""Takes a package back: matches images by their pixels, tells what people changed, and makes decisions of it."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy as np

from synthgen import plugins
from synthgen.errors import DataError
from synthgen.formats import Format, Problem, Reading
from synthgen.formats.detect import detect
from synthgen.formats.files import write_image
from synthgen.images import hash_image, list_images
from synthgen.people.decisions import Action, Change, Decision, difference
from synthgen.people.package import FORMATS, Sent
from synthgen.types import Image, Labels, Sample

TOOLS = {"labelstudio": "label-studio"}  # what a format's tool is called where the two names differ
MAX_ZIP_BYTES = 20 << 30
Found: TypeAlias = dict[tuple[str, str], tuple[Decision, list[Change]]]  # by image and person
EACH = {"labelstudio": {"annotator": "each"}}  # options with which a format gives every annotator's labels


@dataclass(slots=True)
class Taken:
    """What came back. changes: by kind, of the images that were decided. decisions: to be written down.

    untouched: images without a change or a mark that somebody looked. unconfirmed: emptied, and not said to be empty.
    strangers: images that no package sent. problems: what could not be read.
    """

    decisions: list[Decision] = field(default_factory=list)
    changes: Counter[str] = field(default_factory=Counter)
    ious: list[float] = field(default_factory=list)
    untouched: list[str] = field(default_factory=list)
    unconfirmed: list[str] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def take(
    path: Path, form: str, classes: Sequence[str], sent: Sequence[Sent], pixels: Callable[[str], Image], by: str,
    at: str, minutes: float | None = None, everything: bool = False,
) -> Taken:  # fmt: skip
    """Read what an annotation tool gave back.

    path: a folder, a .zip, or the file with the labels alone, whose images are then the package's own. sent: what was
    sent in this format, the last package first. pixels: the image of a sample's id. by: who, where the tool does not
    say. at: ISO time, UTC, likewise. minutes: spent in all, where the tool does not measure. everything: somebody
    looked at every image, also at those without a change; without it an image counts when it was changed, labelled
    from nothing, or marked by the tool as a person's.

    A decision holds the person's labels with score 1 and state accepted: what a person left standing is theirs.
    Raises: DataError when the path is no dataset of this format.
    """
    reader = cast(Format, plugins.build("formats", form, EACH.get(form, {})))
    known: dict[str, list[Sent]] = {}  # the last package first
    for one in sent:
        known.setdefault(one.image, []).append(one)
    taken, found = Taken(), Found()
    with _whole(path, sent, pixels) as folder:
        for item in reader.read(folder, classes, Reading()):
            if isinstance(item, Problem):
                taken.problems.append(item)
                continue
            name = str(item.meta.get("file", item.id))
            match = known.get(hash_image(item.image))
            if match is None:
                taken.strangers.append(name)
            else:
                _decide(item, _meant(item, match), taken, found, form, by, at, everything)
    # Of what one person said twice of one image, the last counts, as it would if it had come later.
    for decision, changes in found.values():
        taken.decisions.append(decision)
        taken.changes.update(change.kind for change in changes)
        taken.ious += [c.iou for c in changes if c.kind == "moved" and c.iou is not None]
    _share(taken, minutes)
    return taken


def _meant(item: Sample, sent: Sequence[Sent]) -> Sent:
    """Which of several packages came back: one whose pre-label stands there unchanged, else the last that showed one if
    any did; a pre-label of an older package that nobody touched is no person's work."""
    for one in sent:
        same = one.shown is not None and item.labels is not None and difference(one.shown, item.labels)
        if same is not False and all(change.kind == "unchanged" for change in same):
            return one
    return next((one for one in sent if one.shown is not None), sent[0])


def _decide(item: Sample, one: Sent, taken: Taken, found: Found, form: str, by: str, at: str,
            everything: bool) -> None:
    after = item.labels
    if after is None and everything and one.shown is None:
        # Nothing was shown, somebody looked, and nothing was drawn: there is nothing.
        after = Labels(item.image.shape[:2], empty="confirmed", reviewed="human")
    if after is None:
        if one.shown is not None and (len(one.shown) or one.shown.image_class is not None):
            taken.unconfirmed.append(one.id)
        else:
            taken.untouched.append(one.id)
        return
    changes = difference(one.shown, after)
    changed = any(change.kind != "unchanged" for change in changes)
    marked = after.reviewed == "human" and (one.shown is None or one.shown.reviewed != "human")
    if not (changed or marked or everything):
        taken.untouched.append(one.id)
        return
    nothing = not len(after) and after.image_class is None
    if nothing and after.empty != "confirmed":
        if not (everything or marked):
            taken.unconfirmed.append(one.id)
            return
        after = replace(after, empty="confirmed", reviewed="human")
        changes = difference(one.shown, after)
    seconds = item.meta.get("seconds")
    decision = Decision(
        image=one.image, id=one.id, labels=_persons(after), by=str(item.meta.get("by", by)),
        at=str(item.meta.get("at", at)), seconds=None if seconds is None else float(seconds),
        tool=TOOLS.get(form, form), action=_action(one, nothing, changes), blind=one.blind,
        prelabel="" if one.shown is None else one.prelabel,
    )  # fmt: skip
    found[decision.image, decision.by] = decision, changes


def _action(one: Sent, nothing: bool, changes: Sequence[Change]) -> Action:
    if one.shown is None:
        return "answer"
    if nothing:
        return "confirm-empty"
    return "accept" if all(change.kind == "unchanged" for change in changes) else "redraw"


def _persons(labels: Labels) -> Labels:
    return replace(labels, scores=None, states=None, image_score=1.0, image_state="accepted", reviewed="human")


def _share(taken: Taken, minutes: float | None) -> None:
    """Share minutes that the tool did not measure evenly among the images that it did not measure."""
    open_ = [k for k, d in enumerate(taken.decisions) if d.seconds is None]
    if minutes is not None and open_:
        rest = minutes * 60 - sum(d.seconds for d in taken.decisions if d.seconds is not None)
        for k in open_:
            taken.decisions[k] = replace(taken.decisions[k], seconds=round(max(rest, 0.0) / len(open_), 3))


def form_of(path: Path) -> str:
    """The format of what came back, looked for in a folder, a file or a .zip.

    Raises: DataError when there is nothing at the path, or no format of the annotation tools fits.
    """
    with _opened(path) as folder:
        found = detect(folder)
    if found not in FORMATS:
        raise DataError(f"{path}: this looks like {found}; what comes back is one of {', '.join(FORMATS)} (--format)")
    return found


@contextmanager
def _opened(path: Path) -> Iterator[Path]:
    """The path, or the folder that a .zip holds."""
    if not path.exists():
        raise DataError(f"{path}: there is no such file or folder")
    if path.suffix.lower() != ".zip":
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="synthgen-") as scratch:
        try:
            with zipfile.ZipFile(path) as archive:
                if sum(info.file_size for info in archive.infolist()) > MAX_ZIP_BYTES:
                    raise DataError(f"{path}: it unpacks to more than {MAX_ZIP_BYTES >> 30} GiB; unpack it yourself")
                archive.extractall(scratch)  # which drops roots and `..` from names, and makes no links
        except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError, EOFError, zlib.error) as error:
            raise DataError(f"{path}: this is no .zip that can be unpacked ({error})") from None
        yield Path(scratch)


@contextmanager
def _whole(path: Path, sent: Sequence[Sent], pixels: Callable[[str], Image]) -> Iterator[Path]:
    """A folder with labels and images: labels that came alone are put beside the images that were sent."""
    with _opened(path) as given:
        if given.is_dir() and list_images(given):
            yield given
            return
        with tempfile.TemporaryDirectory(prefix="synthgen-") as scratch:
            folder = Path(scratch)
            if given.is_dir():
                shutil.copytree(given, folder, dirs_exist_ok=True)
            else:
                shutil.copy(given, folder / given.name)
            for one in sent:
                if not (folder / one.file).exists():
                    write_image(folder / one.file, pixels(one.id))
            yield folder if given.is_dir() else folder / given.name


def summary(taken: Taken) -> dict[str, Any]:
    """Counts for people and for --json; minutes are null where nobody measured."""
    seconds = [d.seconds for d in taken.decisions if d.seconds is not None]
    return {
        "images": len(taken.decisions),
        "unchanged": taken.changes["unchanged"],
        "moved": taken.changes["moved"],
        "mean_iou_of_moved": float(np.mean(taken.ious)) if taken.ious else None,
        "class_changed": taken.changes["class"] + taken.changes["image-class"],
        "added": taken.changes["added"],
        "deleted": taken.changes["deleted"],
        "confirmed_empty": taken.changes["confirmed-empty"],
        "minutes": sum(seconds) / 60 if seconds else None,
        "minutes_per_image": sum(seconds) / 60 / len(seconds) if seconds else None,
        "untouched": len(taken.untouched),
        "unconfirmed": len(taken.unconfirmed),
        "strangers": len(taken.strangers),
        "problems": len(taken.problems),
    }
