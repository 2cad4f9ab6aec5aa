"""The report in a few lines of Markdown, for a pull request."""

from __future__ import annotations

from collections.abc import Mapping

from synthgen.report.page import arm_names
from synthgen.report.words import SHORT, counted, number, sentence, span
from synthgen.types import Json


def markdown(facts: Mapping[str, Json]) -> str:
    """Verdict, reasons, scores, what the gate found, what to do next."""
    lines = [f"## {_text(facts['name'])}: {_text(facts['headline'])}", ""]
    lines += [f"{n}. {_text(reason['text'])}" for n, reason in enumerate(facts["reasons"], 1)]
    lines += (
        ["", "**What the numbers can and cannot show**", ""] + [f"- {_text(t)}" for t in facts["limits"]]
        if facts["limits"]
        else []
    )
    rows = [(f"test, trained on {arm_names(facts)[arm]}", row) for arm, row in facts["scores"]["test"].items()]
    if facts["scores"]["pool"]:
        rows.append(("pool labels, against truth kept aside", facts["scores"]["pool"]))
    metrics = [m for m in SHORT if any(m in row for _, row in rows)]
    if metrics:
        lines += ["", _row(["", "images", *(SHORT[m] for m in metrics)]), _row(["---"] * (2 + len(metrics)))]
        lines += [_row([name, str(row["n"]), *(_score(row.get(m)) for m in metrics)]) for name, row in rows]
    found = [m for m in facts["measurements"] if m["verdict"] != "pass"]
    if facts["measurements"]:
        passed = len(facts["measurements"]) - len(found)
        lines += ["", f"The gate: {passed} of {counted(len(facts['measurements']), 'measurement')} passed."]
    if found:
        lines += ["", _row(["verdict", "check", "found", "value", "n"]), _row(["---"] * 5)]
        lines += [_row([m["verdict"], _text(f"{m['check']}: {m['name']}"), _text(m["why"]), number(m["value"]),
                        "/".join(map(str, m["n"]))]) for m in found]
    lines += ["", "**Next**", ""]
    for step in facts["next"]:
        lines.append(
            f"- {_text(sentence(step['text']))}" + (f" `{step['command'].replace('`', '')}`" if step["command"] else "")
        )
    lock = facts["provenance"]["lock"]
    if lock:
        lines += [
            "",
            f"synthgen {_text(lock['synthgen'])}, recipe `{lock['recipe'][:12]}`,"
            f" seed {lock['seed']}, {_text(lock['device'])}",
        ]
    return "\n".join(lines) + "\n"


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _score(row: Json) -> str:
    return "–" if row is None else f"{number(row['value'])} ({span(row['interval'])})"


def _text(text: str) -> str:
    """Text that Markdown takes as text: a name in it can neither end a table's cell nor open a tag."""
    return str(text).replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|").replace("\n", " ")
