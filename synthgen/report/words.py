"""The verdict in words: what was decided, why, what the numbers can show, and what to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from synthgen.types import Json

VERDICTS = {"pass": "PASS", "warn": "PASS, with warnings", "fail": "REFUSED"}
HELPED = {
    "HELPS": "synthetic data helped",
    "NON-INFERIOR": "synthetic data did no harm, but was not shown to help",
    "HARMS": "synthetic data did harm",
    "INCONCLUSIVE": "whether synthetic data helps cannot be told from this test split",
}
METRICS = {
    "dice": ("Dice", "overlap of pixels"),
    "ap50": ("AP50", "objects found, of all found, missed or made up"),
    "count_error": ("Count error", "objects per image; lower is better"),
    "accuracy": ("Accuracy", "images whose class is right"),
}
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
        elif check == "utility":
            text = text.replace("ap50", "AP50", 1)
        elif same:
            text += f" (and {len(same)} more of {check} like it)"
        rank = -1.0 if _refuses(worst) else -0.5 if worst is utility else float(_weight(worst))
        out.append((rank, {"verdict": worst["verdict"], "check": check, "text": sentence(text)}))
    return [reason for _, reason in sorted(out, key=lambda pair: pair[0])[:most]]


def other_reasons(facts: Mapping[str, Json], most: int) -> list[Json]:
    """What there is to say beside the gate: what was not judged, the score on the test, the pool's labels."""
    out = []
    if not facts["measurements"]:
        out.append("There is no synthetic data, so the gate had nothing to judge.")
    for arm, row in list(facts["scores"]["test"].items())[:1]:
        told = [f"{SHORT[m]} {number(row[m]['value'])} ({span(row[m]['interval'])})" for m in SHORT if m in row]
        trained = "seed and synthetic data" if facts["synthetic"]["kept"] and arm == "mixed" else "the seed alone"
        out.append(
            f"On {counted(row['n'], 'locked test image')} the labeler trained on {trained} has {', '.join(told)}."
        )
    if facts["label"]:
        states = facts["label"]["image_classes" if facts["task"] == "classify" else "instances"]
        out.append(
            f"Of the pool's labels {states['accepted']:,} were accepted, {states['to_review']:,} wait for a person, "
            f"{states['ignored']:,} were ignored."
        )
    return [{"verdict": "skipped", "check": "", "text": text} for text in out[:most]]


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
    text = (
        f"{value:.0f}"
        if size >= 100 or value == 0
        else f"{value:.1f}"
        if size >= 10
        else f"{value:.2f}"
        if size >= 0.095
        else f"{value:.3f}"
    )
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
    if verdict and test is None:
        out.append("There is no labelled test split: how good the labels are was not measured on data that nobody "
                   "trained on.")
    elif verdict:
        out.append(_of_test(facts, test["images"]))
    seed = data.get("seed")
    if seed and verdict and facts["synthetic"]["kept"] and seed["images"] < 20:
        out.append(f"Realism and drift compare with few real images ({seed['images']} in the seed"
                   + (f", {data['pool']['images']} in the pool" if "pool" in data else "")
                   + "): only coarse differences can be seen, and a check that passes has ruled out only what its row "
                     "calls the smallest detectable effect.")
    if facts["label"]:
        known = verdict and facts["scores"]["pool"]
        unseen = "Nobody looked at the pool's labels: how many of them are wrong is "
        out.append(
            f"The pool's labels were scored against labels that were kept aside ({counted(known['n'], 'image')}); "
            "with your own pool nobody has these."
            if known
            else unseen + ("not known." if test is None else "known only as far as the test split is like the pool.")
        )
    if facts["scores"]["test"]:
        out.append(
            "Each labeler was trained once, from one random seed. The intervals hold the luck of which images are "
            "in the test split, not that of the training."
        )
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


def next_steps(facts: Mapping[str, Json]) -> list[Json]:
    """What to do, {"text", "command"}, first things first; command is None where there is nothing to type."""
    overrides = "".join(f" -S {o}" for o in facts["provenance"]["overrides"])
    folder, again = facts["folder"], f"synthgen run RECIPE{overrides}"
    if facts["state"] == "unfinished":
        return [_step("Go on where the run stands; what is finished is reused.", again),
                _step("See how far it is, also while it works.", f"synthgen status {folder}")]
    if facts["state"] == "refused":
        against = [m for m in facts["measurements"] if _refuses(m)]
        return [*(_step(sentence(f"{m['check']}, {m['name']}: {m['remedy'] or m['why']}")) for m in against),
                _step("Look at a few samples before the next run; it takes less than a minute.",
                      f"synthgen preview RECIPE{overrides}"),
                _step("Run again; only what a change touches is made anew.", again)]
    out = [_step(f"Take the dataset: {counted(x['images'], 'image')} as {x['format']}.",
                 f"ls {folder}/7-export/{x['format']}") for x in facts["exports"]]
    label = facts["label"]
    waiting = (label["instances"]["to_review"] + label["image_classes"]["to_review"]) if label else 0
    if waiting:
        where = "" if facts["task"] == "classify" else "; dashed in the pictures above"
        out.append(_step(f"{counted(waiting, 'label')} of the pool {'waits' if waiting == 1 else 'wait'} for a person: "
                         f"scores between {label['ignore']:g} and {label['accept']:g}{where}."))
    out.append(_step("Label more images like these with the labeler that was trained.",
                     f"synthgen label IMAGES --model {folder}/4-train/model --out LABELLED"))
    told: set[str] = set()
    for m in sorted(facts["measurements"], key=_weight):
        if m["verdict"] != "pass" and m["remedy"] and m["remedy"] not in told and len(told) < 4:
            told.add(m["remedy"])
            out.append(_step(sentence(f"{m['check']}, {m['name']}: {m['remedy']}")))
    return [*out, _step("After a change, see what would be made anew, then run.", f"synthgen plan RECIPE{overrides}")]


def _step(text: str, command: str | None = None) -> Json:
    return {"text": text, "command": command}
