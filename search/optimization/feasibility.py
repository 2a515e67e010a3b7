"""Which candidates may meet the budget: those expected to, and a few whose measurement decides where those are few."""

from __future__ import annotations

from collections.abc import Sequence

from data.architecture import Architecture
from data.errors import InfeasibleBudgetError
from search.optimization.space import model_bytes
from search.records import Candidate

# Where too few are expected within the budget, so many of the fastest others are measured at most.
_MOST_MEASURED = 6


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


def expected_within(candidates: Sequence[Candidate], budget_ms: float) -> tuple[Candidate, ...]:
    """The candidates whose predicted upper bound is within the budget."""
    return tuple(candidate for candidate in candidates if candidate.upper_ms <= budget_ms)


def worth_measuring(candidates: Sequence[Candidate], budget_ms: float) -> tuple[Candidate, ...]:
    """The fastest of the candidates that could meet the budget though they are not expected to.

    The fastest of all where none could: no prediction alone says that nothing fits.
    """
    fastest = sorted(candidates, key=lambda candidate: candidate.predicted_ms)
    possible = [candidate for candidate in fastest if candidate.lower_ms <= budget_ms]
    uncertain = [candidate for candidate in possible if candidate.upper_ms > budget_ms]
    return tuple(uncertain[:_MOST_MEASURED] if possible else fastest[:1])
