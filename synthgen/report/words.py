"""The report in words: what was left out, where the dataset is, and what to do.

What was decided and why stands in `synthgen.stages.words`, since the card of an export says it too.
"""

from __future__ import annotations

from collections.abc import Mapping

from synthgen.stages.words import (
    METRICS,
    SHORT,
    VERDICTS,
    counted,
    headline,
    main_utility,
    not_as_given,
    number,
    once,
    reasons,
    refuses,
    sentence,
    span,
    weight_of,
)
from synthgen.types import Json

__all__ = ["METRICS", "SHORT", "VERDICTS", "counted", "headline", "main_utility", "next_steps", "number", "once",
           "other_reasons", "reasons", "refuses", "sentence", "span", "unread", "weight_of", "where"]


def other_reasons(facts: Mapping[str, Json], most: int) -> list[Json]:
    """What there is to say beside the gate: what was not judged, the score on the test, the pool's labels."""
    out = []
    if not facts["measurements"]:
        out.append("There is no synthetic data, so the gate had nothing to judge.")
    for arm, row in list(facts["scores"]["test"].items())[:1]:
        told = [f"{SHORT[m]} {number(row[m]['value'])} ({span(row[m]['interval'])})" for m in SHORT if m in row]
        trained = "seed and synthetic data" if facts["synthetic"]["kept"] and arm == "mixed" else "the seed alone"
        out.append(
            f"On {counted(row['n'], 'locked test image')} the labeler trained on {trained} has {', '.join(told)}."
        )
    if facts["label"]:
        states = facts["label"]["image_classes" if facts["task"] == "classify" else "instances"]
        out.append(
            f"Of the pool's labels {states['accepted']:,} were accepted, {states['to_review']:,} wait for a person, "
            f"{states['ignored']:,} were ignored."
        )
    return [{"verdict": "skipped", "check": "", "text": text, "missed": False} for text in out[:most]]


def where(facts: Mapping[str, Json], folder: str) -> str:
    """Where the dataset is, `folder` being what the run's folder is called; or that there is none, and why."""
    if facts["exports"]:
        return "The dataset: " + "; ".join(
            f"{folder}/7-export/{x['format']} ({counted(x['images'], 'image')})" for x in facts["exports"]) + "."
    if facts["state"] == "refused":
        return "There is no dataset: the gate refused it, so nothing was exported."
    if facts["verdict"] is not None and all(s["state"] == "none" for s in facts["stages"] if s["stage"] == "7-export"):
        return "There is no dataset: the recipe names no format under export."
    return "There is no dataset yet: the run has not come to its export."


def unread(facts: Mapping[str, Json]) -> list[str]:
    """Sentences for each part of the user's data that lost files or labels at reading: how many, and the list."""
    out = []
    for part, found in facts["left_out"]["quarantine"].items():
        if len(found["items"]) == found["count"]:
            out += not_as_given(part, found["items"])
        else:  # Of a long list only the head is known here: then how many were left out and how many repaired is not.
            name = part.replace("_", " ")
            out.append(f"{counted(found['count'], 'item')} of the {name} were left out or repaired, each with its "
                       f"reason in 0-ingest/{part}/quarantine.jsonl.")
    return out


def next_steps(facts: Mapping[str, Json]) -> list[Json]:
    """What to do, {"text", "command"}, first things first; command is None where there is nothing to type."""
    overrides = "".join(f" -S {o}" for o in facts["provenance"]["overrides"])
    folder, again = facts["folder"], f"synthgen run RECIPE{overrides}"
    if facts["state"] == "unfinished":
        return [_step("Go on where the run stands; what is finished is reused.", again),
                _step("See how far it is, also while it works.", f"synthgen status {folder}")]
    if facts["state"] == "refused":
        against = [m for m in facts["measurements"] if refuses(m)]
        return [*(_step(sentence(f"{m['check']}, {m['name']}: {m['remedy'] or m['why']}")) for m in against),
                _step("Look at a few samples before the next run; it takes less than a minute.",
                      f"synthgen preview RECIPE{overrides}"),
                _step("Run again; only what a change touches is made anew.", again)]
    out = [_step(f"Take the dataset: {counted(x['images'], 'image')} as {x['format']}.",
                 f"ls {folder}/7-export/{x['format']}") for x in facts["exports"]]
    label = facts["label"]
    waiting = (label["instances"]["to_review"] + label["image_classes"]["to_review"]) if label else 0
    if waiting:
        where = "" if facts["task"] == "classify" else "; dashed in the pictures above"
        out.append(_step(f"{counted(waiting, 'label')} of the pool {'waits' if waiting == 1 else 'wait'} for a person: "
                         f"scores between {label['ignore']:g} and {label['accept']:g}{where}."))
    out.append(_step("Label more images like these with the labeler that was trained.",
                     f"synthgen label IMAGES --model {folder}/4-train/model --out LABELLED"))
    told: set[str] = set()
    for m in sorted(facts["measurements"], key=weight_of):
        if m["verdict"] not in ("pass", "info") and m["remedy"] and m["remedy"] not in told and len(told) < 4:
            told.add(m["remedy"])
            out.append(_step(sentence(f"{m['check']}, {m['name']}: {m['remedy']}")))
    return [*out, _step("After a change, see what would be made anew, then run.", f"synthgen plan RECIPE{overrides}")]


def _step(text: str, command: str | None = None) -> Json:
    return {"text": text, "command": command}
