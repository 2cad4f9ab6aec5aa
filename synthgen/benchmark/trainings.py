"""The trainings of a benchmark: one folder per size and seed, one unit per arm, reused as long as nothing changed.

    benchmark/0-ingest/…             the data, read once for all
    benchmark/n-10/seed-7/           one draw of ten labelled images: 0-ingest/seed, 1-generate, 2-filter
                         arms/mixed  a labeler and its scores on the locked test

Seed k of the benchmark is the recipe's own seed + k: `synthgen run -S seed=…` makes the same synthetic images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from synthgen.answers import answers
from synthgen.benchmark.arms import Arm, mixture, share_of, wanted, waves
from synthgen.device import device_of
from synthgen.errors import DataError
from synthgen.geometry import only_accepted
from synthgen.hearing import FileSay, heard
from synthgen.metrics.accuracy import score_image
from synthgen.recipe.load import Loaded
from synthgen.recipe.schema import Recipe
from synthgen.run import job_of
from synthgen.seeds import rng_of, seed_of
from synthgen.stages import (
    Job,
    Unit,
    committee,
    files_of,
    filter,  # noqa: A004 - the stage is called so
    generate,
    ingest,
    keys,
    label,
    screen,
    train,
    training,
    version_of,
)
from synthgen.store import Stored, Subset, read_json, write_all, write_json
from synthgen.types import Json, Labeler, Origin, Sample
from synthgen.work import Say, Work, in_parallel, key_of, only_process

CODE = 2
DATA = ("0-ingest/pool", "0-ingest/pool_truth", "0-ingest/test", "0-ingest/guard")


@dataclass(frozen=True, slots=True)
class Cell:
    """One size of the labelled seed and one seed of randomness; size None = all labelled images."""

    size: int | None
    seed: int

    @property
    def folder(self) -> str:
        """Its folder under `benchmark/`."""
        return f"n-{'all' if self.size is None else self.size}/seed-{self.seed}"


@dataclass(frozen=True, slots=True)
class Bench:
    """A benchmark: the job that its cells derive from (of the benchmark's own folder), what is trained and where.

    about: the keys of the run's units that the answer is about; another key means that it is about something else.
    """

    job: Job
    arms: tuple[Arm, ...]
    left_out: dict[str, str]
    cells: tuple[Cell, ...]
    about: dict[str, str]


def bench_of(loaded: Loaded, say: Say) -> Bench:
    """The benchmark of a recipe. Raises: DataError when it has no test split."""
    if loaded.recipe.data.test is None:
        raise DataError(f"{loaded.path}: a benchmark needs a locked test split; name one as data.test, or make one: "
                        "synthgen data split")
    job = job_of(loaded, say)
    recipe, section = loaded.recipe, loaded.recipe.benchmark
    sizes: tuple[int | None, ...] = tuple(sorted(set(section.seed_sizes))) or (None,)
    # Reads the fingerprints of the data too, relative to the run's own folder.
    about = {u.name: key_of(u.needs) for u in [*ingest.units(job), *train.units(job)]
             if u.name.startswith("0-ingest/") or u.name == "4-train/mixed"}
    if section.seed_sizes:
        # All labelled images are read, and each cell draws its own from them.
        whole = recipe.data.seed.model_copy(update={"limit": None, "limit_per_class": False})
        recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update={"seed": whole})})
    job = replace(job, recipe=recipe, device=device_of(recipe.run.device))
    job = replace(job, work=Work(job.work.folder / "benchmark"))
    arms, left_out = wanted(recipe)
    cells = tuple(Cell(size, recipe.seed + k) for size in sizes for k in range(section.seeds))
    return Bench(job, tuple(arms), left_out, cells, about)


def job_in(bench: Bench, cell: Cell) -> Job:
    """The job of one cell: its own seed of randomness and its own folder, the data but for the seed images shared."""
    root = bench.job
    recipe = root.recipe.model_copy(update={"seed": cell.seed})
    there = {name: root.work.path(name) for name in DATA}
    job = replace(root, recipe=recipe, work=Work(root.work.folder / cell.folder, there))
    # Cells are made side by side, and each says the same things.
    return replace(job, say=FileSay(root.say.folder, f"{cell.folder} ")) if isinstance(root.say, FileSay) else job


def train_all(bench: Bench, told: Callable[[str], None]) -> None:
    """Make everything that is missing; Ctrl-C keeps what was finished.

    Raises: SynthgenError of any kind; DataError when a size asks for more labelled images than there are.
    """
    root = bench.job
    with only_process(root.work.folder):
        for unit in ingest.units(root):
            root.work.once(unit.name, unit.needs, unit.make)
        _enough(bench)
        for number, wave in enumerate(waves(bench.arms)):
            jobs = [(cell, arm) for cell in bench.cells for arm in wave]
            missing = [(cell, arm) for cell, arm in jobs if not _stands(bench, cell, arm)]
            said = f"{len(jobs)} trainings of {', '.join(a.name for a in wave)}"
            told(f"{said}: {len(jobs) - len(missing)} stand, {len(missing)} to make")
            for cell in dict.fromkeys(cell for cell, _ in missing):
                # Here, one after the other: the arms of a cell, which share it, are trained side by side.
                seed, job = _before(bench, job_in(bench, cell), cell)[0], job_in(bench, cell)
                job.work.once(seed.name, seed.needs, seed.make)
            if number == 0:
                prepared = sorted({cell for cell, arm in missing if arm.synthetic != "none"}, key=bench.cells.index)
                if prepared:
                    told(f"first the synthetic images, {len(prepared)} times, each from its own labelled images")
                _side_by_side(bench, [(prepare, (bench, cell)) for cell in prepared], "benchmark images")
            if missing:
                names = [arm.name for arm in wave]
                root.events.add("locked test opened", by="benchmark", arms=names, trainings=len(missing))
            _side_by_side(bench, [(train_one, (bench, cell, arm)) for cell, arm in missing], "benchmark trainings")


def _side_by_side(bench: Bench, jobs: Sequence[tuple[Callable[..., None], tuple[Json, ...]]], what: str) -> None:
    """One process per core on the CPU; on a device of its own one after the other."""
    workers = bench.job.workers if bench.job.device == "cpu" else 1
    with heard(bench.job.work.folder, bench.job.say) as say:
        child = replace(bench, job=replace(bench.job, workers=1, say=say))
        in_parallel([(run, (child, *rest[1:])) for run, rest in jobs], workers, bench.job.say, what)


def prepare(bench: Bench, cell: Cell) -> None:
    """Draw a cell's labelled images and make its synthetic ones."""
    job = job_in(bench, cell)
    for unit in _before(bench, job, cell):
        job.work.once(unit.name, unit.needs, unit.make)


def train_one(bench: Bench, cell: Cell, arm: Arm) -> None:
    """Train and score one arm of one cell; what it stands on is made first where it is missing."""
    job = job_in(bench, cell)
    before = _before(bench, job, cell)
    # An arm without synthetic images needs none to be made.
    for unit in [*(before if arm.synthetic != "none" else before[:1]), *_units(bench, job, cell, arm)]:
        job.work.once(unit.name, unit.needs, unit.make)


def _before(bench: Bench, job: Job, cell: Cell) -> list[Unit]:
    """The units of a cell that arms stand on: its seed, its synthetic images, the filter."""
    seed = Unit("0-ingest/seed", _seed_needs(bench, cell), partial(_draw_seed, bench, cell))
    return [seed, *committee.units(job), *generate.units(job), *filter.units(job), *screen.taken_out(job)]


def _seed_needs(bench: Bench, cell: Cell) -> Json:
    whole = next(u for u in ingest.units(bench.job) if u.name == "0-ingest/seed")
    drawn = {"code": CODE, "of": key_of(whole.needs)[:16], "task": bench.job.recipe.task}
    return drawn | {"size": cell.size, "seed": cell.seed if cell.size is not None else None}


def _draw_seed(bench: Bench, cell: Cell, folder: Path) -> None:
    whole = ingest.part(bench.job, "seed")
    write_all(folder, Subset(whole, drawn(whole, cell, bench.job.recipe)), bench.job.recipe.shard_size)


def drawn(whole: Stored, cell: Cell, recipe: Recipe) -> list[int]:
    """Indices of the labelled images of a cell, in file order: `size` at random, of each class for classify. Of one
    seed a smaller size is part of a larger one, so that sizes differ by what was added alone."""
    if cell.size is None:
        return list(range(len(whole)))
    order = rng_of(seed_of(cell.seed, "benchmark", "seed images")).permutation(len(whole))
    if recipe.task != "classify":
        return sorted(int(k) for k in order[: cell.size])
    classes = [labels.image_class if (labels := whole.labels(k)) is not None else None for k in range(len(whole))]
    of_class = [[int(k) for k in order if classes[k] == c] for c in range(len(recipe.classes))]
    return sorted(k for members in of_class for k in members[: cell.size])


def labelled_images(bench: Bench, size: int | None) -> int:
    """How many labelled images a size stands for, over all classes."""
    return len(drawn(ingest.part(bench.job, "seed"), Cell(size, bench.job.recipe.seed), bench.job.recipe))


def _enough(bench: Bench) -> None:
    """Raises: DataError when a size cannot be drawn."""
    recipe, whole = bench.job.recipe, ingest.part(bench.job, "seed")
    each = len(recipe.classes) if recipe.task == "classify" else 1
    most = len(whole) if each == 1 else _fewest_of_a_class(whole, each)
    wrong = [cell.size for cell in bench.cells if cell.size is not None and cell.size > most]
    if wrong:
        what = "images" if each == 1 else "images of the rarest class"
        raise DataError(f"benchmark.seed_sizes: {max(wrong)} labelled images are asked for, and data.seed has {most} "
                        f"{what}; ask for at most that many")


def _fewest_of_a_class(whole: Stored, classes: int) -> int:
    found = [labels.image_class for k in range(len(whole)) if (labels := whole.labels(k)) is not None]
    return int(np.bincount([c for c in found if c is not None], minlength=classes).min())


def _units(bench: Bench, job: Job, cell: Cell, arm: Arm) -> list[Unit]:
    """The units of one arm: the pool as its teacher labels it, where it has one, and its training."""
    recipe = job.recipe
    seed, *made = _before(bench, job, cell)
    after = [seed] if arm.real else []
    after += {"none": [], "all": [*committee.units(job), *generate.units(job)], "kept": made}[arm.synthetic]
    out = []
    if arm.teacher is not None:
        teacher = next(a for a in bench.arms if a.name == arm.teacher)
        taught = _units(bench, job, cell, teacher)[-1]
        pool = next(u for u in ingest.units(bench.job) if u.name == "0-ingest/pool")
        needs = {"code": CODE, **recipe.label.model_dump(mode="json"), "after": keys([taught, pool])}
        out.append(Unit(f"pool/{arm.name}", needs, partial(_label_pool, job, teacher, taught)))
    options = training.options_of(recipe, arm.pool)
    needs = {
        "code": CODE,
        "use": recipe.train.use,
        "version": version_of("trainers", recipe.train.use),
        "options": options,
        "files": files_of(job, options),
        **({"pool": training.pool_keys(bench.job)} if arm.pool else {}),
        "seed": cell.seed,
        "task": recipe.task,
        "share": share_of(arm, recipe),
        "strong": arm.strong,
        "mix": {k: v for k, v in recipe.mix.model_dump(mode="json").items() if k != "real"},
        "test": keys([u for u in ingest.units(bench.job) if u.name in ("0-ingest/test", "0-ingest/guard")]),
        "after": keys([*after, *out]),
    }
    return [*out, Unit(f"arms/{arm.name}", needs, partial(_train, job, arm))]


def _stands(bench: Bench, cell: Cell, arm: Arm) -> bool:
    job = job_in(bench, cell)
    unit = _units(bench, job, cell, arm)[-1]
    return job.work.why(unit.name, unit.needs) is None


def _label_pool(job: Job, teacher: Arm, taught: Unit, folder: Path) -> None:
    """The pool with the labels that the teacher is sure of; the rest of them become ignored pixels, and images whose
    class it is not sure of are left out."""
    labeler = training.trainer(job).load(job.work.path(taught.name), job.device, job.threads)
    origin = Origin("pseudo", teacher.name, known_by="model")
    pool = ingest.part(job, "pool")

    def sure() -> Iterator[Sample]:
        for k, (sample, found) in enumerate(answers(labeler, pool, tta=job.recipe.label.tta)):
            labels = label.sorted_out(found, job.recipe.label)
            job.say(f"label pool {teacher.name}", k + 1, len(pool))
            if labels.image_class is None or labels.image_state == "accepted":
                yield replace(sample, labels=only_accepted(labels), origin=origin)

    write_all(folder, sure(), job.recipe.shard_size)


def _train(job: Job, arm: Arm, folder: Path) -> None:
    """Train one arm, then open the locked test once."""
    pseudo = Stored(job.work.path(f"pool/{arm.name}")) if arm.teacher is not None else Stored()
    mixed = mixture(job, arm, pseudo)
    if not len(mixed.samples):
        raise DataError(f"the arm {arm.name} has nothing to learn from: filter and gate left no synthetic image in "
                        f"{job.work.folder}; synthgen run says why")
    training.fit(job, mixed, folder, arm.name, training.options_of(job.recipe, arm.pool))
    labeler = training.trainer(job).load(folder, job.device, job.threads)
    shown = {"real": int(mixed.real.sum()), "other": int((~mixed.real).sum())}
    write_json(folder / "scores.json", {"images": shown, "per_image": _scores(job, labeler)})


def _scores(job: Job, labeler: Labeler) -> list[Json]:
    """One record per test image. Labels are taken as the labeler gives them, uncalibrated in every arm."""
    rows = []
    for sample, found in answers(labeler, ingest.part(job, "test"), tta=job.recipe.label.tta):
        assert sample.labels is not None
        rows.append(score_image(found, sample.labels))
    return rows


def scores(bench: Bench, cell: Cell, arm: Arm) -> Json:
    """What a finished training scored: {"images": {"real", "other"}, "per_image": records}."""
    return read_json(job_in(bench, cell).work.path(f"arms/{arm.name}") / "scores.json")
