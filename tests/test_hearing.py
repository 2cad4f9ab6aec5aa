"""What processes beside this one say of how far they are."""

from __future__ import annotations

import signal
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from synthgen import plugins
from synthgen.hearing import FileSay, heard, interruptible, told
from synthgen.recipe.schema import Generate
from synthgen.stages import generate
from synthgen.store import Stored
from synthgen.testing import tiny_real


def silent(what: str, done: float, total: float) -> None:
    del what, done, total


def test_what_is_said_is_heard_until_it_is_done(tmp_path: Path) -> None:
    with heard(tmp_path, silent) as say:
        say("train a/b", 3, 10)
        say("look", 1, 0)
        assert told(tmp_path) == [("look", 1, 0), ("train a b", 3, 10)]
        say("train a/b", 10, 10)
        assert told(tmp_path) == [("look", 1, 0)]
        with heard(tmp_path, FileSay(say.folder, "cell ")) as inner:
            inner("look", 2, 3)
        assert told(tmp_path) == [("cell look", 2, 3), ("look", 1, 0)]  # whoever opened the folder closes it
    assert told(tmp_path) == []


def test_what_a_killed_run_left_is_not_heard_again(tmp_path: Path) -> None:
    stale = FileSay(tmp_path / ".progress")
    stale.folder.mkdir()
    stale("train", 3, 10)
    with heard(tmp_path, silent):
        assert told(tmp_path) == []
    with suppress(KeyboardInterrupt), heard(tmp_path, silent) as say:
        say("train", 4, 10)
        raise KeyboardInterrupt
    assert told(tmp_path) == []


def test_ctrl_c_that_a_library_swallowed_comes_again_with_the_next_progress(tmp_path: Path) -> None:
    with interruptible(), heard(tmp_path, silent) as say:
        say("train", 1, 9)
        with suppress(KeyboardInterrupt):  # the library
            signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            say("train", 2, 9)
        say("tidy up", 1, 2)  # once is enough
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with pytest.raises(KeyboardInterrupt), interruptible():
        signal.raise_signal(signal.SIGINT)
    FileSay(tmp_path)("train", 9, 9)


def test_a_shard_says_of_each_sample_how_many_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = tiny_real(8)

    class Slow:
        def load(self, folder: Path, device: str) -> None:
            del folder, device

        def sample(self, seeds: Any) -> Any:
            return iter(made[: len(seeds)])

    monkeypatch.setattr(plugins, "build", lambda *_: Slow())
    said: list[tuple[str, float, float]] = []
    job: Any = SimpleNamespace(recipe=SimpleNamespace(shard_size=3, seed=0), device="cpu",
                               work=SimpleNamespace(path=lambda name: tmp_path / name), say=lambda *x: said.append(x))
    section = Generate.model_validate({"name": "flow", "use": "compose", "count": 8})
    generate.make_shard(job, section, tmp_path, 2)
    assert said == [("generate flow, samples of shard 3", 1, 2), ("generate flow, samples of shard 3", 2, 2)]
    assert [s.id for s in Stored(tmp_path)] == ["flow-000006", "flow-000007"]
