"""The gate's rows as the page sets them: by check, the worst first, the rest folded; and what each means."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from synthgen.report.words import main_utility, once, refuses, weight_of
from synthgen.types import Json

Measured = Mapping[str, Json]


def meaning(m: Measured) -> str:
    """What a measurement means for the verdict: its own, but `warn` for a failed one that cannot refuse."""
    return "warn" if missed(m) else str(m["verdict"])


def missed(m: Measured) -> bool:
    """Whether it missed its bound and only warns."""
    return m["verdict"] == "fail" and not m["hard"]


def meant(m: Measured) -> str:
    """Both in words: `warn, bound missed`."""
    return meaning(m) + ", bound missed" * missed(m)


def groups(measurements: Sequence[Measured]) -> list[Json]:
    """What decides, by check in the gate's order.

    {"check", "head": the worst measurement, "rest": the others, worst first, "tally": how these came out, in words,
    "passed": whether all did, "n": images a side where all have the same number, else None} each.
    """
    by_check: dict[str, list[Measured]] = {}
    for m in measurements:
        if m["verdict"] != "info":
            by_check.setdefault(m["check"], []).append(m)
    utility = main_utility(measurements)
    out = []
    for check, found in by_check.items():
        head = min(found, key=_weight)
        if check == "utility" and utility is not None and not refuses(head):
            head = utility
        rest = sorted((m for m in found if m is not head), key=_weight)
        out.append({"check": check, "head": head, "rest": rest, "tally": tally(rest),
                    "passed": all(m["verdict"] == "pass" for m in found),
                    "n": head["n"] if all(m["n"] == head["n"] for m in found) else None})
    return out


def for_readers(measurements: Iterable[Measured]) -> list[Measured]:
    """The numbers that decide nothing."""
    return [m for m in measurements if m["verdict"] == "info"]


def tally(measurements: Iterable[Measured]) -> str:
    """How measurements came out: `2 warn, 1 inconclusive, 4 pass`."""
    ordered = sorted(measurements, key=weight_of)
    return ", ".join(f"{n} {word}" for word, n in Counter(meaning(m) for m in ordered).items())


def softened(reasons: Iterable[Json], measurements: Sequence[Measured]) -> list[Json]:
    """The verdict's reasons, {"verdict", "check", "text", "missed"}: a failed check that cannot refuse is a warning
    whose bound was missed."""
    refusing = {m["check"] for m in measurements if refuses(m)}
    out = []
    for reason in reasons:
        soft = reason["verdict"] == "fail" and reason["check"] not in refusing
        out.append({**reason, "verdict": "warn" if soft else reason["verdict"], "missed": soft})
    return out


def waivers_in_force(measurements: Iterable[Measured], waivers: Iterable[Mapping[str, str]]) -> list[Json]:
    """The waivers that something was waived by, each with `waived`: the names of those measurements.

    waivers: {"check", "name", "reason", "until", "by"} each. Which of them held is told from the verdict, never from
    today's date: a report of one run is the same on every day.
    """
    out = []
    found = [m for m in measurements if m["verdict"] == "waived"]
    for w in waivers:
        names = [m["name"] for m in found if m["check"] == w["check"] and w["name"] in ("", m["name"])
                 and f"waived until {w['until']} by {w['by']}: {w['reason']}" in m["why"]]
        if names:
            out.append({**w, "waived": names})
    return out


def short(m: Measured) -> str:
    """A measurement's reason up to its first semicolon, for lists."""
    return once(m).partition("; ")[0]


def _weight(m: Measured) -> tuple[bool, int, float]:
    return not refuses(m), weight_of(m), -abs(m["value"] or 0)
