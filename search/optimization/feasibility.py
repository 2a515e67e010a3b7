"""Which candidates are worth timing, and which timings admit a candidate to training."""

from __future__ import annotations

from collections.abc import Sequence

from data.architecture import Architecture
from data.errors import InfeasibleBudgetError
from data.order_statistics import median_interval
from search.optimization.space import model_bytes
from search.records import Candidate, Timing

# Timing takes seconds, so that a chance of one in ten is worth it.
_WORTH_A_LOOK = 0.1
# How far the median of one model moves from one process to a later one on a machine as it is found
# (docs/decisions/measured-before-trained.md): what visits of one session cannot know of.
_LATER_PROCESS = 0.03
# Two-sided, so that the true median lies above the interval in one case of twenty.
_CONFIDENCE = 0.9


def small_enough(architectures: Sequence[Architecture], max_bytes: int | None) -> tuple[Architecture, ...]:
    """The architectures of at most ``max_bytes`` bytes of weights.

    Raises:
        InfeasibleBudgetError: there are none; the message names the smallest.
    """
    small = tuple(each for each in architectures if max_bytes is None or model_bytes(each) <= max_bytes)
    if not small:
        least = min(architectures, key=model_bytes)
        raise InfeasibleBudgetError(
            f"none of the {len(architectures)} models of the search space is small enough: the smallest, {least.name}, "
            f"has {model_bytes(least) / 1e6:.3g} MB of weights"
        )
    return small


def worth_timing(candidate: Candidate) -> bool:
    """Whether the chance that the candidate is admitted is worth a look."""
    return candidate.probability_within >= _WORTH_A_LOOK


def upper_ms(timing: Timing) -> float:
    """Upper confidence bound (95%) of the median that a later process will measure, ms.

    The larger of two: the interval of the median between visits, from their order statistics, and what medians move by
    from process to process.
    """
    return max(median_interval(timing.visits_ms, _CONFIDENCE)[1], timing.median_ms * (1 + _LATER_PROCESS))


def admission_limit_ms(budget_ms: float) -> float:
    """The largest median with which a model can be admitted, ms."""
    return budget_ms / (1 + _LATER_PROCESS)


def admits(timing: Timing, budget_ms: float) -> bool:
    """Whether a model so timed is within the budget, and will be when it is confirmed."""
    return upper_ms(timing) <= budget_ms
