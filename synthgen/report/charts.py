"""The report's charts: matplotlib's SVG, made to live inside the page (its colours, its fonts, its dark mode)."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthgen.metrics.drift import attributes
from synthgen.report.source import OnDisk, evenly
from synthgen.report.words import METRICS, number
from synthgen.store import Stored, Subset
from synthgen.types import Json

# Colours that matplotlib writes, and the page's own that they become.
INK, REAL, MADE, POOL, FAINT = "#010101", "#010102", "#010103", "#010104", "#010105"
_PAGE = {INK: "var(--ink-2)", REAL: "var(--real)", MADE: "var(--made)", POOL: "var(--pool)", FAINT: "var(--rule)"}
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "synthgen",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.formatter.useoffset": False,
}
SCANNED = 2000                                   # samples of a part that distributions are made from


def svg(draw: Any, width: float, height: float, name: str, alt: str) -> str:
    """The SVG of `draw(axes)`; the same bytes each time, its ids told apart from those of other charts by `name`."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        draw(figure.add_subplot())
        out = io.StringIO()
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    text = text[text.index("<svg"):]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    # An SVG inside HTML needs no namespaces, and a page that names no address is seen to be offline.
    text = re.sub(r'\s+xmlns(:\w+)?="[^"]*"', "", text).replace("xlink:href", "href")
    text = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', text)
    text = re.sub(r'(url\(|href=")#', rf"\1#{name}-", text)
    text = re.sub(r'<svg [^>]*?viewBox="([^"]*)"[^>]*>',
                  lambda m: f'<svg class="chart" viewBox="{m[1]}" role="img" aria-label="{_plain(alt)}" '
                            f'style="max-width:{width * 100:.0f}px">', text, count=1, flags=re.DOTALL)
    for colour, own in _PAGE.items():
        text = text.replace(colour, own)
    return text.strip()


def _plain(text: str) -> str:
    return re.sub(r"[^\w .,:;()/%+-]", " ", text)


@dataclass(frozen=True, slots=True)
class Chart:
    """An SVG with what stands above it."""

    title: str
    note: str
    svg: str


def score_charts(test: Mapping[str, Json], arms: Mapping[str, str], prefix: str) -> list[Chart]:
    """One chart per metric: a dot and its 95 % interval for each arm, shares on an axis from 0 to 1."""
    out = []
    for m, (title, note) in METRICS.items():
        if any(m in row for row in test.values()):
            alt = f"{title}: " + "; ".join(
                f"{arms[a]} {number(row[m]['value'])}" for a, row in test.items() if m in row
            )
            out.append(
                Chart(
                    title,
                    note,
                    svg(
                        lambda axes, m=m: _dots(axes, m, test, arms), 3.5, 0.42 + 0.36 * len(test), f"{prefix}-{m}", alt
                    ),
                )
            )
    return out


def _dots(axes: Any, metric: str, test: Mapping[str, Json], arms: Mapping[str, str]) -> None:
    rows = [(arm, row[metric]) for arm, row in test.items() if metric in row]
    top = 1.0
    for y, (arm, row) in enumerate(rows):
        colour = MADE if arm == "mixed" and len(rows) > 1 else REAL
        low, high = row["interval"]
        if low is not None and high is not None:
            axes.plot([low, high], [y, y], color=colour, lw=2.4, solid_capstyle="round", alpha=0.55)
            top = max(top, high)
        axes.plot([row["value"]], [y], "o", color=colour, ms=6.5)
        axes.annotate(
            number(row["value"]),
            (row["value"], y),
            (0, 6),
            textcoords="offset points",
            ha="center",
            size=8.5,
            weight="bold",
        )
        top = max(top, row["value"])
    axes.set_yticks(range(len(rows)), [arms[arm] for arm, _ in rows])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(rows) - 0.4, -0.75)
    axes.set_xlim(-0.02 * top, top * 1.04)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x", color=FAINT, lw=0.6)
    axes.set_axisbelow(True)


def curve_chart(curves: Mapping[str, Sequence[Sequence[float]]]) -> str:
    """Loss by step of every training; folds are faint, since they serve calibration only."""

    def draw(axes: Any) -> None:
        for name, curve in sorted(curves.items(), key=lambda item: not item[0].startswith("fold")):
            steps, losses = zip(*curve, strict=True)
            main = {"mixed": (MADE, 2.0), "seed-only": (REAL, 2.0)}.get(name)
            axes.plot(steps, losses, color=main[0] if main else FAINT, lw=main[1] if main else 1.2)
        axes.set_xlabel("step")
        axes.set_ylabel("loss")
        axes.set_ylim(bottom=0)
        axes.grid(axis="y", color=FAINT, lw=0.4)

    return svg(draw, 5.4, 2.5, "curve", "training loss by step: " + ", ".join(curves))


def trainings(curves: Mapping[str, Json]) -> list[tuple[str, str]]:
    """(name, colour of the page) of the trainings in the chart of losses."""
    known = [("seed + synthetic" if "seed-only" in curves else "the labeler", "made")] if "mixed" in curves else []
    known += [("seed alone", "real")] if "seed-only" in curves else []
    return known + ([("folds", "rule")] if any(name.startswith("fold") for name in curves) else [])


def certificate_charts(found: Mapping[str, Json]) -> list[Chart]:
    """Error of the surest images against how many they are, in the audit, and the bounds that were tried."""
    curve, steps = found["curve"], found["steps"]
    if not curve["coverage"]:
        return []

    def draw(axes: Any) -> None:
        axes.plot(curve["coverage"], curve["risk"], color=MADE, lw=1.4)
        axes.axhline(found["max_error"], color=INK, lw=0.8, ls=":")
        for passed, mark in ((True, "o"), (False, "x")):
            tried = [s for s in steps if s["passed"] == passed]
            axes.plot([s["coverage"] for s in tried], [s["bound"] for s in tried], mark, color=REAL, ms=4, lw=0)
        axes.set_xlim(0, 1.02)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("share of the pool, surest first")
        axes.set_ylabel("mean error")

    note = (f"line: in the audit of {found['audit']['images']}; circles: what it shows to be the most, with "
            f"{found['confidence']:.0%} confidence (× where that was too much and the search ended); dotted: what was "
            f"asked for. AUGRC {curve['augrc']:.4f}")
    return [Chart("Error against coverage", note, svg(draw, 5.4, 2.5, "certificate",
                                                      "mean error of the surest images by their share of the pool"))]


def distribution_charts(run: OnDisk) -> tuple[list[Chart], list[tuple[str, str]]]:
    """Real beside synthetic: object size, objects per image, aspect; the classes where there are several. And which
    sides there are, with the page's colour of each."""
    kept, recipe = run.kept(), run.recipe
    sides: dict[str, Sequence[Stored | Subset]] = {
        "seed": [run.stored("0-ingest/seed")],
        "synthetic": list(kept.values()),
        "pool, as labelled": [run.stored("5-label", "shards")],
    }
    n = len(recipe.classes)
    measured = {side: [attributes(labels, n) for part in parts for k in evenly(len(part), SCANNED)
                       if (labels := part.labels(k)) is not None] for side, parts in sides.items()}
    measured = {side: rows for side, rows in measured.items() if rows}
    if not measured:
        return [], []
    looks = [(side, _LOOKS[side][3]) for side in measured]
    out = []
    if recipe.task == "classify":
        votes = {side: np.bincount([r.image_class for r in rows if r.image_class is not None], minlength=n)[:n]
                 for side, rows in measured.items()}
        return [
            Chart(
                "Classes",
                "share of images",
                svg(
                    lambda axes: _bars(axes, votes, recipe.classes),
                    3.5,
                    0.5 + 0.3 * min(n, 30),
                    "d-class",
                    "share of images of each class, by side",
                ),
            )
        ], looks
    for key, title, note, values in (
        (
            "size",
            "Object size",
            "√area, px",
            {s: np.concatenate([r.size for r in rows]) for s, rows in measured.items()},
        ),
        (
            "count",
            "Objects",
            "per image",
            {s: np.array([float(len(r.size)) for r in rows]) for s, rows in measured.items()},
        ),
        (
            "aspect",
            "Aspect",
            "width / height",
            {s: np.concatenate([r.aspect for r in rows]) for s, rows in measured.items()},
        ),
    ):
        shown = {s: v for s, v in values.items() if len(v)}
        if shown:
            alt = f"{title}, {note}: " + "; ".join(f"{s} mean {number(float(v.mean()))}" for s, v in shown.items())
            out.append(
                Chart(
                    title,
                    note,
                    svg(lambda axes, key=key, shown=shown: _histograms(axes, shown, key), 3.5, 1.9, f"d-{key}", alt),
                )
            )
    if n > 1:
        totals = {s: np.asarray(np.sum([r.class_objects for r in rows], axis=0)) for s, rows in measured.items()}
        out.append(
            Chart(
                "Classes",
                "share of objects",
                svg(
                    lambda axes: _bars(axes, totals, recipe.classes),
                    3.5,
                    0.5 + 0.3 * min(n, 30),
                    "d-class",
                    "share of objects of each class, by side",
                ),
            )
        )
    return out, looks


_LOOKS = {
    "seed": (REAL, "-", 0.16, "real"),
    "synthetic": (MADE, "-", 0.0, "made"),
    "pool, as labelled": (POOL, ":", 0.0, "pool"),
}


def _histograms(axes: Any, values: Mapping[str, NDArray[np.float64]], key: str) -> None:
    whole = np.concatenate(list(values.values()))
    low, high = float(whole.min()), float(np.quantile(whole, 0.995))
    if key == "count":
        # Whole numbers fall into the middle of their bars.
        step = max(1, int(np.ceil((whole.max() - low + 1) / 20)))
        edges = np.arange(low - 0.5, whole.max() + step + 0.5, step)
    else:
        edges = np.linspace(low, max(high, low + 1e-3), 21)
    for side, v in values.items():
        colour, dash, fill, _ = _LOOKS[side]
        counts, _ = np.histogram(np.clip(v, edges[0], edges[-1]), edges)
        share = counts / max(counts.sum(), 1)
        axes.stairs(share, edges, color=colour, lw=1.8, ls=dash)
        if fill:
            axes.stairs(share, edges, color=colour, fill=True, alpha=fill, lw=0)
    if key == "count":
        axes.xaxis.get_major_locator().set_params(integer=True)
    if key == "aspect":
        ticks = [t for t in (0.1, 0.25, 0.5, 1, 2, 4, 10) if edges[0] <= np.log(t) <= edges[-1]]
        axes.set_xticks(np.log(ticks) if ticks else [], [f"{t:g}" for t in ticks])
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.set_ylim(bottom=0)


def _bars(axes: Any, totals: Mapping[str, NDArray[Any]], names: Sequence[str]) -> None:
    shown = min(len(names), 30)
    height = 0.8 / len(totals)
    for row, (side, counts) in enumerate(totals.items()):
        share = counts / max(counts.sum(), 1)
        axes.barh(
            np.arange(shown) + (row - (len(totals) - 1) / 2) * height,
            share[:shown],
            height * 0.9,
            color=_LOOKS[side][0],
            alpha=0.85,
        )
    axes.set_yticks(range(shown), [name if len(name) <= 24 else name[:23] + "…" for name in names[:shown]])
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color=FAINT, lw=0.6)
    axes.set_axisbelow(True)


def ruler(m: Mapping[str, Json], width: float = 150.0) -> Json:
    """Where a measurement's value, interval and chance interval lie on a line of `width` px; None without a value."""
    if m["value"] is None:
        return None
    ends = {"value": (m["value"],), "interval": m["interval"] or (), "null": m["null"] or ()}
    known = [float(x) for pair in ends.values() for x in pair if x is not None]
    low, high = (0.0, 1.0) if m["unit"] == "AUC" else (min(0.0, *known), max(0.0, *known))
    if high <= low:
        return None
    pad = 0.06 * (high - low)

    def at(x: float) -> float:
        return round((x - low + pad) / (high - low + 2 * pad) * width, 1)

    return {"zero": at(0.5 if m["unit"] == "AUC" else 0.0), "value": at(m["value"]),
            **{key: [at(x) for x in m[key]] if m[key] and None not in m[key] else None for key in ("interval", "null")}}
