"""The report in a few lines of Markdown, for a pull request."""

from __future__ import annotations

from collections.abc import Mapping

from synthgen.report.gate import meant
from synthgen.report.page import arm_names
from synthgen.report.rounds import table_of
from synthgen.report.words import SHORT, counted, number, once, sentence, span, unread, where
from synthgen.stages.markdown import escaped, table
from synthgen.types import Json


def markdown(facts: Mapping[str, Json]) -> str:
    """Verdict, reasons, scores, what the gate found, what to do next."""
    lines = [f"## {escaped(facts['name'])}: {escaped(facts['headline'])}", ""]
    lines += [f"{n}. {escaped(reason['text'])}" for n, reason in enumerate(facts["reasons"], 1)]
    lines += ["", *(escaped(text) for text in (where(facts, facts["folder"]), *unread(facts)))]
    lines += (
        ["", "**What the numbers can and cannot show**", ""] + [f"- {escaped(t)}" for t in facts["limits"]]
        if facts["limits"]
        else []
    )
    rows = [(f"test, trained on {arm_names(facts)[arm]}", row) for arm, row in facts["scores"]["test"].items()]
    if facts["scores"]["pool"]:
        rows.append(("pool labels, against truth kept aside", facts["scores"]["pool"]))
    metrics = [m for m in SHORT if any(m in scores for _, scores in rows)]
    if metrics:
        lines += table(["", "images", *(SHORT[m] for m in metrics)],
                       ([name, str(scores["n"]), *(_score(scores.get(m)) for m in metrics)] for name, scores in rows))
    if facts["loop"]:
        head, cells = table_of(facts["loop"]["rounds"])
        lines += ["", f"**Round by round**: {escaped(facts['loop']['words'])}"]
        lines += table(head, ([escaped(cell) for cell in row] for row in cells))
        lines += ["", *(f"- {escaped(text)}" for text in facts["loop"]["notes"])]
    if facts["benchmark"]:
        lines += ["", f"**Benchmark**: {escaped(facts['benchmark']['first'])}"]
    # Numbers that decide nothing would only hide those that do.
    judged = [m for m in facts["measurements"] if m["verdict"] != "info"]
    found = [m for m in judged if m["verdict"] != "pass"]
    if judged:
        lines += ["", f"The gate: {len(judged) - len(found)} of {counted(len(judged), 'measurement')} passed."]
    lines += table(["verdict", "check", "found", "value", "n"], (
        [meant(m), escaped(f"{m['check']}: {m['name']}"), escaped(once(m)), number(m["value"]),
         "/".join(map(str, m["n"]))] for m in found))
    lines += ["", "**Next**", ""]
    for step in facts["next"]:
        lines.append(
            f"- {escaped(sentence(step['text']))}"
            + (f" `{step['command'].replace('`', '')}`" if step["command"] else "")
        )
    lock = facts["provenance"]["lock"]
    if lock:
        lines += [
            "",
            f"synthgen {escaped(lock['synthgen'])}, recipe `{lock['recipe'][:12]}`,"
            f" seed {lock['seed']}, {escaped(lock['device'])}",
        ]
    return "\n".join(lines) + "\n"


def _score(score: Json) -> str:
    return "–" if score is None else f"{number(score['value'])} ({span(score['interval'])})"
