"""How far later medians lie from predicted ones, by models that a prediction had not seen; and what they share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from surrogate.arguments import check_coverage, positive_number

_SMALLEST_DEVIATION = 0.003
# How many timings it takes to believe half of the difference that they show to the profile.
_LEVEL_WEIGHT = 2.0


@dataclass(frozen=True)
class Spread:
    """``log_residuals`` are the logarithms of seen medians over predicted ones, ``later`` the standard deviation that
    another session adds to them.

    Student's t on the logarithm: a few dozen errors have no trustworthy order statistic so far out.
    """

    log_residuals: tuple[float, ...]
    later: float

    def relative_interval(self, coverage: float = 0.9) -> tuple[float, float]:
        """How far below and above a prediction a later median lies: (-0.05, 0.06) is from 5% less to 6% more."""
        from scipy.stats import t

        half = float(t.ppf((1 + check_coverage(coverage)) / 2, df=self._freedom)) * self._deviation
        return float(np.expm1(-half)), float(np.expm1(half))

    def interval(self, predicted_ms: np.ndarray, coverage: float = 0.9) -> tuple[np.ndarray, np.ndarray]:
        """(lower, upper), each (n,) ms, that hold a later session's median with the probability ``coverage``."""
        low, high = self.relative_interval(coverage)
        return predicted_ms * (1 + low), predicted_ms * (1 + high)

    def probability_within(self, predicted_ms: np.ndarray, budget_ms: float) -> np.ndarray:
        """(n,) probability that a median, measured later, is at most ``budget_ms``."""
        from scipy.stats import t

        budget_ms = positive_number("a budget is a positive number of milliseconds", budget_ms)
        return np.asarray(t.cdf(np.log(budget_ms / predicted_ms) / self._deviation, df=self._freedom))

    @property
    def _freedom(self) -> int:
        return max(len(self.log_residuals), 1)

    @property
    def _deviation(self) -> float:
        """Of a later median about its prediction, on the logarithm; never taken for less than the clock's own noise."""
        residuals = np.array(self.log_residuals)
        squares = float(np.mean(residuals**2)) * (1 + 1 / len(residuals))
        return max(float(np.sqrt(squares + self.later**2)), _SMALLEST_DEVIATION)


def shared_level(shifts: np.ndarray) -> float:
    """What timings (n,) share, logarithms of seen over predicted: their median, held at zero while they are few."""
    if not len(shifts):
        return 0.0
    return float(np.median(shifts)) * len(shifts) / (len(shifts) + _LEVEL_WEIGHT)


def residuals_beside_level(shifts: np.ndarray) -> tuple[float, ...]:
    """Of each timing (n,) what the level of all others leaves over."""
    return tuple(float(shift - shared_level(np.delete(shifts, index))) for index, shift in enumerate(shifts))
