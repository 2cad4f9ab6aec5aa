"""The report: one offline HTML file that says first what a person needs to know, and its twins for machines.

`facts` gathers what the run's folder says, `words` and `limits` put it into sentences, `gate` orders what was measured,
`pictures`, `seen` and `charts` show it, `page.html` sets it. Nothing in it depends on when or where it is written: the
same run, the same bytes.
"""

from __future__ import annotations

import json
from pathlib import Path

from synthgen.report.facts import facts_of
from synthgen.report.source import OnDisk
from synthgen.stages import Job
from synthgen.store import write_atomic, write_json
from synthgen.types import Json

MOST_BYTES = 15_000_000
SIDES = (288, 208, 144, 96)                      # px of the pictures: smaller ones when the page would be too large


def write_report(job: Job) -> Path:
    """Write `index.html`, `report.json` and `summary.md` into a run's `report/`; gives the page's path.

    An unfinished run gives a page too, of what is there.
    """
    from synthgen.report.page import html
    from synthgen.report.summary import markdown

    run = OnDisk(job)
    facts = facts_of(run)
    folder = job.work.folder / "report"
    page = b""
    for side in SIDES:
        page = html(run, facts, side).encode()
        if len(page) < MOST_BYTES:
            break
    write_atomic(folder / "index.html", page)
    write_json(folder / "report.json", facts)
    write_atomic(folder / "summary.md", markdown(facts).encode())
    return folder / "index.html"


def as_text(facts: Json, form: str) -> str:
    """The report's machine twin (`json`) or its summary for a pull request (`md`)."""
    from synthgen.report.summary import markdown

    return json.dumps(facts, ensure_ascii=False, indent=1) + "\n" if form == "json" else markdown(facts)


__all__ = ["as_text", "facts_of", "write_report"]
