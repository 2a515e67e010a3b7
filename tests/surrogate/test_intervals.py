"""Intervals cover what they say, are wider where errors are larger, and probabilities agree with them."""

from __future__ import annotations

import numpy as np
import pytest

from data.errors import InputError
from surrogate.intervals import Errors, fit_errors


def sample(rows: int, uneven: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Features (n, 3) and errors (n,) whose size grows with the first feature."""
    random = np.random.default_rng(seed)
    inputs = random.standard_normal((rows, 3))
    return inputs, 0.05 * np.exp(uneven * inputs[:, 0]) * random.standard_normal(rows)


def covered(rows: int, uneven: float, coverage: float) -> float:
    found = []
    for seed in range(40):
        errors = fit_errors(*sample(rows, uneven, seed))
        inputs, truth = sample(500, uneven, 1000 + seed)
        found.append(float((np.abs(truth) <= errors.half_width(inputs, coverage)).mean()))
    return float(np.mean(found))


@pytest.mark.parametrize("rows", [10, 40, 200])
@pytest.mark.parametrize("uneven", [0.0, 0.5])
@pytest.mark.parametrize("coverage", [0.5, 0.9])
def test_covers_what_it_says(rows: int, uneven: float, coverage: float) -> None:
    # Few uneven errors are taken for even ones.
    assert abs(covered(rows, uneven, coverage) - coverage) < (0.08 if uneven and rows < 100 else 0.035)


def test_uneven_errors_make_uneven_intervals_and_even_ones_do_not() -> None:
    inputs = np.array([[-1.5, 0.0, 0.0], [1.5, 0.0, 0.0]])
    low, high = fit_errors(*sample(400, 0.5, 1)).half_width(inputs, 0.9)
    assert high > 2 * low
    low, high = fit_errors(*sample(400, 0.0, 1)).half_width(inputs, 0.9)
    assert high < 1.3 * low


def test_few_errors_lean_on_the_prior() -> None:
    inputs = np.zeros((1, 3))
    assert Errors((0.0, 0.0), prior=0.1).half_width(inputs, 0.9)[0] > 0.1
    assert Errors((), prior=0.1).half_width(inputs, 0.9)[0] == pytest.approx(0.1725, abs=1e-3)  # t(20), 95%


@pytest.mark.parametrize("rows", [8, 200])
def test_probability_is_the_intervals_other_side(rows: int) -> None:
    errors, inputs = fit_errors(*sample(rows, 0.0, 2)), np.zeros((3, 3))
    low, half, high = errors.probability_below(np.array([-0.5, 0.0, 0.5]), inputs)
    assert low < 0.05 and 0.2 < half < 0.8 and high > 0.95


@pytest.mark.parametrize("coverage", [0.0, 1.0, 1.5])
def test_coverage_is_a_share(coverage: float) -> None:
    with pytest.raises(InputError, match="coverage"):
        Errors((0.1,)).half_width(np.zeros((1, 3)), coverage)
