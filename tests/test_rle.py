"""Run lengths from anywhere are either canonical or refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthgen.errors import DataError
from synthgen.geometry import decode, encode
from synthgen.rle import merge, parse_rle, regions


@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 2**32), st.sampled_from([0.0, 0.02, 0.5, 1.0]))
def test_our_own_run_lengths_are_understood(h: int, w: int, seed: int, share: float) -> None:
    (rle,) = encode(np.random.default_rng(seed).random((1, h, w)) < share)
    assert parse_rle(rle, (h, w)) == rle


@given(st.lists(st.integers(0, 6), min_size=1, max_size=12))
def test_plain_counts_with_empty_runs_become_canonical(counts: list[int]) -> None:
    counts = [*counts, 1]
    column = np.repeat(np.arange(len(counts)) % 2, counts).astype(bool)
    assert parse_rle(counts, (len(column), 1)) == encode(column[None, :, None])[0]


@pytest.mark.parametrize(
    "counts",
    ["", "0", "zzz", "~~", "ooooooooooooooooooooo", "é", [], [5], [-1, 7], [3, 3.5], [True, 5], ["6"], None,
     6, {"a": 1}, [10**30], [2**61, 2**61]],
)  # fmt: skip
def test_run_lengths_that_are_wrong_are_refused(counts: object) -> None:
    with pytest.raises(DataError, match="run lengths"):
        parse_rle(counts, (2, 3))


@given(st.text(st.characters(min_codepoint=48, max_codepoint=111), max_size=12))
def test_no_string_reaches_beyond_the_image(text: str) -> None:
    try:
        rle = parse_rle(text, (4, 5))
    except DataError:
        return
    assert decode([rle], (4, 5)).shape == (1, 4, 5)


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**32))
def test_regions_of_an_id_map_are_its_masks(h: int, w: int, seed: int) -> None:
    ids = np.random.default_rng(seed).choice([0, 1, 2, 255, 65535], (h, w)).astype(np.int32)
    assert regions(ids) == [(int(i), encode((ids == i)[None])[0]) for i in np.unique(ids) if i]


def test_the_union_of_nothing_is_none() -> None:
    assert merge([], (3, 3)) is None
