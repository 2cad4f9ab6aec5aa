"""A benchmark in words: first whether synthetic data helped, harmed, or cannot be told; then the table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from synthgen.metrics.bounds import planned
from synthgen.types import Json

SAID = {"HELPS": "helped", "NON-INFERIOR": "were not shown to help, and cost no more than the margin of {margin:g}",
        "HARMS": "harmed", "INCONCLUSIVE": "can neither be said to help nor to harm"}
NAMES = {"ap50": "AP50", "dice": "Dice", "accuracy": "accuracy", "count_error": "count error"}


def first_line(found: Mapping[str, Any]) -> str:
    """What a person needs to know, in one sentence or two."""
    primary = [c for c in found["comparisons"] if c["primary"]]
    if not primary:
        why = found["left_out"].get("mixed", "the arm mixed was not asked for")
        return f"Whether synthetic data help was not measured: {why}."
    several = len(primary) > 1
    parts = []
    for c in primary:
        at = f" with {c['labelled']} labelled images" if several else ""
        parts.append(f"{SAID[c['verdict']].format(margin=found['margin'])}{at} ({difference(c)})")
    line = f"On these data synthetic images {'; '.join(parts)}: {_counted(found)}."
    few = sorted({few for c in primary for few in c["too_few"]})
    if few:
        line += f" {' and '.join(few)} are too few to decide anything."
    elif any(c["verdict"] == "INCONCLUSIVE" for c in primary):
        line += " " + " ".join(dict.fromkeys(settles(c) for c in primary if c["verdict"] == "INCONCLUSIVE"))
    return line


def difference(c: Mapping[str, Any]) -> str:
    """A difference with its interval."""
    if c["value"] is None:
        return "not measured"
    low, high = c["interval"]
    return f"{NAMES[c['metric']]} {c['value']:+.3f}" + ("" if None in (low, high) else f" [{low:+.3f}, {high:+.3f}]")


def settles(c: Mapping[str, Any]) -> str:
    """What would settle an open comparison."""
    images, seeds = c["settle"]["images"], c["settle"]["seeds"]
    ways = ([f"about {planned(images)} test images"] if images else []) + \
        ([f"about {planned(seeds)} seeds"] if seeds else [])
    return f"{' or '.join(ways)} would settle it." if ways else \
        "More test images and more seeds are both needed to settle it."


def _counted(found: Mapping[str, Any]) -> str:
    n = len(found["seeds"])
    return f"mixed against real only, {n} seed{'s' * (n > 1)}, {found['test_images']:,} test images"


def table(found: Mapping[str, Any]) -> list[list[str]]:
    """Rows of the table, the head first: size, arm, each metric with its interval, difference to `real`, verdict."""
    metrics = list(dict.fromkeys(m for row in found["arms"] for m in row["scores"]))
    main = NAMES[found["metric"]]
    out = [["labelled", "arm", "real share", *(NAMES[m] for m in metrics), f"{main} against real", "verdict"]]
    compared = {(c["size"], c["arm"]): c for c in found["comparisons"]}
    for row in found["arms"]:
        c = compared.get((row["size"], row["arm"]))
        out.append([str(row["labelled"]), row["arm"], f"{row['real_share']:.0%}",
                    *(_cell(row["scores"].get(m)) for m in metrics),
                    "" if c is None else _bare(c), "" if c is None else c["verdict"]])
    return out


def equivalents(found: Mapping[str, Any]) -> list[str]:
    """One sentence per arm and size: how many real images alone score as it does."""
    return [f"{e['labelled']} labelled images with arm {e['arm']} score as {_number(e['images'], e)} "
            f"[{_number(e['interval'][0], e)}, {_number(e['interval'][1], e)}] labelled images alone"
            for e in found["equivalents"]]


def notes(found: Mapping[str, Any]) -> list[str]:
    """What a reader has to know of the table."""
    out = ["intervals: 95 %, over seeds and test images together; against real: 95 % for mixed over all sizes, and "
           "95 % for all other arms together"]
    steps = f"{found['steps']} " if found["steps"] else "the same number of "
    out.append(f"every arm: {steps}steps from the same weights; each seed has its own synthetic images; the test was "
               "opened once per training, after it")
    out.append("a share or an arm that is chosen by this table has seen the locked test: judge it on other images")
    out += [f"left out: {arm}, since {why}" for arm, why in found["left_out"].items()]
    return out


def _number(value: float, e: Mapping[str, Json]) -> str:
    return f"more than {e['reach']:.0f}" if value >= e["reach"] else f"{value:.0f}"


def _cell(score: Mapping[str, Any] | None) -> str:
    if score is None or score["value"] is None:
        return "not measured"
    low, high = score["interval"]
    return f"{score['value']:.3f}" + ("" if None in (low, high) else f" [{low:.3f}, {high:.3f}]")


def _bare(c: Mapping[str, Any]) -> str:
    return difference(c).partition(" ")[2]


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """The table for a pull request."""
    head, *body = rows
    return "\n".join(["| " + " | ".join(r) + " |" for r in (head, ["---"] * len(head), *body)]) + "\n"
