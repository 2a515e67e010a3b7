"""Which candidates are worth timing, and which timings admit a candidate to training."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import itemgetter

from data.architecture import Architecture
from data.errors import InfeasibleBudgetError
from data.order_statistics import median_interval
from search.latencies import Timing
from search.records import Candidate

# Timing takes seconds, so that a chance of one in ten is worth it.
_WORTH_A_LOOK = 0.1
# The margin for a later measurement, as a share: at least what medians move by on any machine as it is found; at most
# what can be given away of a budget (docs/decisions/measured-before-trained.md).
_LEAST_MARGIN, _MOST_MARGIN = 0.03, 0.1
# Two-sided, so that the true median lies above the interval in one case of twenty; and that quantile of a normal law.
_CONFIDENCE, _QUANTILE = 0.9, 1.645


@dataclass(frozen=True)
class SizeLimit:
    """An option that bounds what a model takes: at most ``most`` bytes, as ``bytes_of`` counts them. ``told`` says so
    in messages, such as "has {} of weights"."""

    option: str
    most: int
    told: str
    bytes_of: Callable[[Sequence[Architecture]], Sequence[int]]

    def excludes(self, architecture: Architecture) -> bool:
        """Whether the architecture takes more."""
        return self.bytes_of([architecture])[0] > self.most


def small_enough(architectures: Sequence[Architecture], limits: Sequence[SizeLimit]) -> tuple[Architecture, ...]:
    """The architectures that no limit excludes.

    Raises:
        InfeasibleBudgetError: there are none; the message names the limit that excludes the last, and the smallest.
    """
    left, before = tuple(architectures), ""
    for limit in limits:
        sizes = limit.bytes_of(left)
        small = tuple(each for each, size in zip(left, sizes, strict=True) if size <= limit.most)
        if not small:
            size, least = min(zip(sizes, left, strict=True), key=itemgetter(0))
            raise InfeasibleBudgetError(
                f"none of the {len(left)} models of the search space{before} is small enough for {limit.option}: the "
                f"smallest, {least.name}, {limit.told.format(_megabytes(size))}"
            )
        left, before = small, f" that {limit.option} leaves"
    return left


def _megabytes(count: int) -> str:
    """Rounded up, so that an option of that many excludes it no more."""
    return f"{math.ceil(count / 1e4) / 100:.12g} MB"


def worth_timing(candidate: Candidate) -> bool:
    """Whether the chance that the candidate is admitted is worth a look."""
    return candidate.probability_within >= _WORTH_A_LOOK


def upper_ms(timing: Timing, later: float) -> float:
    """Upper confidence bound (95%) of the median that a later process will measure, ms.

    The larger of two: the interval of the median between visits, from their order statistics, and what medians move by
    from session to session, which visits of one cannot know of.

    Args:
        later: standard deviation of the logarithm of a later median, as the device's profile has it.
    """
    return max(median_interval(timing.visits_ms, _CONFIDENCE)[1], timing.median_ms * (1 + margin(later)))


def admission_limit_ms(budget_ms: float, later: float) -> float:
    """The largest median with which a model can be admitted, ms."""
    return budget_ms / (1 + margin(later))


def admits(timing: Timing, budget_ms: float, later: float) -> bool:
    """Whether a model so timed is within the budget, and will be when it is confirmed."""
    return upper_ms(timing, later) <= budget_ms


def margin(later: float) -> float:
    """What is added to a median for the measurements of later sessions, as a share of it; ``later`` as in
    :func:`upper_ms`."""
    return min(max(_LEAST_MARGIN, _QUANTILE * later), _MOST_MARGIN)
