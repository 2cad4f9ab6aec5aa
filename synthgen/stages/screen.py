"""Screen: the gate's first place, right after generation, so that a bad generator costs no training.

First the checks that judge single samples (copies, broken labels) flag those to take out, with reason, score and the
real sample to compare with. Then every check that needs no labeler measures what remains: taking samples out changes
shares and variety. Who has to take out more than `evaluate.max_quarantine` has a broken generator, not a few bad
samples.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

from synthgen import plugins
from synthgen.checks import as_json, run_checks, verdict_of, waive
from synthgen.recipe.schema import GateEntry
from synthgen.stages import Job, Unit, evidence, filter, ingest, keys, version_of  # noqa: A004
from synthgen.stages.evidence import NOTHING, Made, built, families, features_of, one_per_layout, waivers_of
from synthgen.stages.losses import losses_of
from synthgen.store import Subset, read_json, write_atomic, write_json
from synthgen.types import Dataset, Evidence, Flag, Json, Measurement

CODE = 5
QUARANTINE, VERDICT = "2-screen/quarantine", "2-screen/verdict"


def units(job: Job) -> list[Unit]:
    """What is taken out, what extractors learn, and the verdict on what remains; none without synthetic samples or
    without checks for it."""
    section = job.recipe.evaluate
    early = _entries(job, "EARLY")
    if not filter.units(job) or not early:
        return []
    rules = section.model_dump(mode="json", include={"on_inconclusive", "permutations", "max_quarantine"})
    waived = [asdict(w) for w in waivers_of(section)]
    first = taken_out(job)
    data = [u for u in ingest.units(job) if u.name in ("0-ingest/seed", "0-ingest/pool")]
    learned = evidence.units(job) if _wants_features(early) else []
    seen = {"features": evidence.needs(job, late=False)} if _wants_features(early) else {}
    needs = {"code": CODE, "checks": _named(early), **rules, "waivers": waived, "seed": job.recipe.seed, **seen,
             "after": keys([*data, *filter.units(job), *first])}
    return [*first, *learned, Unit(VERDICT, needs, partial(_judge, job))]


def taken_out(job: Job) -> list[Unit]:
    """The unit that later stages depend on: they need to know what was taken out, not what was thought of the rest."""
    flagging = _entries(job, "FLAGS")
    if not filter.units(job) or not flagging:
        return []
    data = [u for u in ingest.units(job) if u.name in ("0-ingest/seed", "0-ingest/pool")]
    needs = {"code": CODE, "checks": _named(flagging), "seed": job.recipe.seed,
             "after": keys([*data, *filter.units(job)])}
    return [Unit(QUARANTINE, needs, partial(_take_out, job))]


def _entries(job: Job, mark: str) -> list[GateEntry]:
    """The gate's entries whose check carries a mark: FLAGS judges single samples, EARLY needs no labeler."""
    return [e for e in job.recipe.evaluate.gate if getattr(plugins.find("checks", e.check), mark, False)]


def _wants_features(entries: Sequence[GateEntry]) -> bool:
    """Whether any of them does more than judge single samples, for which features are not needed."""
    return any(not getattr(plugins.find("checks", e.check), "FLAGS", False) for e in entries)


def _named(entries: Sequence[GateEntry]) -> Json:
    return [[e.check, version_of("checks", e.check), e.options] for e in entries]


def kept(job: Job) -> Subset:
    """The synthetic samples that passed the filter and were not taken out: what the labeler is shown."""
    passed = filter.kept(job)
    return without(passed, {row["id"] for row in quarantined(job)})


def without(samples: Subset, ids: set[str]) -> Subset:
    """The samples but for those named."""
    stay = [k for k in samples.indices if samples.stored.entries[k].id not in ids] if ids else samples.indices
    return Subset(samples.stored, stay, samples.changed)


def quarantined(job: Job) -> list[Mapping[str, Json]]:
    """What was taken out: {"id", "check", "reason", "score", "nearest"} each."""
    if not taken_out(job):
        return []
    text = (job.work.path(QUARANTINE) / "quarantine.jsonl").read_text("utf-8")
    return [json.loads(line) for line in text.splitlines()]


def verdict(job: Job) -> Json:
    """{"verdict", "measurements", "extractors"} after generation; None where nothing is screened."""
    return read_json(job.work.path(VERDICT) / "verdict.json") if units(job) else None


def losses(job: Job) -> list[Measurement]:
    """What was taken out, as a measurement: over `evaluate.max_quarantine` of the samples refuses."""
    total = len(filter.kept(job)) if taken_out(job) else 0
    if not total:
        return []
    rows, most = quarantined(job), job.recipe.evaluate.max_quarantine
    share = len(rows) / total
    why = f"{len(rows)} of {total} synthetic samples were taken out after generation"
    if rows:
        reasons = Counter(f"{row['check']}: {row['reason']}" for row in rows).most_common(3)
        why += f" ({'; '.join(f'{n} × {reason}' for reason, n in reasons)})"
    wrong = share > most
    return [Measurement("quarantine", "taken out", "fail" if wrong else "pass", share, "share of samples",
                        why + (f", more than evaluate.max_quarantine = {most:g}" if wrong else ""), n=(total, 0),
                        hard=True, remedy="the generator is at fault, not single samples: look at them, then mend or "
                                          "retrain it" if wrong else "")]


def _take_out(job: Job, folder: Path) -> None:
    found, _ = _measured(job, filter.kept(job), _entries(job, "FLAGS"))
    seen: dict[str, tuple[str, Flag]] = {}
    for m in found:
        for flag in m.flagged:
            seen.setdefault(flag.id, (m.check, flag))
    rows = [{"id": f.id, "check": check, "reason": f.reason, "score": f.score, "nearest": f.nearest}
            for check, f in seen.values()]
    write_atomic(folder / "quarantine.jsonl", "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows).encode())
    write_json(folder / "before.json", [as_json(m) for m in found])


def _judge(job: Job, folder: Path) -> None:
    section = job.recipe.evaluate
    measured, made = _measured(job, kept(job), _entries(job, "EARLY"))
    measured = waive(measured + made.notes() + losses_of(job) + losses(job), waivers_of(section))
    write_json(folder / "verdict.json", {"verdict": verdict_of(measured, section.on_inconclusive),
                                         "measurements": [as_json(m) for m in measured],
                                         "extractors": made.extractors})


def _measured(job: Job, synthetic: Subset, entries: Sequence[GateEntry]) -> tuple[list[Measurement], Made]:
    """What the checks found, and the features that they had."""
    recipe = job.recipe
    if not len(synthetic):
        return [Measurement("integrity", "samples", "fail", 0.0, "samples", "no synthetic sample is left", hard=True,
                            remedy="see synthgen preview; the generator or the filter is at fault")], NOTHING
    independent = one_per_layout(synthetic)
    parts: dict[str, Dataset] = {"synthetic": independent, "seed": ingest.part(job, "seed"),
                                 "pool": ingest.part(job, "pool")}
    made = features_of(parts, families(job, None)) if _wants_features(entries) else NOTHING
    found = Evidence(synthetic, parts["seed"], parts["pool"], (), recipe.classes, recipe.task, made.features,
                     independent=independent)
    section = recipe.evaluate.model_copy(update={"gate": tuple(entries)})
    job.say("screen", 0, 0)
    return run_checks(built(section), found, recipe.seed), made
