"""Grey values to numbers and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthgen.neural.tones import tones_of


@given(st.integers(0, 2**32 - 1), st.sampled_from([30, 256]), st.booleans())
def test_a_picture_comes_back_to_half_a_grey_level(seed: int, top: int, grey: bool) -> None:
    image = np.random.default_rng(seed).integers(0, top, (9, 11, 3), np.uint8)
    if grey:
        image = np.repeat(image[..., :1], 3, 2)
    tones = tones_of([image])
    assert tones.colours == (1 if grey else 3)
    assert np.abs(tones.decode(tones.encode(image)) - image).max() < 0.5


def test_dim_pictures_get_a_square_root_and_bright_ones_none() -> None:
    ramp = np.tile(np.arange(256, dtype=np.uint8)[None, :, None], (4, 1, 3))
    assert tones_of([ramp]).exponent == 1
    assert tones_of([ramp // 4]).exponent == 0.5


def test_numbers_have_mean_nought_and_deviation_one() -> None:
    image = np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)
    values = tones_of([image]).encode(image)
    assert values.mean() == pytest.approx(0, abs=0.05)
    assert values.std() == pytest.approx(1, abs=0.05)


def test_a_picture_of_one_grey_is_no_division_by_nought() -> None:
    image = np.full((8, 8, 3), 7, np.uint8)
    tones = tones_of([image])
    assert np.isfinite(tones.encode(image)).all()
    assert (tones.decode(tones.encode(image)).round() == 7).all()
