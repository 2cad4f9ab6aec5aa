"""What is asked of a dataset before it is exported: each check is a metric, a reference and a margin.

A check passes when its interval lies wholly inside the margin and fails when it lies wholly outside; between
the two it is inconclusive and says how many images would settle it. "Not significant" is never a pass. What
could not be run has not passed.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

from pydantic import ConfigDict

from synthgen.metrics.bounds import planned
from synthgen.seeds import rng_of, seed_of
from synthgen.store import Stored, Subset
from synthgen.types import Check, Dataset, Evidence, Flag, Json, Labels, Measurement, Verdict

OPTIONS = ConfigDict(extra="forbid", use_attribute_docstrings=True)
"""How the options of every check behave."""

FEW_IMAGES = 5
"""Below this many images on a side nothing is decided, whatever the interval says."""

ALPHA = 0.05
"""Corrected p above which a missed bound is not yet shown."""

Overall = Literal["pass", "warn", "fail"]


def run_checks(entries: Iterable[tuple[str, Check]], evidence: Evidence, seed: int) -> list[Measurement]:
    """What every check measured, in the order given; all of them run, whatever the others did.

    entries: (name, check) pairs. Each check draws from its own generator, named after it, so that adding one
    changes no other. A check that crashes, returns something else than measurements, or calls a value that is
    not a number a pass gives a hard `error`; one that returns nothing is `skipped`.
    """
    out: list[Measurement] = []
    for name, check in entries:
        try:
            measured = list(check(evidence, rng_of(seed_of(seed, "evaluate", name))))
            wrong = [type(m).__name__ for m in measured if not isinstance(m, Measurement)]
            if wrong:
                raise TypeError(f"it returned {wrong[0]} where measurements were due")
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
            measured = [Measurement(name, name, "error", math.nan, "", hard=True,
                                    why=f"the check {name} could not be run ({said}), so it has not passed",
                                    remedy="mend what the message names, or take it out of evaluate.gate")]
        measured = measured or [skipped(name, name, "the check measured nothing", hard=True)]
        out += [_finite(m) for m in measured]
    return out


def _finite(m: Measurement) -> Measurement:
    if m.verdict == "pass" and not math.isfinite(m.value):
        return dataclasses.replace(m, verdict="error", hard=True,
                                   why=f"{m.name}: the value is {m.value}, which cannot have passed; {m.why}")
    return m


def verdict_of(measurements: Sequence[Measurement],
               on_inconclusive: Literal["warn", "fail"] = "warn") -> Overall:
    """The dataset's verdict: the worst of its measurements.

    error, and a hard fail: fail. A soft fail, warn, waived: warn. info: nothing. inconclusive and skipped: warn, or
    what `on_inconclusive` says where the measurement is hard (a soft one cannot refuse by being unclear when it
    cannot by failing). No measurements at all: warn, since nothing was shown.
    """
    ranks: list[Overall] = ["pass", "warn", "fail"]
    worst = 0 if measurements else 1
    for m in measurements:
        if m.verdict == "error" or (m.verdict == "fail" and m.hard):
            rank = 2
        elif m.verdict in ("inconclusive", "skipped"):
            rank = ranks.index(on_inconclusive) if m.hard else 1
        else:
            rank = 0 if m.verdict in ("pass", "info") else 1
        worst = max(worst, rank)
    return ranks[worst]


def judge(interval: tuple[float, float], most: float, n: tuple[int, int], p: float = 0.0) -> Verdict:
    """pass, fail or inconclusive for a value that may be at most `most`; never decided with few images.

    p: of the exact test beside it, corrected. An effect in sd of a few real images may look large because these happen
    to be alike; then chance gives it as often, p is large, and nothing was shown.
    """
    if min(n) < FEW_IMAGES or not all(math.isfinite(end) for end in interval):
        return "inconclusive"
    if interval[1] <= most:
        return "pass"
    return "fail" if interval[0] > most and p <= ALPHA else "inconclusive"


def caution(n: int) -> str:
    """A half sentence about few images, to end a `why` with; empty from 5 on."""
    return f"; {n} image{'s' if n != 1 else ''}: the interval is rough" if n < FEW_IMAGES else ""


def images_needed(n: int, half_width: float, room: float) -> int | None:
    """Images so that an interval which shrinks as 1/√n fits into `room`; None where no number would do."""
    if room <= 0 or not math.isfinite(half_width):
        return None
    return max(FEW_IMAGES, n + 1, math.ceil(n * (half_width / room) ** 2))


def settles(images: int | None, n: int, what: str = "images on the smaller side") -> str:
    """The remedy for an inconclusive check with n images on its smaller side, `images_needed` being known."""
    if images is None:
        return (f"more than {n} {what} are needed to settle it; how many cannot be told while the estimate lies on the "
                "margin or beyond it")
    if n < FEW_IMAGES and images <= FEW_IMAGES:
        return f"at least {FEW_IMAGES} {what} (now {n}) are needed before anything is decided; it may take more"
    return f"about {planned(images)} {what} (now {n}) would settle it"


def skipped(check: str, name: str, reason: str, *, hard: bool, remedy: str = "") -> Measurement:
    """A measurement that says why there is none."""
    return Measurement(check, name, "skipped", math.nan, "", f"not checked: {reason}", hard=hard,
                       remedy=remedy)


def ids_of(dataset: Dataset) -> list[str]:
    """The samples' ids; of a stored dataset without decoding images."""
    if isinstance(dataset, Subset):
        return [dataset.stored.entries[k].id for k in dataset.indices]
    return [e.id for e in dataset.entries] if isinstance(dataset, Stored) else [s.id for s in dataset]


def labels_of(dataset: Dataset) -> Iterator[tuple[str, Labels | Exception | None]]:
    """(id, labels) of each sample, or the error that reading them gave; stored images are not decoded."""
    if not isinstance(dataset, Stored | Subset):
        yield from ((s.id, s.labels) for s in dataset)
        return
    for k, sample_id in enumerate(ids_of(dataset)):
        try:
            found: Labels | Exception | None = dataset.labels(k)
        except Exception as error:
            found = error
        yield sample_id, found


def as_json(m: Measurement) -> Json:
    """A measurement as plain JSON; numbers that are not finite become null."""
    def plain(value: Json) -> Json:
        if isinstance(value, float):
            return value if math.isfinite(value) else None
        if isinstance(value, Flag):
            return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return [plain(v) for v in value] if isinstance(value, tuple) else value

    return {f.name: plain(getattr(m, f.name)) for f in dataclasses.fields(m)}


def waive(measurements: Iterable[Measurement], waivers: Sequence[Waived]) -> list[Measurement]:
    """The measurements, those that somebody answers for as `waived`; what could not be run (error) never is, and what
    passes needs none. An expired waiver waives nothing and says so."""
    out = []
    for m in measurements:
        mine = [w for w in waivers if w.check == m.check and w.name in ("", m.name)]
        live = [w for w in mine if w.in_force]
        if m.verdict in ("warn", "fail", "inconclusive", "skipped") and live:
            w = live[0]
            m = dataclasses.replace(m, verdict="waived", why=f"{m.why} ({m.verdict}, waived until {w.until} by {w.by}: "
                                                             f"{w.reason})")
        elif mine and m.verdict not in ("pass", "info"):
            w = mine[0]
            said = "what could not be run cannot be waived" if live else f"the waiver of {w.by} ended on {w.until}"
            m = dataclasses.replace(m, why=f"{m.why} ({said})")
        out.append(m)
    return out


@dataclasses.dataclass(frozen=True, slots=True)
class Waived:
    """A person's word that a check's outcome is acceptable: of which check (and which of its measurements; empty =
    all), why, until which day, who. in_force: that day has not passed."""

    check: str
    name: str
    reason: str
    until: str
    by: str
    in_force: bool
