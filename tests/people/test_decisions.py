"""The record of what people decided: it only grows, and says so when somebody else changed it."""

from __future__ import annotations

import json
import multiprocessing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synthgen.errors import DataError
from synthgen.geometry import labels_from_masks
from synthgen.people.decisions import Decision, Decisions, hash_labels
from synthgen.store import labels_to_json
from synthgen.types import Labels


def labels(n: int = 1, **known: Any) -> Labels:
    masks = np.zeros((n, 6, 8), bool)
    for k in range(n):
        masks[k, k, : k + 1] = True
    return replace(labels_from_masks(masks, [0] * n, reviewed="human"), **known)


def decision(image: int = 1, **known: Any) -> Decision:
    values: dict[str, Any] = {
        "image": f"{image:064x}", "id": f"pool-{image}", "labels": labels(), "by": "ada",
        "at": "2026-11-22T12:00:00Z", "seconds": 1.5, "tool": "review", "action": "accept",
    }  # fmt: skip
    return Decision(**{**values, **known})


def test_a_folder_without_decisions_has_none(tmp_path: Path) -> None:
    assert Decisions(tmp_path).every() == []
    assert Decisions(tmp_path).latest() == {}
    assert Decisions(tmp_path).undo("ada", "now") is None
    assert not (tmp_path / "decisions.jsonl").exists()


def test_decisions_come_back_as_they_were_made(tmp_path: Path) -> None:
    empty = Labels((6, 8), masks=(), reviewed="human", empty="confirmed")
    made = [
        decision(1, blind=True, prelabel=hash_labels(labels())),
        decision(2, labels=empty, action="confirm-empty", seconds=None, by="größe 細"),
        decision(3, labels=labels(2, scores=np.array([0.25, 1], np.float32)), action="redraw"),
    ]
    assert [Decisions(tmp_path / "people").append(d) for d in made] == [True] * 3
    back = Decisions(tmp_path / "people").every()
    assert [(labels_to_json(d.labels), d.by, d.seconds, d.action, d.blind, d.prelabel) for d in back] == [
        (labels_to_json(d.labels), d.by, d.seconds, d.action, d.blind, d.prelabel) for d in made
    ]


def test_the_last_decision_counts_and_a_skip_takes_nothing_back(tmp_path: Path) -> None:
    log = Decisions(tmp_path)
    log.extend([decision(1), decision(1, labels=labels(2), action="redraw"), decision(1, action="skip"),
                decision(2, action="skip")])
    assert len(log.latest()[f"{1:064x}"].labels) == 2
    assert list(log.latest()) == [f"{1:064x}"]
    assert len(log.every()) == 4


def test_the_same_answer_is_written_once_even_after_another_tool_spoke(tmp_path: Path) -> None:
    log = Decisions(tmp_path)
    assert log.append(decision(tool="cvat"))
    assert not log.append(decision(tool="cvat", at="later", seconds=9.0))
    assert log.append(decision(labels=labels(2), action="redraw"))
    assert not Decisions(tmp_path).append(decision(tool="cvat"))
    assert log.append(decision(tool="cvat", by="bob"))
    assert log.append(decision(tool="cvat", labels=labels(3), action="redraw"))
    assert log.append(decision(tool="cvat"))                      # back to the first answer: that is a change


def test_undo_takes_back_the_last_one_and_can_be_done_again(tmp_path: Path) -> None:
    log = Decisions(tmp_path)
    log.extend([decision(1), decision(1, labels=labels(2), action="redraw"), decision(2), decision(3, by="bob")])
    first = log.undo("ada", "now")
    assert first is not None
    assert first.id == "pool-2"
    assert log.undo("ada", "now", f"{1:064x}").action == "redraw"                    # type: ignore[union-attr]
    assert len(Decisions(tmp_path).latest()[f"{1:064x}"].labels) == 1
    assert log.undo("ada", "now").id == "pool-1"                                     # type: ignore[union-attr]
    assert log.undo("ada", "now") is None
    assert [d.id for d in Decisions(tmp_path).every()] == ["pool-3"]
    assert log.append(decision(1))
    assert len((tmp_path / "decisions.jsonl").read_bytes().splitlines()) == 8


@pytest.mark.parametrize("damage", ["change", "remove", "swap", "no json", "no labels", "a revocation of nothing"])
def test_a_changed_file_is_refused_with_its_line(damage: str, tmp_path: Path) -> None:
    Decisions(tmp_path).extend([decision(k) for k in range(4)])
    file = tmp_path / "decisions.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    if damage == "change":
        lines[1] = lines[1].replace(b"ada", b"eve")
    elif damage == "remove":
        del lines[1]
    elif damage == "swap":
        lines[1], lines[2] = lines[2], lines[1]
    elif damage == "no json":
        lines[2] = b"{\n"
    elif damage == "no labels":
        value = json.loads(lines[2])
        value["decision"]["labels"] = 3
        lines[2] = json.dumps(value).encode() + b"\n"
    else:
        value = json.loads(lines[2])
        lines[2] = json.dumps({"before": value["before"], "revokes": "f" * 64}).encode() + b"\n"
    file.write_bytes(b"".join(lines))
    with pytest.raises(DataError, match=rf"decisions.jsonl:{2 if damage in ('remove', 'swap') else 3}: "):
        Decisions(tmp_path).every()
    with pytest.raises(DataError):
        Decisions(tmp_path).append(decision(9))
    assert file.read_bytes() == b"".join(lines)


@pytest.mark.parametrize("cut", [1, 20, 300])
def test_a_line_that_a_killed_writer_left_is_set_aside(cut: int, tmp_path: Path,
                                                       caplog: pytest.LogCaptureFixture) -> None:
    Decisions(tmp_path).extend([decision(k) for k in range(3)])
    file = tmp_path / "decisions.jsonl"
    whole = file.read_bytes()
    last = whole.splitlines(keepends=True)[-1]
    file.write_bytes(whole[:-cut])
    log = Decisions(tmp_path)
    assert [d.id for d in log.every()] == ["pool-0", "pool-1"]
    assert "not finished" in caplog.text
    assert log.append(decision(2))
    assert file.read_bytes() == whole
    assert (tmp_path / "decisions.torn").read_bytes() == last[:-cut] + b"\n"


def test_two_readers_see_what_the_other_wrote(tmp_path: Path) -> None:
    one, two = Decisions(tmp_path), Decisions(tmp_path)
    assert one.append(decision(1))
    assert two.append(decision(2))
    assert not one.append(decision(2))
    assert one.head == two.head != Decisions(tmp_path / "other").head


def _many(folder: str, who: int) -> None:
    for k in range(15):
        Decisions(Path(folder)).append(decision(k, by=f"person {who}"))


@pytest.mark.slow
def test_writers_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    processes = [multiprocessing.get_context("spawn").Process(target=_many, args=(str(tmp_path), k)) for k in range(2)]
    for p in processes:
        p.start()
    for p in processes:
        p.join()
        assert p.exitcode == 0
    assert len(Decisions(tmp_path).every()) == 30


def test_what_is_no_persons_answer_is_refused() -> None:
    with pytest.raises(DataError, match="what a model says is no decision"):
        decision(labels=labels(reviewed="model"))
    with pytest.raises(DataError, match="is no action"):
        decision(action="guess")
    with pytest.raises(DataError, match="hash of its pixels"):
        replace(decision(), image="x.png")
    with pytest.raises(DataError, match="seconds"):
        decision(seconds=-1.0)
    assert not decision(action="skip", labels=labels(reviewed="none")).answered
