"""Work that survives a kill: a folder per unit, done once for the same needs, remade when they change.

A unit is made in `NAME.part`; its `needs.json` is written first, so that an interrupted unit goes on when the
needs are still the same. `done.json` is written last and the folder renamed: what has its plain name is whole.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import active_children, get_context, parent_process
from pathlib import Path

from filelock import FileLock, Timeout

from synthgen.errors import EnvironmentProblem, Interrupted, Locked
from synthgen.images import iter_files
from synthgen.store import read_json, write_json
from synthgen.types import Json

_SHARD = re.compile(r"\d{5}\.tar")
_HASH = re.compile("[0-9a-f]{16,64}")

Say = Callable[[str, float, float], None]  # (what, done, total)


def key_of(needs: Json) -> str:
    """SHA-256 of the canonical JSON of what a unit needs, hex."""
    return hashlib.sha256(
        json.dumps(needs, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    ).hexdigest()


def differences(old: Json, new: Json, path: str = "") -> list[str]:
    """Where two JSON values differ, as `path: old → new`; of hashes, which say nothing to anybody, that they do."""
    if isinstance(old, dict) and isinstance(new, dict):
        out: list[str] = []
        for k in sorted({*old, *new}, key=str):
            out += differences(old.get(k), new.get(k), f"{path}.{k}" if path else str(k))
        return out
    if old == new:
        return []
    if all(isinstance(v, str) and _HASH.fullmatch(v) for v in (old, new)):
        before = path.removeprefix("after.")
        return [before if before != path else f"{path}: other contents"]
    short = [t if len(t) <= 40 else t[:12] + "…" for t in (json.dumps(v, ensure_ascii=False) for v in (old, new))]
    return [f"{path}: {short[0]} → {short[1]}"]


class Work:
    """The units of one run folder; `elsewhere` are units that stand in other folders and are only read here."""

    def __init__(self, folder: Path, elsewhere: Mapping[str, Path] | None = None) -> None:
        self.folder = folder
        self.elsewhere = dict(elsewhere or {})

    def path(self, name: str) -> Path:
        """Where a finished unit stands."""
        return self.elsewhere.get(name, self.folder / name)

    def why(self, name: str, needs: Json) -> str | None:
        """Why the unit would be made, or None when what stands there can be reused."""
        done = self.path(name) / "done.json"
        if done.exists():
            old = read_json(done)["needs"]
            if old == needs:
                return None
            changed = differences(old, needs)
            return "changed: " + "; ".join(changed[:3]) + (f" and {len(changed) - 3} more" if len(changed) > 3 else "")
        part = self._part(name) / "needs.json"
        if part.exists() and read_json(part) == needs:
            return "interrupted: goes on where it was"
        return "new"

    def once(self, name: str, needs: Json, make: Callable[[Path], None]) -> Path:
        """The folder of a unit, made by `make(folder)` unless it stands there with the same needs.

        `make` may find a folder that an interrupted call with the same needs began. The old result stays until
        the new one is whole.
        """
        final, part, old = self.path(name), self._part(name), self.folder / f"{name}.old"
        if self.why(name, needs) is not None:
            finished = part / "done.json"
            if not (finished.exists() and read_json(finished)["needs"] == needs):
                begun = part / "needs.json"
                if not (begun.exists() and read_json(begun) == needs):
                    _discard(part)  # it was begun, or even finished, for other needs
                part.mkdir(parents=True, exist_ok=True)
                _sweep(part)
                write_json(part / "needs.json", needs)
                make(part)
                _to_disk(part)
                write_json(finished, {"key": key_of(needs), "needs": needs})
            (part / "needs.json").unlink(missing_ok=True)
            if final.exists():
                shutil.rmtree(old, ignore_errors=True)
                os.rename(final, old)
            os.rename(part, final)
        shutil.rmtree(old, ignore_errors=True)
        _discard(part)
        return final

    def _part(self, name: str) -> Path:
        return self.folder / f"{name}.part"


def _discard(part: Path) -> None:
    """Remove a unit in the making; what says whose it is goes first, so that a kill leaves nothing to take up."""
    for name in ("done.json", "needs.json"):
        (part / name).unlink(missing_ok=True)
    shutil.rmtree(part, ignore_errors=True)


def _to_disk(folder: Path) -> None:
    """Force every file to the disk, so that `done.json` never outlives what it speaks of."""
    for path in iter_files(folder):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _sweep(folder: Path) -> None:
    """Remove what a killed write left: temporary files, and tars without their commit mark."""
    for path in list(iter_files(folder)):
        temporary = path.name.startswith(".") and path.name.endswith(".part")
        if temporary or (_SHARD.fullmatch(path.name) and not path.with_suffix(".json").exists()):
            path.unlink()


@contextmanager
def only_process(folder: Path) -> Iterator[None]:
    """Hold the run folder. Raises: Locked when another process does, naming it; EnvironmentProblem if not writable."""
    lock_path, owner = folder / ".lock", folder / ".lock.owner"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(lock_path)
        lock.acquire(timeout=0)
    except Timeout:
        who = owner.read_text().strip() if owner.exists() else "another process"
        raise Locked(f"{folder} is in use by {who}; wait for it, or stop it first") from None
    except OSError as error:
        raise EnvironmentProblem(
            f"{folder} cannot be written to ({error.strerror or error}); choose another run.out"
        ) from None
    try:
        owner.write_text(f"process {os.getpid()} on {socket.gethostname()}\n")
        yield
    finally:
        owner.unlink(missing_ok=True)
        lock.release()


NO_DATA = (".yaml", ".yml", ".md", ".py", ".log")  # what people keep beside their data


def fingerprint(path: Path, cache: Path, without: tuple[Path, ...] = ()) -> str:
    """SHA-256 over the names and contents of a file or a folder's files.

    Left out are hidden files, the folders `without`, and recipes, notes and scripts (YOLO's data.yaml does count).

    Contents are read once; `cache` remembers them by name, size and time of change.
    Raises: EnvironmentProblem when a file cannot be read.
    """
    known: dict[str, list[Json]] = read_json(cache) if cache.exists() else {}
    total, fresh = hashlib.sha256(), dict(known)
    files = [path] if path.is_file() else [f for f in iter_files(path) if _is_data(f, path, without)]
    for file in files:
        try:
            stat = file.stat()
            mark = [stat.st_size, stat.st_mtime_ns]
            entry = known.get(str(file))
            if entry is None or entry[:2] != mark:
                with file.open("rb") as opened:
                    entry = [*mark, hashlib.file_digest(opened, "sha256").hexdigest()]
                fresh[str(file)] = entry
        except OSError as error:
            raise EnvironmentProblem(f"{file}: cannot be read ({error.strerror})") from None
        name = file.name if path.is_file() else file.relative_to(path).as_posix()
        total.update(os.fsencode(f"{name}\0{entry[2]}\n"))
    if fresh != known and cache.parent.is_dir():
        write_json(cache, fresh)
    return total.hexdigest()


def _is_data(file: Path, root: Path, without: tuple[Path, ...]) -> bool:
    hidden = any(part.startswith(".") for part in file.relative_to(root).parts)
    other = file.suffix.lower() in NO_DATA and file.name not in ("data.yaml", "data.yml")
    return not hidden and not other and not any(file.absolute().is_relative_to(w.absolute()) for w in without)


def _quiet() -> None:
    """A worker leaves Ctrl-C to its parent and uses one thread: two busy pools on two cores fight badly.

    It ends with its parent: one that goes on after a kill would write where the next run already works.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def in_parallel(
    jobs: Sequence[tuple[Callable[..., None], tuple[Json, ...]]], workers: int, say: Say, what: str
) -> None:
    """Run jobs, each in a process of its own when there is more than one worker and more than one job.

    Ctrl-C ends the jobs that are running; what they had committed stays.
    Raises: what a job raises, the first one; Interrupted.
    """
    total = len(jobs)
    if total == 0:
        return
    say(what, 0, total)
    if workers == 1 or total == 1:
        for n, (run, arguments) in enumerate(jobs):
            run(*arguments)
            say(what, n + 1, total)
        return
    environment = {"OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    before = {k: os.environ.get(k) for k in environment}
    os.environ.update(environment)
    try:
        with ProcessPoolExecutor(min(workers, total), mp_context=get_context("spawn"), initializer=_quiet) as pool:
            waiting: set[Future[None]] = {pool.submit(run, *arguments) for run, arguments in jobs}
            try:
                while waiting:
                    done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                    for future in done:
                        future.result()
                    say(what, total - len(waiting), total)
            except KeyboardInterrupt:
                # Drop what is under way: shards are whole or absent, trainings go on at their last checkpoint.
                pool.shutdown(wait=False, cancel_futures=True)
                for child in active_children():
                    # Not terminated: Lightning takes that for a wish, and the worker for leave to take the next job.
                    child.kill()
                raise Interrupted("stopped by Ctrl-C") from None
            except BrokenProcessPool:
                raise EnvironmentProblem(
                    f"a process that worked on {what!r} was killed, most likely for want of memory; lower "
                    "run.workers or shard_size, and run the same command again"
                ) from None
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise
    finally:
        for k, v in before.items():
            if v is None:
                os.environ.pop(k, None)
            else:
                os.environ[k] = v


class Events:
    """`events.jsonl`: what happened when. The one file of a run that is not the same twice."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, what: str, **facts: Json) -> None:
        """Append one line."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        line = json.dumps({"time": round(time.time(), 3), "what": what, **facts}, ensure_ascii=False)
        with self.path.open("ab+") as file:
            # A kill may have cut the last line off; the next must not be joined to it.
            end = file.seek(0, os.SEEK_END)
            file.seek(max(end - 1, 0))
            broken = file.read(1) not in (b"", b"\n")
            file.write(b"\n" * broken + line.encode() + b"\n")

    def read(self) -> list[Mapping[str, Json]]:
        """All lines so far; a line that a kill cut off is left out."""
        if not self.path.exists():
            return []
        out = []
        for line in self.path.read_text(encoding="utf-8").splitlines():
            try:
                out.append(json.loads(line))
            except json.JSONDecodeError:
                continue
        return out
