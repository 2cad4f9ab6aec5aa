"""What the filter took of each generator, as measurements of the gate: after generation, so that a generator that loses
most of its images costs no training, and before release."""

from __future__ import annotations

from collections.abc import Mapping

from synthgen.checks import skipped
from synthgen.stages import Job, filter  # noqa: A004 - the stage is called so
from synthgen.types import Json, Measurement, Verdict

LOST_HALF, LOST_MOST = 0.5, 0.8  # shares of a generator's samples that the filter may take before it warns, and refuses


def losses_of(job: Job) -> list[Measurement]:
    """Two rows per generator: over half of its images or instances warns, over LOST_MOST refuses; and one where its
    labels are not exact and could not be checked, which is not passed."""
    found = filter.summary(job)
    out = []
    for name, tally in found.get("generators", {}).items():
        out += [_lost(name, "images", tally["images"], tally.get("images lost", 0), _remedy(name, found))]
        if job.recipe.task != "classify" or tally.get("instances", 0):
            # Instances of dropped images are counted with these; so all may be lost of the images that are left.
            lost = tally.get("instances lost", 0)
            total = lost + tally.get("instances kept", 0) or tally.get("instances", 0)
            out.append(_lost(name, "instances", total, lost, _remedy(name, found)))
        out += _unchecked(name, tally, found)
    return out


def _lost(name: str, what: str, total: int, lost: int, remedy: str) -> Measurement:
    share = lost / total if total else 1.0
    verdict: Verdict = "fail" if share > LOST_MOST else "warn" if share > LOST_HALF else "pass"
    where = " in the images that were kept" if what == "instances" and total else ""
    return Measurement("filter", f"{what} of {name}", verdict, share, "share",
                       f"the filter took {lost} of {total} {what} of generator {name}{where}", n=(total, 0),
                       remedy="" if verdict == "pass" else remedy, hard=True)


def _remedy(name: str, found: Mapping[str, Json]) -> str:
    """What to do, by what took most."""
    reasons = {reason: n for reason, n in found["reasons"].items() if not reason.startswith("pixel")}
    worst = max(reasons, key=lambda reason: reasons[reason], default="")
    if "labelers" in worst or "too much" in worst:
        return (f"{name}'s images do not show what their labels say: see synthgen preview and the report; train the "
                "generator for longer, or give it more real images")
    if "double" in worst:
        return f"{name} makes the same images again and again: see synthgen preview; draw more varied layouts"
    return f"see synthgen preview: {name}'s objects are too small or hidden"


def _unchecked(name: str, tally: Mapping[str, int], found: Mapping[str, Json]) -> list[Measurement]:
    images, labels = tally.get("images unchecked", 0), tally.get("labels unknown", 0)
    if images:
        why = found["agreement"].get("why") or "their labels are broken"
        return [skipped("filter", f"agreement of {name}", f"whether {images} images of {name} show what their labels "
                        f"say: {why}", hard=True, remedy="labels that were made by a learned generator are not to be "
                                                         "trusted unseen")]
    if labels:
        why = "; ".join(note for note in found["agreement"]["notes"] if note.startswith("no real image"))
        return [skipped("filter", f"agreement of {name}", f"{labels} labels of {name}: {why}", hard=False,
                        remedy="give seed images of every class")]
    return []
