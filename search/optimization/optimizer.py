"""Which candidates to look at next, by what cuts and trials so far have shown.

Before anything is known the largest is best: the candidate with the most weights for a text to run through. Students
as they are cut out of the teacher tell more: a model of their closeness to it gives every candidate a second trend (an
autoregressive model of two fidelities, Kennedy and O'Hagan 2000). The model of scores
(:mod:`search.optimization.score_model`) grows with both, and says which candidate promises to improve on the best
(:mod:`search.optimization.acquisition`).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log, sqrt
from typing import TYPE_CHECKING

import numpy as np

from data.architecture import Architecture
from search.optimization.acquisition import most_promising
from search.optimization.evidence import Choices, Evidence, Pending
from search.optimization.space import SearchSpace
from search.records import Candidate, Cut, Divergence, Proposer, Trial

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Accuracy grows with size, hence with latency: what leaves more of the budget unused is not worth a trial.
LEAST_SHARE = 0.87
# Nearer to its teacher no student is, and the logarithm of nothing is not taken.
_LEAST_DIVERGENCE = 1e-9
# Fewer cuts tell nothing of the others; the first are so many of the largest, and others at random.
_FEWEST_CUTS, _LARGEST_CUTS = 4, 2


def propose(
    space: SearchSpace,
    candidates: Sequence[Candidate],
    trials: Sequence[Trial],
    *,
    cuts: Sequence[Cut] = (),
    count: int,
    seed: int,
) -> tuple[list[Candidate], Proposer]:
    """Up to ``count`` candidates to look at next, the best first, and how they were chosen.

    Equal arguments give equal proposals. Failed trials teach the model nothing; of those that still run it expects what
    it believes of them, so that what is proposed adds to it.

    Args:
        space: gives the encoding.
        candidates: what may be proposed: untried, and with the probability to meet the budget as it is known now.
        trials: all trials so far.
        cuts: students that were judged as they were cut.
        count: how many are looked at together.
        seed: of the sampler.
    """
    if not candidates:
        return [], "largest"
    scored = [(trial.candidate.architecture, trial.divergence) for trial in trials if trial.divergence is not None]
    running = [trial.candidate.architecture for trial in trials if trial.status == "proposed"]
    offered = [candidate.architecture for candidate in candidates]
    everyone = [*(architecture for architecture, _ in scored), *running, *offered]
    trends, informed = trends_of(space, everyone), len(cuts) >= _FEWEST_CUTS
    if informed:
        trends = np.column_stack([trends, _promised_by_cuts(space, cuts, everyone)])
    within = np.asarray([candidate.probability_within for candidate in candidates])
    known, pending, choosable = np.split(trends, [len(scored), len(scored) + len(running)])
    choices = Choices(space.encode(offered), choosable, within)
    evidence = _evidence(space, scored, known)
    chosen = most_promising(evidence, choices, count, seed + len(trials), Pending(space.encode(running), pending))
    proposer: Proposer = "bayesian" if scored else "cut" if informed else "largest"
    return [candidates[index] for index in chosen], proposer


def propose_cuts(
    space: SearchSpace, candidates: Sequence[Candidate], cuts: Sequence[Cut], *, count: int, seed: int
) -> list[Candidate]:
    """Up to ``count`` candidates to cut next: where nothing is known some of the largest and others at random, then
    those that promise to be nearer to the teacher than all that were cut, and to be admitted.

    Equal arguments give equal proposals.
    """
    offered = [candidate.architecture for candidate in candidates]
    within = np.array([candidate.probability_within for candidate in candidates], dtype=np.float64)
    choices = Choices(space.encode(offered), trends_of(space, offered), within)
    known = _cut_evidence(space, cuts)
    if len(cuts) >= _FEWEST_CUTS:
        return [candidates[index] for index in most_promising(known, choices, count, seed)]
    none = Evidence(known.points[:0], known.trends[:0], known.scores[:0], known.errors[:0])
    largest = most_promising(none, choices, min(_LARGEST_CUTS, count), seed)
    others = np.random.default_rng(seed).permutation(np.setdiff1d(np.arange(len(offered)), largest))
    return [candidates[int(index)] for index in [*largest, *others][:count]]


def _evidence(
    space: SearchSpace, scored: Sequence[tuple[Architecture, Divergence]], trends: NDArray[np.float64]
) -> Evidence:
    closeness = np.array([_closeness(found) for _, found in scored], dtype=np.float64).reshape(-1, 2)
    points = space.encode([architecture for architecture, _ in scored])
    return Evidence(points, trends, closeness[:, 0], closeness[:, 1])


def _cut_evidence(space: SearchSpace, cuts: Sequence[Cut]) -> Evidence:
    return _evidence(
        space,
        [(cut.architecture, cut.divergence) for cut in cuts],
        trends_of(space, [cut.architecture for cut in cuts]),
    )


def _promised_by_cuts(
    space: SearchSpace, cuts: Sequence[Cut], architectures: Sequence[Architecture]
) -> NDArray[np.float64]:
    """(n,) closeness to the teacher that each would have as it is cut, in standard deviations of what was cut."""
    from search.optimization.score_model import expected

    return expected(_cut_evidence(space, cuts), space.encode(architectures), trends_of(space, architectures))


def trends_of(space: SearchSpace, architectures: Sequence[Architecture]) -> NDArray[np.float64]:
    """(n, 1) logarithm of the number of weights that a text runs through, in standard deviations of an even spread from
    the smallest to the largest of the space: within a band of latency it hardly differs."""
    smallest, largest = (log(each.encoder_parameters) for each in space.extremes)
    work = np.log([architecture.encoder_parameters for architecture in architectures]).reshape(-1, 1)
    return np.asarray((work - (smallest + largest) / 2) / ((largest - smallest) / sqrt(12) or 1.0))


def _closeness(found: Divergence) -> tuple[float, float]:
    """Minus the logarithm of a divergence from the teacher, and its standard error: what is modelled."""
    mean = max(found.mean, _LEAST_DIVERGENCE)
    return -log(mean), found.standard_error / mean


def near(candidates: Sequence[Candidate], ceilings_ms: Sequence[float]) -> list[Candidate]:
    """The candidates that use most of the ceiling of a device (one for each device, ms), or of what the slowest of them
    uses where that is less."""
    slowest = max((candidate.share_of(ceilings_ms) for candidate in candidates), default=0.0)
    least = LEAST_SHARE * min(1.0, slowest)
    return [candidate for candidate in candidates if candidate.share_of(ceilings_ms) >= least]


def below(candidates: Sequence[Candidate], ceilings_ms: Sequence[float]) -> list[Candidate]:
    """Of the candidates below the ceilings of all devices, those that use most of one; of all where none is."""
    faster = [candidate for candidate in candidates if candidate.share_of(ceilings_ms) <= 1.0]
    return near(faster or candidates, ceilings_ms)
