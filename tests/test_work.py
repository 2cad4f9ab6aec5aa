"""A unit of work is done once for the same needs, and a kill anywhere leaves it undone or whole."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthgen import work
from synthgen.errors import EnvironmentProblem, Interrupted, Locked
from synthgen.work import Events, Work, differences, fingerprint, in_parallel, key_of, only_process

PIECES = 3
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-9, 9), st.text(max_size=3)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=2), inner, max_size=3)),
    max_leaves=8,
)


class KilledError(BaseException):
    """Stands for SIGKILL: nothing that the code under test has catches it."""


def making(needs: Any, stop_after: int = PIECES, made: list[int] | None = None) -> Callable[[Path], None]:
    """A unit of PIECES files, which goes on where an earlier call with the same needs stopped."""

    def make(folder: Path) -> None:
        for k in range(PIECES):
            if k == stop_after:
                raise KilledError
            if not (folder / f"{k}.txt").exists():
                (folder / f"{k}.txt").write_text(f"{needs} {k}")
                if made is not None:
                    made.append(k)

    return make


def content(folder: Path) -> dict[str, str]:
    return {p.name: p.read_text() for p in folder.iterdir()}


def whole(needs: Any) -> dict[str, str]:
    """What a finished unit holds."""
    mark = json.dumps({"key": key_of(needs), "needs": needs}, indent=1) + "\n"
    return {**{f"{k}.txt": f"{needs} {k}" for k in range(PIECES)}, "done.json": mark}


def test_a_unit_is_made_once_for_the_same_needs(tmp_path: Path) -> None:
    unit, made = Work(tmp_path), []
    assert unit.why("a/b", {"n": 1}) == "new"
    for _ in range(2):
        folder = unit.once("a/b", {"n": 1}, making(1, made=made))
    assert made == [0, 1, 2]
    assert folder == tmp_path / "a" / "b"
    assert unit.why("a/b", {"n": 1}) is None


def test_a_unit_whose_needs_changed_is_made_again_and_says_what_changed(tmp_path: Path) -> None:
    unit = Work(tmp_path)
    unit.once("u", {"n": 1, "same": 0}, making(1))
    assert unit.why("u", {"n": 2, "same": 0}) == "changed: n: 1 → 2"
    unit.once("u", {"n": 2, "same": 0}, making(2))
    assert content(tmp_path / "u")["0.txt"] == "2 0"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["u"]


def test_only_three_of_many_changes_are_told(tmp_path: Path) -> None:
    unit = Work(tmp_path)
    unit.once("u", dict.fromkeys("abcde", 1), making(1))
    assert unit.why("u", dict.fromkeys("abcde", 2)) == "changed: a: 1 → 2; b: 1 → 2; c: 1 → 2 and 2 more"


def test_an_interrupted_unit_goes_on_with_what_it_had(tmp_path: Path) -> None:
    unit, made = Work(tmp_path), []
    with pytest.raises(KilledError):
        unit.once("u", 1, making(1, stop_after=2, made=made))
    assert not (tmp_path / "u").exists()
    assert unit.why("u", 1) == "interrupted: goes on where it was"
    unit.once("u", 1, making(1, made=made))
    assert made == [0, 1, 2]
    assert content(tmp_path / "u") == whole(1)


def test_a_unit_begun_for_other_needs_is_begun_anew(tmp_path: Path) -> None:
    unit = Work(tmp_path)
    with pytest.raises(KilledError):
        unit.once("u", 1, making(1, stop_after=2))
    assert unit.why("u", 2) == "new"
    unit.once("u", 2, making(2))
    assert content(tmp_path / "u") == whole(2)


def test_the_old_result_stands_until_the_new_one_is_whole(tmp_path: Path) -> None:
    unit = Work(tmp_path)
    unit.once("u", 1, making(1))
    with pytest.raises(KilledError):
        unit.once("u", 2, making(2, stop_after=1))
    assert content(tmp_path / "u") == whole(1)
    assert unit.why("u", 1) is None


def test_what_a_killed_write_left_is_swept_before_going_on(tmp_path: Path) -> None:
    part = tmp_path / "u.part" / "shards"
    part.mkdir(parents=True)
    for name in (".00000.json.part", "00000.tar", "00001.tar", "00001.json"):
        (part / name).write_text("x")
    (tmp_path / "u.part" / "needs.json").write_text("1")
    Work(tmp_path).once("u", 1, making(1))
    assert sorted(p.name for p in (tmp_path / "u" / "shards").iterdir()) == ["00001.json", "00001.tar"]


class Axe:
    """Raises KilledError at one of the moments between two steps on disk."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left = -1
        unlink = Path.unlink

        def rmtree(path: Path, ignore_errors: bool = False) -> None:
            # File by file, in an order that puts done.json and needs.json last.
            for file in sorted(Path(path).rglob("*"), key=lambda p: (p.suffix == ".json", p.name)):
                self.chop(unlink)(file)
            if Path(path).exists():
                os.rmdir(path)

        monkeypatch.setattr(work.shutil, "rmtree", rmtree)
        monkeypatch.setattr(work.os, "rename", self.chop(os.rename))
        monkeypatch.setattr(work, "write_json", self.chop(work.write_json))
        monkeypatch.setattr(Path, "unlink", self.chop(unlink))
        monkeypatch.setattr(Path, "mkdir", self.chop(Path.mkdir))
        monkeypatch.setattr(Path, "write_text", self.chop(Path.write_text))

    def chop(self, step: Callable[..., Any]) -> Callable[..., Any]:
        def chopped(*arguments: Any, **options: Any) -> Any:
            out = step(*arguments, **options)
            if self.left == 0:
                self.left = -1
                raise KilledError
            self.left -= self.left > 0
            return out

        return chopped


@pytest.mark.slow
def test_killed_anywhere_and_called_with_any_needs_again_the_result_is_whole_and_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    axe, rng, killed = Axe(monkeypatch), np.random.default_rng(3), 0
    for story in range(60):
        run = Work(tmp_path / str(story))
        for _ in range(rng.integers(1, 5)):
            needs = int(rng.integers(3))
            axe.left = int(rng.integers(16))
            try:
                run.once("u", needs, making(needs))
            except KilledError:
                killed += 1
            axe.left = -1
            if (run.folder / "u").exists():
                assert content(run.folder / "u") == whole(
                    json.loads((run.folder / "u" / "done.json").read_text())["needs"]
                )
        run.once("u", needs := int(rng.integers(3)), making(needs))
        assert content(run.folder / "u") == whole(needs)
        assert [p.name for p in run.folder.iterdir()] == ["u"]
        assert run.why("u", needs) is None
    assert killed > 75, "the axe must fall often for this to say anything"


def test_differences_of_the_same_are_none() -> None:
    assert differences({"a": [1, {"b": None}]}, {"a": [1, {"b": None}]}) == []


def test_differences_name_the_path_what_was_and_what_is() -> None:
    assert differences({"a": {"b": 1}, "gone": 2}, {"a": {"b": "x"}, "new": None}) == ['a.b: 1 → "x"', "gone: 2 → null"]
    assert differences([1], [2]) == [": [1] → [2]"]
    (long,) = differences({"t": "x" * 99}, {"t": ""})
    assert len(long) < 40


@settings(max_examples=80, deadline=None, derandomize=True)
@given(JSON, JSON)
def test_there_are_differences_only_between_what_differs(a: Any, b: Any) -> None:
    if a == b:
        assert differences(a, b) == []
    assert differences(a, a) == []
    assert (key_of(a) == key_of(b)) == (json.dumps(a, sort_keys=True) == json.dumps(b, sort_keys=True))


def test_the_key_does_not_depend_on_the_order_of_keys() -> None:
    assert key_of({"a": 1, "b": 2}) == key_of({"b": 2, "a": 1}) != key_of({"a": 2, "b": 1})


def test_a_second_process_is_refused_and_told_who_works_there(tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from synthgen.work import only_process\n"
    code += "with only_process(Path(sys.argv[1])): pass"
    with only_process(tmp_path):
        words = [sys.executable, "-c", code, str(tmp_path)]
        other = subprocess.run(words, capture_output=True, text=True, check=False)
    assert "Locked" in other.stderr
    assert f"in use by process {os.getpid()} on " in other.stderr
    with only_process(tmp_path):
        pass


def test_the_lock_of_a_dead_process_holds_nobody_up(tmp_path: Path) -> None:
    (tmp_path / ".lock").touch()
    (tmp_path / ".lock.owner").write_text("process 1 on elsewhere\n")
    with only_process(tmp_path):
        assert f"process {os.getpid()} on" in (tmp_path / ".lock.owner").read_text()
    assert not (tmp_path / ".lock.owner").exists()


def test_the_lock_is_given_back_when_the_work_fails(tmp_path: Path) -> None:
    with pytest.raises(KilledError), only_process(tmp_path):
        raise KilledError
    with only_process(tmp_path):
        pass


def test_a_folder_that_cannot_be_made_is_the_environments_problem(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentProblem, match="cannot be written to"), only_process(tmp_path / "file" / "run"):
        pass


def test_the_lock_held_is_an_error_with_its_own_exit_code(tmp_path: Path) -> None:
    with only_process(tmp_path), pytest.raises(Locked) as caught, only_process(tmp_path):
        pass
    assert caught.value.exit_code == 6


def test_the_fingerprint_follows_contents_and_names_but_not_places_or_times(tmp_path: Path) -> None:
    def printed(**files: str) -> str:
        shutil.rmtree(tmp_path / "data", ignore_errors=True)
        for name, text in files.items():
            path = tmp_path / "data" / name.replace("__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return fingerprint(tmp_path / "data", tmp_path / "cache.json")

    first = printed(a="1", b="2")
    assert printed(b="2", a="1") == first
    others = [
        printed(a="1", b="3"),
        printed(a="2", b="1"),
        printed(a="1"),
        printed(a="1", c="2"),
        printed(a="1", d__b="2"),
        printed(a="12", b=""),
    ]
    assert len({first, *others}) == 1 + len(others)
    (tmp_path / "data").rename(tmp_path / "moved")
    assert fingerprint(tmp_path / "moved", tmp_path / "cache.json") == others[-1]


def test_the_fingerprint_of_one_file_is_of_its_name_and_content(tmp_path: Path) -> None:
    cache = tmp_path / "cache.json"
    (tmp_path / "x").mkdir()
    for name, text in (("a", "1"), ("b", "1"), ("x/a", "1"), ("c", "")):
        (tmp_path / name).write_text(text)
    prints = [fingerprint(tmp_path / name, cache) for name in ("a", "b", "x/a", "c")]
    assert prints[0] == prints[2]
    assert len(set(prints)) == 3


def test_contents_are_read_again_only_when_size_or_time_changed(tmp_path: Path) -> None:
    file, cache = tmp_path / "data" / "a", tmp_path / "cache.json"
    file.parent.mkdir()
    file.write_text("1")
    first = fingerprint(file.parent, cache)
    stat = file.stat()
    known = json.loads(cache.read_text())
    assert known == {str(file): [1, stat.st_mtime_ns, known[str(file)][2]]}
    file.write_text("2")
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns + 10**9))
    assert fingerprint(file.parent, cache) != first


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a").write_text("1")

    def refuses(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuses)
    with pytest.raises(EnvironmentProblem, match=r"data/a: cannot be read \(Permission denied\)"):
        fingerprint(tmp_path / "data", tmp_path / "cache.json")


def write_pid(folder: str, number: int) -> None:
    """A job of a pool."""
    (Path(folder) / f"{number}.pid").write_text(f"{os.getpid()} {os.environ.get('OMP_NUM_THREADS')}")


def fails(text: str) -> None:
    """A job that goes wrong."""
    raise EnvironmentProblem(text)


def silent(*_: object) -> None:
    """Nobody listens."""


def test_no_jobs_are_done_at_once() -> None:
    in_parallel([], 4, silent, "nothing")


def test_with_one_worker_jobs_run_here_in_order_and_progress_is_told(tmp_path: Path) -> None:
    told: list[tuple[str, float, float]] = []
    in_parallel([(write_pid, (str(tmp_path), k)) for k in range(2)], 1, lambda *x: told.append(x), "write")
    assert {p.read_text().split()[0] for p in tmp_path.iterdir()} == {str(os.getpid())}
    assert told == [("write", 0, 2), ("write", 1, 2), ("write", 2, 2)]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_what_a_job_raises_is_raised_here(workers: int, tmp_path: Path) -> None:
    jobs: list[Any] = [(fails, ("no disk",)), (write_pid, (str(tmp_path), 1)), (write_pid, (str(tmp_path), 2))]
    with pytest.raises(EnvironmentProblem, match="no disk"):
        in_parallel(jobs, workers, silent, "x")


@pytest.mark.slow
def test_with_more_workers_jobs_run_elsewhere_with_one_thread_each_and_the_environment_stays(tmp_path: Path) -> None:
    before = dict(os.environ)
    in_parallel([(write_pid, (str(tmp_path), k)) for k in range(3)], 2, silent, "write")
    pids, threads = zip(*((tmp_path / f"{k}.pid").read_text().split() for k in range(3)), strict=True)
    assert str(os.getpid()) not in pids
    assert set(threads) == {"1"}
    assert dict(os.environ) == before


def test_ctrl_c_is_told_as_an_interruption(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def pressed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(work, "wait", pressed)
    with pytest.raises(Interrupted):
        in_parallel([(write_pid, (str(tmp_path), k)) for k in range(2)], 2, silent, "write")


SLEEPER = """
import os, time
from pathlib import Path
from synthgen.work import in_parallel
def sleep(folder, number):
    (Path(folder) / f"{number}.pid").write_text(str(os.getpid()))
    time.sleep(60)
if __name__ == "__main__":
    import sys
    in_parallel([(sleep, (sys.argv[1], k)) for k in range(2)], 2, lambda *_: None, "sleep")
"""


@pytest.mark.slow
def test_workers_end_when_the_process_that_started_them_is_killed_alone(tmp_path: Path) -> None:
    (tmp_path / "sleeper.py").write_text(SLEEPER)
    parent = subprocess.Popen([sys.executable, str(tmp_path / "sleeper.py"), str(tmp_path)])
    until(lambda: all((tmp_path / f"{k}.pid").exists() and (tmp_path / f"{k}.pid").read_text() for k in range(2)), 60)
    pids = [int((tmp_path / f"{k}.pid").read_text()) for k in range(2)]
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    try:
        until(lambda: not any(alive(pid) for pid in pids), 10)
    finally:
        for pid in pids:
            if alive(pid):
                os.kill(pid, signal.SIGKILL)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def until(true: Callable[[], bool], seconds: float) -> None:
    """Wait for something to become true."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.05)


def test_events_are_read_back_without_the_line_that_a_kill_cut_off(tmp_path: Path) -> None:
    events = Events(tmp_path / "run" / "events.jsonl")
    assert events.read() == []
    events.add("stage", stage="1-generate")
    events.add("größe", unit=None)
    with events.path.open("a") as file:
        file.write('{"time": 1, "wha')
    assert [(e["what"], e.get("stage")) for e in events.read()] == [("stage", "1-generate"), ("größe", None)]
    events.add("went on")
    events.add("end")
    assert [e["what"] for e in events.read()] == ["stage", "größe", "went on", "end"]


def test_hashes_are_not_read_out_to_people() -> None:
    old = {"steps": 3, "data": "0" * 64, "after": {"4-train/model": "447f1de9b7b27388"}}
    new = {"steps": 4, "data": "f" * 64, "after": {"4-train/model": "2230433a7f87512d"}}
    assert differences(old, new) == ["4-train/model", "data: other contents", "steps: 3 → 4"]
