"""`synthgen consensus` on a run that two people reviewed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from synthgen.cli import main
from synthgen.images import hash_image
from synthgen.people.decisions import Decision, Decisions
from synthgen.recipe.load import load
from synthgen.store import write_json
from synthgen.testing import tiny_real, tiny_recipe


@pytest.fixture
def run(tmp_path: Path) -> Path:
    loaded = load(tiny_recipe(tmp_path))
    folder = tmp_path / "runs" / "tiny"
    folder.mkdir(parents=True)
    write_json(folder / "recipe.resolved.json", loaded.resolved)
    return folder


def reviewed(run: Path) -> None:
    log = Decisions(run / "people")
    for s in tiny_real(3, seed=2):
        assert s.labels is not None
        assert len(s.labels)
        labels = replace(s.labels, reviewed="human")
        for by in ("ann", "bob", "cas"):
            given = replace(labels, classes=1 - labels.classes) if by == "cas" else labels
            log.append(Decision(hash_image(s.image), s.id, given, by, "2026-01-01T00:00:00Z", 2.0, "review", "redraw"))


def test_agreement_is_printed_and_nothing_is_written_unless_asked(
        run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reviewed(run)
    before = (run / "people" / "decisions.jsonl").read_bytes()
    assert main(["consensus", str(run)]) == 0
    out = capsys.readouterr().out
    assert "agreement" in out
    assert "cas" in out
    assert (run / "people" / "decisions.jsonl").read_bytes() == before


def test_write_adds_one_decision_per_image_once(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reviewed(run)
    before = (run / "people" / "decisions.jsonl").read_bytes()
    assert main(["consensus", str(run), "--write", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["written"] == 3
    assert facts["annotators"]["cas"]["value"] < facts["annotators"]["ann"]["value"]
    assert (run / "people" / "decisions.jsonl").read_bytes().startswith(before)
    assert {d.by for d in Decisions(run / "people").latest().values()} == {"consensus"}
    assert main(["consensus", str(run), "--write", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["written"] == 0


def test_one_annotator_alone_is_told_what_to_do(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["consensus", str(run)]) == 3
    assert "let a second one review the same images" in capsys.readouterr().err
