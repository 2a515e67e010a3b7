"""The median of repeated timings: its confidence interval, and which timings lie far from it.

Timings are skewed (what disturbs them only adds time), so nothing here assumes a normal distribution.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from math import comb
from statistics import median

CONFIDENCE = 0.95
# Scaled median absolute deviations from the median beyond which a timing is an outlier, and what makes the deviation
# of a normal distribution one standard deviation (Leys et al., Detecting outliers, 2013).
_OUTLIER_DEVIATIONS, _MAD_SCALE = 5.0, 1.4826


def median_interval(values: Sequence[float], confidence: float = CONFIDENCE) -> tuple[float, float]:
    """(low, high) between which the true median lies, from the order statistics of the values.

    The number of values below the true median is binomial with a share of one half, whatever their distribution. With
    too few values for the confidence (fewer than six for 95%) the interval is their whole range.

    Source: David and Nagaraja, Order Statistics, 3rd edition, 2003, section 7.1.

    Raises:
        ValueError: there are no values.
    """
    if not values:
        raise ValueError("no values")
    ordered = sorted(values)
    cut = _cut(len(ordered), confidence)
    return ordered[cut], ordered[-1 - cut]


@cache
def _cut(count: int, confidence: float) -> int:
    """How many of the smallest and of the largest values lie outside of the median's interval."""
    missed, cut = 1 / 2**count, 0
    while 2 * (missed := missed + comb(count, cut + 1) / 2**count) <= 1 - confidence:
        cut += 1
    return cut


def outlying(values: Sequence[float]) -> tuple[int, ...]:
    """Indices of the values that lie far from the median; none where more than half of them are equal."""
    middle = median(values)
    deviation = _MAD_SCALE * median(abs(value - middle) for value in values)
    if not deviation:
        return ()
    return tuple(index for index, value in enumerate(values) if abs(value - middle) > _OUTLIER_DEVIATIONS * deviation)
