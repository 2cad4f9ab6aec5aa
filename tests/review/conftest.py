"""Sessions on tiny samples, and a browser that behaves as it should."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from synthgen.people.decisions import Decisions
from synthgen.review.queue import Waiting
from synthgen.review.session import Session
from synthgen.testing import tiny_real
from synthgen.types import Labels, Sample, Task


@pytest.fixture
def open_session(tmp_path: Path) -> Callable[..., Session]:
    """A session over tiny labelled samples: how many, which of them blind, and the task."""

    def make(n: int = 3, blind: tuple[int, ...] = (), task: Task = "instances", pool: list[Sample] | None = None,
             **more: Any) -> Session:
        samples = pool or [as_model(sample, task, k) for k, sample in enumerate(tiny_real(n))]
        order = [Waiting(k, "to review", k in blind, k in blind) for k in range(len(samples))]
        return Session(samples, order, Decisions(tmp_path / "people"), task, ("class 0", "class 1"), "ada", **more)

    return make


def as_model(sample: Sample, task: Task, k: int) -> Sample:
    assert sample.labels is not None
    labels = dataclasses.replace(sample.labels, reviewed="model")
    if task == "detect":
        labels = dataclasses.replace(labels, masks=None)
    if task == "classify":
        labels = Labels(labels.size, image_class=k % 2, image_score=0.75, reviewed="model")
    return dataclasses.replace(sample, labels=labels)
