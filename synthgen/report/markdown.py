"""A verdict as Markdown for a pull request: what was decided and why, each measurement, and what to do."""

from __future__ import annotations

from collections.abc import Mapping

from synthgen.report.gate import meant, softened
from synthgen.stages.markdown import escaped, table
from synthgen.stages.words import VERDICTS, counted, headline, number, once, reasons, sentence, span, weight_of
from synthgen.types import Json


def gate_table(name: str, verdict: Mapping[str, Json]) -> str:
    """The text: the verdict's line, up to three reasons, a row for each measurement (what did not pass first), and a
    remedy for each that has one.

    name: of the run, or of the two datasets. verdict: as `stages.evaluate.verdict` gives it. Names in it that look
    like Markdown or HTML are shown as they are written.
    """
    measured = sorted(verdict["measurements"], key=weight_of)
    utility = any(m["check"] == "utility" for m in measured)
    # Where nothing asked whether the data help, a headline about it would only confuse.
    line = headline(verdict) if utility else VERDICTS[verdict["verdict"]]
    lines = [f"## {escaped(name)}: {escaped(line)}", ""]
    lines += [f"{k}. {x['verdict']}{', bound missed' * x['missed']}, {escaped(x['check'])}: {escaped(x['text'])}"
              for k, x in enumerate(softened(reasons(verdict), measured), 1)]
    lines += table(["verdict", "check", "found", "value", "95 % interval", "images"], (
        [meant(m), escaped(f"{m['check']}: {m['name']}"), escaped(once(m)), _value(m), span(m["interval"]), _n(m)]
        for m in measured))
    passed = sum(m["verdict"] == "pass" for m in measured)
    lines += ["", f"{passed} of {counted(len(measured), 'measurement')} passed."]
    remedies = [f"- {escaped(m['check'] + ', ' + m['name'])}: {escaped(sentence(m['remedy']))}"
                for m in measured if m["verdict"] not in ("pass", "info") and m["remedy"]]
    if remedies:
        lines += ["", "**What to do**", "", *remedies]
    return "\n".join(lines) + "\n"


def _value(m: Mapping[str, Json]) -> str:
    return number(m["value"]) if m["value"] is None else escaped(f"{number(m['value'])} {m['unit']}".rstrip())


def _n(m: Mapping[str, Json]) -> str:
    return " / ".join(f"{n:,}" for n in m["n"] if n) or "–"
