"""How generators learned: what their samples were like after so many steps, in curves and in pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from synthgen.geometry import id_map
from synthgen.overlay import Stretch, draw, fit_to, sheet
from synthgen.report.charts import FAINT, MADE, REAL, Chart, svg
from synthgen.report.pictures import Figure, Group, picture
from synthgen.report.source import OnDisk, evenly
from synthgen.report.words import counted
from synthgen.store import Stored
from synthgen.types import Image, Json, Sample

ROWS, STEPS, SMALL = 4, 6, 128  # samples that are followed, looks that are shown of each, px


@dataclass(frozen=True, slots=True)
class Learned:
    """One generator's training. ended: why it ended early, or "". best: the step whose weights were taken."""

    name: str
    use: str
    best: int
    ended: str
    charts: tuple[Chart, ...]
    groups: tuple[Group, ...]


def learned(run: OnDisk, stretch: Stretch) -> tuple[Learned, ...]:
    """Every generator that looked at its samples while it learned; in the recipe's order."""
    out = []
    for section in run.recipe.generate:
        unit = f"1-fit/{section.name}"
        found = run.of(unit, "looks.json")
        if found and found["looks"]:
            out.append(Learned(section.name, section.use, found["best"] or 0, found["ended"], _charts(found),
                               _pictures(run.folder / unit / "looked", run.recipe.classes, stretch)))
    return tuple(out)


def _by(found: Mapping[str, Json]) -> str:
    named = {"dice": "Dice", "ap50": "AP50", "accuracy": "accuracy"}.get(found.get("metric", ""))
    return f" ({named})" if named else ""


def _charts(found: Mapping[str, Json]) -> tuple[Chart, ...]:
    looks = found["looks"]
    rows = (
        ("Adherence", "adherence", found["real_adherence"], 1.0,
         f"how well labelers trained on real images alone agree with the labels{_by(found)}; the line is what they "
         "reach on real images that they did not see"),
        ("Distance from the seed", "distance", 1.0, None,
         f"of real images that the seed does not hold = 1; below {found['copying']:g} it copies"),
        ("Variety", "diversity", 1.0, None, f"of real images = 1; a fall below {found['collapse']:g} is a collapse"),
    )
    out = []
    for title, key, line, top, note in rows:
        points = [(look["step"], look[key]) for look in looks if look[key] is not None]
        if points:
            out.append(Chart(title, note, _curve(points, line, found["best"], top, title)))
    return tuple(out)


def _curve(points: Sequence[tuple[int, float]], line: float | None, best: int | None, top: float | None,
           title: str) -> str:
    def drawn(axes: Any) -> None:
        steps, values = zip(*points, strict=True)
        if line is not None:
            axes.axhline(line, color=REAL, lw=1.2)
        axes.plot(steps, values, color=MADE, lw=2, marker="o", ms=4)
        if best is not None:
            axes.axvline(best, color=FAINT, lw=1, ls="--")
        axes.set_xlabel("step")
        axes.set_ylim(0, top or max(1.3, 1.1 * max(values)))
        axes.grid(axis="y", color=FAINT, lw=0.4)

    return svg(drawn, 3.6, 2.2, f"looks-{title.split()[0].lower()}", f"{title} of samples by training step")


def _pictures(folder: Path, classes: Sequence[str], stretch: Stretch) -> tuple[Group, ...]:
    """The same samples after ever more steps: what each must show, then how it was painted."""
    steps = sorted(p for p in folder.glob("[0-9]*") if p.is_dir()) if folder.exists() else []
    shown = [(int(steps[k].name), Stored(steps[k])) for k in evenly(len(steps), STEPS)]
    shown = [(step, part) for step, part in shown if len(part)]
    if not shown:
        return ()
    words = ", ".join(str(step) for step, _ in shown)
    figures = []
    for row in range(min(ROWS, len(shown[-1][1]))):
        asked = shown[-1][1][row]
        strip = [_asked(asked)] if _drawable(asked) else []
        strip += [fit_to(stretch(part[row].image), SMALL)[0] for _, part in shown]
        alt = f"{'the labels of a sample, and ' * _drawable(asked)}the sample after {words} steps"
        figures.append(Figure((picture(sheet(strip, STEPS + 1, SMALL, 2), alt),), _title(asked, classes)))
    return (Group("", tuple(figures), f"After {words} steps"),)


def _title(asked: Sample, classes: Sequence[str]) -> str:
    if asked.labels is None:
        return asked.id
    kind = asked.labels.image_class
    return classes[kind] if kind is not None else counted(len(asked.labels), "object")


def _drawable(sample: Sample) -> bool:
    return sample.labels is not None and sample.labels.masks is not None


def _asked(sample: Sample) -> Image:
    """The labels alone, filled in, on black."""
    assert sample.labels is not None
    empty = np.zeros_like(sample.image)
    empty[id_map(sample.labels) > 0] = 60
    base, factor = fit_to(empty, SMALL)
    return draw(base, sample.labels, factor)
