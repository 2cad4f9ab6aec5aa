"""`synthgen status`: how far a run is."""

from __future__ import annotations

import os
import re
import socket
import time
from pathlib import Path
from typing import Any

import click

from synthgen.cli.common import columns, json_option, overrides_option, print_json, run_argument, say
from synthgen.types import Json


@click.command("status")
@run_argument
@overrides_option
@json_option
def command(run: str, overrides: tuple[str, ...], as_json: bool) -> None:
    """Say how far a run is, also while it works. Reads only.

    RECIPE|RUN_FOLDER: the recipe that is run, or the folder that the run makes.
    """
    from synthgen.cli.common import run_folder_of

    folder = run_folder_of(run, overrides)
    found = status_of(folder)
    if as_json:
        print_json(found)
        return
    if not found["begun"]:
        say(f"nothing stands in {folder} yet; begin with: synthgen run {run}")
        return
    rows = [(u["state"], u["unit"], u["about"]) for u in found["units"]]
    click.echo(columns(rows))
    for task in found["progress"]:
        share = f", {100 * task['done'] / task['total']:.0f} %" if task["total"] else ""
        say(f"now      {task['what']}: {task['done']:g}" + (f" of {task['total']:g}" if task["total"] else "") + share)
    say(f"process  {found['process']['text']}")
    if found["last_event"]:
        say(f"last     {found['last_event']['text']}")
    if found["verdict"]:
        say(f"verdict  {found['verdict']}; synthgen report {run}")
    for text in found["why"]:
        say(f"why      {text}")
    done = sum(u["state"] == "done" for u in found["units"])
    say(f"{done} of {len(found['units'])} done in {folder}")


def status_of(folder: Path) -> dict[str, Json]:
    """What stands in a run folder, as plain JSON."""
    from synthgen.errors import RecipeError
    from synthgen.hearing import told
    from synthgen.report.source import OnDisk, load_run

    if not (folder / "recipe.resolved.json").exists():
        return {
            "folder": str(folder),
            "begun": False,
            "units": [],
            "progress": [],
            "process": _process(folder),
            "last_event": None,
            "verdict": None,
            "why": [],
        }
    try:
        run = OnDisk(load_run(folder))
    except RecipeError:                          # being written this very moment, or of another version
        time.sleep(0.2)
        run = OnDisk(load_run(folder))
    units = [{"unit": name, "state": run.state(name), **_shards(folder, name, run)} for name in run.units]
    verdict = run.verdict()
    process = _process(folder)
    return {
        "folder": str(folder),
        "begun": True,
        "units": units,
        "progress": [{"what": what, "done": done, "total": total} for what, done, total in told(folder)],
        "process": process,
        "last_event": _last(run),
        "verdict": verdict and verdict["verdict"],
        "why": [] if process["held"] else _why(run, verdict),
    }


def _why(run: Any, verdict: Json) -> list[str]:
    """Why a run was refused, or ended without a verdict, in sentences; empty where nothing is wrong."""
    from synthgen.report.words import reasons, sentence

    if verdict is not None and verdict["verdict"] == "fail":
        return [sentence(f"{x['check']}: {x['text']}") for x in reasons(verdict)]
    begun = [name for name in run.units if run.state(name) == "partial"]
    last = (run.job.events.read() or [{"what": ""}])[-1]
    if last["what"] == "ended early":
        return [sentence(last["why"])]
    if last["what"] == "end" or not begun:
        return []
    part = run.folder / f"{begun[0]}.part"
    return [_stopped(run, begun[0], part)]


def _stopped(run: Any, unit: str, part: Path) -> str:
    """What a unit in the making tells of why it was not finished: what was wrong with the data stands in its folder."""
    from synthgen.store import read_json

    name = unit.split("/")[-1]
    summary, guard, data = part / "summary.json", part / "guard.json", run.recipe.data
    if unit.startswith("0-ingest/") and summary.exists():
        counts = read_json(summary)
        lost, total = counts["quarantined"], counts["quarantined"] + counts["samples"]
        if lost > data.max_bad_fraction * total:
            return (f"{unit}: {lost} of {total} images of data.{name} cannot be used, more than data.max_bad_fraction "
                    f"{data.max_bad_fraction:g} allows; each is named in {unit}.part/quarantine.jsonl.")
    if guard.exists() and (leaks := read_json(guard)["leaks"]) and data.leaks == "refuse":
        return (f"{unit}: {len(leaks)} images of the locked test stand in seed or pool too; they are named in "
                f"{unit}.part/guard.json. Take them out of one of the two, or say data.leaks: warn.")
    return f"{unit} was begun and not finished: its process was killed, or the machine; the same command goes on."


def _shards(folder: Path, unit: str, run: Any) -> dict[str, Json]:
    """How many shards of a unit are committed, of how many; empty for units that have none."""
    from synthgen.store import committed, read_json

    place = folder / (unit if (folder / unit).exists() and run.state(unit) != "partial" else f"{unit}.part")
    inside = place / "shards" if (place / "shards").exists() else place
    done = len(committed(inside)) if inside.is_dir() else 0
    wanted = None
    size = run.recipe.shard_size
    for g in run.recipe.generate:
        if unit == f"1-generate/{g.name}":
            wanted = -(-g.count // size)
    if unit in ("5-votes", "5-label") and run.state("0-ingest/pool") == "done":
        pool = sum(read_json(p)["count"] for p in sorted((folder / "0-ingest" / "pool").glob("[0-9]*.json")))
        wanted = -(-pool // size)
    noun = "shard" if (done if wanted is None else wanted) == 1 else "shards"
    about = "" if not done and wanted is None else f"{done} {noun}" if wanted is None else f"{done} of {wanted} {noun}"
    return {
        "shards": done,
        "shards_wanted": wanted,
        "about": about,
    }


def _process(folder: Path) -> dict[str, Json]:
    """Who holds the run folder. A killed process leaves its name behind; on this machine that can be told."""
    try:
        owner = (folder / ".lock.owner").read_text().strip()
    except OSError:
        return {"held": False, "owner": None, "text": "none works here"}
    known = re.fullmatch(r"process (\d+) on (.+)", owner)
    if known and known[2] == socket.gethostname() and not _alive(int(known[1])):
        return {"held": False, "owner": owner, "text": f"none works here; {owner} was killed. The same command goes on"}
    return {"held": True, "owner": owner, "text": f"{owner} works here"}


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass                                     # there, and somebody else's
    return True


def _last(run: Any) -> Json:
    events = run.job.events.read()
    if not events:
        return None
    event = dict(events[-1])
    ago = max(0.0, time.time() - event["time"])
    facts = ", ".join(f"{v}" for k, v in event.items() if k not in ("time", "what") and v is not None)
    return {
        **event,
        "seconds_ago": round(ago),
        "text": f"{event['what']}{' ' + facts if facts else ''}, {_span(ago)} ago",
    }


def _span(seconds: float) -> str:
    for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= 2 * size:
            return f"{int(seconds // size)} {unit}s"
    return f"{int(seconds)} seconds"
