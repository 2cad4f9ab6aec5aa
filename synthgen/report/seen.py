"""What the gate saw: the samples that its checks name, beside the real ones that they are to be compared with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from synthgen.overlay import Stretch, draw, fit_to
from synthgen.report.charts import Chart
from synthgen.report.gate import Measured, meaning
from synthgen.report.ladder import ladder_charts
from synthgen.report.pictures import LONGEST, Figure, Group, Picture, name_of, picture
from synthgen.report.source import OnDisk
from synthgen.report.words import number, weight_of
from synthgen.seeds import rng_of, seed_of
from synthgen.store import Entry, Stored, Subset
from synthgen.types import Image, Sample

ROW, PAIRS = 8, 6  # pictures in a strip, pairs under a heading
STRIPS = 5  # measurements of a check whose samples are shown
REASONS = 6  # reasons of the quarantine that are shown with pictures; all are counted
SMALL = 128  # px of a strip's pictures on a page of LONGEST

LOOK = {
    "realism": "A simple rule was asked to tell synthetic images from real ones, by several kinds of feature. Compare "
               "the rows: what the most easily told have, and real images have not, is what to mend. No labels are "
               "drawn, since outlines would hide seams.",
    "copying": "Left the synthetic image, right the real one that it is nearest to; a copy may be flipped or turned. "
               "The score is its distance to that image over its distance to other real ones: 1 = no nearer than to "
               "those.",
    "mask_shift": "Left the image, right its masks over it. Look for outlines that stand beside their object, or are "
                  "too large or too small for it.",
    "agreement": "Left the image, right its labels: those that labelers trained on real images alone disagree with "
                 "most. Is the label wrong, or is the image unlike any real one?",
    "diversity": "Real images that no synthetic one comes near: kinds of image that the generator does not make yet.",
}
OTHERS = "The samples that the check names, worst first, with their labels."


@dataclass(frozen=True, slots=True)
class Seen:
    """A check's pictures. verdict: what the worst of the measurements shown means. layout: the page's grid."""

    check: str
    verdict: str
    note: str
    groups: tuple[Group, ...]
    layout: str
    charts: tuple[Chart, ...] = ()


@dataclass(frozen=True, slots=True)
class TakenOut:
    """What the screen put into quarantine. reasons: (how many, check, reason), most first. unseen: how many of them no
    picture shows."""

    count: int
    reasons: tuple[tuple[int, str, str], ...]
    groups: tuple[Group, ...]
    unseen: int


class Finder:
    """Samples by id, among what was made, the pool and the seed; the locked test is not looked into."""

    def __init__(self, run: OnDisk) -> None:
        self.parts: dict[str, Stored | Subset] = {
            "made": run.made(), "pool": run.stored("0-ingest/pool"), "seed": run.stored("0-ingest/seed")}
        self._places = {name: {entry.id: k for k, entry in enumerate(_entries(part))}
                        for name, part in self.parts.items()}

    def __call__(self, sample_id: str, *order: str) -> Sample | None:
        """The sample of that id, the parts named looked through first; None where no part has it."""
        for name in dict.fromkeys((*order, *self.parts)):
            if sample_id in self._places[name]:
                return self.parts[name][self._places[name][sample_id]]
        return None

    def ids(self, part: str) -> list[str]:
        """The ids of a part, sorted."""
        return sorted(self._places[part])


def seen(run: OnDisk, stretch: Stretch, longest: int = LONGEST) -> tuple[Seen, ...]:
    """The pictures of each check that names samples, or has a ladder; in the gate's order."""
    verdict = run.verdict()
    by_check: dict[str, list[Measured]] = {}
    for m in verdict["measurements"] if verdict else ():
        if m["verdict"] != "info" and (m["worst"] or m.get("best") or m.get("ladder") or m.get("flagged")):
            by_check.setdefault(m["check"], []).append(m)
    if not by_check:
        return ()
    show = _Show(run, Finder(run), stretch, longest)
    found = [show.check(check, sorted(measured, key=weight_of)[:STRIPS]) for check, measured in by_check.items()]
    return tuple(one for one in found if one.groups or one.charts)


def taken_out(run: OnDisk, stretch: Stretch, longest: int = LONGEST) -> TakenOut | None:
    """What the screen took out, by reason, some of each beside the nearest real image; None where nothing was
    screened."""
    unit = "2-screen/quarantine"
    if run.state(unit) != "done":
        return None
    rows = run.lines(unit, "quarantine.jsonl")
    reasons = Counter((row["check"], row["reason"]) for row in rows)
    if not rows:
        return TakenOut(0, (), (), 0)
    show = _Show(run, Finder(run), stretch, longest)
    groups = []
    for check, reason in list(dict(reasons.most_common()))[:REASONS]:
        mine = [row for row in rows if (row["check"], row["reason"]) == (check, reason)][:PAIRS]
        if figures := show.pairs(mine):
            groups.append(Group(f"{check}: {reason}", figures))
    return TakenOut(len(rows), tuple((n, *key) for key, n in reasons.most_common()), tuple(groups),
                    len(rows) - sum(len(group.figures) for group in groups))


def _entries(part: Stored | Subset) -> list[Entry]:
    return part.entries if isinstance(part, Stored) else [part.stored.entries[k] for k in part.indices]


class _Show:
    """Makes figures of samples, all of them in one way."""

    def __init__(self, run: OnDisk, finder: Finder, stretch: Stretch, longest: int) -> None:
        self.find, self.stretch, self.recipe = finder, stretch, run.recipe
        self.small, self.large = SMALL * longest // LONGEST, longest

    def check(self, check: str, measured: Sequence[Measured]) -> Seen:
        note, word = LOOK.get(check, OTHERS), meaning(measured[0])
        if check == "realism":
            return Seen(check, word, note, self._realism(measured), "small", ladder_charts(measured))
        if check == "copying":
            flagged = [row for m in measured for row in m.get("flagged", ())][:PAIRS]
            groups = (Group("", self.pairs(flagged)),) if flagged else self._strips(measured, ("made",), drawn=False)
            return Seen(check, word, note, groups, "pairs" if flagged else "small")
        if check in ("mask_shift", "agreement"):
            return Seen(check, word, note, self._masks(measured), "pairs")
        if check == "diversity":
            return Seen(check, word, note, self._strips(measured, ("pool", "seed"), drawn=False), "small")
        return Seen(check, word, note, self._strips(measured, ("made",), drawn=True), "small", ladder_charts(measured))

    def pairs(self, rows: Sequence[Measured]) -> tuple[Figure, ...]:
        """Synthetic samples beside the real one that each is to be compared with; alone, with its labels, where none
        is named. rows: {"id", "reason", "score", "nearest"}."""
        out = []
        for row in rows:
            sample = self.find(row["id"], "made")
            if sample is None:
                continue
            real = self.find(row["nearest"], "seed", "pool") if row["nearest"] else None
            shown = [picture(self._base(sample, self.large), f"synthetic image {sample.id}")]
            if real is not None:
                shown.append(picture(self._base(real, self.large), f"the real image {name_of(real)}, nearest to it"))
                notes = f"nearest: {name_of(real)}, score {number(row['score'])}"
            else:
                shown += self._drawn(sample, self.large)
                notes = self._class(sample)
            out.append(Figure(tuple(shown), sample.id, (notes,)))
        return tuple(out)

    def _realism(self, measured: Sequence[Measured]) -> tuple[Group, ...]:
        groups: list[Group] = []
        for m in measured:
            family = m["name"].partition(":")[0]
            for ids, what in ((m["worst"], "most easily told from real ones"),
                              (m.get("best", ()), "most easily taken for real ones")):
                if figures := self._row(ids, ("made",), drawn=False):
                    groups.append(Group(f"Synthetic, {what}, by {family} features", figures))
        if not groups:
            return ()
        part = "pool" if any(m["name"].endswith("pool") for m in measured) and self.find.ids("pool") else "seed"
        ids = self.find.ids(part)
        # Which real ones depends on the run's seed alone, so that nobody chose them.
        picks = rng_of(seed_of(self.recipe.seed, "report", "real images")).permutation(len(ids))[:ROW]
        real = self._row([ids[k] for k in sorted(picks.tolist())], (part,), drawn=False)
        which = f"{len(ids)} of the {part}, all there are" if len(ids) <= ROW else f"of the {part}, drawn at random"
        return (Group(f"Real, {which}", real), *groups)

    def _strips(self, measured: Sequence[Measured], order: Sequence[str], *, drawn: bool) -> tuple[Group, ...]:
        rows = ((m, self._row(m["worst"], order, drawn=drawn)) for m in measured)
        return tuple(Group(m["name"], figures) for m, figures in rows if figures)

    def _masks(self, measured: Sequence[Measured]) -> tuple[Group, ...]:
        groups = []
        for m in measured:
            samples = [s for i in m["worst"] if (s := self.find(i, "made")) is not None][:PAIRS]
            figures = tuple(Figure((picture(self._base(s, self.large), f"synthetic image {s.id}"),
                                    *self._drawn(s, self.large)), s.id, (self._class(s),)) for s in samples)
            if figures:
                groups.append(Group(m["name"], figures))
        return tuple(groups)

    def _row(self, ids: Sequence[str], order: Sequence[str], *, drawn: bool) -> tuple[Figure, ...]:
        """A strip of the samples that can be found; with their labels drawn, where asked for and known."""
        out = []
        for sample in [s for i in ids if (s := self.find(i, *order)) is not None][:ROW]:
            with_labels = self._drawn(sample, self.small) if drawn else ()
            shown = with_labels or (picture(self._base(sample, self.small), f"{sample.origin.kind} image {sample.id}"),)
            out.append(Figure(shown, name_of(sample), (self._class(sample),)))
        return tuple(out)

    def _base(self, sample: Sample, longest: int) -> Image:
        return fit_to(self.stretch(sample.image), longest)[0]

    def _drawn(self, sample: Sample, longest: int) -> tuple[Picture, ...]:
        """The image with its outlines; nothing where there are none to draw."""
        if sample.labels is None or not len(sample.labels):
            return ()
        base, factor = fit_to(self.stretch(sample.image), longest)
        return (picture(draw(base, sample.labels, factor), f"{sample.id} with its labels outlined"),)

    def _class(self, sample: Sample) -> str:
        k = None if sample.labels is None else sample.labels.image_class
        return "" if k is None else self.recipe.classes[k]
