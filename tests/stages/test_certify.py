"""The line with a certificate: what waits, what is accepted, what is refused, and what people's answers change."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from synthgen.cli import main
from synthgen.errors import DataError, WaitingForPeople
from synthgen.images import hash_image, png_bytes
from synthgen.metrics.looks import share_of_risk
from synthgen.people.decisions import Decision, Decisions
from synthgen.run import job_of
from synthgen.stages import certify, ingest, screen
from synthgen.stages.certify import loss_of
from synthgen.stages.doubt import doubt_of
from synthgen.testing import tiny_real
from synthgen.types import Labels, Sample

AUDIT = {"images": 3, "answers": "people"}


def asked(project: Any, **certify: Any) -> None:
    project.change(label={"tta": False, "accept": 0.5, "ignore": 0.1, "certify": certify, "audit": AUDIT})


def pool_of(project: Any) -> list[Sample]:
    return list(ingest.part(job_of(project.load()), "pool"))


def answer(project: Any, samples: list[Sample], action: Any = "answer") -> None:
    """Give the true labels, as a person would."""
    truth = {hash_image(s.image): s.labels for s in tiny_real(5, seed=2)}
    people = Decisions(project.run_folder / "people")
    for s in samples:
        labels = truth[hash_image(s.image)]
        assert labels is not None
        people.append(Decision(hash_image(s.image), s.id, replace(labels, reviewed="human"), "ann",
                               "2026-01-01T00:00:00Z", 3.0, "review", action))


@pytest.fixture
def drawn(project: Any) -> Iterator[list[Sample]]:
    asked(project, max_error=0.9)
    project.run(until="label")
    pool = pool_of(project)
    return [pool[k] for k in ingest.audited(job_of(project.load()))]


@pytest.mark.slow
def test_a_run_waits_for_the_audit_with_code_8_and_says_what_to_do(project: Any, drawn: list[Sample]) -> None:
    with pytest.raises(WaitingForPeople, match=r"3 of the 3 audit images wait.*synthgen review .*runs/tiny`"):
        project.run()
    assert main(["run", str(project.recipe)]) == 8
    answer(project, drawn[:2])
    with pytest.raises(WaitingForPeople, match="1 of the 3"):
        project.run()
    assert not (project.run_folder / "5-certify").exists()


@pytest.mark.slow
def test_answers_to_the_audit_certify_and_train_nothing(project: Any, drawn: list[Sample]) -> None:
    answer(project, drawn)
    project.run()
    assert {"0-ingest/people", "4-train/mixed", "5-label"} & set(project.made) == set()
    facts = project.json("5-certify/certificate.json")
    assert facts["audit"]["images"] == 3
    assert "people: ann" in facts["words"]
    assert project.json("7-export/coco/certificate.json")["words"] == facts["words"]


@pytest.mark.slow
def test_what_is_said_of_accepted_images_follows_from_the_promise_and_not_from_the_part_s_bound(
    project: Any, drawn: list[Sample]
) -> None:
    asked(project, max_error=0.9, of="output")
    answer(project, drawn)
    project.run(until="certify")
    facts = project.json("5-certify/certificate.json")
    assert facts["certified"]
    assert facts["bound"] < 0.9
    assert facts["bound_of_accepted"] == pytest.approx(min(1, 0.9 * facts["images"] / facts["accepted"]))
    assert f"gives {facts['bound']:.3g}, which is no promise" in facts["words"]


@pytest.mark.slow
def test_looking_again_is_counted_and_going_back_is_not(project: Any, drawn: list[Sample]) -> None:
    """Another question and labels of another model are looks; the same answers, labels and question are the same one,
    though the stage's folder was made anew or is gone."""
    answer(project, drawn)
    numbers = []
    for change in ([], ["label.certify.max_error=0.85"], [], ["train.level=90"], ["label.audit.images=2"]):
        if not change:
            shutil.rmtree(project.run_folder / "5-certify", ignore_errors=True)
        project.run(*change, until="certify")
        look = project.json("5-certify/certificate.json")["look"]
        numbers.append(look["number"])
        assert look["counted"]
        assert look["risk"] == pytest.approx(0.1 * share_of_risk(look["number"]))
    assert numbers == [1, 2, 1, 3, 4]
    assert "this is look 4, which may be wrong" in project.json("5-certify/certificate.json")["words"]


@pytest.mark.slow
def test_an_audit_that_could_show_nothing_is_no_look(project: Any, drawn: list[Sample]) -> None:
    answer(project, drawn)
    project.run("label.certify.max_error=0.01", until="certify")
    facts = project.json("5-certify/certificate.json")
    assert (facts["steps"], facts["look"]["counted"]) == ([], False)
    assert "are not counted as a look" in facts["words"]
    project.run(until="certify")
    assert project.json("5-certify/certificate.json")["look"] == {
        "number": 1, "risk": 0.08, "confidence": 0.92, "counted": True}


@pytest.mark.slow
def test_the_second_promise_says_a_margin_and_has_looks_of_its_own(project: Any, drawn: list[Sample]) -> None:
    answer(project, drawn)
    project.run("label.certify.pixels=0.9", until="certify")
    facts = project.json("5-certify/certificate.json")
    pixels = facts["pixels"]
    assert (pixels["margin"], pixels["audited"], pixels["kept"]) == (0, 3, 1)
    assert pixels["steps"][-1]["margin"] == 0
    assert pixels["look"] == {"number": 1, "risk": 0.08, "confidence": 0.92, "counted": True}
    assert "Pixels: as they are, the model's masks keep 100% of their pixels, in 5 images" in facts["words"]
    project.run("label.certify.pixels=0.01", until="certify")
    facts = project.json("5-certify/certificate.json")
    assert facts["look"]["number"] == 1
    assert facts["pixels"]["margin"] is None
    assert "could not be shown for any margin" in facts["words"]
    assert "The audit is too small for any." in facts["words"]


@pytest.mark.slow
def test_a_promise_about_masks_is_not_given_on_boxes(project: Any, drawn: list[Sample]) -> None:
    answer(project, drawn[:2])
    truth = {hash_image(s.image): s.labels for s in tiny_real(5, seed=2)}[hash_image(drawn[2].image)]
    assert truth is not None
    boxes = replace(truth, masks=None, amodal=None, reviewed="human")
    Decisions(project.run_folder / "people").append(
        Decision(hash_image(drawn[2].image), drawn[2].id, boxes, "ann", "2026-01-01T00:00:00Z", 3.0, "voc", "answer"))
    with pytest.raises(DataError, match="there are only boxes for pool-"):
        project.run("label.certify.pixels=0.9", until="certify")


@pytest.mark.slow
def test_without_a_certificate_nothing_of_the_pool_but_people_s_labels_is_exported(
    project: Any, drawn: list[Sample]
) -> None:
    answer(project, drawn)
    asked(project, max_error=0.01)
    project.run()
    facts = project.json("5-certify/certificate.json")
    assert not facts["certified"]
    assert facts["words"].startswith("Nothing is certified, so nothing is accepted")
    job = job_of(project.load())
    states = {s.id: (s.labels.image_state, s.labels.reviewed) for s in certify.final(job)}  # type: ignore[union-attr]
    people = {s.id for s in drawn}
    assert {k: v for k, v in states.items() if k in people} == dict.fromkeys(people, ("accepted", "human"))
    assert {v for k, v in states.items() if k not in people} == {("to_review", "model")}
    images = project.json("7-export/coco/annotations.json")["images"]
    assert len(images) == 4 + len(screen.kept(job)) + 3


@pytest.mark.slow
def test_answers_outside_the_audit_join_the_seed_and_train_anew(project: Any, drawn: list[Sample]) -> None:
    inside = {s.id for s in drawn}
    other = next(s for s in pool_of(project) if s.id not in inside)
    answer(project, [*drawn, other])
    project.run()
    assert "4-train/mixed" in project.made
    seed = ingest.part(job_of(project.load()), "seed")
    assert [s.id for s in seed][-1] == other.id
    assert inside.isdisjoint(s.id for s in seed)
    assert len(seed) == 5
    state = next(s for s in certify.final(job_of(project.load())) if s.id == other.id)
    assert state.labels is not None
    assert state.labels.reviewed == "human"


@pytest.mark.slow
def test_another_seed_of_the_recipe_and_another_model_leave_the_audit_as_it_is(
    project: Any, drawn: list[Sample]
) -> None:
    before = ingest.audited(job_of(project.load()))
    assert ingest.audited(job_of(project.load("seed=99", "train.level=90"))) == before
    assert ingest.audited(job_of(project.load("label.audit.images=2"))) == before[:2]


@pytest.mark.slow
def test_simulated_answers_come_from_the_truth_kept_aside_and_say_so(project: Any, tmp_path: Path) -> None:
    from synthgen import plugins

    plugins.build("formats", "coco", {}).write(tiny_real(5, seed=2), tmp_path / "truth", ["class 0", "class 1"])
    recipe = json.loads(project.recipe.read_text())
    project.change(data={**recipe["data"], "pool_truth": {"path": "truth", "format": "coco"}},
                   label={"tta": False, "certify": {"max_error": 0.9}, "audit": {**AUDIT, "answers": "simulated"}})
    project.run()
    assert "simulated" in project.json("5-certify/certificate.json")["audit"]["answers"]


def test_doubt_grows_with_doubtful_objects_and_is_small_where_nothing_was_seen() -> None:
    def found(*scores: float) -> Labels:
        n = len(scores)
        return Labels((8, 8), classes=[0] * n, boxes=[[0, 0, 4, 4]] * n, scores=list(scores),  # type: ignore[arg-type]
                      states=tuple("accepted" if s >= 0.5 else "to_review" for s in scores))

    doubts = [doubt_of(found(*s)) for s in ((), (0.99,), (0.99, 0.99, 0.6), (0.6,), (0.3, 0.4))]
    assert doubts[0] == 0
    assert doubts[1] < doubts[2] < doubts[3]
    assert doubts[4] > doubts[1]
    assert doubt_of(Labels((8, 8), image_class=1, image_score=0.7)) == pytest.approx(0.3)


def test_a_person_who_could_not_say_counts_as_an_error() -> None:
    assert loss_of(None, "classify") == 1
    assert loss_of({"tp": 0, "fp": 0, "fn": 0}, "instances") == 0
    assert loss_of({"tp": 1, "fp": 1, "fn": 1}, "instances") == 0.5


@pytest.mark.slow
def test_the_queue_puts_the_audit_first_then_shares_and_never_what_was_answered(
    project: Any, drawn: list[Sample]
) -> None:
    project.change(label={"tta": False, "certify": {"max_error": 0.9}, "audit": {"images": 2},
                          "queue": {"minutes": 5, "seconds": 100, "shares": {"typical": 1, "random": 1}}})
    with pytest.raises(WaitingForPeople):
        project.run()
    rows = project.json("5-queue/queue.json")
    assert [r["strategy"] for r in rows[:2]] == ["audit", "audit"]
    assert sum(r["blind"] for r in rows[:2]) == 1
    assert not any(r["blind"] for r in rows[2:])
    assert len({r["id"] for r in rows}) == 5
    other = next(s for s in pool_of(project) if s.id == rows[2]["id"])
    answer(project, [other])
    with pytest.raises(WaitingForPeople):
        project.run()
    assert other.id not in {r["id"] for r in project.json("5-queue/queue.json")}


@pytest.mark.slow
@pytest.mark.parametrize(("share", "words"), [("committee", "calibration_folds"), ("expected-change", "probabilities")])
def test_a_strategy_that_cannot_be_followed_says_what_it_needs(project: Any, share: str, words: str) -> None:
    project.change(train={"use": "threshold", "calibration_folds": 0}, label={"queue": {"shares": {share: 1}}})
    with pytest.raises(DataError, match=words):
        project.run()


@pytest.mark.slow
def test_answers_to_an_audit_train_nothing_when_it_shrinks_is_switched_off_and_on_again(
    project: Any, drawn: list[Sample]
) -> None:
    answer(project, drawn)
    project.run(until="certify")
    for change in ("label.certify=null", "label.audit.images=1", "label.audit.images=3"):
        project.run(change, until="train")
        assert len(ingest.part(job_of(project.load(change)), "seed")) == 4, change


@pytest.mark.slow
def test_answers_follow_their_pixels_when_the_pool_grows(project: Any, drawn: list[Sample]) -> None:
    inside = {s.id for s in drawn}
    other = next(s for s in pool_of(project) if s.id not in inside)
    answer(project, [*drawn, other])
    project.run(until="certify")
    (first,) = tiny_real(1, seed=9)
    images = next((project.folder / "pool").rglob("*.png")).parent
    (images / "aaa.png").write_bytes(png_bytes(first.image))
    with pytest.raises(WaitingForPeople):  # another pool, another draw
        project.run(until="certify")
    job = job_of(project.load())
    pool, known = ingest.part(job, "pool"), ingest.decided(job)
    apart = ingest.set_apart(job)
    seed = ingest.part(job, "seed")
    for sample in list(seed)[4:]:
        assert known[hash_image(sample.image)].id  # its own pixels, whatever its place is now
        assert hash_image(sample.image) not in apart
    assert {hash_image(s.image) for s in drawn} <= apart
    assert len(pool) == 6
    assert {u: w for _, u, w in project.told if w is not None}.get("5-certify")


@pytest.mark.slow
def test_what_was_decided_while_a_run_worked_is_the_next_run_s(project: Any, drawn: list[Sample]) -> None:
    job = job_of(project.load())
    assert ingest.decided(job) == {}
    answer(project, drawn)
    assert ingest.decided(job) == {}
    assert len(ingest.decided(job_of(project.load()))) == 3


@pytest.mark.slow
def test_who_could_not_say_has_answered_and_what_was_rejected_does_not_go_out(
    project: Any, drawn: list[Sample]
) -> None:
    inside = {s.id for s in drawn}
    other = next(s for s in pool_of(project) if s.id not in inside)
    answer(project, drawn[:2])
    people = Decisions(project.run_folder / "people")
    for sample, action in ((drawn[2], "skip"), (other, "reject")):
        size = (sample.image.shape[0], sample.image.shape[1])
        people.append(Decision(hash_image(sample.image), sample.id, Labels(size), "ann", "2026-01-01T00:00:00Z", 1.0,
                               "review", action))  # type: ignore[arg-type]
    project.run(until="certify")
    assert project.json("5-certify/certificate.json")["audit"]["loss"] >= 1 / 3
    final = {s.id: s.labels for s in certify.final(job_of(project.load()))}
    assert final[other.id].image_state == "to_review"  # type: ignore[union-attr]
