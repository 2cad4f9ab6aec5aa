"""Progress: bars with rate and time left on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from types import TracebackType

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from synthgen.cli.common import console, say
from synthgen.hearing import stop_if_asked, told
from synthgen.work import Events

EVERY = 30.0  # seconds between lines where there is no terminal


class Watch:
    """Shows what is said, thing by thing; also what child processes say through files in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[rate]}"),
            console=console,
            transient=True,
        )
        self.tasks: dict[str, TaskID] = {}
        self.begun: dict[str, tuple[float, float]] = {}
        self.told: dict[str, float] = {}  # when a line told of each thing, or when it began
        self.seen: dict[str, tuple[float, float]] = {}  # what child processes said at the last look
        self.events = Events(folder / "events.jsonl")
        self.past = len(self._warnings())  # of runs before this one
        self.lock = threading.Lock()
        self.stop = threading.Event()

    def __enter__(self) -> Watch:
        if console.is_terminal:
            self.bars.start()
        self.thread = threading.Thread(target=self._listen, daemon=True)
        self.thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop.set()
        self.thread.join(timeout=2)
        self.warn()
        if console.is_terminal:
            self.bars.stop()

    def __call__(self, what: str, done: float, total: float) -> None:
        """Show that `done` of `total` (0 = unknown) of something are done. Raises: as `stop_if_asked`."""
        stop_if_asked()
        with self.lock:
            now = time.monotonic()
            start, first = self.begun.setdefault(what, (now, done))
            speed = (done - first) / (now - start) if now > start + 1e-3 else 0.0
            rate = f"{speed:.1f}/s" if speed >= 1 else f"{1 / speed:.1f} s each" if speed > 0 else ""
            if console.is_terminal:
                if what not in self.tasks:
                    self.tasks[what] = self.bars.add_task(what, total=total or None, rate="")
                self.bars.update(self.tasks[what], completed=done, total=total or None, rate=rate)
                if total and done >= total:
                    self.bars.remove_task(self.tasks.pop(what))
                    self.begun.pop(what, None)
            elif now - self.told.setdefault(what, now) > EVERY:
                self.told[what] = now
                left = f", {_clock((total - done) / speed)} left" if total and speed > 0 else ""
                say(
                    f"       {what}: {done:g}"
                    + (f" of {total:g}" if total else "")
                    + (f", {rate}" if rate else "")
                    + left
                )

    def _listen(self) -> None:
        while not self.stop.wait(1.0):
            self.look()

    def look(self) -> None:
        """Show what has changed in the files of child processes, and new warnings; what stands still is no news."""
        self.warn()
        for what, done, total in told(self.folder):
            if self.seen.get(what) != (done, total):
                self.seen[what] = (done, total)
                self(what, done, total)

    def warn(self) -> None:
        """Say the warnings among the run's events that were not said yet, whichever process added them."""
        new = self._warnings()[self.past :]
        self.past += len(new)
        for text in new:
            say(f"       note: {text}", style="yellow")

    def _warnings(self) -> list[str]:
        return [str(e.get("why", "")) for e in self.events.read() if e["what"] == "warning"]


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes}:{seconds:02d}"
