"""What every kind of plug-in promises."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from synthgen.errors import SynthgenError

PICKLES = (".pkl", ".pickle", ".pt", ".pth", ".ckpt", ".joblib", ".bin")
T = TypeVar("T")


def survives(work: Callable[[], list[T]], what: str) -> list[T]:
    """What `work` gives; nothing when it raises an error meant for people."""
    try:
        return work()
    except SynthgenError:
        return []
    except Exception as error:
        raise AssertionError(
            f"{what}, it raised {type(error).__name__}: {error}; raise a synthgen error that says what is wrong"
        ) from error


def no_pickles(folder: Path) -> None:
    found = [p.name for p in folder.rglob("*") if p.suffix in PICKLES]
    assert not found, (
        f"{found[0]}: state is kept as safetensors, JSON or images, never as a pickle, which can run code when loaded"
    )


@contextmanager
def untouched_randomness(who: str) -> Iterator[None]:
    plain, numpys = random.getstate(), _numpy_state()
    yield
    assert random.getstate() == plain, (
        f"{who} moved Python's global random state; use random.Random(seed), or numpy's default_rng"
    )
    assert numpys == _numpy_state(), (
        f"{who} moved numpy's global random state; take a numpy.random.Generator from synthgen.seeds.rng_of"
    )


def _numpy_state() -> tuple[bytes, int, int, float]:
    # The legacy state is what we guard, so it must be asked for.
    _, keys, place, has_gauss, gauss = np.random.get_state()  # noqa: NPY002
    array: NDArray[np.uint32] = np.asarray(keys)
    return array.tobytes(), int(place), int(has_gauss), float(gauss)
