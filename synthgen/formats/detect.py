"""Finds out how a dataset is written, and opens it."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Iterator, Sequence
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
    if not fits:
        raise DataError(
            f"{path}: no format fits; looked for\n" + "\n".join(looked) + "\n  Name the format to see "
            "what is missing."
        )
    if len(fits) > 1:
        raise DataError(f"{path}: {' and '.join(fits)} both fit; name the one that is meant")
    return fits[0]


def format_of(path: Path, name: str = "auto") -> Format:
    """The format named, with its default options; auto: the one that fits.

    Raises: DataError when the path is not there or no one format fits; PluginError for an unknown name.
    """
    if not path.exists():
        raise DataError(f"{path}: there is no such file or folder")
    return cast(Format, plugins.build("formats", detect(path) if name == "auto" else name, {}))


def open_dataset(path: Path, format: str | Format, classes: Sequence[str], reading: Reading,  # noqa: A002
                 limit: int | None = None, limit_per_class: bool = False) -> Iterator[Sample | Problem]:
    """Samples and Problems of a dataset, streamed; a certificate in it that is void is a problem too.

    format: a format's name, "auto", or a format with options. limit: only the first so many samples, or, with
    limit_per_class, so many of each image class (samples without one are then left out).
    Raises: DataError when the dataset as a whole cannot be read; PluginError for an unknown format.
    """
    reader = format_of(path, format) if isinstance(format, str) else format
    taken: Counter[int | None] = Counter()
    void = broken(path) if path.is_dir() else None
    if void is not None:
        yield Problem(FILE, "", void, "repaired")
    for item in reader.read(path, classes, reading):
        if isinstance(item, Problem) or limit is None:
            yield item
            continue
        key = item.labels.image_class if limit_per_class and item.labels is not None else None
        if taken[key] < limit and not (limit_per_class and key is None):
            taken[key] += 1
            yield item
        full = sum(n >= limit for n in taken.values())
        if full == (len(classes) if limit_per_class else 1):
            return
