"""What the agreement filter took: of a few samples the image, its labels as they were made, what is left of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from synthgen.overlay import Stretch, draw, fit_to
from synthgen.report.pictures import LONGEST, Figure, Group, picture
from synthgen.report.source import OnDisk, evenly
from synthgen.store import Subset
from synthgen.types import Json

EACH = 4  # samples under a heading


def filtered(run: OnDisk, stretch: Stretch, longest: int = LONGEST) -> tuple[Group, ...]:
    """Samples that the committee was asked about: rejected ones evenly spread, those kept that lost most, and those
    that lost least. Empty where it was not asked."""
    rows = run.lines("2-filter", "agreement.jsonl")
    if not rows:
        return ()
    made = run.made()
    at = {entry.id: k for k, entry in enumerate(made.stored.entries)}
    out = [row for row in rows if not row["kept"]]
    kept = sorted((row for row in rows if row["kept"]), key=_lost)
    most = [row for row in reversed(kept) if _lost(row)][:EACH]
    least = [row for row in kept if row not in most][:EACH]
    groups = (("Rejected", [out[k] for k in evenly(len(out), EACH)]), ("Kept, and lost most", most),
              ("Kept, and lost least", least))
    return tuple(Group(title, tuple(_figure(made, at[row["id"]], row, stretch, longest) for row in picks))
                 for title, picks in groups if picks)


def _lost(row: Mapping[str, Json]) -> float:
    """How much a sample lost, to sort by: shares of pixels and instances; for classify what its class lacks to 1."""
    if "probability of its class" in row:
        return 1 - float(row["probability of its class"] or 0)
    return float(row["foreground lost"] or 0) + float(row["pixels lost"] or 0) + float(row["instances lost"] or 0)


def _figure(made: Subset, k: int, row: Mapping[str, Json], stretch: Stretch, longest: int) -> Figure:
    left = made[k]
    before = replace(left, labels=made.stored.labels(made.indices[k]))
    base, factor = fit_to(stretch(left.image), longest)
    shown = [picture(base, f"synthetic image {left.id}")]
    for sample, words in ((before, "its labels as they were made"), (left, "what is left of them")):
        if sample.labels is not None and sample.labels.image_class is None and (row["kept"] or sample is before):
            shown.append(picture(draw(base, sample.labels, factor), f"{left.id}, {words}"))
    return Figure(tuple(shown), left.id, _notes(row))


def _notes(row: Mapping[str, Json]) -> tuple[str, ...]:
    if "probability of its class" in row:
        return (f"probability of its class {row['probability of its class'] or 0:.2f}",)
    shares = ((name, row[f"{name} lost"]) for name in ("instances", "foreground", "pixels"))
    return (", ".join(f"{name} {share:.0%}" for name, share in shares if share is not None) + " lost",)
