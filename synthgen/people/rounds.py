"""Rounds: what people had given when a run was completed, and what came of it; a file that only grows.

A round is one line of JSON in `rounds.jsonl`, beside the decisions:

    round       its number, from 1.
    made_of     what it was made of, as hashes: the decisions, the labels, the certificate, what they were scored on.
    last        ISO time of the last decision that was used; null without one. No line says when it was written, so
                that the same runs give the same bytes.
    answered    images of the pool: {"audit", "others"} by people, {"simulated"} by labels kept aside in their place.
    minutes     {"all", "by_action", "untimed"}: time of people, whole and by what they did, and how many decisions
                nobody timed. Simulated answers take none.
    by_hand     {"images", "seconds", "interval", "shown"}: see `pace_by_hand`.
    pool        images.
    labels      {"of": "objects" | "images", "accepted", "to_review", "ignored"}, as they go out.
    covered     images in whose labels nothing waits for a person: accepted, or answered.
    certificate null, or {"certified", "accepted", "bound", "max_error", "confidence", "loss"}.
    test, truth scores on the locked test, and against the pool's labels that were kept aside; null without.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from synthgen.errors import DataError
from synthgen.metrics.bounds import ratio_interval
from synthgen.people.decisions import Decision, hash_labels
from synthgen.seeds import rng_of, seed_of
from synthgen.store import write_atomic
from synthgen.types import Json
from synthgen.work import key_of

FILE = "rounds.jsonl"
FEWEST = 5  # timed images below which nothing is said of what the pool would take by hand
COMPUTED = ("consensus", "simulated")  # tools that nobody sits before


def rounds(folder: Path) -> list[dict[str, Json]]:
    """The rounds of a folder, the first one first; none where there is no file.

    Raises: DataError for a line that is no round.
    """
    path = folder / FILE
    found: list[dict[str, Json]] = []
    for number, line in enumerate(path.read_text("utf-8").splitlines() if path.is_file() else [], 1):
        try:
            value = json.loads(line)
            if value["round"] != number or not isinstance(value["made_of"], dict):
                raise ValueError(f"it is not round {number}")
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{path}:{number}: this line is no round ({type(error).__name__}: {error}); lines are only ever added, "
                "so restore the file from a copy, or move it away: then the history begins anew"
            ) from None
        found.append(value)
    return found


def add(folder: Path, made_of: Mapping[str, str], facts: Mapping[str, Json]) -> None:
    """Write a round down after those that stand there; the lines before keep their bytes.

    Raises: DataError where a line before is no round.
    """
    path, number = folder / FILE, len(rounds(folder)) + 1
    line = json.dumps({"round": number, "made_of": dict(made_of), **facts}, ensure_ascii=False, allow_nan=False)
    write_atomic(path, (path.read_bytes() if path.is_file() else b"") + line.encode() + b"\n")


def digest(decisions: Iterable[Decision]) -> str:
    """Stands for what people decided, and for the time that they took."""
    return key_of([[d.image, d.by, d.at, d.seconds, d.tool, d.action, d.blind, hash_labels(d.labels)]
                   for d in decisions])


def time_spent(decisions: Iterable[Decision]) -> dict[str, Json]:
    """{"all", "by_action", "untimed"}: minutes, and how many decisions of people have no time.

    Of a decision that was taken back the review page adds the time to the one in its place.
    """
    by_action: defaultdict[str, float] = defaultdict(float)
    untimed = 0
    for d in decisions:
        if d.seconds is not None:
            by_action[d.action] += d.seconds / 60
        untimed += d.seconds is None and d.tool not in COMPUTED
    return {"all": round(sum(by_action.values()), 4),
            "by_action": {a: round(by_action[a], 4) for a in sorted(by_action)}, "untimed": untimed}


def pace_by_hand(decisions: Iterable[Decision]) -> dict[str, Json]:
    """What one image takes one person: {"images": n, "seconds": mean, "interval": 95 %, "shown": bool}.

    All that a person timed on an image counts, where they answered it in the end. Images whose pre-label nobody saw
    are the measure; where they are fewer than 5, all images are, and `shown` says that pre-labels helped. Fewer than 5
    in all: seconds and interval are null. It is the mean, since a pool takes its images' sum, and the interval is the
    expanded bootstrap over images of `ratio_interval`; null where all took the same to the millisecond, since then
    minutes were shared out among the images and not measured on each.
    """
    spent: defaultdict[tuple[str, str], list[Decision]] = defaultdict(list)
    for d in decisions:
        if d.seconds is not None and d.tool not in COMPUTED:
            spent[d.image, d.by].append(d)
    done = [each for each in spent.values() if any(d.answered for d in each)]
    alone = [each for each in done if not any(d.prelabel for d in each)]
    shown = len(alone) < FEWEST
    seconds = [sum(d.seconds or 0.0 for d in each) for each in (done if shown else alone)]
    if len(seconds) < FEWEST:
        return {"images": len(seconds), "seconds": None, "interval": None, "shown": shown}
    mean, ends = ratio_interval(seconds, np.ones(len(seconds)), rng_of(seed_of(0, "pace by hand")))
    spread = max(seconds) - min(seconds) > 0.0015  # more than the rounding of a share
    return {"images": len(seconds), "seconds": round(mean, 3),
            "interval": [round(end, 3) for end in ends] if spread else None, "shown": shown}
