"""What a check must keep."""

from __future__ import annotations

import dataclasses
import math
from typing import get_args

from synthgen.seeds import rng_of
from synthgen.testing.promises import survives, untouched_randomness
from synthgen.testing.tiny import digest
from synthgen.types import Check, Evidence, Measurement, Verdict


def check_check(check: Check, evidence: Evidence) -> None:
    """Assert that a check measures and judges as the gate expects.

    It gives measurements that are whole: a verdict that is one, a reason in words, a finite value wherever it says
    pass, ordered intervals, ids that exist. The same evidence and seed give the same, nothing that it was given is
    changed, and the global random state stays. Without synthetic images it may skip or be inconclusive, but
    never passes and never crashes.
    Raises: AssertionError.
    """
    assert isinstance(check, Check), f"{type(check).__name__} cannot be called, so it is no synthgen.types.Check"
    parts = (evidence.synthetic, evidence.seed, evidence.pool, evidence.test)
    before = [digest(s) for part in parts for s in part]
    with untouched_randomness("the check"):
        measured = list(check(evidence, rng_of(3)))
        again = list(check(evidence, rng_of(3)))
    assert before == [digest(s) for part in parts for s in part], "the evidence was changed by being looked at"
    assert measured, "it measured nothing; give a Measurement with verdict 'skipped' and the reason"
    for m in measured:
        assert isinstance(m, Measurement), f"it gave a {type(m).__name__} where a Measurement was due"
    assert repr(measured) == repr(again), (
        "the same evidence and seed were measured otherwise the second time; draw from the rng given alone"
    )
    ids = {s.id for part in parts for s in part}
    for m in measured:
        name = f"{m.check} / {m.name}"
        assert m.verdict in get_args(Verdict), f"{name}: {m.verdict!r} is none of {get_args(Verdict)}"
        assert m.verdict != "error", f"{name}: error is for checks that crash, and run_checks says so: {m.why}"
        assert m.why.strip(), f"{name}: why is empty; it is the verdict in words"
        judged = m.verdict in ("pass", "fail")
        assert not judged or math.isfinite(m.value), f"{name}: the value {m.value} cannot have been judged"
        for interval in (m.interval, m.null):
            reversed_ = interval is not None and interval[0] > interval[1]
            assert not reversed_, f"{name}: the interval {interval} is the wrong way round"
        assert set(m.worst) <= ids, f"{name}: worst names samples that nobody gave: {sorted(set(m.worst) - ids)[:3]}"
    others = {name: families for name, families in evidence.features.items() if name != "synthetic"}
    nothing = dataclasses.replace(evidence, synthetic=[], features=others)
    for m in survives(lambda: list(check(nothing, rng_of(3))), "without synthetic images"):
        # A check of the scores on the locked test needs no synthetic image.
        blind = m.verdict == "pass" and not evidence.scores
        assert not blind, f"{m.check} / {m.name}: it passed without a synthetic image to look at"
