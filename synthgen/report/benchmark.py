"""The benchmark's page: the first line, the arms with their intervals, the curves over sizes and ratios."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from synthgen.benchmark import words
from synthgen.report.charts import FAINT, INK, MADE, POOL, REAL, Chart, svg
from synthgen.store import write_atomic

COLOURS = {"real": REAL, "real+augment": REAL, "synthetic": MADE, "mixed": MADE, "mixed-unfiltered": MADE,
           "pseudo": POOL, "mixed+pseudo": POOL, "self-training": POOL, "mixed+self-training": POOL}
TONE = {"HELPS": "pass", "NON-INFERIOR": "pass", "HARMS": "fail", "INCONCLUSIVE": "warn"}


def write_page(found: Mapping[str, Any], folder: Path) -> Path:
    """Write `index.html` and `table.md` into the benchmark's folder; one offline file, the same figures, the same
    bytes. found: what `analysis.analyse` gave."""
    from synthgen.report.page import environment, style

    primary = [c for c in found["comparisons"] if c["primary"]]
    page = environment().get_template("benchmark.html").render(
        f=found, first=words.first_line(found), table=words.table(found), notes=words.notes(found),
        equivalents=words.equivalents(found), charts=charts_of(found), style=style(),
        tone=TONE[primary[0]["verdict"]] if primary else "skipped")
    write_atomic(folder / "index.html", (page + "\n").encode())
    write_atomic(folder / "table.md", (words.first_line(found) + "\n\n" + words.markdown(words.table(found))).encode())
    return folder / "index.html"


def charts_of(found: Mapping[str, Any]) -> list[Chart]:
    """The main metric: arms at each size, over sizes where there are several, over ratios where there are several."""
    metric = found["metric"]
    title = words.NAMES[metric]
    sizes = list(dict.fromkeys(row["labelled"] for row in found["arms"]))
    rows = {(row["labelled"], row["arm"]): row for row in found["arms"]
            if row["scores"].get(metric, {}).get("value") is not None}
    out = []
    for size in sizes:
        here = [row for (labelled, _), row in rows.items() if labelled == size]
        alt = f"{title} by arm: " + "; ".join(f"{r['arm']} {r['scores'][metric]['value']:.3f}" for r in here)
        out.append(Chart(title, f"{size} labelled images", svg(
            lambda axes, here=here: _arms(axes, here, metric), 4.6, 0.6 + 0.3 * len(here), f"arms-{size}", alt)))
    if len(sizes) > 1:
        names = list(dict.fromkeys(arm for _, arm in rows if "@" not in arm))
        out.append(Chart(f"{title} by labelled images", "95 % over seeds and test images", svg(
            lambda axes: _curves(axes, [(n, [(s, rows[s, n]) for s in sizes if (s, n) in rows]) for n in names],
                                 metric, "labelled images"), 5.4, 3.0, "sizes", f"{title} by labelled images")))
    shares = sorted(((row["real_share"], row) for (labelled, arm), row in rows.items()
                     if labelled == sizes[-1] and arm.split("@")[0] in ("real", "mixed", "synthetic")),
                    key=lambda pair: pair[0])
    if any("@" in row["arm"] for _, row in shares):
        out.append(Chart(f"{title} by real share of a batch", f"{sizes[-1]} labelled images", svg(
            lambda axes: _curves(axes, [("mixed", shares)], metric, "share of real images"), 4.6, 2.6, "ratios",
            f"{title} by real share")))
    return out


def _arms(axes: Any, rows: list[Mapping[str, Any]], metric: str) -> None:
    for y, row in enumerate(rows):
        score = row["scores"][metric]
        colour = COLOURS[row["arm"].split("@")[0]]
        low, high = score["interval"]
        if low is not None and high is not None:
            axes.plot([low, high], [y, y], color=colour, lw=2.4, solid_capstyle="round", alpha=0.55)
        axes.plot([score["value"]], [y], "o", color=colour, ms=6)
        axes.annotate(f"{score['value']:.3f}", (score["value"], y), (0, 5), textcoords="offset points", ha="center",
                      size=8)
    base = next((r["scores"][metric]["value"] for r in rows if r["arm"] == "real"), None)
    if base is not None:
        axes.axvline(base, color=INK, lw=0.8, ls=":")
    axes.set_yticks(range(len(rows)), [row["arm"] for row in rows])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(rows) - 0.4, -0.8)
    axes.margins(x=0.08)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x", color=FAINT, lw=0.6)
    axes.set_axisbelow(True)


def _curves(axes: Any, lines: list[tuple[str, list[tuple[float, Mapping[str, Any]]]]], metric: str, of: str) -> None:
    dashes = {"real+augment": "--", "synthetic": "--", "mixed-unfiltered": ":", "mixed+pseudo": "--",
              "self-training": "-.", "mixed+self-training": ":"}
    for number, (name, points) in enumerate(lines):
        x = [size for size, _ in points]
        scores = [row["scores"][metric] for _, row in points]
        y = [s["value"] for s in scores]
        axes.plot(x, y, color=COLOURS[name], ls=dashes.get(name, "-"), marker="o", ms=4, lw=1.6, label=name)
        for size, s in zip(x, scores, strict=True):
            if None not in s["interval"]:
                # A little aside, so that intervals of one size do not hide each other.
                axes.plot([size * (1 + 0.015 * number)] * 2, s["interval"], color=COLOURS[name], lw=1.2, alpha=0.4)
    if of == "labelled images":
        axes.set_xscale("log")
        ticks = sorted({size for _, points in lines for size, _ in points})
        axes.set_xticks(ticks, [f"{t:g}" for t in ticks], minor=False)
        axes.set_xticks([], minor=True)
    axes.set_xlabel(of)
    axes.grid(axis="y", color=FAINT, lw=0.4)
    if len(lines) > 1:
        axes.legend(frameon=False, fontsize=8, ncols=2)
