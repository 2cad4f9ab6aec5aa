"""The severity ladder as a chart: an AUC beside that of real images degraded in known steps (`metrics.ladder`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from synthgen.report.charts import FAINT, INK, MADE, REAL, Chart, svg
from synthgen.report.words import number
from synthgen.types import Json

CHANCE = 0.5


def ladder_charts(measurements: Sequence[Mapping[str, Json]]) -> tuple[Chart, ...]:
    """A chart for each measurement with a ladder: a bar per step from chance (AUC 0.5), the measured AUC as a line, its
    interval as a band."""
    found = [m for m in measurements if m.get("ladder") and m["value"] is not None]
    return tuple(_chart(k, m) for k, m in enumerate(found))


def _chart(k: int, m: Mapping[str, Json]) -> Chart:
    rungs = [(str(step), float(value)) for step, value in m["ladder"] if value is not None]
    alt = f"{m['name']}: AUC {number(m['value'])}; " + "; ".join(f"{step} {number(value)}" for step, value in rungs)
    return Chart(m["name"], f"AUC {number(m['value'])}",
                 svg(lambda axes: _bars(axes, m, rungs), 4.6, 0.7 + 0.2 * len(rungs), f"ladder-{k}", alt))


def _bars(axes: Any, m: Mapping[str, Json], rungs: Sequence[tuple[str, float]]) -> None:
    rows = range(len(rungs))
    # From chance: a bar to the left is a step that is told less often than a coin would.
    axes.barh(rows, [value - CHANCE for _, value in rungs], 0.66, left=CHANCE, color=REAL, alpha=0.6)
    low, high = m["interval"] or (None, None)
    if low is not None and high is not None:
        axes.axvspan(low, high, color=MADE, alpha=0.16, lw=0)
    axes.axvline(m["value"], color=MADE, lw=2)
    axes.axvline(CHANCE, color=INK, lw=0.8, ls=":")
    axes.annotate("synthetic", (m["value"], len(rungs) - 0.35), (-4, 0), textcoords="offset points", ha="right",
                  va="bottom", size=8.5, color=MADE, weight="bold")
    axes.set_yticks(rows, [step for step, _ in rungs])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(-0.6, len(rungs) + 0.35)
    axes.set_xlim(min(0.45, m["value"], low or 1.0, *(value for _, value in rungs)) - 0.01, 1.01)
    axes.set_xlabel("AUC (0.5: chance, 1: always told)")
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x", color=FAINT, lw=0.6)
    axes.set_axisbelow(True)
