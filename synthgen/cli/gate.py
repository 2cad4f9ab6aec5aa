"""`synthgen gate`: what a finished run's gate said, for scripts and build servers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from synthgen.cli.common import beside, json_option, made_by, overrides_option, print_json, run_argument, say
from synthgen.types import Json

if TYPE_CHECKING:
    from synthgen.stages import Job


@click.command("gate")
@run_argument
@overrides_option
@click.option("--junit", type=click.Path(path_type=Path), metavar="FILE",
              help="Write the measurements as JUnit XML too.")
@click.option("--markdown", type=click.Path(path_type=Path), metavar="FILE",
              help="Write the verdict and the measurements as Markdown too, for a pull request.")
@json_option
def command(run: str, overrides: tuple[str, ...], junit: Path | None, markdown: Path | None, as_json: bool) -> None:
    """Say what the gate of a finished run decided: exit 0 when it passed, warnings allowed, 4 when it refused.

    RECIPE|RUN_FOLDER: the recipe that was run, or the folder that the run made. Nothing is run. Of a recipe, what
    it now says must be what was judged; a folder says what was judged when it was made.
    """
    job, verdict = finished(run, overrides)
    conclude(job.recipe.name, verdict, junit, markdown, as_json)


def finished(run: str, overrides: Sequence[str]) -> tuple[Job, Json]:
    """A recipe's run, or the one in a folder, and its verdict.

    Raises: DataError when what the recipe says now was not judged; UsageError as `made_by`.
    """
    from synthgen.errors import DataError
    from synthgen.recipe.load import load
    from synthgen.report.source import OnDisk, load_run
    from synthgen.run import job_of

    folder = made_by(run, overrides)
    if folder is None:
        job = job_of(load(run, overrides))
        return job, judged(job, run)
    job = load_run(folder)
    verdict = OnDisk(job).verdict()
    if verdict is None:
        raise DataError(f"{run}: the run is not finished; give its recipe to synthgen run")
    return job, verdict


def judged(job: Job, recipe: str) -> Json:
    """The verdict on what a recipe says now: before release, or after generation, where it was refused there. recipe:
    as it was typed.

    Raises: DataError when that has not been done.
    """
    from synthgen.errors import DataError, shown
    from synthgen.run import plan
    from synthgen.stages import evaluate, screen

    undone = [step for step in plan(job) if step.why is not None and not step.stage.startswith("7")]
    if not undone:
        return evaluate.verdict(job)
    if undone[0].stage > "2-screen":  # the screen stands: a refusal there ends the line
        early = screen.verdict(job)
        if early is not None and early["verdict"] == "fail":
            return {**early, "test": {}, "pool": None}
    step, folder = undone[0], shown(job.work.folder)
    if step.why == "new":
        raise DataError(f"{folder}: the run is not finished ({step.unit} is not there); first: synthgen run {recipe}")
    raise DataError(f"{folder}: what {recipe} says now was not run ({step.unit}: {step.why}). Give the -S that it was "
                    f"run with, or the folder {folder} in place of the recipe, or first: synthgen run {recipe}")


def conclude(name: str, verdict: Json, junit_file: Path | None, markdown_file: Path | None, as_json: bool) -> None:
    """Print a verdict with its measurements, write what was asked for, and refuse with exit 4.

    Raises: GateRefused for the verdict `fail`.
    """
    from synthgen.errors import GateRefused
    from synthgen.report.junit import junit
    from synthgen.report.markdown import gate_table
    from synthgen.report.words import headline, once
    from synthgen.stages.words import refuses, weight_of

    if junit_file is not None:
        junit_file.write_text(junit(name, verdict["measurements"], verdict["verdict"]), encoding="utf-8")
    if markdown_file is not None:
        markdown_file.write_text(gate_table(name, verdict), encoding="utf-8")
    if as_json:
        print_json(verdict)
    colour = {"pass": "bold green", "warn": "bold yellow", "fail": "bold red"}[verdict["verdict"]]
    say(f"{name}: {headline(verdict)}", style=colour)
    total = Counter(m["check"] for m in verdict["measurements"])
    for check, n in Counter(m["check"] for m in verdict["measurements"] if m["verdict"] == "pass").items():
        say(f"  pass         {check}: {n} of {total[check]} measurements")
    for m in sorted(verdict["measurements"], key=lambda m: (not refuses(m), weight_of(m), not m["hard"])):
        if m["verdict"] != "pass":
            word = "missed" if m["verdict"] == "fail" and not m["hard"] else m["verdict"]  # as a warning alone
            say(beside(word, f"{m['check']}: {once(m)}"))
            if m["remedy"]:
                say(beside("", m["remedy"]), style="dim")
    if junit_file is not None:
        say(f"junit    {junit_file}")
    if markdown_file is not None:
        say(f"markdown {markdown_file}")
    if verdict["verdict"] == "fail":
        raise GateRefused("the gate refused the dataset; what stands above says why and what to do")
