"""A Gaussian process of scores: what trials say of candidates that have had none.

score = constant + weights · trends + a smooth function of the sizes + what is the candidate's own + noise

Trends are what a score is known to grow with, such as the logarithm of the work done: their weights are not negative,
and positive before anything is known, so that the model without evidence says that the largest is best. The smooth part
has an RBF kernel with dimension-scaled log-normal priors (Hvarfner et al. 2024). What sizes don't explain and a second
training would show again is a kernel of no reach: whatever was not tried yet may be better than its neighbours. The
noise of each score is known. Hyperparameters are those of the highest posterior density.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import gpytorch
import numpy as np
import torch
from botorch.fit import fit_gpytorch_mll
from botorch.models import SingleTaskGP
from botorch.models.utils.gpytorch_modules import get_covar_module_with_dim_scaled_prior
from botorch.utils.sampling import manual_seed
from gpytorch.constraints import Positive
from gpytorch.kernels import Kernel, MaternKernel, ScaleKernel
from gpytorch.mlls import ExactMarginalLogLikelihood
from gpytorch.priors import LogNormalPrior, NormalPrior
from linear_operator.utils.warnings import NumericalWarning

from fusion.torch_threads import torch_threads

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from search.optimization.evidence import Evidence

# Medians and spreads of the priors, in units of the scores' own spread.
_WEIGHT, _SMOOTH, _OWN = (0.5, 1.0), (1.0, 0.7), (0.2, 0.7)
# Nearer to one another than this no two candidates of a unit cube are.
_NO_REACH = 1e-3
_LEAST_VARIANCE = 1e-4
# With fewer scores the priors know more than the data.
_FEWEST_TO_FIT = 3
_CHUNK = 8192  # candidates that are predicted at a time


class _Trend(gpytorch.means.Mean):
    """constant + weights · the last ``count`` inputs, with weights above 0."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count
        self.register_parameter("constant", torch.nn.Parameter(torch.zeros((), dtype=torch.float64)))
        self.register_prior("constant_prior", NormalPrior(0.0, 2.0), "constant")
        raw = torch.nn.Parameter(torch.full((count,), float(np.log(_WEIGHT[0])), dtype=torch.float64))
        self.register_parameter("log_weights", raw)
        # A normal law of the logarithm, whose mode is the median of the weight.
        self.register_prior("log_weights_prior", NormalPrior(float(np.log(_WEIGHT[0])), _WEIGHT[1]), "log_weights")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.constant + x[..., x.shape[-1] - self.count :] @ self.log_weights.exp()


@contextmanager
def modelling(seed: int) -> Iterator[None]:
    """What fits and asks models does so within: with random numbers from the seed alone, since a fit that has to retry
    draws new starting points from the priors; and on one thread, since matrices of a few dozen rows are not worth a
    second one, and beside other work threads wait for each other twenty times as long as they compute."""
    with torch_threads(1), manual_seed(seed), warnings.catch_warnings():
        # Neighbours nearly coincide, and a jitter sets them apart.
        warnings.simplefilter("ignore", NumericalWarning)
        yield


def fit(evidence: Evidence) -> SingleTaskGP:
    """The model of scores in units of their own spread; its inputs are points and trends side by side."""
    known = inputs(evidence.points, evidence.trends)
    spread = float(np.std(evidence.scores)) or float(np.mean(evidence.errors)) or 1.0
    centre = float(np.mean(evidence.scores))
    scores = torch.tensor((evidence.scores - centre) / spread, dtype=torch.float64).unsqueeze(-1)
    variances = torch.tensor((evidence.errors / spread) ** 2, dtype=torch.float64).unsqueeze(-1)
    dimensions, trends = evidence.points.shape[1], evidence.trends.shape[1]
    model = SingleTaskGP(
        known,
        scores,
        train_Yvar=variances.clamp_min(_LEAST_VARIANCE),
        mean_module=_Trend(trends),
        covar_module=_kernel(dimensions),
        outcome_transform=None,
    )
    if len(known) >= _FEWEST_TO_FIT:
        fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
    return model.eval()


def expected(evidence: Evidence, points: NDArray[np.float64], trends: NDArray[np.float64]) -> NDArray[np.float64]:
    """(m,) what the model of the evidence expects of candidates: ``points`` (m, d), ``trends`` (m, k), in units of the
    scores' own spread about their mean."""
    with modelling(0):
        model = fit(evidence)
        with torch.no_grad():
            parts = [
                model.posterior(part.unsqueeze(1)).mean.reshape(-1) for part in inputs(points, trends).split(_CHUNK)
            ]
    return np.asarray(torch.cat(parts))


def inputs(points: NDArray[np.float64], trends: NDArray[np.float64]) -> torch.Tensor:
    """Points and trends side by side, as the model takes them: (n, d + k)."""
    return torch.tensor(np.hstack([points, trends]), dtype=torch.float64)


def _kernel(dimensions: int) -> Kernel:
    active = tuple(range(dimensions))
    smooth = get_covar_module_with_dim_scaled_prior(ard_num_dims=dimensions, active_dims=active)
    own = MaternKernel(nu=0.5, active_dims=active)
    own.lengthscale = _NO_REACH
    own.raw_lengthscale.requires_grad_(False)
    return _scaled(smooth, *_SMOOTH) + _scaled(own, *_OWN)


def _scaled(kernel: Kernel, median: float, spread: float) -> ScaleKernel:
    """A kernel times a variance of log-normal prior."""
    prior = LogNormalPrior(float(np.log(median)), spread)
    scaled = ScaleKernel(
        kernel,
        outputscale_prior=prior,
        outputscale_constraint=Positive(transform=torch.exp, inv_transform=torch.log, initial_value=median),
    )
    return scaled.to(torch.float64)
