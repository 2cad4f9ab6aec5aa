"""Automation bias: measured where chance decided who saw what, with an interval that holds."""

from __future__ import annotations

import hashlib
import math
from itertools import product
from math import comb

import numpy as np
import pytest

from synthgen.geometry import labels_from_masks
from synthgen.people.bias import agree, automation_bias, exact_difference, hidden
from synthgen.people.decisions import Action, Decision
from synthgen.types import Labels


def square(shift: int = 0, side: int = 4, kind: int = 0) -> Labels:
    mask = np.zeros((1, 16, 16), bool)
    mask[0, 2 : 2 + side, 2 + shift : 2 + shift + side] = True
    return labels_from_masks(mask, [kind], reviewed="human")


def decision(image: int, labels: Labels, blind: bool, action: Action = "answer") -> Decision:
    at = "2026-11-22T12:00:00Z"
    return Decision(f"{image:064x}", f"pool-{image}", labels, "ada", at, 1.0, "review", action, blind)


def test_one_of_each_pair_is_hidden_and_a_longer_audit_keeps_the_choice() -> None:
    images = [hashlib.sha256(str(k).encode()).hexdigest() for k in range(401)]
    found = hidden(images)
    assert all(a != b for a, b in zip(found[:400:2], found[1:400:2], strict=True))
    assert hidden(images[:50]) == found[:50]
    assert 60 < sum(found[:400:2]) < 140, "which of the pair is a toss-up"
    assert hidden([]) == []
    assert hidden(images[:1]) in ([True], [False])


def test_shapes_agree_when_each_has_its_partner_of_the_same_class() -> None:
    assert agree(square(), square())
    assert agree(square(), square(1)), "IoU 12/20"
    assert not agree(square(), square(2)), "IoU 8/24"
    assert not agree(square(), square(kind=1))
    nothing = Labels((16, 16), masks=(), reviewed="human", empty="confirmed")
    assert not agree(square(), nothing)
    assert not agree(nothing, square())
    assert agree(Labels((16, 16), masks=()), nothing)
    assert agree(Labels((16, 16), image_class=1), Labels((16, 16), image_class=1, reviewed="human"))
    assert not agree(Labels((16, 16), image_class=1), Labels((16, 16), image_class=0, reviewed="human"))


def test_the_difference_is_of_the_shares_and_only_the_audit_counts() -> None:
    prelabels = {f"{k:064x}": square() for k in range(20)}
    decisions = [decision(k, square(), blind=False, action="accept") for k in range(10)]
    decisions += [decision(k, square(0 if k < 15 else 3), blind=True) for k in range(10, 20)]
    decisions += [decision(99, square(3), blind=True)]  # of the queue of doubtful images
    found = automation_bias(decisions, prelabels)
    assert (found.shown, found.hidden) == ((10, 10), (5, 10))
    assert found.value == pytest.approx(0.5)
    low, high = found.interval
    assert -1 <= low < 0.5 < high <= 1


def test_the_last_decision_counts_and_rejects_do_not() -> None:
    prelabels = {f"{0:064x}": square()}
    redrawn = decision(0, square(3), blind=False, action="redraw")
    found = automation_bias([decision(0, square(), False, "accept"), redrawn, decision(0, square(), False, "reject")],
                            prelabels)
    assert found.shown == (0, 1)


def test_without_decisions_nothing_is_known() -> None:
    found = automation_bias([], {})
    assert math.isnan(found.value)
    assert found.interval == (-1, 1)


@pytest.mark.parametrize(("p", "q"), [(0.5, 0.5), (0.95, 0.8), (1.0, 0.0), (0.99, 0.99), (0.1, 0.3)])
def test_the_interval_covers_the_difference_as_often_as_it_says(p: float, q: float) -> None:
    """Exactly: the sum over all outcomes, not a simulation."""
    n, m, inside = 9, 7, 0.0
    for a, b in product(range(n + 1), range(m + 1)):
        low, high = exact_difference((a, n), (b, m))
        weight = comb(n, a) * p**a * (1 - p) ** (n - a) * comb(m, b) * q**b * (1 - q) ** (m - b)
        inside += weight * (low <= p - q <= high)
    assert inside >= 0.95
