"""Looking again and again: the risk is spent once."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from synthgen.metrics.bounds import clopper_pearson
from synthgen.metrics.certificate import certify, faultless_audit
from synthgen.metrics.looks import confidence_at, share_of_risk


def test_all_looks_together_have_no_more_than_the_whole_risk() -> None:
    shares = [share_of_risk(k) for k in range(1, 2000)]
    assert shares == sorted(shares, reverse=True)
    assert 0.999 < sum(shares) < 1
    assert all(0.9 < confidence_at(k, 0.9) < 1 for k in range(1, 2000))


def test_looks_are_counted_from_one() -> None:
    with pytest.raises(ValueError, match="from 1, not 0"):
        share_of_risk(0)


def test_what_looks_cost_in_faultless_images() -> None:
    assert [faultless_audit(10**6, 0.1, confidence_at(k, 0.9)) for k in (1, 2, 3)] == [24, 44, 55]
    assert [faultless_audit(10**6, 0.05, confidence_at(k, 0.9)) for k in (1, 2, 3)] == [50, 90, 112]


@pytest.mark.slow
@pytest.mark.parametrize("anew", [False, True])
def test_ten_growing_looks_break_the_promise_too_often_unless_the_risk_is_spent(anew: bool) -> None:
    """Of any sure part of the labels 10.3 % are wrong; 10 % are asked for, with 90 % confidence."""

    def wrong_ones(offset: float) -> NDArray[np.bool_]:
        return np.diff(np.floor(np.arange(901) * 0.103 + offset)) > 0

    def broken(spent: bool) -> int:
        rng, count = np.random.default_rng(5), 0
        for _ in range(120):
            drawn, wrong = rng.permutation(900), wrong_ones(0)
            for look, n in enumerate(range(40, 401, 40), 1):
                if anew:
                    wrong = wrong_ones(rng.random())
                sure = confidence_at(look, 0.9) if spent else 0.9
                best = certify(np.arange(900), drawn[:n], wrong[drawn[:n]], 0.1, sure).best
                if best is not None:
                    count += wrong[: best.accepted].mean() > 0.1
                    break
        return count

    assert clopper_pearson(broken(spent=True), 120)[0] <= 0.1
    assert clopper_pearson(broken(spent=False), 120)[0] > 0.1
