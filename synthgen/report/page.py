"""The page: the template, filled. Jinja escapes all that comes from the user's data; our own SVG and CSS are safe."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from synthgen.overlay import REVIEW, WRONG, css
from synthgen.report import charts, gate, rounds, words
from synthgen.report.benchmark import charts_of
from synthgen.report.classes import STRIP_WIDTH, class_album
from synthgen.report.filtered import filtered
from synthgen.report.learned import learned
from synthgen.report.pictures import HITS, album, legend
from synthgen.report.seen import seen, taken_out
from synthgen.report.source import OnDisk
from synthgen.report.suspects import suspects
from synthgen.types import Json

HERE = Path(__file__).parent
LEGEND = 24                                      # classes that are named under the pictures


@cache
def environment() -> Environment:
    """Jinja with our filters; what comes from the user's data is escaped."""
    made = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined
    )
    made.filters |= {"number": words.number, "span": words.span, "sentence": words.sentence, "once": words.once,
                     "pretty": lambda value: json.dumps(value, ensure_ascii=False, indent=2)}
    made.globals |= {"counted": words.counted, "ruler": charts.ruler, "strip_width": STRIP_WIDTH,
                     "meaning": gate.meaning, "missed": gate.missed}
    return made


def style() -> str:
    """The pages' CSS."""
    return (HERE / "style.css").read_text("utf-8")


def html(run: OnDisk, facts: Json, longest: int) -> str:
    """The whole page as text; pictures are at most `longest` px."""
    classify = run.recipe.task == "classify"
    arms = arm_names(facts)
    scores = facts["scores"]
    distributions, sides = charts.distribution_charts(run)
    chart = {"scores": charts.score_charts(scores["test"], arms, "s") if scores["test"] else [],
             "pool": charts.score_charts({"pool": scores["pool"]}, {"pool": "pool"}, "p") if scores["pool"] else [],
             "distributions": distributions, "sides": sides,
             "certificate": charts.certificate_charts(facts["certificate"]) if facts["certificate"] else [],
             "loop": rounds.charts_of(facts["loop"]) if facts["loop"] else [],
             "curve": charts.curve_chart(facts["curves"]) if facts["curves"] else "",
             "trainings": charts.trainings(facts["curves"])}
    word, _, said = facts["headline"].partition(": ")
    shown = class_album(run) if classify else album(run, longest)
    benchmark, early = run.benchmark(), run.of("2-screen/verdict", "verdict.json")
    text = (
        environment()
        .get_template("page.html")
        .render(
            f=facts,
            word=word,
            said=words.sentence(said),
            style=style(),
            where=words.where(facts, ".."),
            unread=words.unread(facts),
            album=shown,
            seen=seen(run, shown.stretch, longest),
            taken=taken_out(run, shown.stretch, longest),
            filtered=filtered(run, shown.stretch, longest),
            learned=learned(run, shown.stretch),
            suspects=suspects(run, shown.stretch, longest),
            benchmark=charts_of(benchmark) if benchmark else [],
            classify=classify,
            legend=legend(facts["classes"])[:LEGEND],
            more_classes=max(0, len(facts["classes"]) - LEGEND),
            chart=chart,
            rounds=rounds.table_of(facts["loop"]["rounds"]) if facts["loop"] else None,
            gate=gate.groups(facts["measurements"]),
            early=early is not None and early["verdict"] == "fail",
            readers=gate.for_readers(facts["measurements"]),
            arms=arms,
            tone=tone(facts),
            colours={"hit": css(HITS), "wrong": css(WRONG), "review": css(REVIEW)},
        )
    )
    return text + "\n"


def arm_names(facts: Mapping[str, Json]) -> dict[str, str]:
    """What to call the labelers that were scored: without synthetic data, `mixed` was trained on the seed alone."""
    return {"mixed": "seed + synthetic" if facts["synthetic"]["kept"] else "seed alone", "real": "seed alone"}


def tone(facts: Mapping[str, Json]) -> str:
    """The colour of the page's head; a verdict about synthetic data that was not shown to help is never green."""
    utility = words.main_utility(facts["measurements"])
    if facts["verdict"] is None:
        return "skipped"
    if facts["verdict"] == "pass" and (utility is None or not utility["why"].startswith(("HELPS", "NON-INFERIOR"))):
        return "warn"
    return str(facts["verdict"])
