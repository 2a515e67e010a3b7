"""Which candidates to look at next, by what the trials so far have shown.

Before there is a score the largest is best: the candidate that does the most work within the budget. Then a model of
scores that grow with work (:mod:`search.optimization.score_model`) says which candidate promises to improve on the best
(:mod:`search.optimization.acquisition`).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log, sqrt
from typing import TYPE_CHECKING

import numpy as np

from data.architecture import Architecture
from search.optimization.acquisition import most_promising
from search.optimization.evidence import Choices, Evidence
from search.optimization.space import SearchSpace
from search.records import Candidate, Proposer, Trial

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Accuracy grows with size, hence with latency: what leaves more of the budget unused is not worth a trial.
_LEAST_SHARE = 0.87
# Nearer to its teacher no student is, and the logarithm of nothing is not taken.
_LEAST_DIVERGENCE = 1e-9


def propose(
    space: SearchSpace, candidates: Sequence[Candidate], trials: Sequence[Trial], *, count: int, seed: int
) -> tuple[list[Candidate], Proposer]:
    """Up to ``count`` candidates to look at next, the best first, and how they were chosen.

    Equal arguments give equal proposals. Failed trials teach the model nothing.

    Args:
        space: gives the encoding.
        candidates: what may be proposed: untried, and with the probability to meet the budget as it is known now.
        trials: all trials so far.
        count: how many are looked at together.
        seed: of the sampler.
    """
    scored = [trial for trial in trials if trial.divergence is not None]
    if not candidates:
        return [], "largest"
    chosen = _most_promising(space, candidates, scored, count, seed + len(trials))
    return [candidates[index] for index in chosen], "bayesian" if scored else "largest"


def _most_promising(
    space: SearchSpace, candidates: Sequence[Candidate], scored: Sequence[Trial], count: int, seed: int
) -> list[int]:
    tried = [trial.candidate.architecture for trial in scored]
    offered = [candidate.architecture for candidate in candidates]
    closeness = np.array([_closeness(trial) for trial in scored], dtype=np.float64).reshape(-1, 2)
    evidence = Evidence(space.encode(tried), trends_of(space, tried), closeness[:, 0], closeness[:, 1])
    within = np.asarray([candidate.probability_within for candidate in candidates])
    return most_promising(evidence, Choices(space.encode(offered), trends_of(space, offered), within), count, seed)


def trends_of(space: SearchSpace, architectures: Sequence[Architecture]) -> NDArray[np.float64]:
    """(n, 1) logarithm of the number of weights that a text runs through, in standard deviations of an even spread from
    the smallest to the largest of the space: within a band of latency it hardly differs."""
    smallest, largest = (log(each.encoder_parameters) for each in space.extremes)
    work = np.log([architecture.encoder_parameters for architecture in architectures]).reshape(-1, 1)
    return np.asarray((work - (smallest + largest) / 2) / ((largest - smallest) / sqrt(12) or 1.0))


def _closeness(trial: Trial) -> tuple[float, float]:
    """Minus the logarithm of a trial's divergence from its teacher, and its standard error: what is modelled."""
    found = trial.divergence
    assert found is not None
    mean = max(found.mean, _LEAST_DIVERGENCE)
    return -log(mean), found.standard_error / mean


def near(candidates: Sequence[Candidate], ceiling_ms: float) -> list[Candidate]:
    """The candidates that use most of ``ceiling_ms``, or of the slowest of them where that is less."""
    slowest = max((candidate.predicted_ms for candidate in candidates), default=0.0)
    least = _LEAST_SHARE * min(ceiling_ms, slowest)
    return [candidate for candidate in candidates if candidate.predicted_ms >= least]


def below(candidates: Sequence[Candidate], ceiling_ms: float) -> list[Candidate]:
    """Of the candidates that stay below ``ceiling_ms``, those that use most of it; of all where none does."""
    faster = [candidate for candidate in candidates if candidate.predicted_ms <= ceiling_ms]
    return near(faster or candidates, ceiling_ms)
