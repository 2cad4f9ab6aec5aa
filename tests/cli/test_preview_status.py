"""preview, status, report: what is looked at without training anything."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from synthgen.cli import common, main
from synthgen.cli.gate import command as gate_command
from synthgen.cli.preview import command as preview_command
from synthgen.cli.report import command as report_command
from synthgen.cli.status import command as status_command
from synthgen.images import from_png, hash_image
from synthgen.preview import preview
from synthgen.recipe.load import load
from synthgen.run import job_of, run
from synthgen.stages import generate
from synthgen.testing import tiny_recipe

pytestmark = pytest.mark.slow

SMALL = ["generate.shape.count=3", "generate.warp.count=2", "generate.keep.enabled=false", "shard_size=2",
         "run.workers=1", "run.device=cpu"]
OVERRIDES = [word for o in SMALL for word in ("-S", o)]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    common.set_verbosity(0)


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was stopped after generate."""
    out = tmp_path_factory.mktemp("out")
    run(load("nuclei-compose", [*SMALL, f"run.out={out}"]), lambda what, done, total: None, until="generate")
    return out / "nuclei-compose"


def call(command: object, *words: str) -> Result:
    result = CliRunner().invoke(command, list(words), catch_exceptions=False)      # type: ignore[arg-type]
    assert result.exit_code == 0
    return result


def test_preview_draws_a_sheet_prints_its_path_and_keeps_nothing_else(tmp_path: Path) -> None:
    result = call(preview_command, "nuclei-compose", *OVERRIDES, "-n", "4", "-o", "sheet.png")
    assert result.stdout == "sheet.png\n"
    assert "ms each" in result.stderr
    assert from_png(Path("sheet.png").read_bytes()).shape[1] > 400
    assert os.listdir(tmp_path) == ["sheet.png"]


def test_preview_makes_the_samples_that_a_run_makes(begun: Path) -> None:

    loaded = load("nuclei-compose", [*SMALL, f"run.out={begun.parent}"])
    stored = {s.id: s for s in generate.made(job_of(loaded))}
    shown = [s for m in preview(loaded, 4, lambda what, done, total: None) for s in m.samples]
    assert len(shown) == 4
    for sample in shown:
        assert hash_image(sample.image) == hash_image(stored[sample.id].image)
        assert sample.labels is not None
        assert sample.labels.masks == stored[sample.id].labels.masks          # type: ignore[union-attr]


def test_preview_says_as_json_what_it_made() -> None:
    told = json.loads(call(preview_command, "nuclei-compose", *OVERRIDES, "-n", "3", "--boxes", "--json").stdout)
    assert told["sheet"] == "preview.png"
    assert [g["name"] for g in told["generators"]] == ["shape", "warp"]
    assert sum(len(g["samples"]) for g in told["generators"]) == 3


def test_preview_of_a_recipe_without_generators_shows_the_seed() -> None:
    off = ["-S", "generate.shape.enabled=false", "-S", "generate.warp.enabled=false", *OVERRIDES]
    result = call(preview_command, "nuclei-compose", *off)
    assert "no generators; the sheet shows the seed" in result.stderr
    assert Path("preview.png").exists()


def test_preview_into_a_folder_that_cannot_be_written_is_an_error_of_the_machine(
        capsys: pytest.CaptureFixture[str]) -> None:
    Path("file").write_text("")
    assert main(["preview", "nuclei-compose", *OVERRIDES, "-n", "1", "-o", "file/sheet.png"]) == 7
    assert "cannot be written" in capsys.readouterr().err


def test_status_says_what_is_done_and_what_is_missing(begun: Path) -> None:
    result = call(status_command, str(begun))
    rows = {line.split()[1]: line.split()[0] for line in result.stdout.splitlines()}
    assert rows["1-generate/shape"] == "done"
    assert rows["4-train/mixed"] == "missing"
    assert "2 of 2 shards" in result.stdout
    assert "process  none works here" in result.stderr


def test_status_reads_only(begun: Path) -> None:
    def state() -> dict[Path, int]:
        return {p: p.stat().st_mtime_ns for p in begun.rglob("*")}

    before = state()
    call(status_command, str(begun), "--json")
    call(status_command, "nuclei-compose", "-S", f"run.out={begun.parent}")
    assert state() == before


@pytest.mark.parametrize("command", [status_command, report_command, gate_command])
def test_keys_set_for_the_folder_of_a_run_are_refused_and_not_lost(begun: Path, command: click.Command) -> None:
    result = CliRunner().invoke(command, [str(begun), "-S", "no.such.key=1"])
    assert result.exit_code == 2
    assert "-S sets keys of a recipe, and " in result.stderr


def test_status_tells_a_process_that_works_from_one_that_was_killed(begun: Path) -> None:
    owner, host = begun / ".lock.owner", socket.gethostname()
    try:
        for text, held in ((f"process {os.getpid()} on {host}", True), (f"process 999999999 on {host}", False),
                           ("process 1 on elsewhere", True)):
            owner.write_text(text + "\n")
            assert json.loads(call(status_command, str(begun), "--json").stdout)["process"]["held"] is held
    finally:
        owner.unlink()


def test_status_shows_trainings_half_way_and_shards_half_done(begun: Path, tmp_path: Path) -> None:
    import shutil

    folder = tmp_path / "nuclei-compose"
    shutil.copytree(begun, folder)
    (folder / "1-generate" / "shape").rename(folder / "1-generate" / "shape.part")
    (folder / "1-generate" / "shape.part" / "shards" / "00001.json").unlink()
    (folder / ".progress").mkdir()
    (folder / ".progress" / "train_mixed").write_text("150 300")
    (folder / ".progress" / ".train_mixed").write_text("half")
    told = json.loads(call(status_command, str(folder), "--json").stdout)
    assert told["progress"] == [{"what": "train mixed", "done": 150.0, "total": 300.0}]
    unit = next(u for u in told["units"] if u["unit"] == "1-generate/shape")
    assert (unit["state"], unit["shards"], unit["shards_wanted"]) == ("partial", 1, 2)
    assert "train mixed: 150 of 300, 50 %" in call(status_command, str(folder)).stderr


def test_status_of_a_run_that_was_never_begun_says_how_to_begin() -> None:
    result = call(status_command, "nuclei-compose")
    assert "synthgen run nuclei-compose" in result.stderr
    assert not Path("runs").exists()


def test_report_writes_the_page_and_prints_its_path_or_its_twins(begun: Path) -> None:
    page = call(report_command, str(begun)).stdout
    assert page == f"{begun / 'report' / 'index.html'}\n"
    assert Path(page.strip()).stat().st_size > 10_000
    where = f"run.out={begun.parent}"
    told = json.loads(call(report_command, "nuclei-compose", "-S", where, "--format", "json").stdout)
    assert told == json.loads((begun / "report" / "report.json").read_text())
    assert call(report_command, str(begun), "--format", "md").stdout == (begun / "report" / "summary.md").read_text()


def test_report_of_what_is_no_run_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "nuclei-compose"]) == 3
    assert "is no run folder" in capsys.readouterr().err


def copied(begun: Path, tmp_path: Path) -> Path:
    """A run folder that a test may change."""
    import shutil

    shutil.copytree(begun, tmp_path / "nuclei-compose")
    return tmp_path / "nuclei-compose"


def whys(folder: Path) -> list[str]:
    told: list[str] = json.loads(call(status_command, str(folder), "--json").stdout)["why"]
    return told


def add_event(folder: Path, what: str) -> None:
    with (folder / "events.jsonl").open("a") as file:
        file.write(json.dumps({"time": 2.0, "what": what}) + "\n")


def test_status_says_what_ended_a_run_early(begun: Path, tmp_path: Path) -> None:
    folder = copied(begun, tmp_path)
    (folder / "0-ingest/pool").rename(folder / "0-ingest/pool.part")
    with (folder / "events.jsonl").open("a") as file:
        file.write(json.dumps({"time": 2.0, "what": "ended early", "why": "4 of the 9 audit images wait"}) + "\n")
    assert whys(folder) == ["4 of the 9 audit images wait."]
    add_event(folder, "stage")  # it goes on
    assert "begun and not finished" in whys(folder)[0]


def test_status_of_a_run_that_stopped_where_it_was_told_to_names_no_reason(begun: Path) -> None:
    assert whys(begun) == []


def test_status_says_why_the_data_stopped_a_run(begun: Path, tmp_path: Path) -> None:
    folder = copied(begun, tmp_path)
    (folder / "0-ingest/pool").rename(folder / "0-ingest/pool.part")
    add_event(folder, "make")
    assert whys(folder) == ["0-ingest/pool was begun and not finished: its process was killed, or the machine; the "
                            "same command goes on."]
    (folder / "0-ingest/pool.part/summary.json").write_text('{"samples": 7, "quarantined": 3, "repaired": 0}')
    (why,) = whys(folder)
    assert "3 of 10 images of data.pool cannot be used, more than data.max_bad_fraction" in why
    assert f"why      {why}" in call(status_command, str(folder)).stderr.replace("\n", "")
    (folder / ".lock.owner").write_text("process 1 on elsewhere\n")
    assert whys(folder) == [], "somebody works on it"


def test_status_says_that_test_images_stand_elsewhere(begun: Path, tmp_path: Path) -> None:
    folder = copied(begun, tmp_path)
    (folder / "0-ingest/guard").rename(folder / "0-ingest/guard.part")
    (folder / "0-ingest/guard.part/guard.json").write_text('{"test": {}, "leaks": [{"test": "a"}, {"test": "b"}]}')
    add_event(folder, "make")
    assert "2 images of the locked test stand in seed or pool too" in whys(folder)[0]


def test_status_of_a_refused_run_says_the_first_reasons(begun: Path, tmp_path: Path) -> None:
    folder = copied(begun, tmp_path)
    lock = json.loads((folder / "recipe.lock.json").read_text())
    bad = {"check": "integrity", "name": "overlap", "verdict": "fail", "value": 1.0, "hard": True,
           "why": "3 of 5 samples: two masks claim one pixel"}
    (folder / "6-evaluate").mkdir()
    (folder / "6-evaluate/verdict.json").write_text(json.dumps({"verdict": "fail", "measurements": [bad]}))
    (folder / "6-evaluate/done.json").write_text(json.dumps({"key": lock["units"]["6-evaluate"], "needs": {}}))
    assert whys(folder) == ["Integrity: 3 of 5 samples: two masks claim one pixel."]


@pytest.mark.slow
def test_preview_of_a_generator_that_learns_draws_with_what_the_run_learned(tmp_path: Path) -> None:
    recipe = str(tiny_recipe(tmp_path))
    flow = "{name: flow, use: diffusion, count: 4, steps: 2, batch: 2, px: 32, widths: [8, 8], sampling_steps: 2}"
    learns = ["-S", f"generate=[{flow}]"]
    assert main(["preview", recipe, *learns, "-o", str(tmp_path / "sheet.png")]) == 3
    assert not (tmp_path / "sheet.png").exists()
    assert main(["run", recipe, *learns, "--until", "generate"]) == 0
    told = json.loads(call(preview_command, recipe, *learns, "-n", "3", "--json").stdout)["generators"]
    assert [(g["trained"], len(g["agreement"])) for g in told] == [(True, 3)]
    stored = {s.id: s for s in generate.made(job_of(load(recipe, learns[1::2])))}
    shown = preview(load(recipe, learns[1::2]), 3, lambda what, done, total: None)[0].samples
    assert [hash_image(s.image) for s in shown] == [hash_image(stored[s.id].image) for s in shown]
