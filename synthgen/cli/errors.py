"""`synthgen errors`: the labels of the seed that look wrong."""

from __future__ import annotations

import click

from synthgen.cli.common import columns, json_option, overrides_option, print_json, run_argument, run_folder_of, say


@click.command("errors")
@run_argument
@overrides_option
@click.option("--number", "-n", type=click.IntRange(min=1), default=20, metavar="N", show_default=True,
              help="How many labels.")
@json_option
def command(run: str, overrides: tuple[str, ...], number: int, as_json: bool) -> None:
    """List the labels of the seed that look most wrong, for a person to check.

    The score is small where labelers that did not learn from the image hold its label for wrong. They are proposals:
    nothing was changed, and labels of a rare kind look wrong to a labeler that has not seen their like.
    """
    from synthgen.errors import DataError
    from synthgen.metrics.label_errors import SUSPICIOUS
    from synthgen.report.pictures import name_of
    from synthgen.report.source import OnDisk, load_run
    from synthgen.report.suspects import JUDGES, UNIT, seed_of, side

    folder = run_folder_of(run, overrides)
    if not (folder / "recipe.resolved.json").is_file():
        raise DataError(f"{folder}: there is no run here yet; run the recipe first: synthgen run")
    found = OnDisk(load_run(folder))
    rows, classes = found.of(UNIT, "errors.json"), found.recipe.classes
    if rows is None:
        off = found.recipe.train.calibration_folds < 2 or not found.recipe.label.errors
        raise DataError(
            f"{folder}: labels are not looked through in this run; that needs train.calibration_folds of 2 or more and "
            "label.errors: true" if off else
            f"{folder}: the labels were not looked through yet ({UNIT} is not finished); run the recipe: synthgen run"
        )
    seed = seed_of(found)
    at = {entry.id: k for k, entry in enumerate(seed.entries)}
    shown = [{"file": name_of(seed[at[row["id"]]]), **row} for row in rows[:number]]
    if as_json:
        print_json(shown)
        return
    head = ("file", "object", "kind", "score", "given", "suggested")
    table = [(row["file"], "–" if row["object"] is None else str(row["object"]), row["kind"], f"{row['score']:.3f}",
              side(row["given"], classes), side(row["suggested"], classes)) for row in shown]
    click.echo(columns([head, *table]))
    doubtful = sum(row["score"] < SUSPICIOUS for row in rows)
    say(f"{doubtful} of {len(rows)} labels have a score below {SUSPICIOUS:g}; these are proposals, nothing was changed")
    if 2 * doubtful > len(rows):
        say(JUDGES)
