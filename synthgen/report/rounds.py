"""The loop of people and labeler, round by round: what it cost them, what it brought, and what labelling by hand would
take. Shown as soon as a person decided anything, or there is more than one round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from synthgen.people.rounds import FEWEST, rounds
from synthgen.report.charts import FAINT, INK, MADE, POOL, REAL, Chart, svg
from synthgen.report.source import OnDisk
from synthgen.report.words import SHORT, counted, number, span
from synthgen.stages.ingest import PEOPLE
from synthgen.types import Json

Rows = Sequence[Mapping[str, Json]]


def loop_of(run: OnDisk) -> Json:
    """{"rounds", "by_hand", "words", "notes", "unfinished"}, or None where there is nothing to show.

    by_hand: minutes that the whole pool would take, {"minutes", "interval", "images", "shown"}, null where too few
    images were timed. unfinished: what stands in the folder is not yet, or no longer, what the last round says.
    Raises: DataError for a history that was changed by another hand.
    """
    rows = rounds(run.folder / PEOPLE)
    if not rows or (len(rows) == 1 and rows[0]["last"] is None):
        return None
    units, last = run.lock.get("units", {}), rows[-1]
    unfinished = any(units.get(name) != key for name, key in last["made_of"].items() if name != "decisions")
    return {"rounds": rows, "by_hand": by_hand(last), "words": in_words(last), "notes": notes(rows),
            "unfinished": unfinished}


def by_hand(row: Mapping[str, Json]) -> Json:
    """Minutes for the whole pool at the pace of these people; None where too few images were timed."""
    pace = row["by_hand"]
    if pace["seconds"] is None:
        return None
    each = row["pool"] / 60
    return {"minutes": round(pace["seconds"] * each, 2), "images": pace["images"], "shown": pace["shown"],
            "interval": None if pace["interval"] is None else [round(end * each, 2) for end in pace["interval"]]}


def in_words(row: Mapping[str, Json]) -> str:
    """Where the loop stands: people's time, what it brought, and what the whole pool would take by hand."""
    said, promise, spent = row["answered"], row["certificate"], row["minutes"]
    people = said["audit"] + said["others"]
    parts = [f"{said['audit']:,} of the audit" if said["audit"] else "",
             f"{said['others']:,} outside it" if said["others"] and (said["audit"] or said["simulated"]) else ""]
    which = ", ".join(p for p in parts if p)
    text = (f"So far {minutes(spent['all'])} of people's time"
            + (f" for {counted(people, 'image')}" if people else "") + (f" ({which})" if which else "") + ". ")
    if said["simulated"]:
        text += (f"The answers to the audit ({counted(said['simulated'], 'image')}) are simulated by labels kept "
                 "aside, and took nobody's time. ")
    text += f"In {row['covered']:,} of the pool's {counted(row['pool'], 'image')} nothing waits for a person"
    if promise and promise["certified"]:
        text += (f"; {promise['accepted']:,} are certified: error at most {promise['max_error']:g} with "
                 f"{promise['confidence'] * 100:g} % confidence (for this part alone: {number(promise['bound'])})")
    elif promise:
        text += "; nothing is certified"
    return f"{text}. {_hand_in_words(row)}"


def _hand_in_words(row: Mapping[str, Json]) -> str:
    pace, whole = row["by_hand"], by_hand(row)
    if whole is None:
        n = pace["images"]
        return (f"What the whole pool would take by hand cannot be said: {counted(n, 'answered image')} "
                f"{'was' if n == 1 else 'were'} timed, too few (at least {FEWEST})."
                if n else "What the whole pool would take by hand is not known: nobody was timed.")
    sure = f"n = {whole['images']}, " + (
        "no interval: the minutes were shared out evenly" if whole["interval"] is None
        else f"95 % {minutes(whole['interval'][0], unit=False)} to {minutes(whole['interval'][1], unit=False)}")
    text = f"By hand the whole pool would take about {minutes(whole['minutes'])} ({sure})"
    if whole["shown"]:
        text += ", and more from nothing: these people were shown pre-labels"
    return f"{text}."


def notes(rows: Rows) -> list[str]:
    """What must be known to read the rounds."""
    out = ["The labels that came with the data, of the seed and of a test, were made before: their minutes stand in no "
           "figure here."]
    untimed = rows[-1]["minutes"]["untimed"]
    if untimed:
        out.append(f"{counted(untimed, 'decision')} of people {'has' if untimed == 1 else 'have'} no time, so the "
                   "minutes are too few.")
    if any(r["answered"]["simulated"] for r in rows):
        out.append("Simulated answers stand for a person's and take no minutes here: a real audit takes some.")
    if sum(r["certificate"] is not None for r in rows) > 1:
        out.append("Each certificate is a promise about one look at the audit. Whoever goes on until one passes, or "
                   "takes the best round, has had more chances to be lucky than it says.")
    if sum(r["test"] is not None for r in rows) > 1:
        out.append("The locked test is scored in each round to be read, not to choose a round by: then it would be "
                   "locked no longer.")
    return out


def minutes(value: float, unit: bool = True) -> str:
    """`12 minutes`, `0.4 minutes`."""
    text = f"{value:,.0f}" if value >= 9.95 or value == 0 else f"{value:.1f}" if value >= 0.95 else number(value)
    return text + (f" minute{'' if text == '1.0' else 's'}" if unit else "")


def table_of(rows: Rows) -> tuple[list[str], list[list[str]]]:
    """Heads and cells of the rounds, as text; columns that say nothing in any round are left out."""
    test, truth = _metric(rows, "test"), _metric(rows, "truth")
    certified = any(r["certificate"] for r in rows)
    head = ["round", "last decision", *["audit answered"] * certified, "others answered", "people's minutes",
            "accepted", "to review", "ignored", "covered",
            *(["certified", "error at most", "error in the audit"] if certified else []),
            *([f"test {SHORT[test]}"] if test else []),
            *([f"pool {SHORT[truth]}, kept-aside truth"] if truth else [])]
    out = []
    for r in rows:
        said, promise = r["answered"], r["certificate"] or {"certified": None, "loss": None}
        audit = f"{said['simulated']:,} simulated" if said["simulated"] else f"{said['audit']:,}"
        sure = [_share(promise["accepted"], r["pool"]), number(promise["bound"])] if promise["certified"] else \
            ["–" if promise["certified"] is None else "none", "–"]
        out.append([
            str(r["round"]), (r["last"] or "–")[:16].replace("T", " "), *[audit] * certified, f"{said['others']:,}",
            minutes(r["minutes"]["all"], unit=False),
            *(f"{r['labels'][state]:,}" for state in ("accepted", "to_review", "ignored")),
            _share(r["covered"], r["pool"]), *([*sure, number(promise["loss"])] if certified else []),
            *([_score(r["test"], test)] if test else []), *([_score(r["truth"], truth)] if truth else [])])
    return head, out


def _metric(rows: Rows, where: str) -> str | None:
    return next((m for m in SHORT for r in rows if m in (r[where] or {})), None)


def _score(row: Json, metric: str) -> str:
    found = (row or {}).get(metric)
    return "–" if found is None else f"{number(found['value'])} ({span(found['interval'])})"


def _share(n: int, of: int) -> str:
    return f"{100 * n / of:.0f} %" if of else "–"


def charts_of(loop: Mapping[str, Json]) -> list[Chart]:
    """Coverage and error against people's minutes, or against the rounds where nobody spent any."""
    rows: Rows = loop["rounds"]
    timed = rows[-1]["minutes"]["all"] > 0
    at = [r["minutes"]["all"] if timed else r["round"] for r in rows]
    hand = loop["by_hand"] if timed else None
    names = "; ".join(f"round {r['round']}: {_share(r['covered'], r['pool'])}" for r in rows)
    drawn = f"; dotted: by hand, all of them at {minutes(hand['minutes'])}" if hand else ""
    out = [Chart("Coverage", "share of the pool's images. Line: nothing waits for a person, by round; circles: "
                 f"certified{drawn}",
                 svg(lambda axes: _coverage(axes, rows, at, hand, timed), 3.9, 2.4,
                     "rounds-coverage", f"coverage by round: {names}"))]
    if any(r["certificate"] for r in rows):
        names = "; ".join(f"round {r['round']}: {number((r['certificate'] or {}).get('bound'))}" for r in rows)
        out.append(Chart("Error", "line: mean error of all labels in the audit; circles: the most that is shown of "
                         "those certified; dotted: what was asked for",
                         svg(lambda axes: _error(axes, rows, at, timed), 3.9, 2.4, "rounds-error",
                             f"certified error by round: {names}")))
    return out


def _coverage(axes: Any, rows: Rows, at: Sequence[float], hand: Json, timed: bool) -> None:
    axes.plot(at, [r["covered"] / max(r["pool"], 1) for r in rows], color=POOL, lw=1.8, marker=".", ms=7)
    _numbered(axes, at, [r["covered"] / max(r["pool"], 1) for r in rows])
    sure = [(x, r["certificate"]["accepted"] / max(r["pool"], 1)) for x, r in zip(at, rows, strict=True)
            if r["certificate"] and r["certificate"]["certified"]]
    axes.plot([x for x, _ in sure], [y for _, y in sure], "o", color=MADE, ms=6, mfc="none", mew=1.6)
    _frame(axes, at, timed)
    if hand:
        # By hand every minute labels as many images as the one before.
        axes.plot([0, hand["minutes"]], [0, 1], color=INK, lw=1, ls=":")
    axes.set_ylim(0, 1.15)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0 %", "25 %", "50 %", "75 %", "100 %"])


def _error(axes: Any, rows: Rows, at: Sequence[float], timed: bool) -> None:
    known = [(x, r["certificate"]) for x, r in zip(at, rows, strict=True) if r["certificate"]]
    mean = [(x, c["loss"]) for x, c in known if c["loss"] is not None]
    axes.plot([x for x, _ in mean], [y for _, y in mean], color=REAL, lw=1.8, marker=".", ms=7)
    sure = [(x, c["bound"]) for x, c in known if c["certified"]]
    axes.plot([x for x, _ in sure], [y for _, y in sure], "o", color=MADE, ms=6, mfc="none", mew=1.6)
    _frame(axes, at, timed)
    axes.plot([x for x, _ in known], [c["max_error"] for _, c in known], color=INK, lw=1, ls=":")
    axes.set_ylim(bottom=0)


def _numbered(axes: Any, at: Sequence[float], values: Sequence[float]) -> None:
    """The number of each round over its point; where several took the same time, of the last one."""
    for number_, (x, y) in enumerate(zip(at, values, strict=True), 1):
        if x not in at[number_:]:
            axes.annotate(f"{number_}", (x, y), (0, 5), textcoords="offset points", ha="center", size=8)


def _frame(axes: Any, at: Sequence[float], timed: bool) -> None:
    axes.set_xlabel("minutes of people's time" if timed else "round")
    axes.set_xlim(0 if timed else 0.6, max(at) * 1.06 if timed else max(at) + 0.4)
    if not timed:
        axes.set_xticks(list(at))
    axes.grid(axis="y", color=FAINT, lw=0.6)
    axes.set_axisbelow(True)
