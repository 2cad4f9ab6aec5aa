"""What a queue for people takes for disagreement."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synthgen.recipe.schema import Label
from synthgen.stages import committee, queue
from synthgen.stages.label import sorted_out
from synthgen.store import Stored, write_all
from synthgen.types import Image, Labels, Member, Sample

BOXES = np.array([[2, 2, 20, 20], *([30 + 5 * k, 30 + 5 * k, 45 + 5 * k, 45 + 5 * k] for k in range(5))], np.float32)


class Faint:
    """Believes in one box, and names five more; with `blind`, it sees nothing."""

    def __init__(self, blind: bool = False) -> None:
        self.said = Labels((80, 80), np.zeros(6, np.int64), BOXES, scores=np.array([0.95] + [0.3] * 5, np.float32),
                           states=("accepted", *("ignored",) * 5))
        self.said = Labels((80, 80), scores=np.zeros(0, np.float32)) if blind else self.said

    def label(self, images: Sequence[Image], *, tta: bool = True) -> Iterator[Labels]:
        return (self.said for _ in images)


def test_labelers_that_say_the_same_do_not_disagree_about_boxes_that_neither_believes_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = sorted_out(Faint().said, Label(accept=0.8, ignore=0.1))
    assert labels.states == ("accepted", *("to_review",) * 5)
    sample = Sample("pool-000000", np.zeros((80, 80, 3), np.uint8), replace(labels, reviewed="model"))
    write_all(tmp_path, [sample])
    nothing: Any = None
    for labeler, differs in (Faint(), 0.0), (Faint(blind=True), 1.0):
        one: Any = labeler
        monkeypatch.setattr(committee, "members", lambda job, one=one: [Member(one, ())])
        assert queue._disagreement(nothing, Stored(tmp_path)) == [differs]
