"""Which candidate to distil next: a spread of first points, then Bayesian optimisation with BoTorch.

The model is a Gaussian process over the unit-cube encoding of the sizes (BoTorch's ``SingleTaskGP``: RBF kernel with
dimension-scaled log-normal priors, Hvarfner et al. 2024, standardised scores); the acquisition function is noisy
expected improvement in its logarithmic form (``qLogNoisyExpectedImprovement``, Ament et al. 2023), which does not
vanish numerically and allows for the noise of scores on a dev set. It is maximised over the feasible, untried
candidates by evaluating all of them, so an infeasible one can't be proposed.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np

from search.optimization.space import SearchSpace
from search.records import Candidate, Proposer, Trial

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Accuracy grows with size, hence with latency: what leaves much of the budget unused is not worth a trial.
_LEAST_SHARE_OF_BUDGET = 0.7
_MOST_INITIAL_POINTS = 10  # twice the dimensions, and two more
_MC_SAMPLES = 256
# For the first points: how the width is cut into heads matters less than depth and widths (``space.DIMENSIONS``).
_SPREAD_WEIGHTS = np.array([1.0, 1.0, 0.25, 1.0])


def propose(
    space: SearchSpace, feasible: Sequence[Candidate], trials: Sequence[Trial], *, total_trials: int, seed: int
) -> tuple[Candidate, Proposer] | None:
    """The next candidate to distil, and how it was chosen; None when every feasible one has been tried.

    Equal arguments give equal proposals. Failed trials are not proposed again and teach the model nothing; trials
    whose outcome is not known yet count as tried.

    Args:
        space: gives the encoding.
        feasible: the candidates whose predicted upper bound is within the budget.
        trials: all trials so far.
        total_trials: how many there are to be; about half of them are first points.
        seed: of the first points and of the sampler.
    """
    worthwhile = near_budget(untried(feasible, trials), feasible)
    if not worthwhile:
        return None
    initial = _initial_count(total_trials)
    scored = [trial for trial in trials if trial.score is not None]
    if len(trials) < initial or len(scored) < 2:
        return _next_initial(space, worthwhile, trials, initial, seed), "initial"
    return _best_acquisition(space, worthwhile, scored, seed + len(trials)), "bayesian"


def untried(feasible: Sequence[Candidate], trials: Sequence[Trial]) -> list[Candidate]:
    """The candidates that no trial has proposed yet."""
    tried = {trial.candidate.architecture for trial in trials}
    return [candidate for candidate in feasible if candidate.architecture not in tried]


def near_budget(left: Sequence[Candidate], feasible: Sequence[Candidate]) -> list[Candidate]:
    """The untried candidates that use most of the budget, or all untried ones if none does.

    The slowest feasible one stands for the budget, which may be far above what the space offers.
    """
    slowest = max((candidate.predicted_ms for candidate in feasible), default=0.0)
    near = [candidate for candidate in left if candidate.predicted_ms >= _LEAST_SHARE_OF_BUDGET * slowest]
    return near or list(left)


def _initial_count(total_trials: int) -> int:
    return min(max(2, total_trials // 2), _MOST_INITIAL_POINTS)


def _next_initial(
    space: SearchSpace, candidates: Sequence[Candidate], trials: Sequence[Trial], count: int, seed: int
) -> Candidate:
    """The untried candidate that stands best for what the trials so far don't stand for.

    ``count`` points are spread by k-means clustering, whose centres keep clear of the corners of the space, unlike a
    furthest-point design; the centre furthest from all trials is taken, and the candidate nearest to it.
    """
    from sklearn.cluster import KMeans

    points = _SPREAD_WEIGHTS * space.encode([candidate.architecture for candidate in candidates])
    fitted = KMeans(n_clusters=min(count, len(points)), n_init=4, random_state=seed).fit(points)
    centres = fitted.cluster_centers_
    chosen = centres[np.argmax(np.bincount(fitted.labels_))]
    if trials:
        tried = _SPREAD_WEIGHTS * space.encode([trial.candidate.architecture for trial in trials])
        chosen = centres[np.argmax(_distances(centres, tried).min(axis=1))]
    return candidates[int(np.argmin(_distances(points, chosen[None, :])))]


def _distances(points: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, m) Euclidean distances of n points from m others."""
    return np.asarray(np.linalg.norm(points[:, None, :] - others[None, :, :], axis=2))


def _best_acquisition(
    space: SearchSpace, candidates: Sequence[Candidate], scored: Sequence[Trial], seed: int
) -> Candidate:
    points = space.encode([trial.candidate.architecture for trial in scored])
    scores = np.asarray([trial.score for trial in scored], dtype=np.float64)
    choices = space.encode([candidate.architecture for candidate in candidates])
    return candidates[_maximise_acquisition(points, scores, choices, seed)]


def _maximise_acquisition(
    points: NDArray[np.float64], scores: NDArray[np.float64], choices: NDArray[np.float64], seed: int
) -> int:
    """Index of the choice with the largest acquisition value.

    Args:
        points: n x d, where scores are known.
        scores: n.
        choices: m x d, untried.
    """
    import warnings

    import torch
    from botorch.acquisition.logei import qLogNoisyExpectedImprovement
    from botorch.exceptions import InputDataWarning
    from botorch.fit import fit_gpytorch_mll
    from botorch.models import SingleTaskGP
    from botorch.optim import optimize_acqf_discrete
    from botorch.sampling import SobolQMCNormalSampler
    from botorch.utils.sampling import manual_seed
    from gpytorch.mlls import ExactMarginalLogLikelihood

    x = torch.tensor(points, dtype=torch.float64)
    y = torch.tensor(scores, dtype=torch.float64).unsqueeze(-1)
    # The fit draws new starting points from the priors when it has to retry.
    with manual_seed(seed), warnings.catch_warnings():
        warnings.simplefilter("ignore", InputDataWarning)  # equal scores cannot be standardised, and need not be
        model = SingleTaskGP(x, y)
        fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
        sampler = SobolQMCNormalSampler(torch.Size([_MC_SAMPLES]), seed=seed)
        acquisition = qLogNoisyExpectedImprovement(model, X_baseline=x, sampler=sampler)
        discrete = torch.tensor(choices, dtype=torch.float64)
        chosen, _ = optimize_acqf_discrete(acquisition, q=1, choices=discrete)
    return int(torch.argmin(torch.linalg.vector_norm(discrete - chosen, dim=1)))


def tighten(feasible: Sequence[Candidate], budget_ms: float, ratios: Collection[float]) -> list[Candidate]:
    """The candidates that stay within the budget when predictions are as far off as the worst one measured.

    Args:
        feasible: candidates with their predicted latency.
        budget_ms: the budget.
        ratios: measured over predicted latency of the candidates that were measured.
    """
    worst = max([1.0, *ratios])
    return [candidate for candidate in feasible if candidate.upper_ms * worst <= budget_ms]
