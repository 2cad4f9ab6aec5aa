"""`synthgen run`: do what a recipe says."""

from __future__ import annotations

import time
from pathlib import Path

import click

from synthgen.cli.common import beside, columns, overrides_option, print_json, recipe_argument, say
from synthgen.errors import GateRefused, Interrupted, shown
from synthgen.types import Json


@click.command("run")
@recipe_argument
@overrides_option
@click.option(
    "--until",
    type=click.Choice(["ingest", "generate", "filter", "screen", "mix", "train", "label", "certify", "evaluate"]),
    help="Stop after this stage.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the verdict as JSON on stdout.")
def command(recipe: str, overrides: tuple[str, ...], until: str | None, as_json: bool) -> None:
    """Do what RECIPE says; go on where an earlier run ended.

    What stands on disk for the same needs is reused. Ctrl-C, a kill or a power cut lose at most the shard, or
    the steps since the last checkpoint: the same command goes on.
    """
    from synthgen.cli.progress import Watch
    from synthgen.hearing import interruptible
    from synthgen.recipe.load import load
    from synthgen.report import write_report
    from synthgen.run import job_of, plan, run, run_folder

    loaded = load(recipe, overrides)
    folder = run_folder(loaded)
    began = time.monotonic()
    steps = {step.unit: k for k, step in enumerate(plan(job_of(loaded)), 1)}

    def told(stage: str, unit: str, why: str | None) -> None:
        mark = "reuse" if why is None else "make "
        at = f"{steps[unit]:>{len(str(len(steps)))}}/{len(steps)}" if unit in steps else ""
        say(f"{at}  {mark}  {unit:<24}{'' if why is None else why}", style="dim" if why is None else None)
        del stage

    try:
        with interruptible(), Watch(folder) as watch:
            verdict = run(loaded, watch, told, until)
    except (KeyboardInterrupt, Interrupted):
        raise Interrupted(
            f"stopped; what was finished is kept in {shown(folder)}. Go on with the same command"
        ) from None
    if verdict is None:
        say(f"stopped after {until}; {shown(folder)}")
        return
    page = write_report(job_of(loaded))
    if as_json:
        print_json(verdict)
    summarise(verdict, folder, page, time.monotonic() - began)
    if verdict["verdict"] == "fail":
        raise GateRefused(
            f"the gate refused the dataset, nothing was exported; the report says why and what to do: {shown(page)}"
        )


def summarise(verdict: Json, folder: Path, page: Path, seconds: float) -> None:
    """One clear end: the verdict, the scores, and where everything is."""
    from synthgen.report.words import headline, unread
    from synthgen.stages.words import per_check
    from synthgen.store import read_json

    say("")
    say(headline(verdict), style={"pass": "bold green", "warn": "bold yellow", "fail": "bold red"}[verdict["verdict"]])
    facts = read_json(page.parent / "report.json")
    names = {"mixed": "seed + synthetic" if facts["synthetic"]["kept"] else "seed", "real": "seed alone"}
    rows = [(f"test, trained on {names[arm]}", row) for arm, row in verdict["test"].items() if row["n"]]
    if verdict["pool"]:
        rows.append(("pool labels (against truth kept aside)", verdict["pool"]))
    metrics = [m for m in ("dice", "ap50", "count_error", "accuracy") if any(m in row for _, row in rows)]
    if rows and metrics:
        table = [("", "images", *metrics)]
        for name, row in rows:
            table.append((name, str(row["n"]), *(_cell(row.get(m)) for m in metrics)))
        say(columns(table))
    for word, check, text in per_check(verdict["measurements"]):
        if word not in ("fail", "error") and check != "utility":
            text = "; ".join(text.split("; ")[:2])  # the report has the rest
        say(beside(word, f"{check}: {text}"))
    promise = folder / "5-certify" / "certificate.json"
    if facts["certificate"] is not None:
        say(f"promise  {read_json(promise)['words']}")
    if facts["loop"] is not None and len(facts["loop"]["rounds"]) > 1:
        say(f"round {facts['loop']['rounds'][-1]['round']}  {facts['loop']['words']}")
    for text in unread(facts):
        say(f"left out {text}")
    exports = sorted(p for p in (folder / "7-export").glob("*") if p.is_dir() and "." not in p.name)
    for path in exports:
        say(f"dataset  {shown(path)}")
    say(f"report   {shown(page)}")
    say(f"done in {int(seconds // 60)} min {int(seconds % 60)} s")


def _cell(score: Json) -> str:
    """A score and its interval."""
    if score is None or score["value"] is None:
        return "not measured"
    low, high = score["interval"]
    return f"{score['value']:.3f}" + ("" if low is None else f" [{low:.3f}, {high:.3f}]")
