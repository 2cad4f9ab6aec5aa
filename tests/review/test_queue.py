"""In which order images wait: the audit as it was drawn, the queue, what is in doubt; each once, and none twice."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from synthgen.errors import DataError
from synthgen.images import hash_image
from synthgen.people.bias import hidden
from synthgen.people.decisions import Decision, Decisions
from synthgen.review import open_session, queue
from synthgen.store import Stored, write_all, write_json
from synthgen.testing import tiny_real
from synthgen.types import State


@pytest.fixture
def pool(tmp_path: Path) -> Stored:
    """Six images, of which the last two have labels that wait."""
    samples = []
    for k, sample in enumerate(tiny_real(6)):
        assert sample.labels is not None
        state: State = "to_review" if k > 3 else "accepted"
        labels = dataclasses.replace(sample.labels, reviewed="model", states=(state,) * len(sample.labels))
        samples.append(dataclasses.replace(sample, labels=labels))
    write_all(tmp_path / "5-label" / "shards", samples)
    return Stored(tmp_path / "5-label" / "shards")


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A run whose audit drew images 4, 0 and 2."""
    monkeypatch.setattr(queue.audit, "drawn", lambda _job: (4, 0, 2))
    label = SimpleNamespace(audit=SimpleNamespace(answers="people"))
    recipe = SimpleNamespace(label=label, name="tiny", task="instances", classes=("class 0", "class 1"))
    return SimpleNamespace(recipe=recipe, work=SimpleNamespace(folder=tmp_path))


def decide(pool: Stored, k: int, action: Any = "reject") -> Decision:
    sample = pool[k]
    assert sample.labels is not None
    labels = dataclasses.replace(sample.labels, reviewed="human")
    return Decision(hash_image(sample.image), sample.id, labels, "ada", "2026-11-22T12:00:00Z", 1.0, "review", action)


def test_the_audit_comes_first_as_drawn_then_the_queue_then_what_is_in_doubt(job: Any, pool: Stored) -> None:
    ids = [entry.id for entry in pool.entries]
    listed = [{"id": ids[3], "why": "typical", "blind": True}, {"id": ids[4], "why": "doubtful", "blind": False}]
    write_json(job.work.folder / "5-queue" / "queue.json", listed)
    found = queue.waiting(job, pool, {})
    assert [w.place for w in found] == [4, 0, 2, 3, 5]
    assert [w.audit for w in found] == [True, True, True, False, False]
    assert [w.why for w in found] == ["random audit"] * 3 + ["typical", "to review"]
    assert [w.blind for w in found[:3]] == hidden([hash_image(pool[k].image) for k in (4, 0, 2)])
    assert found[3].blind


def test_an_answer_leaves_which_of_the_others_are_blind(job: Any, pool: Stored) -> None:
    before = {w.place: w.blind for w in queue.waiting(job, pool, {})}
    decided = decide(pool, 4)
    after = {w.place: w.blind for w in queue.waiting(job, pool, {decided.image: decided})}
    assert after == {k: v for k, v in before.items() if k != 4}


def test_a_decision_about_other_pixels_under_the_same_name_is_none(job: Any, pool: Stored) -> None:
    decided = dataclasses.replace(decide(pool, 4), image="0" * 64)
    assert 4 in [w.place for w in queue.waiting(job, pool, {decided.image: decided})]


def test_where_answers_are_simulated_nobody_is_asked_for_them(job: Any, pool: Stored) -> None:
    job.recipe.label.audit.answers = "simulated"
    assert [w.place for w in queue.waiting(job, pool, {})] == [4, 5]


def test_a_queue_of_another_pool_is_refused(job: Any, pool: Stored) -> None:
    write_json(job.work.folder / "5-queue" / "queue.json", [{"id": "stranger", "why": "", "blind": False}])
    with pytest.raises(DataError, match="stranger"):
        queue.waiting(job, pool, {})


def test_a_pool_without_labels_and_a_run_in_which_nothing_waits_are_told(job: Any, pool: Stored,
                                                                         monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="no labels yet"):
        open_session(job)
    write_json(job.work.folder / "5-label" / "done.json", {})
    monkeypatch.setattr(queue.label, "labelled", lambda _job: pool)
    assert len(open_session(job, "ada", images=2).ids) == 2
    Decisions(job.work.folder / "people").extend(decide(pool, k) for k in (4, 0, 2, 5))
    with pytest.raises(DataError, match="nothing waits"):
        open_session(job)


def test_bias_is_measured_on_the_audit_alone(job: Any, pool: Stored) -> None:
    Decisions(job.work.folder / "people").extend(decide(pool, k, "accept") for k in (4, 0, 5))
    assert queue.bias(job, pool).shown == (2, 2)
