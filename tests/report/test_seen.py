"""What the gate saw: strips, pairs, the quarantine, the severity ladder, the benchmark; see conftest for the runs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from synthgen.overlay import Stretch
from synthgen.report import write_report
from synthgen.report.ladder import ladder_charts
from synthgen.report.pictures import LONGEST
from synthgen.report.seen import PAIRS, ROW, Seen, seen, taken_out
from synthgen.report.source import OnDisk, load_run
from synthgen.store import Stored, write_all, write_json
from synthgen.types import Json

Fabricate = Callable[..., Path]
Measured = Callable[..., Json]
HOSTILE = "<script>alert('1')</script>\n\"|`{{ 7 * 7 }}"
RUNGS: list[Json] = [["a blur of 0.4 px", 0.52], ["JPEG at quality 75", 0.7], ["hard paste", 0.94]]


def judged(folder: Path, *measurements: Json, verdict: str = "warn") -> OnDisk:
    """The run with these measurements in its verdict."""
    path = folder / "6-evaluate" / "verdict.json"
    write_json(path, {**json.loads(path.read_text()), "measurements": list(measurements), "verdict": verdict})
    return OnDisk(load_run(folder))


def shown(run: OnDisk) -> dict[str, Seen]:
    return {one.check: one for one in seen(run, Stretch())}


def titles(one: Seen) -> dict[str, list[str]]:
    return {group.title: [figure.title for figure in group.figures] for group in one.groups}


def realism(measured: Measured, **more: Any) -> Json:
    return measured("realism", "spectrum: synthetic against pool", "warn", "told", value=0.9, interval=[0.7, 1.0],
                    unit="AUC", **more)


def test_realism_shows_the_most_and_the_least_telling_beside_real_images_at_random(
        fabricate: Fabricate, measured: Measured) -> None:
    run = judged(fabricate(), realism(measured, worst=["paste-000001", "paste-000003"], best=["paste-000000"]))
    found = titles(shown(run)["realism"])
    assert list(found) == ["Real, 5 of the pool, all there are",
                           "Synthetic, most easily told from real ones, by spectrum features",
                           "Synthetic, most easily taken for real ones, by spectrum features"]
    real, worst, best = found.values()
    assert sorted(real) == [f"pool-{k}.png" for k in range(5)]
    assert (worst, best) == (["paste-000001", "paste-000003"], ["paste-000000"])


def test_which_real_images_are_shown_does_not_depend_on_the_order_of_files(
        fabricate: Fabricate, measured: Measured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("synthgen.report.seen.ROW", 2)
    folder = fabricate()
    m = realism(measured, worst=["paste-000001"])
    before = shown(judged(folder, m))
    (title, _), *_ = titles(before["realism"]).items()
    assert title == "Real, of the pool, drawn at random"
    pool = list(Stored(folder / "0-ingest/pool"))
    write_all(folder / "0-ingest/pool", pool[::-1], 4)
    assert shown(judged(folder, m)) == before
    assert [s.id for s in Stored(folder / "0-ingest/pool")] != [s.id for s in pool]


def test_a_copy_stands_beside_the_real_image_that_it_is_nearest_to(fabricate: Fabricate, measured: Measured) -> None:
    flag = {"id": "paste-000002", "reason": "near copy", "score": 0.123, "nearest": "seed-000001"}
    run = judged(fabricate(), measured("copying", "near copies", "fail", "copied", worst=["paste-000002"],
                                       flagged=[flag], hard=True))
    one = shown(run)["copying"]
    (figure,) = one.groups[0].figures
    assert (one.layout, one.verdict) == ("pairs", "fail")
    assert [p.alt for p in figure.pictures] == ["synthetic image paste-000002",
                                                "the real image seed-1.png, nearest to it"]
    assert figure.notes == ("nearest: seed-1.png, score 0.12",)


@pytest.mark.parametrize("check", ["mask_shift", "agreement"])
def test_labels_that_are_in_doubt_stand_over_their_image_and_beside_it(
        fabricate: Fabricate, measured: Measured, check: str) -> None:
    run = judged(fabricate(), measured(check, "in doubt", "fail", "", worst=["paste-000000"]))
    (figure,) = shown(run)[check].groups[0].figures
    plain, drawn = figure.pictures
    assert drawn.alt == "paste-000000 with its labels outlined"
    assert plain.src != drawn.src


def test_real_images_without_a_synthetic_neighbour_are_those_of_the_pool(
        fabricate: Fabricate, measured: Measured) -> None:
    run = judged(fabricate(), measured("diversity", "spectrum: coverage", "warn", "",
                                       worst=["pool-000003", "seed-000000"]))
    assert titles(shown(run)["diversity"]) == {"spectrum: coverage": ["pool-3.png", "seed-0.png"]}


def test_a_check_that_nobody_foresaw_shows_its_worst_with_their_labels(
        fabricate: Fabricate, measured: Measured) -> None:
    run = judged(fabricate(), measured("mine", "odd", "warn", "", worst=["paste-000005"]))
    (figure,) = shown(run)["mine"].groups[0].figures
    assert figure.pictures[0].alt == "paste-000005 with its labels outlined"


@pytest.mark.parametrize("worst", [["test-000000"], ["nobody-000000"], []])
def test_neither_the_locked_test_nor_what_is_not_there_is_shown(
        fabricate: Fabricate, measured: Measured, worst: list[str]) -> None:
    assert shown(judged(fabricate(), measured("mine", "odd", "fail", "", worst=worst))) == {}
    assert shown(judged(fabricate(name="b"), realism(measured, worst=worst))) == {}


def test_numbers_for_readers_and_verdicts_of_before_have_no_strip(fabricate: Fabricate, measured: Measured) -> None:
    old = measured("mine", "odd", "warn", "")
    assert not {"best", "ladder", "flagged"} & old.keys()
    assert shown(judged(fabricate(), old, measured("realism", "FID", "info", "", worst=["paste-000000"]))) == {}


def test_strips_and_pairs_stay_short_and_pictures_shrink_with_the_page(
        fabricate: Fabricate, measured: Measured) -> None:
    ids = [f"paste-00000{k}" for k in range(6)] * 3
    flags = [{"id": i, "reason": "r", "score": 0.1, "nearest": "seed-000000"} for i in ids]
    run = judged(fabricate(), measured("mine", "odd", "warn", "", worst=ids),
                 measured("copying", "c", "fail", "", flagged=flags))
    found = shown(run)
    assert len(found["mine"].groups[0].figures) == ROW
    assert len(found["copying"].groups[0].figures) == PAIRS
    small = {one.check: one for one in seen(run, Stretch(), LONGEST // 3)}
    for check, one in found.items():
        big, little = one.groups[0].figures[0].pictures[0], small[check].groups[0].figures[0].pictures[0]
        assert little.width < big.width <= LONGEST


def test_whole_image_classes_stand_under_their_pictures(fabricate: Fabricate, measured: Measured) -> None:
    run = judged(fabricate(task="classify", classes=("boot", "bag")),
                 measured("mine", "odd", "warn", "", worst=["paste-000001"]))
    (figure,) = shown(run)["mine"].groups[0].figures
    assert figure.notes == ("bag",)


def test_the_quarantine_is_counted_by_reason_and_shown_beside_the_nearest(fabricate: Fabricate) -> None:
    folder = fabricate()
    rows: list[Json] = [{"id": f"paste-00000{k}", "check": "copying", "reason": "a copy", "score": 0.1,
                         "nearest": "seed-000000"} for k in (0, 2)]
    rows += [{"id": "paste-000001", "check": "integrity", "reason": "no mask", "score": 1.0, "nearest": ""},
             {"id": "gone-000001", "check": "integrity", "reason": "no image", "score": 1.0, "nearest": ""}]
    path = folder / "2-screen/quarantine/quarantine.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    found = taken_out(OnDisk(load_run(folder)), Stretch())
    assert found is not None
    assert (found.count, found.unseen) == (4, 1)
    assert found.reasons == ((2, "copying", "a copy"), (1, "integrity", "no mask"), (1, "integrity", "no image"))
    assert [(g.title, len(g.figures)) for g in found.groups] == [("copying: a copy", 2), ("integrity: no mask", 1)]
    assert [len(g.figures[0].pictures) for g in found.groups] == [2, 2]
    # What was taken out is not among what is kept, but its pictures are found.
    assert sum(len(part) for part in OnDisk(load_run(folder)).kept().values()) == 2


def test_nothing_in_quarantine_is_told_from_nothing_screened(fabricate: Fabricate) -> None:
    found = taken_out(OnDisk(load_run(fabricate())), Stretch())
    assert found is not None
    assert found.count == 0
    assert taken_out(OnDisk(load_run(fabricate(name="b", synthetic=False))), Stretch()) is None


def test_the_ladder_names_every_step_and_the_value_beside_them(measured: Measured) -> None:
    m = realism(measured, ladder=RUNGS)
    nothing = realism(measured), {**m, "value": None}
    (chart,) = ladder_charts([m, *nothing])
    assert all(step in chart.svg for step, _ in RUNGS)
    assert "AUC 0.90" in chart.note
    assert ladder_charts([m]) == (chart,)
    assert chart.svg != ladder_charts([{**m, "value": 0.6}])[0].svg


def found_benchmark() -> dict[str, Any]:
    """What `benchmark.json` holds, of two arms."""
    # Both arms with one share of real images: they are told apart by name alone.
    rows = [{"size": None, "labelled": 4, "arm": arm, "words": arm, "real_share": 0.5,
             "images": {"real": 4, "other": 0}, "scores": {"ap50": {"value": v, "interval": [v - 0.1, v + 0.1]}}}
            for arm, v in (("real", 0.5), ("mixed", 0.6))]
    compared = {"size": None, "labelled": 4, "arm": "mixed", "against": "real", "metric": "ap50", "level": 0.95,
                "primary": True, "value": 0.1, "interval": [0.02, 0.18], "verdict": "HELPS", "too_few": [],
                "settle": None}
    return {"recipe": HOSTILE, "task": "instances", "metric": "ap50", "margin": 0.02, "seeds": [0, 1, 2],
            "about": {}, "test_images": 12, "steps": 5, "labelled": [4], "left_out": {}, "arms": rows,
            "comparisons": [compared], "equivalents": []}


@pytest.mark.slow
def test_a_page_with_everything_is_escaped_offline_and_in_order(fabricate: Fabricate, measured: Measured) -> None:
    folder = fabricate()
    flag = {"id": "paste-000002", "reason": HOSTILE, "score": 0.1, "nearest": "seed-000001"}
    run = judged(
        folder,
        realism(measured, worst=["paste-000001"], ladder=[[HOSTILE, 0.6], *RUNGS]),
        measured(HOSTILE, HOSTILE, "fail", HOSTILE, value=0.4, unit=HOSTILE, remedy=HOSTILE, worst=["paste-000000"]),
        measured("copying", "near copies", "waived", f"copied ({HOSTILE})", flagged=[flag], hard=True),
        measured("realism", "FID", "info", "reported"), measured("drift", "size", "skipped", HOSTILE))
    (folder / "2-screen/quarantine/quarantine.jsonl").write_text(json.dumps({**flag, "check": HOSTILE}) + "\n")
    write_json(folder / "benchmark/benchmark.json", found_benchmark())
    (folder / "benchmark/index.html").write_text("")
    text = write_report(run.job).read_text("utf-8")
    assert "<script" not in text
    assert "49" not in re.sub(r"base64,[^\"]*|<svg.*?</svg>|[0-9a-f]{40,}", "", text, flags=re.DOTALL)
    addresses = re.findall(r'(?:src|href)="([^"]*)"', text)
    assert [a for a in addresses if not a.startswith(("data:image/", "#"))] == ["../benchmark/index.html"]
    sections = re.findall(r'<section id="([\w-]+)"', text)
    assert [s for s in sections if s in ("scores", "benchmark", "gate", "seen", "left-out")] == [
        "scores", "benchmark", "gate", "seen", "left-out"]
    assert "On these data synthetic images helped (AP50 +0.100 [+0.020, +0.180])" in text
    assert '<span class="chip warn">warn</span> <small class="missed">bound missed</small>' in text
    assert '<span class="chip waived">waived</span>' in text
    assert "For readers of papers: 1 number that decides nothing" in text
    twin = json.loads((folder / "report/report.json").read_text())
    assert twin["benchmark"]["seeds"] == 3
    assert twin["left_out"]["taken_out"]["count"] == 1
    summary = (folder / "report/summary.md").read_text()
    assert "<script" not in summary
    assert "warn, bound missed" in summary
    assert "**Benchmark**: On these data synthetic images helped" in summary


def test_a_run_refused_after_generation_shows_what_the_gate_saw_there(fabricate: Fabricate, measured: Measured) -> None:
    folder = fabricate(until="2-screen/verdict")
    m = measured("mine", "odd", "fail", "it is odd", worst=["paste-000003"], hard=True)
    write_json(folder / "2-screen/verdict/verdict.json", {"verdict": "fail", "measurements": [m]})
    text = write_report(load_run(folder)).read_text("utf-8")
    assert "it refused after generation, before any training" in text
    assert "paste-000003 with its labels outlined" in text
    assert 'id="benchmark"' not in text


def test_a_benchmark_of_other_data_is_not_told_as_if_it_were_of_this_run(
        fabricate: Fabricate, measured: Measured) -> None:
    folder = fabricate()
    run = judged(folder, measured("drift", "size", "pass", "as real ones"))
    unit, key = next(iter(run.lock["units"].items())) if run.lock else ("0-ingest/seed", "none")
    write_json(folder / "benchmark/benchmark.json", {**found_benchmark(), "about": {unit: f"not {key}"}})
    assert run.benchmark() is None
    assert "On these data synthetic images" not in write_report(run.job).read_text("utf-8")
