"""Evaluate: open the locked test once, measure, and give a verdict."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthgen import plugins
from synthgen.checks import as_json, run_checks, verdict_of
from synthgen.images import hash_image
from synthgen.metrics.accuracy import columns, score_image
from synthgen.metrics.bounds import ratio_interval
from synthgen.metrics.features import common_size, handcrafted, one_path, spectrum
from synthgen.recipe.schema import Evaluate, Label
from synthgen.seeds import rng_of, seed_of
from synthgen.stages import Job, Unit, filter, ingest, keys, label, train, version_of  # noqa: A004
from synthgen.stages.generate import LAYOUT_BITS
from synthgen.store import Stored, Subset, read_json, write_all, write_json
from synthgen.types import Check, Dataset, Evidence, Json, Labeler, Labels, Measurement, Origin, Task, Verdict

CODE = 1
LOST_HALF, LOST_MOST = 0.5, 0.8  # shares of a generator's samples that the filter may take before it warns, and refuses
MOST = 2000  # images per side for features: more would decide nothing new
METRICS: dict[Task, tuple[str, ...]] = {
    "instances": ("dice", "ap50", "count_error"),
    "segment": ("dice",),
    "detect": ("ap50", "count_error"),
    "classify": ("accuracy",),
}


def units(job: Job) -> list[Unit]:
    """One unit."""
    section = job.recipe.evaluate
    data = [u for u in ingest.units(job) if u.name != "0-ingest/guard"]
    before = data + filter.units(job) + train.units(job) + label.units(job)
    checks = {e.check: [version_of("checks", e.check), e.options] for e in section.gate}
    return [
        Unit(
            "6-evaluate",
            {
                "code": CODE,
                **section.model_dump(mode="json"),
                "checks": checks,
                "seed": job.recipe.seed,
                "label": job.recipe.label.model_dump(),
                "after": keys(before),
            },
            partial(_make, job),
        )
    ]


def verdict(job: Job) -> Json:
    """What the gate said: {"verdict", "measurements", "test", "pool"}.

    The test images with the labels that they got stand as shards in `test-labels` beside it.
    """
    return read_json(job.work.path("6-evaluate") / "verdict.json")


def _make(job: Job, folder: Path) -> None:
    recipe = job.recipe
    arms = {"mixed": train.load(job, train.MODEL)}
    if train.compares(job):
        arms["real"] = train.load(job, "4-train/seed-only")
    test = ingest.part(job, "test")
    if len(test):
        job.events.add("locked test opened", by="evaluate", images=len(test))
    scores: dict[str, Json] = {}
    for number, (arm, labeler) in enumerate(arms.items()):
        job.say("evaluate", number, len(arms) + 2)
        labelled = _labelled(labeler, test, recipe.label)
        scores[arm] = {"per_image": [score_image(mine, right) for mine, right in labelled]}
        if arm == "mixed":
            write_all(
                folder / "test-labels",
                (
                    replace(test[k], labels=mine, origin=Origin("pseudo", recipe.train.use, known_by="model"))
                    for k, (mine, _) in enumerate(labelled)
                ),
                recipe.shard_size,
            )
    truth = ingest.part(job, "pool_truth")
    pool_scores = _pool_scores(label.labelled(job), truth)
    synthetic = filter.kept(job)
    job.say("evaluate", len(arms), len(arms) + 2)
    independent = one_per_layout(synthetic)
    parts: dict[str, Dataset] = {
        "synthetic": independent,
        "seed": ingest.part(job, "seed"),
        "pool": ingest.part(job, "pool"),
    }
    evidence = Evidence(
        synthetic,
        parts["seed"],
        parts["pool"],
        test,
        recipe.classes,
        recipe.task,
        features_of(parts, arms.get("real")) if len(synthetic) else {},
        scores,
        independent,
    )
    measurements = run_checks(built(recipe.evaluate, recipe.task), evidence, recipe.seed) if len(synthetic) else []
    measurements += losses_of(job)
    rng = rng_of(seed_of(recipe.seed, "evaluate", "scores"))
    write_json(folder / "scores.json", {"test": scores, "pool": pool_scores})
    write_json(
        folder / "verdict.json",
        {
            "verdict": verdict_of(measurements, recipe.evaluate.on_inconclusive),
            "measurements": [as_json(m) for m in measurements],
            "test": {arm: summary(s["per_image"], recipe.task, rng) for arm, s in scores.items()},
            "pool": {"simulated_truth": True, **summary(pool_scores, recipe.task, rng)} if pool_scores else None,
        },
    )
    job.say("evaluate", len(arms) + 2, len(arms) + 2)


def built(section: Evaluate, task: Task) -> list[tuple[str, Check]]:
    """The gate's checks; the section's number of permutations goes to checks that take one and do not say."""
    del task
    out = []
    for entry in section.gate:
        options = dict(entry.options)
        takes = plugins.schema(plugins.find("checks", entry.check)).get("properties", {})
        if "permutations" in takes:
            options.setdefault("permutations", section.permutations)
        out.append((entry.check, plugins.build("checks", entry.check, options)))
    return out


def losses_of(job: Job) -> list[Measurement]:
    """What each generator lost in the filter: over half of its images or instances warns, over LOST_MOST refuses."""
    if not filter.units(job):
        return []
    out = []
    for name, tally in read_json(job.work.path("2-filter") / "summary.json")["generators"].items():
        for what in ("images", "instances"):
            total, lost = tally.get(what, 0), tally.get(f"{what} lost", 0)
            if what == "instances" and not total and job.recipe.task == "classify":
                continue
            share = lost / total if total else 1.0
            verdict: Verdict = "fail" if share > LOST_MOST else "warn" if share > LOST_HALF else "pass"
            why = f"the filter took {lost} of {total} {what} of generator {name}"
            remedy = "" if verdict == "pass" else f"see synthgen preview: {name}'s objects are too small or hidden"
            out.append(
                Measurement(
                    "filter", f"{what} of {name}", verdict, share, "share", why, n=(total, 0), remedy=remedy, hard=True
                )
            )
    return out


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


def _labelled(labeler: Labeler, data: Dataset, rules: Label) -> list[tuple[Labels, Labels]]:
    """The labeler's labels, sorted out as the pool's are, and the true ones of each image."""
    out = []
    for sample in data:
        assert sample.labels is not None
        found = next(iter(labeler.label([sample.image], tta=rules.tta)))
        out.append((label.sorted_out(found, rules), sample.labels))
    return out


def _pool_scores(labelled: Stored, truth: Stored) -> list[Json]:
    """Records of the pool's labels against the truth that was kept aside, matched by the pixels; empty without."""
    known = {hash_image(truth[k].image): k for k in range(len(truth))}
    out = []
    for k in range(len(labelled)):
        mine = labelled[k]
        at = known.get(hash_image(mine.image))
        right = None if at is None else truth.labels(at)
        if mine.labels is not None and right is not None:
            out.append(score_image(mine.labels, right))
    return out


def summary(records: Sequence[Json], task: Task, rng: np.random.Generator) -> Json:
    """Each metric of the task: value, 95 % interval over images, n."""
    out: dict[str, Any] = {"n": len(records)}
    for metric in METRICS[task]:
        pair = columns(records, metric) if records else None
        if pair is None:
            continue
        value, interval = ratio_interval(*pair, rng)
        out[metric] = {"value": _finite(value), "interval": [_finite(v) for v in interval]}
    return out


def _finite(value: float) -> float | None:
    return round(float(value), 6) if math.isfinite(value) else None
