"""Can synthetic images be told from real ones? A linear probe per family of features, against the pool."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator
from pydantic.dataclasses import dataclass

from synthgen.checks import FEW_IMAGES, OPTIONS, caution, ids_of, images_needed, judge, settles, skipped
from synthgen.checks.distances import mmd_measured, reported_only
from synthgen.metrics.bounds import bh, holm
from synthgen.metrics.features import common_size
from synthgen.metrics.ladder import AUTO, FEWEST, RUNGS, Rung, in_words, ladder
from synthgen.metrics.two_sample import Probe, mmd2_u, probe_auc
from synthgen.types import Dataset, Evidence, Image, Measurement, Verdict

HARD_TO_TELL = 0.65
"""Without `max_auc`: what the interval must stay under for a pass; about what 20 images can detect."""

TOLD_ALWAYS = 0.99
"""A rung this high is no margin: no AUC is above it by more than chance."""

LADDER = 200
"""Real images that the severity ladder is made of, at most."""

REMEDIES = {
    "spectrum": "match sharpness, noise and compression: read and encode both kinds of image alike, and vary "
                "blur, noise and JPEG quality in mix.augment",
    "handcrafted": "match colour, contrast and sharpness: blend and harmonise pasted objects, and take "
                   "backgrounds from the pool",
}
CONTENT = "look at the samples listed as worst beside real ones: content, layout or texture differs"


@dataclass(frozen=True, kw_only=True, config=OPTIONS)
class Realism:
    """Synthetic images cannot easily be told from the pool's; being detectable warns, utility decides."""

    EARLY: ClassVar[bool] = True  # needs no labeler: runs after generation too

    max_auc: float | str | None = None
    """The largest AUC allowed (0.5 = cannot be told apart, 1 = always); or a degradation of real images that
    synthetic ones may be as easy to tell as, such as JPEG at quality 50, auto = JPEG at quality 75; none =
    detectable at all warns."""
    refuse: bool = False
    """Whether an AUC above max_auc refuses the dataset instead of warning."""
    alpha: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    """Family-wise error rate over the families of features."""
    permutations: Annotated[int, Field(ge=19, le=100_000)] = 999
    """Permutations per test."""
    show: Annotated[int, Field(ge=0)] = 12
    """How many ids of the most telling samples to list."""

    @field_validator("max_auc")
    @classmethod
    def _on_the_right_side(cls, value: float | str | None) -> float | str | None:
        if isinstance(value, str):
            if value != "auto" and value not in RUNGS:
                raise ValueError(f"max_auc is a number above 0.5, auto, or one of {', '.join(RUNGS)}; "
                                 f"{value!r} is none of them")
        elif value is not None and not 0.5 < value <= 1:
            raise ValueError("max_auc is an upper bound between 0.5 (chance) and 1 (always told apart); "
                             f"{value} makes no sense")
        return value

    def __post_init__(self) -> None:
        if self.refuse and self.max_auc is None:
            raise ValueError("refuse needs max_auc: without a bound, being detectable only warns")

    def __call__(self, evidence: Evidence, rng: np.random.Generator) -> Sequence[Measurement]:
        features = evidence.features
        reference = "pool" if _rows(features, "pool") >= FEW_IMAGES else "seed"
        families = [f for f in features.get("synthetic", {}) if f in features.get(reference, {})]
        n, m = _rows(features, "synthetic"), _rows(features, reference)
        if not families or min(n, m) < FEW_IMAGES:
            return [skipped("realism", "realism", f"it needs features of at least {FEW_IMAGES} synthetic and "
                            f"{FEW_IMAGES} real images, and there are {n} and {m}", hard=False)]
        who = "synthetic", evidence.seed_name if reference == "seed" else reference
        out, confounded = [], ""
        if reference == "pool":
            first = self._seed_against_pool(evidence, rng)
            out.append(first)
            if first.verdict in ("warn", "fail"):
                confounded = "; the seed itself differs from the pool, so part of this may be its doing"
        probes = {f: probe_auc(features["synthetic"][f], features[reference][f], rng, self.permutations)
                  for f in families}
        corrected = holm([probe.p for probe in probes.values()])
        rungs = self._ladder(evidence, rng)
        ids = ids_of(evidence.independent)
        for (family, probe), p in zip(probes.items(), corrected.tolist(), strict=True):
            n, m = len(features["synthetic"][family]), len(features[reference][family])
            order = np.argsort(-probe.scores[:n], kind="stable")
            # Rows can be named only where the features are of every sample, in order.
            named = tuple(ids[k] for k in order) if len(ids) == n else ()
            bound, missing = self._bound(family, probe, rungs)
            found = self._measured(family, who, probe, p, (n, m), bound)
            if missing:
                remedy = "give max_auc a number" + ("" if rungs else ", or name more real images in the pool")
                found = replace(found, verdict="inconclusive", hard=self.refuse, why=f"{found.why}; {missing}",
                                remedy=remedy)
            steps = rungs.get(family, ())
            out.append(replace(found, name=f"{family}: {found.name}", worst=named[:self.show],
                               why=found.why + _rung(probe.auc, steps) + confounded, best=named[::-1][:self.show],
                               ladder=tuple((rung.name, round(rung.auc, 4)) for rung in steps)))
        return [*out, *self._distances(features["synthetic"], features[reference], families, who, rng, confounded)]

    def _distances(self, ours: Mapping[str, NDArray[np.float32]], theirs: Mapping[str, NDArray[np.float32]],
                   families: Sequence[str], who: tuple[str, str], rng: np.random.Generator,
                   confounded: str) -> list[Measurement]:
        """MMD² of every family, its p corrected for false discoveries since it only warns; then what papers report."""
        found = [mmd2_u(ours[f], theirs[f], rng, self.permutations) for f in families]
        out = [mmd_measured(f, who, mmd, q, self.alpha)
               for f, mmd, q in zip(families, found, bh([mmd.p for mmd in found]).tolist(), strict=True)]
        out = [replace(m, why=m.why + confounded) if m.verdict == "warn" else m for m in out]
        for family in families:
            out += reported_only(family, ours[family], theirs[family], rng, self.permutations)
        return out

    def _bound(self, family: str, probe: Probe, rungs: Mapping[str, Sequence[Rung]]) -> tuple[float | None, str]:
        """What the AUC may be at most; None where being detectable warns, or with the reason why there is no bound."""
        if not isinstance(self.max_auc, str):
            return self.max_auc, ""
        rung = AUTO if self.max_auc == "auto" else self.max_auc
        if not rungs:
            return None, (f"the margin should be that of real images after {rung}, which takes {FEWEST} real images: "
                          "nothing is decided")
        height = {r.name: r.auc for r in rungs.get(family, ())}.get(rung)
        if height is None:
            return None, (f"the margin should be that of real images after {rung}, whose {family} features are not "
                          "known: nothing is decided")
        if height <= probe.null[1]:
            return None, (f"real images after {rung} are themselves told at no more than chance (AUC {height:.2f}), "
                          "which makes no margin: name a stronger step")
        if height >= TOLD_ALWAYS:
            return None, (f"real images after {rung} are themselves told always (AUC {height:.2f}), a margin that all "
                          "would pass: name a weaker step")
        return height, ""

    @staticmethod
    def _ladder(evidence: Evidence, rng: np.random.Generator) -> Mapping[str, Sequence[Rung]]:
        """Rungs from the real images that there are most of; none where they are too few."""
        real = max((evidence.pool, evidence.seed), key=len)
        if len(real) < FEWEST:
            return {}
        images, others = (_some(data) for data in (real, evidence.independent))
        return ladder(images, common_size((int(h), int(w)) for h, w, _ in (i.shape for i in images + others)), rng)

    def _seed_against_pool(self, evidence: Evidence, rng: np.random.Generator) -> Measurement:
        """The family in which the seed differs most from the pool it should be a sample of."""
        seed, pool = evidence.features.get("seed", {}), evidence.features["pool"]
        families = [f for f in seed if f in pool]
        n, m = _rows(evidence.features, "seed"), _rows(evidence.features, "pool")
        if not families or n < FEW_IMAGES:
            return skipped("realism", "seed against pool", f"it needs features of at least {FEW_IMAGES} seed "
                           f"images, and there are {n}", hard=False)
        probes = {f: probe_auc(seed[f], pool[f], rng, self.permutations) for f in families}
        family = min(families, key=lambda f: (probes[f].p, -probes[f].auc))
        smallest = float(holm([probe.p for probe in probes.values()]).min())
        measured = self._measured(family, ("seed", "pool"), probes[family], smallest, (n, m), None)
        if measured.verdict == "warn":
            return replace(measured, remedy="label a few random images of the pool, so that the seed stands "
                                            "for what is to be labelled")
        return measured

    def _measured(self, family: str, who: tuple[str, str], probe: Probe, p: float, n: tuple[int, int],
                  bound: float | None) -> Measurement:
        """The verdict on one probe. p: corrected over the families. bound: None = being detectable warns."""
        verdict: Verdict
        if bound is None:
            verdict = "warn" if p <= self.alpha else judge(probe.interval, HARD_TO_TELL, n)
            # Above the line but not significant: nothing was shown either way.
            verdict = "inconclusive" if verdict == "fail" else verdict
        else:
            verdict = judge(probe.interval, bound, n)
        low, high = probe.interval
        limit = HARD_TO_TELL if bound is None else bound
        told = {"pass": "can hardly be told from" if bound is None else "are not too easily told from",
                "warn": "can be told from", "fail": "are too easily told from",
                }.get(verdict, "cannot yet be said to look like or unlike")
        why = (f"by {family} features, {who[0]} images {told} {who[1]} images: AUC {probe.auc:.2f} "
               f"[{low:.2f}, {high:.2f}], where two parts of one set score {probe.null[0]:.2f} to "
               f"{probe.null[1]:.2f}")
        if probe.auc < probe.null[0]:
            why += "; below chance, which near-copies across the two sets bring about"
        remedy = ""
        if verdict == "inconclusive":
            side = min(n)
            more = images_needed(side, max(high - probe.auc, 0), limit - probe.auc)
            remedy = settles(more, side)
        elif verdict in ("warn", "fail"):
            remedy = REMEDIES.get(family, CONTENT)
        return Measurement("realism", f"{who[0]} against {who[1]}", verdict, probe.auc, "AUC",
                           why + caution(min(n)), interval=probe.interval, null=probe.null,
                           detectable=probe.detectable, p=probe.p, q=p, n=n, remedy=remedy,
                           hard=self.refuse and bound is not None)


def _some(data: Dataset) -> list[Image]:
    """At most LADDER images, evenly spaced in the order of their ids, so that the order of files picks none."""
    ids = ids_of(data)
    order = sorted(range(len(ids)), key=ids.__getitem__)
    picks = np.linspace(0, len(ids) - 1, min(len(ids), LADDER)).round().astype(int)
    return [data[order[k]].image for k in picks]


def _rung(value: float, rungs: Sequence[Rung]) -> str:
    return f"; {in_words(value, rungs)}" if rungs else ""


def _rows(features: Mapping[str, Mapping[str, NDArray[np.float32]]], dataset: str) -> int:
    """Images that a dataset has features of; 0 where there are none."""
    return min((len(rows) for rows in features.get(dataset, {}).values()), default=0)
