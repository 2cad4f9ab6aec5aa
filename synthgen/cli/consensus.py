"""`synthgen consensus`: what several people said of the same images, and how far they agree."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from synthgen.cli.common import columns, json_option, overrides_option, print_json, run_argument, run_folder_of, say

if TYPE_CHECKING:
    from synthgen.people.consensus import Consensus, Measured
    from synthgen.people.decisions import Decisions
    from synthgen.types import Json


@click.command("consensus")
@run_argument
@overrides_option
@click.option("--write", is_flag=True, help="Write each fused label without a tie down as one more decision.")
@json_option
def command(run: str, overrides: tuple[str, ...], write: bool, as_json: bool) -> None:
    """Say how far people agree who labelled the same images, and fuse their labels.

    What a majority says is the fused label; ties are left for a person. Nothing is overwritten: --write adds decisions
    by "consensus", which then count for the image until somebody decides anew.
    """
    from synthgen.errors import DataError
    from synthgen.people.consensus import consensus, of_decisions
    from synthgen.people.decisions import Decisions
    from synthgen.report.source import load_run

    folder = run_folder_of(run, overrides)
    if not (folder / "recipe.resolved.json").is_file():
        raise DataError(f"{folder}: there is no run here yet; run the recipe first: synthgen run")
    classes = load_run(folder).recipe.classes
    log = Decisions(folder / "people")
    decisions = log.every() if log.file.exists() else []
    ids = {d.image: d.id for d in decisions}
    said = of_decisions(decisions)
    several = {image: answers for image, answers in said.items() if len(answers) > 1}
    if not several:
        raise DataError(f"{folder / 'people'}: no image was answered by two people; let a second one review the same "
                        "images: synthgen review")
    found = consensus(several)
    facts = _facts(found, ids, classes, {image: sorted(answers) for image, answers in several.items()})
    written = _write(log, found, ids) if write else 0
    if as_json:
        print_json({**facts, "written": written})
    else:
        click.echo(_table(facts))
    say(f"{len(several)} images were answered by two people or more; {sum(r['tie'] for r in facts['images'])} of them "
        "have a tie, which a person must settle")
    if write:
        say(f"{written} new decisions by consensus" if written else "nothing new: all of this was written before")


def _write(log: Decisions, found: Consensus, ids: dict[str, str]) -> int:
    from datetime import UTC, datetime

    from synthgen.people.consensus import fused_decision

    now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return log.extend(fused_decision(image, ids[image], labels, now) for image, labels in found.fused.items()
                      if not found.doubtful(image))


def _facts(found: Consensus, ids: dict[str, str], classes: tuple[str, ...], by: dict[str, list[str]]) -> Json:
    return {
        "agreement": {classes[c]: _measured(m) for c, m in found.agreement.items()},
        "annotators": {name: _measured(m) for name, m in found.quality.items()},
        "images": [
            {"id": ids[image], "by": by[image], "tie": found.doubtful(image), "objects": len(labels),
             "class": None if labels.image_class is None else classes[labels.image_class]}
            for image, labels in found.fused.items()
        ],
    }  # fmt: skip


def _measured(m: Measured) -> Json:
    return {"value": None if m.value is None else round(m.value, 4), "n": m.n}


def _table(facts: Json) -> str:
    def number(row: Json) -> str:
        return "–" if row["value"] is None else f"{row['value']:.3f}"

    rows = [("", "", "value", "n")]
    rows += [("agreement", name, number(row), str(row["n"])) for name, row in facts["agreement"].items()]
    rows += [("annotator", name, number(row), str(row["n"])) for name, row in facts["annotators"].items()]
    images = [("image", "by", "fused", "")]
    images += [(row["id"], ", ".join(row["by"]), row["class"] or f"{row['objects']} objects",
                "tie: to review" if row["tie"] else "") for row in facts["images"]]
    return f"{columns(rows)}\n\n{columns(images)}"
