"""Which candidates to look at next: a spread of first points, then Bayesian optimisation with BoTorch.

The model is a Gaussian process over the unit-cube encoding of the sizes (BoTorch's ``SingleTaskGP``: RBF kernel with
dimension-scaled log-normal priors, Hvarfner et al. 2024, standardised scores); the acquisition function is noisy
expected improvement in its logarithmic form (``qLogNoisyExpectedImprovement``, Ament et al. 2023), which does not
vanish numerically and allows for the noise of scores on a dev set. It is multiplied by the probability that the
candidate meets the budget (Gardner et al., Bayesian optimization with inequality constraints, 2014), which is one for
what was timed within it, and maximised by evaluating all candidates.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from search.optimization.space import SearchSpace
from search.records import Candidate, Proposer, Trial

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Accuracy grows with size, hence with latency: what leaves more of the budget unused is not worth a trial.
_LEAST_SHARE = 0.87
_MOST_INITIAL_POINTS = 10  # twice the dimensions, and two more
_MC_SAMPLES = 256
_CHUNK = 512  # candidates whose acquisition is computed at a time
# For the first points: how the width is cut into heads matters less than depth and widths (``space.DIMENSIONS``).
_SPREAD_WEIGHTS = np.array([1.0, 1.0, 0.25, 1.0])


def propose(
    space: SearchSpace,
    candidates: Sequence[Candidate],
    trials: Sequence[Trial],
    *,
    count: int,
    total_trials: int,
    seed: int,
) -> tuple[list[Candidate], Proposer]:
    """Up to ``count`` candidates to look at next, the best first, and how they were chosen.

    Equal arguments give equal proposals. Failed trials teach the model nothing; trials whose outcome is not known yet
    count as tried.

    Args:
        space: gives the encoding.
        candidates: what may be proposed: untried, and with the probability to meet the budget as it is known now.
        trials: all trials so far.
        count: how many are looked at together.
        total_trials: how many there are to be; about half of them are first points.
        seed: of the first points and of the sampler.
    """
    initial = initial_count(total_trials)
    scored = [trial for trial in trials if trial.score is not None]
    if not candidates:
        return [], "initial"
    if len(trials) < initial or len(scored) < 2:
        probable = [candidate for candidate in candidates if candidate.probability_within >= 0.5]
        tried = [trial.candidate for trial in trials]
        return _spread(space, probable or candidates, tried, count, max(initial, count), seed), "initial"
    return _best_acquisition(space, candidates, scored, count, seed + len(trials)), "bayesian"


def near(candidates: Sequence[Candidate], ceiling_ms: float) -> list[Candidate]:
    """The candidates that use most of ``ceiling_ms``, or of the slowest of them where that is less."""
    slowest = max((candidate.predicted_ms for candidate in candidates), default=0.0)
    least = _LEAST_SHARE * min(ceiling_ms, slowest)
    return [candidate for candidate in candidates if candidate.predicted_ms >= least]


def below(candidates: Sequence[Candidate], ceiling_ms: float) -> list[Candidate]:
    """Of the candidates that stay below ``ceiling_ms``, those that use most of it; of all where none does."""
    faster = [candidate for candidate in candidates if candidate.predicted_ms <= ceiling_ms]
    return near(faster or candidates, ceiling_ms)


def initial_count(total_trials: int) -> int:
    """How many of the trials are first points, spread rather than proposed by the model."""
    return min(max(2, total_trials // 2), _MOST_INITIAL_POINTS)


def _spread(
    space: SearchSpace,
    candidates: Sequence[Candidate],
    tried: Sequence[Candidate],
    count: int,
    clusters: int,
    seed: int,
) -> list[Candidate]:
    """Up to ``count`` candidates that stand best for what those tried so far don't stand for.

    The points are clustered by k-means, whose centres keep clear of the corners of the space, unlike a furthest-point
    design; the centre furthest from all that was tried is taken, and the candidate nearest to it.
    """
    from sklearn.cluster import KMeans

    points = _SPREAD_WEIGHTS * space.encode([candidate.architecture for candidate in candidates])
    fitted = KMeans(n_clusters=min(clusters, len(points)), n_init=4, random_state=seed).fit(points)
    centres = fitted.cluster_centers_
    known = _SPREAD_WEIGHTS * space.encode([candidate.architecture for candidate in tried])
    left = list(range(len(points)))
    chosen: list[int] = []
    while left and len(chosen) < count:
        taken = np.vstack([known, points[chosen]])
        centre = (
            centres[np.argmax(_distances(centres, taken).min(axis=1))]
            if len(taken)
            else centres[np.argmax(np.bincount(fitted.labels_))]
        )
        chosen.append(left.pop(int(np.argmin(_distances(points[left], centre[None, :])))))
    return [candidates[index] for index in chosen]


def _distances(points: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, m) Euclidean distances of n points from m others."""
    return np.asarray(np.linalg.norm(points[:, None, :] - others[None, :, :], axis=2))


def _best_acquisition(
    space: SearchSpace, candidates: Sequence[Candidate], scored: Sequence[Trial], count: int, seed: int
) -> list[Candidate]:
    points = space.encode([trial.candidate.architecture for trial in scored])
    scores = np.asarray([trial.score for trial in scored], dtype=np.float64)
    choices = space.encode([candidate.architecture for candidate in candidates])
    within = np.asarray([candidate.probability_within for candidate in candidates])
    chosen = _maximise_acquisition(points, scores, choices, within, min(count, len(candidates)), seed)
    return [candidates[index] for index in chosen]


def _maximise_acquisition(
    points: NDArray[np.float64],
    scores: NDArray[np.float64],
    choices: NDArray[np.float64],
    within: NDArray[np.float64],
    count: int,
    seed: int,
) -> list[int]:
    """Indices of the choices with the largest acquisition value, each given those before it.

    Args:
        points: n x d, where scores are known.
        scores: n.
        choices: m x d, untried.
        within: m, probability of each choice to meet the budget, above 0.
        count: at most m.
    """
    import warnings

    import torch
    from botorch.acquisition.logei import qLogNoisyExpectedImprovement
    from botorch.exceptions import InputDataWarning
    from botorch.fit import fit_gpytorch_mll
    from botorch.models import SingleTaskGP
    from botorch.sampling import SobolQMCNormalSampler
    from botorch.utils.sampling import manual_seed
    from gpytorch.mlls import ExactMarginalLogLikelihood
    from linear_operator.utils.warnings import NumericalWarning

    x = torch.tensor(points, dtype=torch.float64)
    y = torch.tensor(scores, dtype=torch.float64).unsqueeze(-1)
    discrete = torch.tensor(choices, dtype=torch.float64)
    log_within = torch.tensor(np.log(within), dtype=torch.float64)
    chosen: list[int] = []
    # The fit draws new starting points from the priors when it has to retry.
    with manual_seed(seed), warnings.catch_warnings():
        warnings.simplefilter("ignore", InputDataWarning)  # equal scores cannot be standardised, and need not be
        warnings.simplefilter("ignore", NumericalWarning)  # neighbours nearly coincide, and a jitter sets them apart
        model = SingleTaskGP(x, y)
        fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
        while len(chosen) < count:
            sampler = SobolQMCNormalSampler(torch.Size([_MC_SAMPLES]), seed=seed)
            acquisition = qLogNoisyExpectedImprovement(model, X_baseline=x, sampler=sampler)
            # Of several that are looked at together, each should add to those before it.
            acquisition.set_X_pending(discrete[chosen] if chosen else None)
            with torch.no_grad():
                parts = [acquisition(part.unsqueeze(1)) for part in discrete.split(_CHUNK)]
            values = torch.cat(parts) + log_within
            values[chosen] = -torch.inf
            chosen.append(int(values.argmax()))
    return chosen
