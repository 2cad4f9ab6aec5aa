"""The history of rounds: a file that only grows; time that people spent, and what the pool would take them by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synthgen.errors import DataError
from synthgen.people import rounds
from synthgen.people.decisions import Decision
from synthgen.types import Labels


def decision(image: int, **known: Any) -> Decision:
    values: dict[str, Any] = {
        "image": f"{image:064x}", "id": f"pool-{image}", "labels": Labels((6, 8), masks=(), reviewed="human"),
        "by": "ada", "at": "2026-11-22T12:00:00Z", "seconds": 30.0, "tool": "review", "action": "answer",
    }  # fmt: skip
    return Decision(**{**values, **known})


def test_a_folder_without_the_file_has_no_rounds(tmp_path: Path) -> None:
    assert rounds.rounds(tmp_path / "people") == []


def test_rounds_come_back_in_order_and_a_new_one_leaves_the_bytes_before_it(tmp_path: Path) -> None:
    rounds.add(tmp_path, {"decisions": "a"}, {"pool": 3})
    before = (tmp_path / rounds.FILE).read_bytes()
    rounds.add(tmp_path, {"decisions": "b"}, {"pool": 4})
    assert (tmp_path / rounds.FILE).read_bytes().startswith(before)
    assert rounds.rounds(tmp_path) == [{"round": 1, "made_of": {"decisions": "a"}, "pool": 3},
                                       {"round": 2, "made_of": {"decisions": "b"}, "pool": 4}]


@pytest.mark.parametrize("line", [b"{", b"3", b'{"round": 1}', b'{"round": 5, "made_of": {}}'])
def test_a_line_that_is_no_round_is_refused_and_nothing_is_written_after_it(line: bytes, tmp_path: Path) -> None:
    (tmp_path / rounds.FILE).write_bytes(line + b"\n")
    with pytest.raises(DataError, match=r"rounds.jsonl:1: this line is no round"):
        rounds.add(tmp_path, {}, {})
    assert (tmp_path / rounds.FILE).read_bytes() == line + b"\n"


def test_minutes_are_summed_by_action_and_what_nobody_timed_is_counted() -> None:
    assert rounds.time_spent([]) == {"all": 0, "by_action": {}, "untimed": 0}
    found = rounds.time_spent([
        decision(1), decision(1, action="redraw", seconds=15.0), decision(2, action="skip", seconds=60.0),
        decision(3, seconds=None), decision(4, seconds=None, tool="consensus", by="consensus")])
    assert found == {"all": 1.75, "by_action": {"answer": 0.5, "redraw": 0.25, "skip": 1.0}, "untimed": 1}


def test_below_five_timed_images_nothing_is_said_of_the_pace() -> None:
    for n in (0, 1, 4):
        found = rounds.pace_by_hand([decision(k, seconds=10.0 + k) for k in range(n)])
        assert (found["images"], found["seconds"], found["interval"]) == (n, None, None)


def test_the_pace_is_the_mean_over_images_and_all_that_was_timed_on_one_counts() -> None:
    every = [decision(k, seconds=10.0 + k) for k in range(5)]
    every.append(decision(0, seconds=5.0, action="skip"))          # looked first, and answered later
    every.append(decision(9, seconds=99.0, action="skip"))         # never answered
    every.append(decision(8, seconds=None))
    found = rounds.pace_by_hand(every)
    assert found["images"] == 5
    assert found["seconds"] == pytest.approx(13.0)
    low, high = found["interval"]
    assert low < 13 < high
    assert rounds.pace_by_hand(every) == found


def test_images_whose_pre_label_was_shown_count_only_where_the_others_are_too_few() -> None:
    alone = [decision(k, seconds=60.0 + k) for k in range(5)]
    helped = [decision(10 + k, seconds=10.0 + k, action="accept", prelabel="f" * 64) for k in range(5)]
    assert rounds.pace_by_hand(alone + helped)["shown"] is False
    assert rounds.pace_by_hand(alone + helped)["seconds"] == pytest.approx(62.0)
    few = rounds.pace_by_hand(alone[:4] + helped)
    assert (few["shown"], few["images"]) == (True, 9)


def test_minutes_that_were_shared_out_evenly_have_no_interval() -> None:
    found = rounds.pace_by_hand([decision(k, seconds=12.0 + (k == 2) * 0.001) for k in range(6)])
    assert found["seconds"] == pytest.approx(12.0, abs=0.01)
    assert found["interval"] is None


def test_the_interval_holds_the_mean_about_as_often_as_it_says() -> None:
    # Times of people are skewed; 12 images of a log-normal whose mean is known, 200 times.
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(200):
        seconds = rng.lognormal(3, 0.5, 12)
        low, high = rounds.pace_by_hand([decision(k, seconds=float(s)) for k, s in enumerate(seconds)])["interval"]
        held += low <= np.exp(3 + 0.125) <= high
    assert held >= 174                                             # 0.87: what 0.95 asks for, less what skew costs


def test_the_digest_changes_with_what_was_said_and_with_the_time_it_took() -> None:
    one = [decision(1), decision(2)]
    same = [decision(1), decision(2)]
    assert rounds.digest(one) == rounds.digest(same)
    other = ([], one[:1], [*one, decision(3)], [decision(1, seconds=31.0), one[1]],
             [decision(1, labels=Labels((6, 8), image_class=1, reviewed="human")), one[1]])
    assert len({rounds.digest(d) for d in (one, *other)}) == 6
