"""The risk of being wrong, spent over repeated looks at an audit.

A certificate at confidence 1 − δ is wrong with a chance of at most δ. Who draws more, or trains anew, until one passes
has that chance at every look. Here look k is taken at a share of δ alone, and the shares of all looks, however many,
sum to 1: by the union bound the chance that any of them is passed wrongly is at most δ.

What it supposes: the question, the labels and the audit's size at each look may follow from anything but what single
images of the audit were answered. They may follow from "no look so far passed": on the way on which none passes that is
known beforehand, so that the looks on it are fixed. Who mends just what the audit showed to be wrong has trained on
it, which no share of a risk makes good.

Source: alpha spending (DeMets & Lan 1994, "Interim analysis: the alpha spending function approach", Statistics in
Medicine 13), in its form for looks of any kind: each spends a part that is fixed by its number (Bonferroni). Looks at
the same labels are alike, and boundaries made for these would spend less; labels of another model need not be alike.
"""

from __future__ import annotations

FIRST = 0.8  # of the risk: the first look needs about a tenth more images than one that would be the only one


def share_of_risk(look: int) -> float:
    """The share of the risk at which look 1, 2, … is taken: 0.8, 0.1, 0.033, 0.017, 0.01, …; 0.2 / (k (k − 1)) from the
    second on. It falls slowly, so that a hundredth look is still one.

    For 10 % error at 90 % confidence a faultless audit of a large pool needs 22 images where there is one look for
    ever; 24 at the first of many, 44 at the second, 55 at the third.
    Raises: ValueError unless look >= 1.
    """
    if look < 1:
        raise ValueError(f"looks are counted from 1, not {look}")
    return FIRST if look == 1 else (1 - FIRST) / (look * (look - 1))


def confidence_at(look: int, confidence: float) -> float:
    """The confidence at which a look is judged, so that all looks together have `confidence`."""
    return 1 - (1 - confidence) * share_of_risk(look)
