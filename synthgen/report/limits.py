"""What the numbers can and cannot show at this n: sentences that stand above all figures of the report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from synthgen.report.gate import short
from synthgen.report.words import SHORT, counted, main_utility, number
from synthgen.types import Json

MOST = 6  # checks that are named as not measured; the rest is counted


def limits(facts: Mapping[str, Json]) -> list[str]:
    """A sentence each: what the test split, the real images, the pool and the number of trainings allow to say; then
    what was waived, what was not measured, and what stayed open."""
    out: list[str] = []
    data, verdict = facts["data"], facts["verdict"]
    test = data.get("test")
    if verdict and test is None:
        out.append("There is no labelled test split: how good the labels are was not measured on data that nobody "
                   "trained on.")
    elif verdict:
        out.append(_of_test(facts, test["images"]))
    if verdict and facts["synthetic"]["kept"]:
        out += _of_realism(facts)
    if facts["label"]:
        known = verdict and facts["scores"]["pool"]
        unseen = "Nobody looked at the pool's labels: how many of them are wrong is "
        out.append(
            f"The pool's labels were scored against labels that were kept aside ({counted(known['n'], 'image')}); "
            "with your own pool nobody has these."
            if known
            else "How wrong the pool's labels are was asked of people by an audit; its certificate holds for this pool "
            "and these labels alone." if facts["certificate"]
            else unseen + ("not known." if test is None else "known only as far as the test split is like the pool.")
        )
    if facts["scores"]["test"]:
        out.append(
            "Each labeler was trained once, from one random seed. The intervals hold the luck of which images are "
            "in the test split, not that of the training." + _of_benchmark(facts["benchmark"])
        )
    return out + _waived(facts) + _open(facts["measurements"])


def _of_realism(facts: Mapping[str, Json]) -> list[str]:
    """How many real images there are to compare with, and the least difference that could have been seen."""
    data, out = facts["data"], []
    known = [m for m in facts["measurements"] if m["check"] == "realism" and m["unit"] == "AUC"
             and "synthetic against" in m["name"] and m["detectable"] is not None]
    if known:
        finest = min(known, key=lambda m: m["detectable"])
        coarsest = max(m["detectable"] for m in known)
        least = number(finest["detectable"])
        least += f" to {number(coarsest)}, depending on the features" if number(coarsest) != least else ""
        out.append(f"With {finest['n'][0]:,} synthetic and {finest['n'][1]:,} real images the smallest detectable AUC "
                   f"is {least} (0.5: cannot be told apart, 1: always told apart): images that differ less from real "
                   "ones than that would not have been noticed.")
    seed = data.get("seed")
    if seed and seed["images"] < 20:
        out.append(f"Realism and drift compare with few real images ({seed['images']} in the seed"
                   + (f", {data['pool']['images']} in the pool" if "pool" in data else "")
                   + "): only coarse differences can be seen, and a check that passes has ruled out only what its row "
                     "calls the smallest detectable effect.")
    return out


def _of_test(facts: Mapping[str, Json], n: int) -> str:
    utility = main_utility(facts["measurements"])
    text = f"The test split holds {counted(n, 'image')}"
    if utility and utility["interval"]:
        low, high = utility["interval"]
        text += (f": a difference in {SHORT.get(utility['name'], utility['name'])} smaller than about "
                 f"{number((high - low) / 2)} between seed alone and seed + synthetic cannot be told from chance")
        if utility["remedy"] and utility["verdict"] == "inconclusive":
            text += f"; {utility['remedy']}"
    else:
        row = facts["scores"]["test"].get("mixed", {})
        known = [(m, row[m]["interval"]) for m in SHORT if m in row and None not in row[m]["interval"]]
        text += "".join(f"; {SHORT[m]} is known to about ±{number((high - low) / 2)}" for m, (low, high) in known[:1])
    if n < 5:
        text += ". Below 5 images nothing is decided, whatever the intervals say"
    return text + "."


def _of_benchmark(benchmark: Json) -> str:
    if benchmark is None:
        return " The command synthgen benchmark trains from several."
    return f" The benchmark below trained from {counted(benchmark['seeds'], 'random seed')}."


def _waived(facts: Mapping[str, Json]) -> list[str]:
    """A sentence for each waiver in force: what it covers, who answers for it, until when, and why."""
    out = []
    for w in facts["waivers"]:
        what = w["check"] + (f", {w['name']}" if w["name"] else f" ({counted(len(w['waived']), 'measurement')})")
        out.append(f"Waived: {what}. {w['by']} answers for it until {w['until']}: {_stop(w['reason'])} What was "
                   "measured still stands in the gate's table; the verdict is a warning at best.")
    return out


def _open(measurements: Sequence[Mapping[str, Json]]) -> list[str]:
    """What was not measured, with the reason; and what these images are too few to decide."""
    out = []
    skipped = [m for m in measurements if m["verdict"] == "skipped"]
    if skipped:
        told = list(dict.fromkeys(
            (m["check"] if m["name"] == m["check"] else f"{m['check']}, {m['name']}")
            + f" ({short(m).removeprefix('not checked: ')})" for m in skipped))
        more = f"; and {len(told) - MOST} more" if len(told) > MOST else ""
        out.append(f"Not measured, which is not the same as passed: {'; '.join(told[:MOST])}{more}.")
    undecided = Counter(m["check"] for m in measurements if m["verdict"] == "inconclusive")
    if undecided:
        named = ", ".join(check if n == 1 else f"{check} ({n})" for check, n in undecided.items())
        out.append(f"Too few images to decide either way: {named}. The rows of the gate say how many would settle it.")
    return out


def _stop(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."
