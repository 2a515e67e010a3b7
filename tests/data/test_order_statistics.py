"""The median's interval covers the true median as often as it says, whatever the distribution; outliers are found."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from data.order_statistics import median_interval, outlying

TIMES = st.lists(st.floats(0.01, 1e4), min_size=1, max_size=60)


@given(TIMES)
def test_interval_holds_the_median_and_lies_among_the_values(times: list[float]) -> None:
    low, high = median_interval(times)
    assert (
        min(times) <= low <= np.median(times) * (1 + 1e-12) and np.median(times) <= high * (1 + 1e-12) <= max(times) * 2
    )


@pytest.mark.parametrize("count", [1, 5, 6, 15, 30, 100, 301])
def test_ranks_are_those_of_the_binomial(count: int) -> None:
    low, high = median_interval(list(range(count)))
    cut = int(low)
    assert high == count - 1 - cut
    assert cut == 0 or 2 * binom.cdf(cut, count, 0.5) <= 0.05
    assert 2 * binom.cdf(cut + 1, count, 0.5) > 0.05


def test_covers_a_skewed_distribution() -> None:
    random = np.random.default_rng(0)
    hits = 0
    for _ in range(600):
        low, high = median_interval(random.lognormal(0, 1, 40).tolist())
        hits += low <= 1.0 <= high
    assert 0.93 <= hits / 600 <= 0.99


def test_outliers_are_told_by_index_and_equal_values_have_none() -> None:
    assert outlying([1.0, 1.01, 0.99, 1.02, 3.0, 0.98, 1.0]) == (4,)
    assert outlying([1.0] * 9 + [2.0]) == ()


def test_no_values() -> None:
    with pytest.raises(ValueError, match="no values"):
        median_interval([])
