"""All that the report says, as plain JSON: `report.json`, and what the page and the summary are written from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from synthgen.benchmark.words import first_line
from synthgen.report.gate import softened, waivers_in_force
from synthgen.report.limits import limits
from synthgen.report.rounds import loop_of
from synthgen.report.source import OnDisk, evenly
from synthgen.report.words import headline, next_steps, other_reasons, reasons
from synthgen.stages import train, training
from synthgen.store import Stored
from synthgen.types import Json

PARTS = ("seed", "pool", "pool_truth", "test")
COUNTED = 2000  # samples of a part whose objects are counted; more are estimated from these
LISTED = 20                                      # dropped and quarantined items that are named; the rest is counted
TITLES = {"0-ingest": "ingest", "1-committee": "committee", "1-fit": "fit", "1-generate": "generate",
          "2-filter": "filter", "2-screen": "screen", "3-mix": "mix", "4-train": "train", "5-errors": "label errors",
          "5-votes": "votes", "5-label": "label", "5-queue": "queue", "5-doubt": "doubt", "5-certify": "certify",
          "6-evaluate": "evaluate", "7-export": "export"}


def facts_of(run: OnDisk) -> dict[str, Json]:
    """Everything about a run that does not need a picture; the same run gives the same facts."""
    recipe = run.recipe
    verdict = run.verdict()
    stages = stages_of(run)
    facts: dict[str, Json] = {
        "schema": "synthgen-report/1",
        "name": recipe.name,
        "task": recipe.task,
        "classes": list(recipe.classes),
        "seed": recipe.seed,
        "folder": (recipe.run.out / recipe.name).as_posix(),
        "state": _state(verdict, stages),
        "verdict": verdict and verdict["verdict"],
        "headline": "",
        "reasons": [],
        "limits": [],
        "next": [],
        "stages": stages,
        "data": {
            name: _part(run.stored(f"0-ingest/{name}"), name != "test" or verdict is not None)
            for name in PARTS
            if run.state(f"0-ingest/{name}") == "done"
        },
        "synthetic": _synthetic(run),
        "filter": run.of("2-filter", "summary.json"),
        "mix": run.of("3-mix", "summary.json"),
        "label_errors": run.of("5-errors", "summary.json"),
        "label": _label(run),
        "certificate": run.of("5-certify", "certificate.json"),
        "loop": loop_of(run),
        "scores": {
            "test": verdict["test"] if verdict and _has_test(verdict) else {},
            "pool": verdict["pool"] if verdict else None,
        },
        "measurements": verdict["measurements"] if verdict else [],
        "waivers": _waivers(run, verdict),
        "benchmark": _benchmark(run),
        "curves": _curves(run),
        "left_out": _left_out(run),
        "exports": [{"format": f, **found} for f in recipe.export if (found := run.of(f"7-export/{f}", "losses.json"))],
        "provenance": _provenance(run),
    }
    if verdict:
        facts["headline"], found = headline(verdict), softened(reasons(verdict), verdict["measurements"])
        facts["reasons"] = found + other_reasons(facts, 3 - len(found))
    else:
        facts["headline"], facts["reasons"] = _unfinished(stages)
    facts["limits"], facts["next"] = limits(facts), next_steps(facts)
    return facts


def stages_of(run: OnDisk) -> list[Json]:
    """Each stage with its units: {"stage", "title", "state", "units": [{"unit", "state"}]}; `none` without units."""
    found: dict[str, list[Json]] = {stage: [] for stage in TITLES}
    for unit in run.units:
        found.setdefault(unit.split("/")[0], []).append({"unit": unit, "state": run.state(unit)})
    return [
        {
            "stage": stage,
            "title": TITLES.get(stage, stage),
            "state": _together([u["state"] for u in units]),
            "units": units,
        }
        for stage, units in found.items()
    ]


def _together(states: Sequence[str]) -> str:
    """The state of a stage from its units': partial as soon as something was begun and not all is done."""
    if not states:
        return "none"
    return states[0] if len(set(states)) == 1 else "partial"


def _state(verdict: Json, stages: Sequence[Json]) -> str:
    if verdict is None:
        return "unfinished"
    if verdict["verdict"] == "fail":
        return "refused"
    return "finished" if all(s["state"] in ("done", "none") for s in stages) else "unfinished"


def _unfinished(stages: Sequence[Json]) -> tuple[str, list[Json]]:
    done = [s["title"] for s in stages if s["state"] == "done"]
    ahead = [s["title"] for s in stages if s["state"] not in ("done", "none")]
    text = f"UNFINISHED: {done[-1]} is the last stage that is done; there is no verdict yet" if done else \
        "UNFINISHED: nothing is done yet"
    why = [f"Done: {', '.join(done)}."] if done else []
    if ahead:
        why.append(f"Still to come: {', '.join(ahead)}.")
    why.append("Whether synthetic data helps is known only after evaluate.")
    return text, [{"verdict": "skipped", "check": "", "text": t, "missed": False} for t in why]


def _has_test(verdict: Mapping[str, Json]) -> bool:
    return any(row["n"] for row in verdict["test"].values())


def _part(stored: Stored, open_: bool) -> dict[str, Json]:
    """Images and objects of a part; objects is None for unlabelled images, for whole-image classes, and for a test that
    the evaluation has not opened yet."""
    picks = evenly(len(stored), COUNTED) if open_ else []
    objects, labelled, classes = 0, 0, Counter[str]()
    for k in picks:
        labels = stored.labels(k)
        if labels is None:
            continue
        labelled += 1
        objects += len(labels)
        if labels.image_class is not None:
            classes[str(labels.image_class)] += 1
    scale = len(stored) / len(picks) if picks else 0.0
    return {"images": len(stored), "labelled": round(labelled * scale),
            "objects": round(objects * scale) if labelled and not classes else None, "estimated": scale > 1}


def _synthetic(run: OnDisk) -> dict[str, Json]:
    kept = run.kept()
    sections = {g.name: g for g in run.recipe.generate}
    rows = [{"name": name, "use": sections[name].use, "wanted": sections[name].count,
             "made": len(run.stored(f"1-generate/{name}", "shards")), "kept": len(part)} for name, part in kept.items()]
    return {"made": sum(r["made"] for r in rows), "kept": sum(r["kept"] for r in rows), "generators": rows}


def _label(run: OnDisk) -> Json:
    found = run.of("5-label", "summary.json")
    return found and {**found, "accept": run.recipe.label.accept, "ignore": run.recipe.label.ignore}


def _waivers(run: OnDisk, verdict: Json) -> list[Json]:
    said = [w.model_dump(mode="json") for w in run.recipe.evaluate.waivers]
    return waivers_in_force(verdict["measurements"] if verdict else [], said)


def _benchmark(run: OnDisk) -> Json:
    """What `synthgen benchmark` found in this folder: its first line, how many seeds and test images; None without."""
    found = run.benchmark()
    return found and {"first": first_line(found), "seeds": len(found["seeds"]), "test_images": found["test_images"],
                      "page": (run.folder / "benchmark/index.html").is_file()}


def _curves(run: OnDisk) -> dict[str, Json]:
    """(step, loss) pairs by training; what a trainer does not keep is not here."""
    names = [u for u in run.units if u.startswith(("4-train/", "1-committee/")) and u != train.MODEL
             and run.state(u) == "done"]
    found = {name.split("/")[1]: training.curve(run.job, name) for name in names}
    return {name: curve for name, curve in found.items() if curve}


def _left_out(run: OnDisk) -> dict[str, Json]:
    """What was not used, and why: quarantined input, leaks, dropped samples, samples taken out after generation."""
    quarantine = {}
    for name in PARTS:
        rows = run.lines(f"0-ingest/{name}", "quarantine.jsonl")
        if rows:
            counts = Counter(row["what"] for row in rows)
            quarantine[name] = {"count": len(rows), "reasons": dict(counts.most_common(LISTED)), "items": rows[:LISTED]}
    dropped = run.lines("2-filter", "dropped.jsonl")
    taken = run.lines("2-screen/quarantine", "quarantine.jsonl")
    guard = run.of("0-ingest/guard", "guard.json") or {"leaks": []}
    return {
        "quarantine": quarantine,
        "leaks": {"count": len(guard["leaks"]), "items": guard["leaks"][:LISTED]},
        "dropped": {
            "count": len(dropped),
            "reasons": dict(Counter(d["reason"] for d in dropped).most_common(LISTED)),
            "items": dropped[:LISTED],
        },
        "taken_out": {
            "count": len(taken),
            "reasons": dict(Counter(f"{row['check']}: {row['reason']}" for row in taken).most_common(LISTED)),
            "items": taken[:LISTED],
        },
    }


def _provenance(run: OnDisk) -> dict[str, Json]:
    """Enough to make the run again: the recipe, the lock, the hash of each dataset, where each plug-in comes from."""
    text = run.folder / "recipe.yaml"
    needs = {unit: (run.of(unit, "done.json") or {}).get("needs", {}) for unit in run.units}
    return {"recipe": text.read_text("utf-8") if text.exists() else "", "resolved": run.json("recipe.resolved.json"),
            "overrides": list(run.lock.get("overrides", [])),
            "lock": {k: v for k, v in run.lock.items() if k not in ("units", "overrides")},
            "units": dict(run.lock.get("units", {})),
            "data": {unit.split("/")[1]: n["data"] for unit, n in needs.items() if "data" in n},
            "plugins": {unit: n["version"] for unit, n in needs.items() if isinstance(n.get("version"), str)},
            "locked_test": len((run.of("0-ingest/guard", "guard.json") or {"test": {}})["test"])}
