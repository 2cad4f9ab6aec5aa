"""The second opinions on realism: MMD², which may warn, and what papers report, which decides nothing."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from synthgen.checks import FEW_IMAGES, caution, settles
from synthgen.metrics.distances import Reported, reported
from synthgen.metrics.two_sample import BANDWIDTHS, Mmd
from synthgen.types import Measurement, Verdict

COMPARABLE = 2048
"""Images per side from which on papers state an FID."""


def mmd_measured(family: str, who: tuple[str, str], found: Mmd, q: float, alpha: float) -> Measurement:
    """The verdict on one family's MMD²; never hard.

    q: its permutation p, corrected over the families. Warns at q <= alpha. Passes when a shift that a probe would find
    at an AUC of 0.65 would have shown (`Mmd.shifted` is detectable) and the value, with what chance may have taken from
    it, stays below that; what is merely not significant is inconclusive.
    """
    n = min(found.n)
    seen = found.detectable <= found.shifted and found.value + found.null[1] <= found.shifted
    verdict: Verdict = "warn" if q <= alpha else "pass" if seen and n >= FEW_IMAGES else "inconclusive"
    told = {"warn": "differ from", "pass": "hardly differ from"}.get(verdict, "cannot yet be said to be like or unlike")
    why = (f"by the kernel distance of {family} features, {who[0]} images {told} {who[1]} images: MMD² "
           f"{found.value:.2g}, where chance gives {found.null[0]:.2g} to {found.null[1]:.2g} and a shift by half a "
           f"standard deviation {found.shifted:.2g}; p {q:.2g} over {BANDWIDTHS} bandwidths, most at {found.scale:.2g} "
           "× the median distance")
    remedy = ""
    if verdict == "warn":
        remedy = f"read {family}: {who[0]} against {who[1]} first; a second opinion, which never refuses"
    elif verdict == "inconclusive":
        why += f"; with {found.n[0]} and {found.n[1]} images only {found.detectable:.2g} or more would show"
        # Unlike an AUC's, the chance level of MMD² falls as 1 / n.
        room = found.shifted - max(found.value, 0)
        wanted = math.ceil(n * max(found.detectable, found.null[1]) / room) if room > 0 else 0
        remedy = settles(max(FEW_IMAGES, n + 1, wanted) if wanted and math.isfinite(found.detectable) else None, n)
    return Measurement("realism", f"{family}: MMD², {who[0]} against {who[1]}", verdict, found.value, "MMD²",
                       why + caution(n), null=found.null, detectable=found.detectable, p=found.p, q=q, n=found.n,
                       remedy=remedy)


def reported_only(family: str, a: NDArray[np.float32], b: NDArray[np.float32], rng: np.random.Generator,
                  permutations: int) -> list[Measurement]:
    """KID and FID of one family beside their nulls, for information: they decide nothing."""
    n = len(a), len(b)
    fewer = (f"; not comparable below {COMPARABLE:,} images a side, and there are {n[0]:,} and {n[1]:,}"
             if min(n) < COMPARABLE else "")

    def told(name: str, found: Reported) -> Measurement:
        why = (f"reported for readers of papers, decides nothing: {name} {found.value:.3g} in standardised {family} "
               f"features, where {found.divisions} random divisions of the same images give {found.null[0]:.3g} to "
               f"{found.null[1]:.3g}; published values are of Inception features{fewer}")
        return Measurement("realism", f"{family}: {name} (reported, not judged)", "info", found.value, name, why,
                           null=found.null, n=n)

    kernel, frechet = reported(a, b, rng, permutations)
    return [told("KID", kernel), told("FID", frechet)]
