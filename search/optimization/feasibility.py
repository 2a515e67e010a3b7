"""Which candidates may meet the budget: those expected to, or else the few whose measurement decides."""

from __future__ import annotations

from collections.abc import Sequence

from data.errors import InfeasibleBudgetError
from search.optimization.space import model_bytes
from search.records import Candidate

# Where none is expected within the budget, so many of the fastest are measured.
_MOST_MEASURED = 6


def small_enough(candidates: Sequence[Candidate], max_bytes: int | None) -> tuple[Candidate, ...]:
    """The candidates of at most ``max_bytes`` bytes of weights.

    Raises:
        InfeasibleBudgetError: there are none; the message names the smallest.
    """
    small = tuple(each for each in candidates if max_bytes is None or model_bytes(each.architecture) <= max_bytes)
    if not small:
        least = min(candidates, key=lambda candidate: model_bytes(candidate.architecture)).architecture
        raise InfeasibleBudgetError(
            f"none of the {len(candidates)} models of the search space is small enough: the smallest, {least.name}, "
            f"has {model_bytes(least) / 1e6:.3g} MB of weights"
        )
    return small


def expected_within(candidates: Sequence[Candidate], budget_ms: float) -> tuple[Candidate, ...]:
    """The candidates whose predicted upper bound is within the budget."""
    return tuple(candidate for candidate in candidates if candidate.upper_ms <= budget_ms)


def worth_measuring(candidates: Sequence[Candidate], budget_ms: float) -> tuple[Candidate, ...]:
    """The fastest of the candidates that could meet the budget, or the fastest of all where none could."""
    fastest = sorted(candidates, key=lambda candidate: candidate.predicted_ms)
    possible = [candidate for candidate in fastest if candidate.lower_ms <= budget_ms]
    return tuple(possible[:_MOST_MEASURED] or fastest[:1])
