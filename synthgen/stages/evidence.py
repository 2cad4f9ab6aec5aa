"""What the gate's two places share: the checks that the recipe names, the features they look at, the waivers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from synthgen import plugins
from synthgen.checks import Waived
from synthgen.features import short
from synthgen.features.labeler import LabelerFeatures
from synthgen.metrics.features import common_size, evenly_picked, one_path
from synthgen.recipe.schema import Evaluate, Features
from synthgen.stages import Job, Unit, files_of, ingest, keys, version_of
from synthgen.stages.generate import LAYOUT_BITS
from synthgen.store import Subset
from synthgen.types import Check, Context, Dataset, FeatureExtractor, Json, Labeler, Measurement

CODE = 1
MOST = 2000  # images per side for features: more would decide nothing new
SEED = 0  # of extractors that learn: one for all runs, so that runs on one pool can be compared


@dataclass(frozen=True, slots=True)
class Family:
    """Features under the name that measurements call them by. seen: datasets that its extractor learned to label, and
    which therefore get no features from it."""

    name: str
    extractor: FeatureExtractor
    seen: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Made:
    """features: dataset → family → (N, D) float32. extractors: family → the identity of what made it, with the side of
    the images in px and `extractor`, the short form that people write down."""

    features: Mapping[str, Mapping[str, NDArray[np.float32]]]
    extractors: Mapping[str, Json]

    def notes(self) -> list[Measurement]:
        """What extractors have to say of themselves, as warnings: features from too few images, say."""
        return [Measurement("features", family, "warn", float(about.get("images", math.nan)), "images learned from",
                            f"{family} features: {about['note']}", n=(int(about.get("images", 0)), 0),
                            remedy="give a larger pool, or take the extractor out of evaluate.features")
                for family, about in self.extractors.items() if about.get("note")]


NOTHING = Made({}, {})


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


def units(job: Job) -> list[Unit]:
    """One unit per extractor that learns from the pool: it depends on the pool and its own options, on nothing else."""
    pool = [u for u in ingest.units(job) if u.name == "0-ingest/pool"]
    return [Unit(f"2-features/{entry.family}", {"code": CODE, **_said(job, entry), "after": keys(pool)},
                 partial(_fit, job, entry))
            for entry in job.recipe.evaluate.features if _marked(entry, "FITS")]


def needs(job: Job, *, late: bool) -> Json:
    """What a stage that measures by features needs: the extractors, and the keys of those that learned.

    late: those too that need the labeler.
    """
    entries = [e for e in job.recipe.evaluate.features if late or not _marked(e, "LATE")]
    return {"extractors": {e.family: _said(job, e) for e in entries}, "order": [e.family for e in entries],
            "learned": keys(units(job))}


def families(job: Job, labeler: Labeler | None) -> list[Family]:
    """The recipe's families, in its order; those that learned as they were saved. labeler: trained on the seed alone;
    None: no family that needs it."""
    out = []
    for entry in job.recipe.evaluate.features:
        if _marked(entry, "LATE") and labeler is None:
            continue
        extractor: FeatureExtractor = plugins.build("features", entry.use, entry.options)
        if isinstance(extractor, LabelerFeatures):
            assert labeler is not None
            # Synthetic and pool images are equally new to the labeler; the seed, which it was trained on, is not.
            out.append(Family(entry.family, extractor.of(labeler, job.recipe.train.use), seen=("seed",)))
            continue
        if _marked(entry, "FITS"):
            extractor.load(job.work.path(f"2-features/{entry.family}"))
        out.append(Family(entry.family, extractor))
    return out


def features_of(parts: Mapping[str, Dataset], extractors: Sequence[Family]) -> Made:
    """Features of datasets, all images through one path to one side; at most MOST of each, evenly spaced.

    Raises: what the extractors raise.
    """
    picks = {name: evenly_picked(len(p), MOST) for name, p in parts.items()}
    sizes = {p[int(k)].image.shape[:2] for name, p in parts.items() for k in picks[name]}
    side = common_size((int(h), int(w)) for h, w in sizes)
    out: dict[str, dict[str, NDArray[np.float32]]] = {}
    for name, part in parts.items():
        if not len(part):
            continue
        images = [one_path(part[int(k)].image, side) for k in picks[name]]
        out[name] = {f.name: f.extractor.features(images) for f in extractors if name not in f.seen}
    identities = {f.name: {**f.extractor.identity(), "side": side} for f in extractors}
    return Made(out, {family: {"extractor": short(about), **about} for family, about in identities.items()})


def learner(entry: Features, pool: Dataset, context: Context) -> FeatureExtractor:
    """An extractor, fitted on the pool where it learns. Raises: DataError when it needs a larger pool; PluginError."""
    extractor: FeatureExtractor = plugins.build("features", entry.use, entry.options)
    if _marked(entry, "FITS"):
        extractor.fit(pool, context)
    return extractor


def _fit(job: Job, entry: Features, folder: Path) -> None:
    context = Context(SEED, job.recipe.task, job.recipe.classes, folder, job.device, job.threads, job.say, job.base)
    learner(entry, ingest.part(job, "pool"), context).save(folder)


def _said(job: Job, entry: Features) -> dict[str, Json]:
    return {"use": entry.use, "version": version_of("features", entry.use),
            "options": entry.model_dump(mode="json", exclude={"use", "name"}), "files": files_of(job, entry.options)}


def _marked(entry: Features, mark: str) -> bool:
    """FITS: learns from the pool. LATE: needs the labeler."""
    return bool(getattr(plugins.find("features", entry.use), mark, False))
