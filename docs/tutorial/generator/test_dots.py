"""The whole test of a generator."""

import pytest
from synthgen_dots import Dots

from synthgen.errors import DataError
from synthgen.testing import check_generator, tiny_context, tiny_real


def test_dots_keeps_a_generators_promises():
    check_generator(Dots(radius=3), tiny_real())


def test_an_empty_seed_is_refused(tmp_path):
    with pytest.raises(DataError, match="label an image"):
        Dots().fit([], [], tiny_context(tmp_path))
