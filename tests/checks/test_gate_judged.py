"""The gate judged as `benchmarks/gate.py` does, with fewer draws: real against real, and planted defects."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from synthgen.metrics.bounds import clopper_pearson

pytestmark = pytest.mark.slow
DRAWS = 40


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks/gate.py"
    spec = importlib.util.spec_from_file_location("benchmark_gate", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def deck(bench: ModuleType):
    return bench.Deck("nuclei", 99)


def test_real_against_real_alarms_no_more_than_the_level_and_is_never_refused(bench, deck):
    found = bench.alarms(deck, DRAWS, 0)
    for row in bench.ROWS:
        low, _ = clopper_pearson(found[row], DRAWS)
        assert low <= bench.LEVEL, f"{row} alarmed in {found[row]} of {DRAWS} draws of real images"
    assert found["gate"] == 0


@pytest.mark.parametrize("defect", ["blur 0.7 px", "noise of 8 levels", "masks shifted by 4, 3 px",
                                    "masks dilated by 3 px"])
def test_a_planted_defect_turns_the_check_red_that_it_is_meant_for(bench, deck, defect):
    damage, expected = bench.DEFECTS["nuclei"][defect]
    found = bench.alarms(deck, 4, 10_000, damage)
    assert all(found[row] >= 3 for row in expected), found
    for row in ("integrity", "leakage", "copying", *({"mask_shift"} - set(expected))):
        assert found[row] <= 1, f"{defect} has nothing to do with {row}"
