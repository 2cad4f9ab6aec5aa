"""synthgen doctor: whether this machine can work, and the cure for what is wrong."""

from __future__ import annotations

from dataclasses import asdict

import click

from synthgen import __version__
from synthgen.cli.common import columns, json_option, print_json, say
from synthgen.cli.examine import Finding, examine
from synthgen.errors import EnvironmentProblem


@click.command("doctor")
@json_option
def command(as_json: bool) -> None:
    """Examine Python, packages, plug-ins, disk and shipped recipes; say the cure for what is wrong.

    Exit code 7 when something is broken; a warning alone leaves it 0. Nothing is changed or fetched.
    """
    findings = examine()
    broken = [finding for finding in findings if finding.state == "broken"]
    if as_json:
        print_json({"synthgen": __version__, "ok": not broken, "findings": [asdict(f) for f in findings]})
        if broken:
            click.get_current_context().exit(EnvironmentProblem.exit_code)
        return
    click.echo(page(findings))
    if broken:
        raise EnvironmentProblem(f"{len(broken)} of {len(findings)} are broken; the cures stand beside them")
    say("nothing is broken")


def page(findings: list[Finding]) -> str:
    """Findings as text: one line each, and its cure below."""
    lines = []
    rows = columns([(f.state, f.name, f.text) for f in findings]).split("\n")
    for finding, line in zip(findings, rows, strict=True):
        lines.append(line)
        if finding.cure:
            lines.append(f"        cure: {finding.cure}")
    return "\n".join(lines)
