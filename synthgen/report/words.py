"""The verdict in words: what was decided, why, what the numbers can show, and what to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from synthgen.types import Json

VERDICTS = {"pass": "PASS", "warn": "PASS, with warnings", "fail": "REFUSED"}
HELPED = {"HELPS": "synthetic data helped", "NON-INFERIOR": "synthetic data did no harm, but was not shown to help",
          "HARMS": "synthetic data did harm", "INCONCLUSIVE": "whether synthetic data helps cannot be told from this test split"}
METRICS = {"dice": ("Dice", "overlap of pixels"), "ap50": ("AP50", "objects found, of all found, missed or made up"),
           "count_error": ("Count error", "objects per image; lower is better"), "accuracy": ("Accuracy", "images whose class is right")}
SHORT = {"dice": "Dice", "ap50": "AP50", "count_error": "count error", "accuracy": "accuracy"}
_RANKS = ("error", "fail", "warn", "inconclusive", "skipped", "pass")


def headline(verdict: Json) -> str:
    """One line: what was decided, whether synthetic data helped, and what stands against it."""
    measured = verdict["measurements"]
    utility = main_utility(measured)
    unmeasured = "whether synthetic data helps was not measured"
    if not measured:
        unmeasured = "trained on the seed alone; there is no synthetic data to judge"
    said = HELPED.get(utility["why"].split(":")[0], unmeasured) if utility else unmeasured
    against = [m for m in measured if m["verdict"] not in ("pass", "inconclusive", "skipped")]
    names = ", ".join(dict.fromkeys(m["check"] for m in against))
    return f"{VERDICTS[verdict['verdict']]}: {said}" + (f"; see {names}" if names else "")


def main_utility(measured: Sequence[Mapping[str, Json]]) -> Mapping[str, Json] | None:
    """The measurement that says whether synthetic data helped."""
    return next((m for m in measured if m["check"] == "utility" and m["hard"]), None)


def reasons(verdict: Json, most: int = 3) -> list[Json]:
    """The main reasons, {"verdict", "check", "text"}, weightiest first: what refuses, whether it helps, what warns.

    One for each check: its worst measurement, and how many more say the same.
    """
    measured = verdict["measurements"]
    utility = main_utility(measured)
    by_check: dict[str, list[Mapping[str, Json]]] = {}
    for m in measured:
        by_check.setdefault(m["check"], []).append(m)
    out = []
    for check, group in by_check.items():
        worst = min(group, key=lambda m: (_weight(m), -abs(m["value"] or 0)))
        if utility is not None and check == "utility" and not _refuses(worst):
            worst = utility
        same = [m for m in group if m is not worst and m["verdict"] == worst["verdict"]]
        # The chip says the verdict; utility's own capital word before the colon would say it again.
        text = worst["why"].partition(": ")[2] if worst["why"].partition(":")[0] in HELPED else worst["why"]
        if worst["verdict"] == "pass" and len(group) > 2 and worst is not utility:
            text = f"all {len(group)} measurements of {check} passed"
        if check == "utility":
            text = text.replace("ap50", "AP50", 1)
        elif same:
            text += f" (and {len(same)} more of {check} like it)"
        rank = -1.0 if _refuses(worst) else -0.5 if worst is utility else float(_weight(worst))
        out.append((rank, {"verdict": worst["verdict"], "check": check, "text": sentence(text)}))
    return [reason for _, reason in sorted(out, key=lambda pair: pair[0])[:most]]


def _weight(m: Mapping[str, Json]) -> int:
    return _RANKS.index(m["verdict"])


def _refuses(m: Mapping[str, Json]) -> bool:
    return bool(m["verdict"] == "error" or (m["verdict"] == "fail" and m["hard"]))


def sentence(text: str) -> str:
    """The text with a capital at its head and a full stop at its end."""
    text = text.strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".") if text else ""


def counted(n: int, noun: str, plural: str = "s") -> str:
    """`1 image`, `4 images`."""
    return f"{n:,} {noun}{'' if n == 1 else plural}"


def number(value: float | None, signed: bool = False) -> str:
    """A number with as many digits as mean something; a dash where there is none."""
    if value is None:
        return "–"
    size = abs(value)
    text = f"{value:.0f}" if size >= 100 or value == 0 else f"{value:.1f}" if size >= 10 else f"{value:.2f}" if size >= 0.095 else f"{value:.3f}"
    return f"+{text}" if signed and value > 0 else text


def span(interval: Sequence[float | None] | None) -> str:
    """`0.30 to 0.60`; a dash where there is none."""
    if interval is None or any(end is None for end in interval):
        return "–"
    return f"{number(interval[0])} to {number(interval[1])}"


def limits(facts: Mapping[str, Json]) -> list[str]:
    """What the numbers can and cannot show at this n, a sentence each."""
    out: list[str] = []
    data, verdict = facts["data"], facts["verdict"]
    test = data.get("test")
    if test is None:
        out.append("There is no labelled test split, so how good the labels are was not measured on data that nobody trained on.")
    elif verdict:
        out.append(_of_test(facts, test["images"]))
    seed = data.get("seed")
    if seed and facts["synthetic"]["kept"] and seed["images"] < 20:
        out.append(f"Realism and drift compare with few real images ({seed['images']} in the seed"
                   + (f", {data['pool']['images']} in the pool" if "pool" in data else "")
                   + "): only coarse differences can be seen, and a check that passes has ruled out only what its row "
                     "calls the smallest detectable effect.")
    if facts["label"]:
        known = verdict and facts["scores"]["pool"]
        out.append(f"The pool's labels were scored against labels that were kept aside ({counted(known['n'], 'image')}); with "
                   "your own pool nobody has these." if known else
                   "Nobody looked at the pool's labels: how many of them are wrong is known only as far as the test split is "
                   "like the pool.")
    if facts["scores"]["test"]:
        out.append("Each labeler was trained once, from one random seed. The intervals hold the luck of which images are in the "
                   "test split, not that of the training.")
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
    if n < 5:
        text += ". Below 5 images nothing is decided, whatever the intervals say"
    return text + "."


def next_steps(facts: Mapping[str, Json]) -> list[Json]:
    """What to do, {"text", "command"}, first things first; command is None where there is nothing to type."""
    overrides = "".join(f" -S {o}" for o in facts["provenance"]["overrides"])
    again = f"synthgen run RECIPE{overrides}"
    out: list[Json] = []
    if facts["state"] == "unfinished":
        out.append({"text": "Go on where the run stands; what is finished is reused.", "command": again})
        out.append({"text": "See how far it is, also while it works.", "command": f"synthgen status runs/{facts['name']}"})
        return out
    if facts["state"] == "refused":
        for m in facts["measurements"]:
            if _refuses(m):
                out.append({"text": sentence(f"{m['check']}, {m['name']}: {m['remedy'] or m['why']}"), "command": None})
        out.append({"text": "Look at a few samples before the next run; it takes less than a minute.",
                    "command": f"synthgen preview RECIPE{overrides}"})
        out.append({"text": "Run again; only what a change touches is made anew.", "command": again})
        return out
    for export in facts["exports"]:
        out.append({"text": f"Take the dataset: {counted(export['images'], 'image')} as {export['format']}.",
                    "command": f"ls runs/{facts['name']}/7-export/{export['format']}"})
    label = facts["label"]
    waiting = (label["instances"]["to_review"] + label["image_classes"]["to_review"]) if label else 0
    if waiting:
        out.append({"text": f"{counted(waiting, 'label')} of the pool "
                            + ("waits" if waiting == 1 else "wait") + f" for a person: scores between {label['ignore']:g} and "
                            f"{label['accept']:g}. They are dashed in the pictures above.", "command": None})
    seen: set[str] = set()
    for m in sorted(facts["measurements"], key=_weight):
        if m["verdict"] != "pass" and m["remedy"] and m["remedy"] not in seen and len(seen) < 4:
            seen.add(m["remedy"])
            out.append({"text": sentence(f"{m['check']}, {m['name']}: {m['remedy']}"), "command": None})
    out.append({"text": "After a change, see what would be made anew, then run.", "command": f"synthgen plan RECIPE{overrides}"})
    return out
