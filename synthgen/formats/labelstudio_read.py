"""Reads Label Studio's tasks that may be wrong anywhere: every bad item becomes a Problem, the others come through."""

from __future__ import annotations

import math
import mmap
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np
from numpy.typing import NDArray

from synthgen.errors import DataError
from synthgen.formats import Problem, Reading
from synthgen.formats.files import inside, load_json, open_image, relative, unknown_class
from synthgen.formats.gather import GIVEN, MASKLESS, Box, Gathered, box_mask, facts_from_json, image_facts_from_json
from synthgen.formats.rows import unpack_rgba
from synthgen.formats.xml import parse_xml
from synthgen.geometry import areas, encode, mask_from_polygons
from synthgen.types import Image, Json, Reviewed, Rle, Sample, State

CONFIG = "label_config.xml"
IGNORED = "synthgen: ignored region"
UPLOADED = re.compile(r"^[0-9a-f]{8}-")  # what Label Studio puts before the name of an uploaded file
SLACK = 0.5  # px that a shape may stand over the frame without being reported: rounding
KINDS = ("brushlabels", "polygonlabels", "rectanglelabels", "choices")


@dataclass(frozen=True, slots=True)
class _Said:
    """What one annotation or prediction says. seconds, by, at: of an annotation, where known."""

    regions: Sequence[Json]
    reviewed: Reviewed
    meta: dict[str, Json]


def find(path: Path) -> Path:
    """The list of tasks that a path means. Raises: DataError when there is none, or more than one."""
    if path.is_file():
        return path
    if (path / "tasks.json").is_file():
        return path / "tasks.json"
    files = [p for p in sorted(path.glob("*.json")) if _is_list_of_tasks(p)]
    if len(files) != 1:
        raise DataError(f"{path}: {'there is no' if not files else 'there is more than one'} JSON list of Label Studio "
                        "tasks here (tasks.json); give the path of one")
    return files[0]


def looks_right(path: Path) -> bool:
    """Whether the path means a list of tasks."""
    try:
        return _is_list_of_tasks(find(path))
    except DataError:
        return False


def _is_list_of_tasks(file: Path) -> bool:
    try:
        with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            listed = data[:64].lstrip(b"\xef\xbb\xbf \r\n\t")[:1] == b"["
            answers = data.find(b'"annotations"') >= 0 or data.find(b'"predictions"') >= 0
            return file.suffix.lower() == ".json" and listed and answers and data.find(b'"data"') >= 0
    except (OSError, ValueError):  # unreadable, or empty
        return False


def class_names(file: Path) -> list[str]:
    """Labels in the order of label_config.xml, else those of regions, sorted. Raises: DataError."""
    beside = file.with_name(CONFIG)
    names: list[str] = []
    if beside.is_file():
        names = [e.get("value", "") for e in parse_xml(beside).iter() if e.tag in ("Label", "Choice")]
    else:
        found: set[str] = set()
        for task in _tasks(file):
            for said in _answers(task) if isinstance(task, dict) else []:
                found |= {name for region in said.regions if isinstance(region, dict) for name in _names(region)[1]}
        names = sorted(found)
    return [n for n in dict.fromkeys(names) if n not in ("", IGNORED)]


def read_file(
    file: Path, home: Path, classes: Sequence[str], reading: Reading, each: bool
) -> Iterator[Sample | Problem]:
    """Samples by the names of their images, and Problems. Raises: DataError when it is no list of tasks."""
    tasks, shown = _tasks(file), relative(file, home)
    named: list[tuple[str, dict[str, Json], Path]] = []
    for k, task in enumerate(tasks):
        item = f"task {task['id']}" if isinstance(task, dict) and isinstance(task.get("id"), int) else f"task entry {k}"
        try:
            path = _image_file(task, home)
        except DataError as error:
            yield Problem(shown, item, str(error), "quarantined")
            continue
        named.append((relative(path, home), task, path))
    with_masks = any(
        _names(r)[0] in ("brushlabels", "polygonlabels") and _names(r)[1] != [IGNORED]
        for _, task, _ in named for said in _answers(task) for r in said.regions if isinstance(r, dict))
    number, before = 0, ""
    for name, task, path in sorted(named, key=lambda x: x[0]):
        if name == before:
            yield Problem(shown, name, "a task with this image stands there before", "quarantined")
            continue
        before = name
        image = open_image(path, name, reading)
        if isinstance(image, Problem):
            yield image
            continue
        answers = _answers(task)
        people = [a for a in answers if a.reviewed == "human"]
        if not answers:
            _, origin, _, _ = image_facts_from_json(_about(task))
            yield Sample(f"{number:06d}", image, None, origin, {"file": name} | _split(task))
            number += 1
        for said in people if each and people else answers[-1:]:
            sample_id, number = f"{number:06d}", number + 1
            gathered = Gathered((image.shape[0], image.shape[1]), with_masks)
            image_class, score, state, problems = _gather(said.regions, gathered, classes)
            yield from (Problem(name, item, what, "repaired") for item, what in problems)
            yield _sample(sample_id, image, task, said, gathered, (image_class, score, state), {"file": name})


def _sample(
    sample_id: str, image: Image, task: dict[str, Json], said: _Said, gathered: Gathered,
    whole: tuple[int | None, float, State], meta: dict[str, Json],
) -> Sample:  # fmt: skip
    _, origin, told, empty = image_facts_from_json(_about(task))
    # An annotation is a person's whatever was known of the task before; a prediction is never one.
    reviewed, known = told, empty
    if said.reviewed == "model" and told == "human":
        reviewed, known = "model", "unknown"
    elif said.reviewed == "human" and (told != "human" or said.meta):
        reviewed, known, origin = "human", "confirmed", origin if told == "human" else GIVEN
    labels = gathered.labels(reviewed, known)
    if whole[0] is not None:
        labels = replace(labels, image_class=whole[0], image_score=whole[1], image_state=whole[2], empty="unknown")
    return Sample(sample_id, image, labels, origin, meta | said.meta | _split(task))


def _gather(regions: Sequence[Json], gathered: Gathered, classes: Sequence[str]) -> tuple[
    int | None, float, State, list[tuple[str, str]]
]:  # fmt: skip
    """Add regions; (class of the image, its score, its state, (item, what is wrong) of those that are not right)."""
    image_class, score, problems = None, 1.0, list[tuple[str, str]]()
    state: State = "accepted"
    for k, region in enumerate(regions, 1):
        name = region.get("id") if isinstance(region, dict) else None
        item = f"region {name}" if isinstance(name, str) else f"region {k}"
        try:
            if not isinstance(region, dict):
                raise DataError("it is no region")
            kind, names = _names(region)
            if kind not in KINDS:
                raise DataError(f"it is of a kind ({region.get('type')!r:.40}) that is no box, region or class")
            if len(names) != 1 or names[0] not in (IGNORED, *classes):
                raise DataError(unknown_class(names[0], classes) if len(names) == 1 else "it does not have one label")
            facts = facts_from_json(region.get("meta"), region.get("score"))
            if kind == "choices":
                image_class, score, state = list(classes).index(names[0]), facts.score, facts.state
                continue
            shape, said = _shape(kind, region, gathered)
        except DataError as error:
            problems.append((item, f"{error}; it is left out"))
            continue
        if said:
            problems.append((item, said))
        if names[0] == IGNORED or (gathered.with_masks and not isinstance(shape, str)):
            gathered.ignore.append(shape if isinstance(shape, str) else box_mask(shape, gathered.size))
            if names[0] != IGNORED:
                what = MASKLESS
                problems.append((item, what))
            continue
        gathered.add(list(classes).index(names[0]), shape, facts)
    return image_class, score, state, problems


def _shape(kind: str, region: dict[str, Json], gathered: Gathered) -> tuple[Rle | Box, str]:
    """(the shape, what had to be changed). Raises: DataError when there is none in the frame."""
    H, W = gathered.size
    said = region.get("original_height", H), region.get("original_width", W)
    if said != (H, W):
        raise DataError(f"it is for an image of {said[1]!r:.20} × {said[0]!r:.20} px, but the image has {W} × {H}")
    if region.get("image_rotation") not in (0, None):
        raise DataError("it was drawn on a turned image, which is not read")
    value = region["value"]
    if kind == "brushlabels":
        if value.get("format") != "rle":
            raise DataError(f"its brush is written as {value.get('format')!r:.40}, not as rle")
        mask = unpack_rgba(value.get("rle"), gathered.size)
        if not mask.any():
            raise DataError("its mask has no pixel")
        return encode(mask[None])[0], ""
    points = _outline(value) if kind == "polygonlabels" else _corners(value)
    points = points * (W, H) / 100
    if np.abs(points).max() > 4 * (H + W):
        raise DataError(f"it reaches to {np.abs(points).max():.3g} px, far outside the image")
    return _clipped(points, kind == "polygonlabels", _turn(value), gathered)


def _clipped(points: NDArray[np.float64], outline: bool, turn: float, gathered: Gathered) -> tuple[Rle | Box, str]:
    """(the shape inside the frame, what had to be changed) of points, px."""
    H, W = gathered.size
    if turn and not outline:  # about the first corner, clockwise, as Label Studio turns
        c, s = math.cos(math.radians(turn)), math.sin(math.radians(turn))
        points = (points - points[0]) @ np.array([[c, s], [-s, c]]) + points[0]
    low, high = points.min(0), points.max(0)
    over = bool((low < -SLACK).any() or (high > np.array([W, H]) + SLACK).any())
    what = "it stands over the frame; it is clipped" if over else ""
    if outline or (turn and gathered.with_masks):
        rle = mask_from_polygons([points], gathered.size)
        if not areas([rle], gathered.size)[0]:
            raise DataError("its outline has no pixel inside the frame")
        return rle, what
    box = (max(low[0], 0.0), max(low[1], 0.0), min(high[0], float(W)), min(high[1], float(H)))
    if box[2] <= box[0] or box[3] <= box[1]:
        raise DataError("its box has no area inside the image")
    found = (float(box[0]), float(box[1]), float(box[2]), float(box[3]))
    return found, "it is turned; the upright box around it is taken" if turn else what


def _corners(value: dict[str, Json]) -> NDArray[np.float64]:
    """(4, 2) x y of a rectangle's corners, percent, not turned."""
    numbers = [_number(value.get(name)) for name in ("x", "y", "width", "height")]
    if None in numbers:
        raise DataError("it has no four numbers x, y, width, height")
    x, y, w, h = cast(list[float], numbers)
    if w <= 0 or h <= 0:
        raise DataError(f"its box is {w:g} × {h:g} %, without area")
    return np.array([[x, y], [x + w, y], [x + w, y + h], [x, y + h]])


def _outline(value: dict[str, Json]) -> NDArray[np.float64]:
    points = value.get("points")
    rows = [[_number(n) for n in pair] if isinstance(pair, list) else [] for pair in points] if isinstance(
        points, list) else []
    if len(rows) < 3 or any(len(row) != 2 or None in row for row in rows):
        raise DataError("its outline needs three points of two numbers")
    return np.asarray(rows, np.float64)


def _turn(value: dict[str, Json]) -> float:
    return (_number(value.get("rotation")) or 0.0) % 360


def _number(value: Json) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e12:
        return None
    return float(value)


def _names(region: dict[str, Json]) -> tuple[str, list[str]]:
    """(kind, labels) of a region."""
    kind, value = region.get("type"), region.get("value")
    names = value.get(kind) if isinstance(value, dict) and isinstance(kind, str) else None
    ok = isinstance(names, list) and all(isinstance(n, str) for n in names)
    return str(kind), cast(list[str], names) if ok else []


def _answers(task: dict[str, Json]) -> list[_Said]:
    """Predictions, then annotations that were not cancelled, each in the order of the file."""
    found = []
    for key, reviewed in (("predictions", "model"), ("annotations", "human")):
        listed = task.get(key)
        for entry in listed if isinstance(listed, list) else []:
            regions = entry.get("result") if isinstance(entry, dict) else None
            if isinstance(regions, list) and entry.get("was_cancelled") is not True:
                found.append(_Said(regions, cast(Reviewed, reviewed), _by(entry) if key == "annotations" else {}))
    return found


def _by(entry: dict[str, Json]) -> dict[str, Json]:
    """Who made an annotation, how long it took and when, as far as it says."""
    meta: dict[str, Json] = {}
    who = entry.get("completed_by")
    who = who.get("email") or who.get("id") if isinstance(who, dict) else who
    if isinstance(who, str | int) and not isinstance(who, bool):
        meta["by"] = str(who)
    seconds = _number(entry.get("lead_time"))
    if seconds is not None and seconds >= 0:
        meta["seconds"] = seconds
    at = entry.get("updated_at") or entry.get("created_at")
    if isinstance(at, str):
        meta["at"] = at
    return meta


def _about(task: dict[str, Json]) -> dict[str, Json]:
    meta = task.get("meta")
    about = meta.get("synthgen") if isinstance(meta, dict) else None
    return about if isinstance(about, dict) else {}


def _split(task: dict[str, Json]) -> dict[str, Json]:
    meta = task.get("meta")
    split = meta.get("split") if isinstance(meta, dict) else None
    return {"split": split} if isinstance(split, str) else {}


def _image_file(task: Json, home: Path) -> Path:
    """The image of a task. Raises: DataError when the task names none, or there is none of its name."""
    data = task.get("data") if isinstance(task, dict) else None
    values = [data.get("image"), *data.values()] if isinstance(data, dict) else []
    address = next((v for v in values if isinstance(v, str)), None)
    if address is None:
        raise DataError("it has no data.image, the address of its image")
    try:
        parts = urlsplit(address)
    except ValueError:
        raise DataError(f"its image {address!r:.80} is no address") from None
    place = parse_qs(parts.query).get("d", [unquote(parts.path)])[-1].replace("\\", "/")
    name = place.rsplit("/", 1)[-1]
    tried = [place] if ".." not in place.split("/") and not place.startswith("/") and not parts.scheme else []
    for candidate in dict.fromkeys([*tried, name, UPLOADED.sub("", name)]):
        try:
            return inside(home, candidate, ("", "images"))
        except DataError as error:
            why = str(error)
    raise DataError(f"its image {name!r:.80}: {why}")


def _tasks(file: Path) -> list[Json]:
    value = load_json(file)
    if not isinstance(value, list):
        raise DataError(f"{file}: Label Studio's export is a list of tasks (JSON, not JSON-MIN), this is a "
                        f"{type(value).__name__}")
    return value
