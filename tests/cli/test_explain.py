"""synthgen explain on what is installed."""

from __future__ import annotations

from typing import Any

from synthgen.cli import main


def test_a_format_is_explained_by_its_name_and_so_are_its_options(capsys: Any) -> None:
    assert main(["explain", "coco"]) == 0
    page = capsys.readouterr().out
    assert page.startswith("coco\n  COCO: a JSON file")
    assert "crowd: ignore | object, default ignore" in page
    assert main(["explain", "coco.croud"]) == 3
    assert 'did you mean "crowd"?' in capsys.readouterr().err
