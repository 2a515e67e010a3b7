"""Figures of predictions are numbers, whatever the rows are."""

from __future__ import annotations

import json

import numpy as np
import pytest

from surrogate.metrics import prediction_errors, rank_correlation

RISING = np.array([1.0, 2.0, 3.0, 4.0])


def test_equal_order_is_one_and_the_reverse_is_minus_one() -> None:
    assert (rank_correlation(RISING, RISING**2), rank_correlation(RISING, -RISING)) == pytest.approx((1, -1))


@pytest.mark.parametrize("flat", [np.ones(4), np.ones(2), np.ones(0)])
def test_rows_without_an_order_give_a_number_that_json_knows(flat: np.ndarray) -> None:
    errors = prediction_errors(RISING[: len(flat)], flat)
    assert errors.spearman == rank_correlation(flat, RISING[: len(flat)]) == 0
    assert json.dumps(errors.to_dict(), allow_nan=False)
