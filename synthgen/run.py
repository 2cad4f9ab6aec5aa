"""The line: which stages there are, in which order, and how they are run or planned."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

from synthgen import __version__
from synthgen.device import device_of
from synthgen.errors import EnvironmentProblem, Interrupted, SynthgenError
from synthgen.hearing import heard
from synthgen.recipe.load import Loaded
from synthgen.stages import (
    Job,
    Unit,
    certify,
    committee,
    errors,
    evaluate,
    export,
    filter,  # noqa: A004
    generate,
    ingest,
    label,
    mix,
    queue,
    rounds,
    screen,
    train,
    votes,
)
from synthgen.store import write_atomic, write_json
from synthgen.types import Json
from synthgen.work import Events, Say, Work, in_parallel, key_of, only_process

STAGES: tuple[tuple[str, ModuleType], ...] = (
    ("0-ingest", ingest),
    ("1-committee", committee),
    ("1-generate", generate),
    ("2-filter", filter),
    ("2-screen", screen),
    ("3-mix", mix),
    ("4-train", train),
    ("5-errors", errors),
    ("5-votes", votes),
    ("5-label", label),
    ("5-queue", queue),
    ("5-certify", certify),
    ("6-evaluate", evaluate),
    ("7-export", export),
)
RESERVE_BYTES = 1 << 30  # free disk below which no stage is begun


@dataclass(frozen=True, slots=True)
class Step:
    """One unit of a plan: why it would be made, or None when it is reused."""

    stage: str
    unit: str
    why: str | None


def run_folder(loaded: Loaded) -> Path:
    """Where a recipe's run stands."""
    return (loaded.recipe.run.out / loaded.recipe.name).absolute()


def job_of(loaded: Loaded, say: Say | None = None) -> Job:
    """The job of a recipe on this machine."""
    folder = run_folder(loaded)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    workers = cores if loaded.recipe.run.workers == "auto" else loaded.recipe.run.workers
    job = Job(
        loaded.recipe,
        loaded.path.parent,
        Work(folder),
        Events(folder / "events.jsonl"),
        workers=workers,
        threads=1,  # a sum over two threads has other bytes than over one, and `run:` must change none
    )
    return job if say is None else replace(job, say=say)


def plan(job: Job) -> list[Step]:
    """What `run` would do, unit by unit. What follows something that will be made anew is judged by its needs too."""
    return [
        Step(stage, unit.name, job.work.why(unit.name, unit.needs))
        for stage, module in STAGES
        for unit in module.units(job)
    ]


def _untold(_stage: str, _unit: str, _why: str | None) -> None:
    """Nobody listens."""


def run(
    loaded: Loaded,
    say: Say,
    told: Callable[[str, str, str | None], None] = _untold,
    until: str | None = None,
) -> Json:
    """Run the line; what stands on disk for the same needs is reused. The verdict, or None when stopped before it.

    told: called for each unit with its stage, its name and why it is made (None = reused). until: last stage.
    A refused dataset is not exported, and an export of an earlier run is removed: it would be of other data. What the
    gate refuses after generation is not trained on.
    Raises: SynthgenError of any kind; Interrupted leaves everything that was finished.
    """
    job = replace(job_of(loaded, say), device=device_of(loaded.recipe.run.device))
    with only_process(job.work.folder), _reason_kept(job):
        _keep_recipe(loaded, job)
        verdict: Json = None
        for stage, module in STAGES:
            if stage == "7-export":
                _drop_stale(job, refused=verdict["verdict"] == "fail")
                if verdict["verdict"] == "fail":
                    break
            _room(job.work.folder)
            job.events.add("stage", stage=stage)
            _make(job, stage, module.units(job), told)
            if module is ingest:
                # Which of people's answers are of this pool is known once the pool is.
                _make(job, stage, [u for u in module.units(job) if job.work.why(u.name, u.needs)], told)
                _keep_recipe(loaded, job)
            if module is evaluate:
                verdict = evaluate.verdict(job)
                _drop_stale(job, refused=verdict["verdict"] == "fail")
            if module is screen and (found := screen.verdict(job)) and found["verdict"] == "fail":
                verdict = {**found, "test": {}, "pool": None}
                _drop_stale(job, refused=True)
                break
            if until is not None and stage.split("-", 1)[1] == until:
                break
        if until is None:
            rounds.keep(job)  # last of all: a run that was killed is no round
        job.events.add("end", verdict=None if verdict is None else verdict["verdict"])
        return verdict


@contextmanager
def _reason_kept(job: Job) -> Iterator[None]:
    """What ends a run early becomes its last event, so that `status` can say it."""
    try:
        yield
    except (KeyboardInterrupt, Interrupted):
        job.events.add("ended early", why="it was stopped by Ctrl-C; the same command goes on")
        raise
    except SynthgenError as error:
        job.events.add("ended early", why=str(error))
        raise


def _drop_stale(job: Job, refused: bool) -> None:
    """Remove exports that are not of this run's data: all of them when it was refused, else those with other needs."""
    current = [] if refused else [u for u in export.units(job) if job.work.why(u.name, u.needs) is None]
    keep = {job.work.path(u.name) for u in current}
    if refused:
        shutil.rmtree(job.work.path("7-export"), ignore_errors=True)
    for folder in job.work.path("7-export").glob("*"):
        if folder not in keep and not folder.name.endswith(".part"):
            shutil.rmtree(folder)


def _make(job: Job, stage: str, units: Sequence[Unit], told: Callable[[str, str, str | None], None]) -> None:
    """Make the units of a stage in order; trainings beside each other where there is more than one core for them."""
    missing = []
    for unit in units:
        why = job.work.why(unit.name, unit.needs)
        told(stage, unit.name, why)
        if why is not None:
            missing.append(unit.name)
            job.events.add("make", unit=unit.name, why=why)
    side_by_side = [n for n in missing if n.startswith(("4-train/", "1-committee/")) and n != train.MODEL]
    if job.device == "cpu" and job.workers > 1 and len(side_by_side) > 1:
        with heard(job.work.folder, job.say) as say:
            child = replace(job, workers=1, say=say)
            in_parallel([(make_unit, (child, n)) for n in side_by_side], job.workers, job.say, "train")
    for unit in units:
        job.work.once(unit.name, unit.needs, unit.make)


def make_unit(job: Job, name: str) -> None:
    """Make one training; runs in a process of its own."""
    unit = next(u for u in [*committee.units(job), *train.units(job)] if u.name == name)
    job.work.once(unit.name, unit.needs, unit.make)


def _keep_recipe(loaded: Loaded, job: Job) -> None:
    """The recipe as written, as resolved, and the lock with what decides the bytes."""
    folder = job.work.folder
    write_atomic(folder / "recipe.yaml", loaded.text.encode())
    resolved = {k: v for k, v in loaded.resolved.items() if k != "run"}
    write_json(folder / "recipe.resolved.json", loaded.resolved)
    units = {unit.name: key_of(unit.needs) for _, module in STAGES for unit in module.units(job)}
    write_json(
        folder / "recipe.lock.json",
        {
            "synthgen": __version__,
            "python": platform.python_version(),
            "machine": platform.machine(),
            "device": job.device,
            "source": str(loaded.path),
            "seed": loaded.recipe.seed,
            "recipe": key_of(resolved),
            "overrides": list(loaded.overrides),
            "units": units,
        },
    )


def _room(folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if free < RESERVE_BYTES:
        raise EnvironmentProblem(
            f"{folder}: only {free / 2**20:.0f} MiB of disk are free, and {RESERVE_BYTES >> 20} are kept in reserve; "
            "make room and run the same command again"
        )
