"""Which look at an audit this is: remembered beside the decisions."""

from __future__ import annotations

from pathlib import Path

import pytest

from synthgen.errors import DataError
from synthgen.people.looks import FILE, number_of, write_down


def test_the_same_look_keeps_its_number_and_another_gets_the_next(tmp_path: Path) -> None:
    people = tmp_path / "people"
    for seen, number in (("a", 1), ("b", 2), ("a", 1), ("b", 2), ("c", 3)):
        assert number_of(people, "mean error", seen) == number
        write_down(people, "mean error", seen)


def test_a_look_that_was_not_written_down_costs_nothing(tmp_path: Path) -> None:
    assert number_of(tmp_path, "mean error", "a") == number_of(tmp_path, "mean error", "b") == 1
    assert not (tmp_path / FILE).exists()


def test_each_kind_of_promise_counts_its_own_looks(tmp_path: Path) -> None:
    write_down(tmp_path, "mean error", "a")
    assert number_of(tmp_path, "pixels", "a") == 1
    write_down(tmp_path, "pixels", "b")
    assert number_of(tmp_path, "mean error", "c") == 2


@pytest.mark.parametrize("text", ["", "{", "{}x", "[1]", '[{"promise": "mean error"}]', "null", '{"promise": 1}'])
def test_looks_that_cannot_be_read_are_not_taken_for_none(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)
    with pytest.raises(DataError, match="nobody knows how often the audit was looked at"):
        number_of(tmp_path, "mean error", "a")
