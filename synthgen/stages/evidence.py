"""What the gate's two places share: the checks that the recipe names, the features they look at, the waivers."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

import numpy as np
from numpy.typing import NDArray

from synthgen import plugins
from synthgen.checks import Waived
from synthgen.metrics.features import common_size, handcrafted, one_path, spectrum
from synthgen.recipe.schema import Evaluate
from synthgen.stages.generate import LAYOUT_BITS
from synthgen.store import Subset
from synthgen.types import Check, Dataset, Labeler

MOST = 2000  # images per side for features: more would decide nothing new


def built(section: Evaluate) -> list[tuple[str, Check]]:
    """The gate's checks; the section's number of permutations goes to checks that take one and do not say."""
    out = []
    for entry in section.gate:
        options = dict(entry.options)
        takes = plugins.schema(plugins.find("checks", entry.check)).get("properties", {})
        if "permutations" in takes:
            options.setdefault("permutations", section.permutations)
        out.append((entry.check, plugins.build("checks", entry.check, options)))
    return out


def waivers_of(section: Evaluate) -> list[Waived]:
    """The recipe's waivers, and whether each still holds today; stages keep that among what they need, so that a run is
    judged anew when one ends."""
    return [Waived(w.check, w.name, w.reason, w.until.isoformat(), w.by, date.today() <= w.until)
            for w in section.waivers]


def one_per_layout(synthetic: Subset) -> Subset:
    """The samples that are independent draws: of each generator's renderings of one layout only one, in turn.

    Seeds of one layout differ in their low bits alone (`generate.sample_seed`).
    """
    groups: dict[tuple[str, int], list[int]] = {}
    for k in range(len(synthetic)):
        about = synthetic.about(k)
        seed = about["origin"]["seed"]
        groups.setdefault((about["id"].rsplit("-", 1)[0], k if seed is None else seed >> LAYOUT_BITS), []).append(k)
    picked = [members[n % len(members)] for n, members in enumerate(groups.values())]
    return Subset(synthetic.stored, [synthetic.indices[k] for k in picked], synthetic.changed)


def features_of(parts: Mapping[str, Dataset], labeler: Labeler | None) -> dict[str, dict[str, NDArray[np.float32]]]:
    """Features by part and family, all images through one path; at most MOST of a part, evenly spaced.

    labeler: trained on the seed alone, so synthetic and pool images are equally new to it; the seed is not, and gets
    no features from it. None: no such family.
    """
    picks = {name: np.linspace(0, len(p) - 1, min(len(p), MOST)).round().astype(int) for name, p in parts.items()}
    sizes = {p[int(k)].image.shape[:2] for name, p in parts.items() for k in picks[name]}
    side = common_size((int(h), int(w)) for h, w in sizes)
    out: dict[str, dict[str, NDArray[np.float32]]] = {}
    for name, part in parts.items():
        if not len(part):
            continue
        images = [one_path(part[int(k)].image, side) for k in picks[name]]
        out[name] = {
            "spectrum": spectrum(images).astype(np.float32),
            "handcrafted": handcrafted(images).astype(np.float32),
        }
        if labeler is not None and name != "seed":
            out[name]["encoder"] = labeler.features(images)
    return out
