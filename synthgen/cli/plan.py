"""`synthgen plan`: what a run would do, and why."""

from __future__ import annotations

import click

from synthgen.cli.common import columns, overrides_option, print_json, recipe_argument, say


@click.command("plan")
@recipe_argument
@overrides_option
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON on stdout.")
def command(recipe: str, overrides: tuple[str, ...], as_json: bool) -> None:
    """Say for each piece of work whether `run` would make or reuse it, and why. Does nothing."""
    from synthgen.recipe.load import load
    from synthgen.run import job_of, plan, run_folder

    loaded = load(recipe, overrides)
    steps = plan(job_of(loaded))
    if as_json:
        print_json(
            [
                {
                    "stage": s.stage,
                    "unit": s.unit,
                    "action": "reuse" if s.why is None else "make",
                    "why": s.why or "unchanged",
                }
                for s in steps
            ]
        )
        return
    click.echo(columns([("reuse" if s.why is None else "make", s.unit, s.why or "unchanged") for s in steps]))
    todo = sum(s.why is not None for s in steps)
    say(
        f"{todo} of {len(steps)} to make in {run_folder(loaded)}"
        if todo
        else "nothing to do: everything stands on disk"
    )
