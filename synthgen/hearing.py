"""How far the processes beside this one are: each says so through small files, since it has no terminal."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from synthgen.work import Say

PROGRESS = ".progress"  # in a run's folder


class FileSay:
    """Tells progress through a file per thing. about: put before what is said."""

    def __init__(self, folder: Path, about: str = "") -> None:
        self.folder, self.about = folder, about

    def __call__(self, what: str, done: float, total: float) -> None:
        file = self.folder / f"{self.about}{what}".replace(" ", "_").replace("/", "_")
        if total and done >= total:
            file.unlink(missing_ok=True)  # what is done is no news, and would be told again and again
            return
        part = self.folder / f".{file.name}.{os.getpid()}"  # two processes may say the same
        part.write_text(f"{done} {total}")
        os.replace(part, file)


@contextmanager
def heard(folder: Path, say: Say) -> Iterator[FileSay]:
    """What other processes of the run in `folder` can be given to speak with; whoever speaks so already goes on."""
    if isinstance(say, FileSay):
        yield say
        return
    place = folder / PROGRESS
    shutil.rmtree(place, ignore_errors=True)  # a run that was killed left its own behind
    place.mkdir()
    try:
        yield FileSay(place)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def told(folder: Path) -> list[tuple[str, float, float]]:
    """What stands in the files of a run's folder: (what, done, total), 0 = unknown."""
    out = []
    for path in sorted((folder / PROGRESS).glob("[!.]*")):
        try:
            done, total = (float(x) for x in path.read_text().split())
        except (OSError, ValueError):
            continue  # replaced this very moment; the next look finds it
        out.append((path.name.replace("_", " "), done, total))
    return out
