"""The verdict in words: what was decided and why; numbers and sentences as every face of a run writes them."""

from __future__ import annotations

from collections import Counter
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
    "ap50": ("AP50", "objects found at IoU 0.5, of all found, missed or made up: TP / (TP + FP + FN)"),
    "count_error": ("Count error", "objects per image; lower is better"),
    "accuracy": ("Accuracy", "images whose class is right"),
}
SHORT = {"dice": "Dice", "ap50": "AP50", "count_error": "count error", "accuracy": "accuracy"}
_RANKS = ("error", "fail", "warn", "waived", "inconclusive", "skipped", "info", "pass")


def headline(verdict: Json) -> str:
    """One line: what was decided, whether synthetic data helped, and what stands against it."""
    measured = verdict["measurements"]
    utility = main_utility(measured)
    unmeasured = "whether synthetic data helps was not measured"
    if not measured:
        unmeasured = "trained on the seed alone; there is no synthetic data to judge"
    said = HELPED.get(utility["why"].split(":")[0], unmeasured) if utility else unmeasured
    against = [m for m in measured if m["verdict"] not in ("pass", "inconclusive", "skipped", "info")]
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
        worst = min(group, key=lambda m: (weight_of(m), -abs(m["value"] or 0)))
        if utility is not None and check == "utility" and not refuses(worst):
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
        rank = -1.0 if refuses(worst) else -0.5 if worst is utility else float(weight_of(worst))
        out.append((rank, {"verdict": worst["verdict"], "check": check, "text": sentence(text)}))
    return [reason for _, reason in sorted(out, key=lambda pair: pair[0])[:most]]


def once(m: Mapping[str, Json]) -> str:
    """A measurement's `why` for beside its verdict: without the verdict's own word before the colon."""
    word, colon, rest = m["why"].partition(": ")
    return rest if colon and word.lower() == m["verdict"] else str(m["why"])


def per_check(measured: Sequence[Mapping[str, Json]]) -> list[tuple[str, str, str]]:
    """(what it means for the verdict, check, text) of each check, in the gate's order: how its measurements came out,
    and why the worst of them did."""
    groups: dict[str, list[Mapping[str, Json]]] = {}
    for m in measured:
        if m["verdict"] != "info":
            groups.setdefault(m["check"], []).append(m)
    out = []
    for check, group in groups.items():
        worst = min(group, key=lambda m: (not refuses(m), weight_of(m), not m["hard"], -abs(m["value"] or 0)))
        word = "warn" if worst["verdict"] == "fail" and not worst["hard"] else worst["verdict"]
        counts = [(v, sum(m["verdict"] == v for m in group)) for v in _RANKS]
        named = {} if worst["hard"] else {"fail": "beyond the bound"}
        tally = ", ".join(f"{n} {named.get(v, v)}" for v, n in counts if n)
        if worst["verdict"] == "pass":
            text = f"{counted(len(group), 'measurement')}" if len(group) > 1 else once(worst)
        else:
            text = once(worst) if len(group) == 1 else f"{tally}; {once(worst)}"
        out.append((word, check, text))
    return out


def weight_of(m: Mapping[str, Json]) -> int:
    """What to tell first: 0 for an error, then fail, warn, and so on."""
    return _RANKS.index(m["verdict"])


def refuses(m: Mapping[str, Json]) -> bool:
    """Whether this measurement alone refuses the dataset."""
    return bool(m["verdict"] == "error" or (m["verdict"] == "fail" and m["hard"]))


def sentence(text: str) -> str:
    """The text with a capital at its head and a full stop at its end."""
    text = text.strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".") if text else ""


def counted(n: int, noun: str, plural: str = "s") -> str:
    """`1 image`, `4 images`."""
    return f"{n:,} {noun}{'' if n == 1 else plural}"


def not_as_given(part: str, problems: Sequence[Mapping[str, Json]]) -> list[str]:
    """A sentence for the files of a part of the user's data that could not be used, and one for the labels that were
    not taken as they stand, with the reason that most of them have. problems: rows of its `quarantine.jsonl`."""
    name, where = part.replace("_", " "), f"each with its reason in 0-ingest/{part}/quarantine.jsonl."
    lost = sum(p["action"] == "quarantined" for p in problems)
    changed = Counter(p["what"] for p in problems if p["action"] == "repaired")
    out = []
    if lost:
        out.append(f"{counted(lost, 'file')} of the {name} could not be used and {'was' if lost == 1 else 'were'} "
                   f"left out, {where}")
    if n := changed.total():
        (most, _), *_ = changed.most_common(1)
        out.append(f"{counted(n, 'label')} of the {name} {'was' if n == 1 else 'were'} not taken as "
                   f"{'it stands' if n == 1 else 'they stand'} ({'most: ' if len(changed) > 1 else ''}{most}), {where}")
    return out


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
