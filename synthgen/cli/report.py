"""`synthgen report`: a run's report, written again."""

from __future__ import annotations

import click

from synthgen.cli.common import overrides_option, run_argument


@click.command("report")
@run_argument
@overrides_option
@click.option("--format", "form", type=click.Choice(["html", "json", "md"]), default="html", show_default=True,
              help="html: write the page and print its path; json, md: print on stdout.")
def command(run: str, overrides: tuple[str, ...], form: str) -> None:
    """Write the report of a run again, from what stands on disk; also of one that is not finished.

    RECIPE|RUN_FOLDER: the recipe that was run, or the folder that the run made.
    """
    from synthgen.cli.common import run_folder_of
    from synthgen.errors import EnvironmentProblem
    from synthgen.report import as_text, facts_of, write_report
    from synthgen.report.source import OnDisk, load_run

    job = load_run(run_folder_of(run, overrides))
    if form != "html":
        click.echo(as_text(facts_of(OnDisk(job)), form), nl=False)
        return
    try:
        click.echo(str(write_report(job)))
    except OSError as error:
        raise EnvironmentProblem(
            f"the report cannot be written ({error}); free some space, or check who may write there"
        ) from None
