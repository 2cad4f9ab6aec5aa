"""Several processes that train one network together, on one machine without a device of its own."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeAlias

from synthgen.errors import EnvironmentProblem
from synthgen.neural.watch import Watch
from synthgen.types import Context

HOST = "127.0.0.1"

Log: TypeAlias = Callable[[float, float, float], None]  # (steps, of how many, loss)
Look: TypeAlias = Callable[[int, Any], str]  # (steps done, averaged network) → why training should end, or ""
Train: TypeAlias = Callable[[Path, Watch | None, Look | None, Log], None]


def train_together(train: Train, parts: int, folder: Path, context: Context, watch: Watch | None, look: Look) -> None:
    """Train in a folder with as many processes as a batch has parts, where the machine has cores for them.

    train: a function of a module, which every process calls, RANK and WORLD_SIZE being set. This process is the first
    of them, and the only one that is given a watch. Raises: EnvironmentProblem when another one was killed.
    """
    def log(step: float, steps: float, loss: float) -> None:
        del loss
        context.log("train", step, steps)

    seen = look if watch is not None else None
    if context.device != "cpu" or context.workers < parts:
        train(folder, watch, seen, log)
        return
    with socket.socket() as free:
        free.bind((HOST, 0))
        port = free.getsockname()[1]
    about = {"MASTER_ADDR": HOST, "MASTER_PORT": str(port), "WORLD_SIZE": str(parts), "OMP_NUM_THREADS": "1",
             "OMP_WAIT_POLICY": "PASSIVE", "ACCELERATE_USE_CPU": "true"}
    spawn = get_context("spawn").Process
    ranks = [{**about, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(parts)]
    others = [spawn(target=_other, args=(train, folder, rank), daemon=True) for rank in ranks[1:]]
    with _environment(ranks[0]):
        for process in others:
            process.start()
        try:
            train(folder, watch, seen, log)
        except RuntimeError as error:
            if all(process.is_alive() for process in others):
                raise
            raise EnvironmentProblem("a process that trained along was killed, most likely for want of memory; lower "
                                     "run.workers, and run the same command again") from error
        finally:
            for process in others:
                process.join(10)
                process.kill()


def _other(train: Train, folder: Path, about: Mapping[str, str]) -> None:
    """One of the other processes: Ctrl-C is the first one's."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.update(about)
    train(folder, None, None, _unheard)


def _unheard(_step: float, _steps: float, _loss: float) -> None:
    """The first process tells how far it is."""


@contextmanager
def _environment(about: Mapping[str, str]) -> Iterator[None]:
    before = {k: os.environ.get(k) for k in about}
    os.environ.update(about)
    try:
        yield
    finally:
        for k, v in before.items():
            if v is None:
                os.environ.pop(k, None)
            else:
                os.environ[k] = v
