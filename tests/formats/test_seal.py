"""A certificate that travels with a dataset is void as soon as anything in the dataset changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from synthgen import plugins
from synthgen.cli import main
from synthgen.formats import seal
from synthgen.testing import tiny_real


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    plugins.build("formats", "coco", {}).write(tiny_real(3, seed=1), tmp_path / "d", ["class 0", "class 1"])
    seal.seal(tmp_path / "d", {"words": "all is well"})
    return tmp_path / "d"


def test_an_untouched_dataset_keeps_its_certificate(dataset: Path) -> None:
    assert seal.broken(dataset) is None
    assert main(["data", "check", str(dataset)]) == 0


def test_a_dataset_without_a_certificate_has_none_to_break(tmp_path: Path) -> None:
    assert seal.broken(tmp_path) is None


@pytest.mark.parametrize("how", ["a label", "a name", "a new file", "the certificate"])
def test_any_change_voids_the_certificate_loudly(dataset: Path, how: str, capsys: pytest.CaptureFixture[str]) -> None:
    labels = next(p for p in dataset.rglob("*.json") if p.name != seal.FILE)
    if how == "a label":
        labels.write_text(labels.read_text().replace('"category_id": 1', '"category_id": 2', 1) + " ")
    elif how == "a name":
        image = next(dataset.rglob("*.png"))
        image.rename(image.with_name("other.png"))
    elif how == "a new file":
        (dataset / "more.txt").write_text("x")
    else:
        (dataset / seal.FILE).write_text("{}")
    assert "VOID" in (seal.broken(dataset) or "")
    assert main(["data", "check", str(dataset)]) == 5
    assert "VOID" in capsys.readouterr().out
