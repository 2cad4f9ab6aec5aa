"""Fixtures that more than one folder of tests uses."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from importlib.metadata import EntryPoint, distributions
from pathlib import Path

import pytest

from synthgen import plugins

FAKES = Path(__file__).parent / "fakes"


@functools.lru_cache
def _fake_points(group: str) -> tuple[EntryPoint, ...]:
    found = (point for dist in distributions(path=[str(FAKES)]) for point in dist.entry_points)
    return tuple(point for point in found if point.group == f"synthgen.{group}")


@pytest.fixture
def fake_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the plug-ins of tests/fakes are installed."""
    monkeypatch.syspath_prepend(str(FAKES))
    monkeypatch.setattr(plugins, "_points", _fake_points)


@pytest.fixture
def golden() -> Callable[[str, str], None]:
    """Compare a text with tests/golden/NAME.txt; SYNTHGEN_GOLDEN=write writes the file instead."""

    def compare(name: str, text: str) -> None:
        path = Path(__file__).parent / "golden" / f"{name}.txt"
        if os.environ.get("SYNTHGEN_GOLDEN") == "write":
            path.write_text(text, "utf-8")
        assert text == path.read_text("utf-8"), "if the new text is meant, run with SYNTHGEN_GOLDEN=write"

    return compare
