"""Judge any two datasets without a recipe: are the synthetic images and labels like the real ones?"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from synthgen import plugins
from synthgen.checks import run_checks
from synthgen.errors import DataError, TooManyBadItems
from synthgen.formats import Format, Problem, Reading
from synthgen.formats.detect import detect, open_dataset
from synthgen.images import hash_image
from synthgen.recipe.schema import Features
from synthgen.stages.evidence import SEED, Family, features_of, learner
from synthgen.store import Stored, Subset, write_all
from synthgen.types import Context, Dataset, Evidence, Json, Measurement, Sample, Task
from synthgen.work import Say

CHECKS = ("integrity", "leakage", "mask_shift", "realism", "diversity", "appearance", "drift", "copying")
SHARD = 256
FEATURES = (Features(use="spectrum"), Features(use="handcrafted"))


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two datasets: where it is and how it is written."""

    name: str
    path: Path
    format: str = "auto"

    def opened(self) -> tuple[Format, list[str]]:
        """Its reader, and the classes that it names (none for plain images)."""
        name = detect(self.path) if self.format == "auto" else self.format
        reader = cast(Format, plugins.build("formats", name, {}))
        return reader, reader.classes(self.path)


@dataclass(frozen=True, slots=True)
class Read:
    """A dataset that was read: samples in the order of their pixels' hashes, so that file names and their order decide
    nothing; the classes, what could not be read, how many files of each kind there were, and the file of each id."""

    samples: Subset
    problems: tuple[Problem, ...]
    kinds: Counter[str]
    files: dict[str, str]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What the checks measured; `worst` and `best` name files. extractors: family → identity of what made its
    features."""

    measurements: tuple[Measurement, ...]
    classes: tuple[str, ...]
    task: Task
    real: Read
    synthetic: Read
    extractors: Mapping[str, Json] = field(default_factory=dict)


def compare(real: Side, synthetic: Side, folder: Path, say: Say, *, pool: Side | None = None,
            checks: Sequence[str] = CHECKS, task: Task | None = None, seed: int = 7, permutations: int = 999,
            max_bad: float = 0.02, reading: Reading | None = None,
            features: Sequence[Features] = FEATURES) -> Comparison:
    """Run checks on two datasets, the real one as the reference for images and labels.

    folder: scratch space for both, decoded once into shards. pool: real images that the generator never saw; then they
    are the reference for how images look, and what copying is judged against. task: None = classify where the synthetic
    images have classes, else instances. max_bad: share of items of a side that may be unreadable. features: extractors
    of the images, as in a recipe; those that learn do so from the pool, and the labeler's can be none of them.
    Raises: DataError for a dataset that cannot be read, or for an extractor that lacks a pool or a labeler;
    TooManyBadItems; PluginError.
    """
    sides = [real, synthetic] + ([pool] if pool is not None else [])
    opened = {side.name: side.opened() for side in sides}
    # One list for both: the real one's order, then classes that only the synthetic data have.
    classes = tuple(dict.fromkeys([*opened["real"][1], *opened["synthetic"][1]]))
    reading = reading or Reading()
    read = {side.name: _read(side, opened[side.name][0], classes, folder / side.name, reading, max_bad, say)
            for side in sides}
    data = {name: found.samples for name, found in read.items()}
    task = task or _task_of(data["synthetic"])
    built = []
    for name in checks:
        takes = plugins.schema(plugins.find("checks", name)).get("properties", {})
        options: dict[str, Json] = {"permutations": permutations} if "permutations" in takes else {}
        built.append((name, plugins.build("checks", name, options)))
    # The real side stands in the seed's place: it is labelled, and it may be what the generator learned from.
    say("features", 0, 1)
    named: dict[str, Dataset] = {"synthetic": data["synthetic"], "seed": data["real"], "pool": data.get("pool", ())}
    context = Context(SEED, task, classes, folder, log=say)
    made = features_of(named, [Family(entry.family, learner(entry, named["pool"], context)) for entry in features])
    say("features", 1, 1)
    evidence = Evidence(data["synthetic"], data["real"], named["pool"], (), classes, task, made.features,
                        seed_name="real")
    # Masks that share pixels are an error in what we make; in other people's files they are usual (COCO allows them,
    # and YOLO's outlines round), and none of our checks goes wrong by them.
    found = run_checks(built, evidence, seed)
    files = {k: v for side in read.values() for k, v in side.files.items()}
    measured = [encoding(read["synthetic"], read["real"]), *map(_as_usual, found), *made.notes()]
    measured = [dataclasses.replace(m, worst=tuple(files.get(k, k) for k in m.worst),
                                    best=tuple(files.get(k, k) for k in m.best)) for m in measured]
    return Comparison(tuple(measured), classes, task, read["real"], read["synthetic"], made.extractors)


def _as_usual(m: Measurement) -> Measurement:
    """Overlapping masks warn instead of refusing."""
    if (m.check, m.name, m.verdict) != ("integrity", "overlap", "fail"):
        return m
    return dataclasses.replace(m, verdict="warn", hard=False,
                               remedy="training takes one owner per pixel: the smaller of the two objects")


def encoding(synthetic: Read, real: Read) -> Measurement:
    """Check number zero: are both sides' files written alike? Where one is JPEG and the other PNG, compression alone
    tells them apart, and a labeler may learn it (total variation between the shares of file kinds)."""
    a, b = synthetic.kinds, real.kinds
    distance = 0.5 * sum(abs(a[k] / a.total() - b[k] / b.total()) for k in {*a, *b})
    said = " against ".join(" and ".join(f"{n} {kind}" for kind, n in sorted(side.items())) for side in (a, b))
    wrong = distance > 0.5
    return Measurement(
        "encoding", "file formats", "warn" if wrong else "pass", distance, "share",
        f"synthetic and real files are {'not ' if wrong else ''}written alike: {said}", n=(a.total(), b.total()),
        remedy="write both kinds of image through the same format and quality before anything is compared or trained"
        if wrong else "")


def _read(side: Side, reader: Format, classes: Sequence[str], folder: Path, reading: Reading, max_bad: float,
          say: Say) -> Read:
    bad: list[Problem] = []
    hashes: list[str] = []
    files: dict[str, str] = {}
    kinds: Counter[str] = Counter()

    def samples() -> Iterator[Sample]:
        for item in open_dataset(side.path, reader, classes, reading):
            if isinstance(item, Problem):
                bad.append(item)
                continue
            file = str(item.meta.get("file", item.id))
            key = f"{side.name}-{len(hashes):06d}"
            hashes.append(hash_image(item.image))
            files[key] = file
            kinds[Path(file).suffix.lower().lstrip(".").replace("jpeg", "jpg") or "png"] += 1     # shards hold PNG
            say(f"read {side.name}", len(hashes), 0)
            yield dataclasses.replace(item, id=key)

    write_all(folder, samples(), SHARD)
    lost = [p for p in bad if p.action == "quarantined"]
    if not hashes:
        first = f"; the first: {lost[0].file}: {lost[0].what}" if lost else ""
        raise DataError(f"{side.path}: there is no image here that can be read{first}")
    if len(lost) > max_bad * (len(hashes) + len(lost)):
        raise TooManyBadItems(f"{side.path}: {len(lost)} of {len(hashes) + len(lost)} images cannot be read, more than "
                              f"{max_bad:g}; see: synthgen data check {side.path}")
    order = sorted(range(len(hashes)), key=lambda k: (hashes[k], k))
    return Read(Subset(Stored(folder), order), tuple(bad), kinds, files)


def _task_of(samples: Subset) -> Task:
    labels = (samples.labels(k) for k in range(len(samples)))
    return "classify" if any(x is not None and x.image_class is not None for x in labels) else "instances"
