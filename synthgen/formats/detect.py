"""Finds out how a dataset is written, and opens it."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import cast

from synthgen import plugins
from synthgen.errors import DataError, PluginError
from synthgen.formats import Format, Problem, Reading
from synthgen.formats.seal import FILE, broken
from synthgen.types import Sample


def detect(path: Path) -> str:
    """The name of the one installed format that the path looks like.

    Raises: DataError when the path is not there, when no format fits (it says what was looked for), or
    when several do.
    """
    if not path.exists():
        raise DataError(f"{path}: there is no such file or folder")
    fits, looked = [], []
    for plugin in plugins.installed("formats"):
        try:
            kind = plugins.find("formats", plugin.name)
            found = cast(Format, kind()).matches(path)
        except PluginError as error:  # somebody's broken format: not ours to stop at
            looked.append(f"  {plugin.name}: not asked, since {error}")
            continue
        if found:
            fits.append(plugin.name)
        looked.append(f"  {(inspect.getdoc(kind) or plugin.name).splitlines()[0]}")
    if not fits and (hints := near(path)):
        raise DataError(f"{path}: no format fits yet\n" + "\n".join(f"  {hint}" for hint in hints))
    if not fits:
        raise DataError(
            f"{path}: no format fits; looked for\n" + "\n".join(looked) + f"\n  What a format misses "
            f"is said by: synthgen data inspect --from FORMAT {path}"
        )
    if len(fits) > 1:
        raise DataError(f"{path}: {' and '.join(fits)} both fit; name the one that is meant")
    return fits[0]


def near(path: Path) -> list[str]:
    """What a folder lacks to be of a format, and what to do, for each format that it is near to."""
    out = []
    for plugin in plugins.installed("formats"):
        try:
            asked = getattr(plugins.find("formats", plugin.name)(), "nearly", None)
        except PluginError:
            continue
        if asked is not None and (said := asked(path)):
            out.append(f"{plugin.name}: {said}")
    return out


def format_of(path: Path, name: str = "auto") -> Format:
    """The format named, with its default options; auto: the one that fits.

    Raises: DataError when the path is not there or no one format fits; PluginError for an unknown name.
    """
    if not path.exists():
        raise DataError(f"{path}: there is no such file or folder")
    return cast(Format, plugins.build("formats", detect(path) if name == "auto" else name, {}))


def open_dataset(path: Path, format: str | Format, classes: Sequence[str], reading: Reading,  # noqa: A002
                 limit: int | None = None, limit_per_class: bool = False, split: str | None = None
                 ) -> Iterator[Sample | Problem]:
    """Samples and Problems of a dataset, streamed; a certificate in it that is void is a problem too.

    format: a format's name, "auto", or a format with options. limit: only the first so many samples, or, with
    limit_per_class, so many of each image class (samples without one are then left out). split: only its samples.
    Raises: DataError when the dataset as a whole cannot be read, or has nothing of the split; PluginError for an
    unknown format.
    """
    reader = format_of(path, format) if isinstance(format, str) else format
    void = broken(path) if path.is_dir() else None
    if void is not None:
        yield Problem(FILE, "", void, "repaired")
    found = reader.read(path, classes, reading)
    yield from _limited(found if split is None else _of_split(found, split, path), len(classes), limit, limit_per_class)


def _of_split(items: Iterable[Sample | Problem], split: str, path: Path) -> Iterator[Sample | Problem]:
    """What is of a split, and every problem. Raises: DataError where nothing is, when everything has been seen."""
    seen: Counter[str] = Counter()
    for item in items:
        if isinstance(item, Sample):
            seen[str(item.meta.get("split", ""))] += 1
            if item.meta.get("split") != split:
                continue
        yield item
    if seen and not seen[split]:
        there = ", ".join(f"{name} ({n} images)" for name, n in sorted(seen.items()) if name)
        raise DataError(f"{path}: no image is of the split {split!r}; "
                        + (f"there are {there}" if there else "this dataset has no splits: leave the key out"))


def _limited(items: Iterable[Sample | Problem], classes: int, limit: int | None, per_class: bool
             ) -> Iterator[Sample | Problem]:
    taken: Counter[int | None] = Counter()
    for item in items:
        if isinstance(item, Problem) or limit is None:
            yield item
            continue
        key = item.labels.image_class if per_class and item.labels is not None else None
        if taken[key] < limit and not (per_class and key is None):
            taken[key] += 1
            yield item
        full = sum(n >= limit for n in taken.values())
        if full == (classes if per_class else 1):
            return
