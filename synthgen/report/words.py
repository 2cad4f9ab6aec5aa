"""The verdict in words."""

from __future__ import annotations

from synthgen.types import Json

VERDICTS = {"pass": "PASS", "warn": "PASS, with warnings", "fail": "REFUSED"}


def headline(verdict: Json) -> str:
    """One line: what was decided, whether synthetic data helped, and what stands against it."""
    measured = verdict["measurements"]
    utility = next((m for m in measured if m["check"] == "utility" and m["hard"]), None)
    helped = {"HELPS": "synthetic data helped", "NON-INFERIOR": "synthetic data did no harm", "HARMS": "synthetic data harmed",
              "INCONCLUSIVE": "whether synthetic data helps cannot be told from this test split"}
    said = helped.get(utility["why"].split(":")[0], "whether synthetic data helps was not measured") if utility else \
        "whether synthetic data helps was not measured"
    against = [m for m in measured if m["verdict"] not in ("pass", "inconclusive", "skipped")]
    names = ", ".join(dict.fromkeys(m["check"] for m in against))
    return f"{VERDICTS[verdict['verdict']]}: {said}" + (f"; see {names}" if names else "")
