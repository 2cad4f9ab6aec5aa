"""What long work is told and tells: how far the processes beside this one are, each through small files, since it has
no terminal; and that somebody pressed Ctrl-C."""

from __future__ import annotations

import os
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from synthgen.work import Say

PROGRESS = ".progress"  # in a run's folder
_ASKED = threading.Event()  # Ctrl-C was pressed, and nothing has ended by it yet


@contextmanager
def interruptible() -> Iterator[None]:
    """Ctrl-C is not lost here: a KeyboardInterrupt that some library swallowed comes again with the next progress."""
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield  # not the main thread's, or somebody else's to decide
        return

    def asked(_number: int, _frame: FrameType | None) -> None:
        _ASKED.set()
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, asked)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        _ASKED.clear()


def stop_if_asked() -> None:
    """Raises: KeyboardInterrupt, once, where Ctrl-C was pressed and this is the thread that it was meant for."""
    if _ASKED.is_set() and threading.current_thread() is threading.main_thread():
        _ASKED.clear()
        raise KeyboardInterrupt


class FileSay:
    """Tells progress through a file per thing. about: put before what is said."""

    def __init__(self, folder: Path, about: str = "") -> None:
        self.folder, self.about = folder, about

    def __call__(self, what: str, done: float, total: float) -> None:
        stop_if_asked()
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
