"""The report: one offline HTML file that says first what a person needs to know."""

from __future__ import annotations

from pathlib import Path

from synthgen.stages import Job
from synthgen.store import write_atomic


def write_report(job: Job) -> Path:
    """Write `report/index.html` of a run from what stands on disk; gives its path."""
    page = job.work.folder / "report" / "index.html"
    write_atomic(page, b"")
    return page
