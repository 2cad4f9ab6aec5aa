"""`synthgen review`: send labels to people, and take back what they decided."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from synthgen.cli.common import json_option, overrides_option, print_json, run_argument, run_folder_of, say

if TYPE_CHECKING:
    from synthgen.people.package import Sent
    from synthgen.people.take import Taken
    from synthgen.stages import Job
    from synthgen.store import Stored
    from synthgen.types import Json


@click.command("review")
@run_argument
@overrides_option
@click.option("--to", "target", type=click.Choice(["cvat", "labelstudio", "voc", "yolo", "coco"]),
              help="Write a package for an annotation tool.")
@click.option("--out", "-o", type=click.Path(path_type=Path), help="With --to: new folder for the package.")
@click.option("--images", "-n", type=click.IntRange(min=1), metavar="N",
              help="How many images, on the page or with --to. Without: the queue, or all with labels to review.")
@click.option("--minutes", "-m", type=click.FloatRange(min=0, min_open=True), metavar="M",
              help="With --to: as many images as fit in so many minutes. With --take: the minutes that people spent, "
              "where the tool does not measure.")
@click.option("--take", "back", type=click.Path(path_type=Path), metavar="PATH",
              help="Take back what an annotation tool gave: a folder, a .zip or the file of labels.")
@click.option("--format", "form", type=click.Choice(["cvat", "labelstudio", "voc", "yolo", "coco"]),
              help="With --take: how it is written. [default: it is looked at]")
@click.option("--by", metavar="NAME",
              help="Who decides on the page; with --take: who did it, where the tool does not say. [default: you]")
@click.option("--browser/--no-browser", default=True, show_default=True,
              help="Without --to and --take: open the page in a browser.")
@click.option("--all", "everything", is_flag=True,
              help="With --take: somebody looked at every image, also at those without a change.")
@json_option
def command(
    run: str, overrides: tuple[str, ...], target: str | None, out: Path | None, images: int | None,
    minutes: float | None, back: Path | None, form: str | None, by: str | None, browser: bool, everything: bool,
    as_json: bool,
) -> None:  # fmt: skip
    """Let people review the labels of a run's pool: here, or in an annotation tool through --to and --take.

    Decisions stand in RUN/people/decisions.jsonl, which only grows. Images are matched by their pixels; taking the
    same work back twice adds nothing.
    """
    if target is not None and back is not None:
        raise click.UsageError("--to writes a package, --take reads one; give one of the two")
    if target is None and out is not None:
        raise click.UsageError("--out needs --to: the tool for which the package is")
    if target is not None and out is None:
        raise click.UsageError("--to needs --out: the new folder for the package")
    if target is not None and images is not None and minutes is not None:
        raise click.UsageError("--images and --minutes both say how many; give one of the two")
    job, pool = _labelled(run_folder_of(run, overrides))
    if target is None and back is None:
        _page(job, by, images, browser)
    elif target is not None:
        assert out is not None
        _send(job, pool, target, out, images, minutes, as_json)
    else:
        assert back is not None
        _take(job, pool, back, form, by, minutes, everything, as_json)


def _page(job: Job, by: str | None, images: int | None, browser: bool) -> None:
    import webbrowser

    from synthgen.review import open_session, serve

    serve(open_session(job, by, images), said=say, opened=webbrowser.open if browser else None)


def _labelled(folder: Path) -> tuple[Job, Stored]:
    """The run and its pool with labels. Raises: DataError when the pool is not labelled yet."""
    from synthgen.errors import DataError
    from synthgen.report.source import load_run
    from synthgen.stages.label import labelled

    if not (folder / "recipe.resolved.json").is_file():
        raise DataError(f"{folder}: there is no run here yet; run the recipe first: synthgen run")
    job = load_run(folder)
    if not (folder / "5-label" / "done.json").is_file():
        raise DataError(f"{folder}: its pool has no labels yet (5-label is not finished); run the recipe: synthgen run")
    return job, labelled(job)


def _send(job: Job, pool: Stored, target: str, out: Path, images: int | None, minutes: float | None,
          as_json: bool) -> None:
    from synthgen.people.decisions import Decisions
    from synthgen.people.package import pace, queued, write_package

    home = job.work.folder / "people"
    decisions = Decisions(home)
    seconds, measured = pace(decisions.every())
    limit = images if minutes is None else max(1, int(minutes * 60 / seconds))
    queue = queued(pool, job.work.folder / "5-queue" / "queue.json", limit)
    sent, losses = write_package(
        pool, queue, limit, decisions.latest(), target, job.recipe.classes, out, home / "packages")
    if as_json:
        print_json({"path": str(out), "images": len(sent), "blind": sum(x.blind for x in sent),
                    "losses": [{"what": x.what, "count": x.count} for x in losses]})
    for loss in losses:
        say(f"{target} cannot hold: {loss.what} ({loss.count}, for example {loss.example})")
    if minutes is not None:
        said = "as measured so far" if measured else "which is assumed: nobody was timed yet"
        say(f"{seconds:.0f} s per image, {said}")
    say(f"{out}: {len(sent)} images for {target}; how to open them: {out / 'README.md'}")


def _take(job: Job, pool: Stored, back: Path, form: str | None, by: str | None, minutes: float | None,
          everything: bool, as_json: bool) -> None:
    import getpass
    from datetime import UTC, datetime

    from synthgen.errors import DataError
    from synthgen.people.decisions import Decisions
    from synthgen.people.package import packages
    from synthgen.people.take import form_of, summary, take

    home = job.work.folder / "people"
    form = form or form_of(back)
    sent: list[Sent] = packages(home / "packages", form)
    if not sent:
        raise DataError(f"{home}: no package was written for {form}; write one first: synthgen review … --to {form}")
    place = {entry.id: k for k, entry in enumerate(pool.entries)}
    if gone := [x.id for x in sent if x.id not in place]:
        raise DataError(f"{home}: the pool no longer has {gone[0]!r}, which was sent; the data of the recipe changed")
    now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    taken = take(back, form, job.recipe.classes, sent, lambda name: pool[place[name]].image,
                 by or getpass.getuser(), now, minutes, everything)
    new = Decisions(home).extend(taken.decisions)
    facts = {**summary(taken), "new": new}
    if as_json:
        print_json(facts)
    else:
        click.echo(_table(facts))
    _explain(taken, new)


def _table(facts: dict[str, Json]) -> str:
    from synthgen.cli.common import columns

    iou, minutes = facts["mean_iou_of_moved"], facts["minutes_per_image"]
    rows = [
        ("images decided", str(facts["images"])),
        ("unchanged", str(facts["unchanged"])),
        ("boundary moved", str(facts["moved"]) + ("" if iou is None else f"  (mean IoU {iou:.3f})")),
        ("class changed", str(facts["class_changed"])),
        ("added", str(facts["added"])),
        ("deleted", str(facts["deleted"])),
        ("confirmed empty", str(facts["confirmed_empty"])),
        ("minutes per image", "not measured" if minutes is None else f"{minutes:.2f}"),
    ]
    return columns(rows)


def _explain(taken: Taken, new: int) -> None:
    from synthgen.stages.words import counted

    for problem in taken.problems[:8]:
        say(f"{problem.file} {problem.item}: {problem.what}".replace(" : ", ": "))
    if len(taken.problems) > 8:
        say(f"and {len(taken.problems) - 8} more problems")
    if taken.untouched:
        say(f"{len(taken.untouched)} images without a change or a mark that somebody looked are not counted; "
            "--all counts them, and those that were sent without labels as empty")
    if taken.unconfirmed:
        say(f"{len(taken.unconfirmed)} images were emptied, and nobody said that they are empty; they are not counted")
    if taken.strangers:
        say(f"{len(taken.strangers)} images were never sent, or their pixels changed (first {taken.strangers[0]})")
    answers = [d for d in taken.decisions if d.action == "answer"]
    blank = [d.id for d in answers if not len(d.labels) and d.labels.image_class is None]
    if blank:
        say(f"{len(blank)} images that were sent without labels came back without any, and are taken to be empty "
            f"(first {blank[0]}); if nobody looked at them, that is wrong, and so is what will be said of the labels. "
            "To take the package again, with labels in them, corrects it", style="bold yellow")
    say(counted(new, "new decision") if new else "nothing new: all of this was taken before")
