"""Which candidates promise most: noisy expected improvement under the model of scores, over all of them.

The acquisition is noisy expected improvement in its logarithmic form (``qLogNoisyExpectedImprovement``, Ament et al.
2023), which does not vanish numerically and allows for the noise of what was scored, times the probability that the
candidate is admitted (Gardner et al., Bayesian optimization with inequality constraints, 2014). It is sampled for the
candidates that promise most by the closed form, which takes the best of what was scored for certain.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from search.optimization.evidence import Choices, Evidence, Pending

if TYPE_CHECKING:
    from botorch.models import SingleTaskGP
    from torch import Tensor

_MC_SAMPLES = 256
_SHORTLIST = 1024
_CHUNK = 8192  # candidates whose closed form is computed at a time
# Without evidence the larger comes first, of those that are likelier admitted than not.
_LIKELY = 0.5


def most_promising(
    evidence: Evidence, choices: Choices, count: int, seed: int, pending: Pending | None = None
) -> list[int]:
    """Indices of up to ``count`` choices, the most promising first, each given those before it and what is pending.

    Without any evidence the order is that of the trends' sum, those first that are likelier admitted than not. Equal
    arguments give equal indices.
    """
    count = min(count, len(choices.points))
    if not len(evidence.points):
        return _largest(choices, count)
    return _best_acquisition(evidence, choices, count, seed, pending)


def _largest(choices: Choices, count: int) -> list[int]:
    unlikely = choices.within < _LIKELY
    order = np.lexsort((-choices.within, -choices.trends.sum(axis=1), unlikely))
    return [int(index) for index in order[:count]]


def _best_acquisition(
    evidence: Evidence, choices: Choices, count: int, seed: int, pending: Pending | None
) -> list[int]:
    import torch
    from botorch.acquisition.logei import qLogNoisyExpectedImprovement
    from botorch.sampling import SobolQMCNormalSampler

    from search.optimization.score_model import fit, inputs, modelling

    with modelling(seed):
        model = fit(evidence)
        known, offered = (inputs(each.points, each.trends) for each in (evidence, choices))
        log_within = torch.tensor(np.log(choices.within), dtype=torch.float64)
        closed = _closed_form(model, known, offered) + log_within
        listed = closed.topk(min(_SHORTLIST, len(closed))).indices.sort().values
        running = inputs(pending.points, pending.trends) if pending else offered[:0]
        chosen: list[int] = []
        while len(chosen) < count:
            sampler = SobolQMCNormalSampler(torch.Size([_MC_SAMPLES]), seed=seed)
            acquisition = qLogNoisyExpectedImprovement(model, X_baseline=known, sampler=sampler, prune_baseline=True)
            # Each should add to what runs already, and of several that are looked at together to those before it.
            together = torch.cat([running, offered[chosen]])
            acquisition.set_X_pending(together if len(together) else None)
            with torch.no_grad():
                values = acquisition(offered[listed].unsqueeze(1)) + log_within[listed]
            values[torch.isin(listed, torch.tensor(chosen, dtype=torch.long))] = -torch.inf
            chosen.append(int(listed[values.argmax()]))
    return chosen


def _closed_form(model: SingleTaskGP, known: Tensor, offered: Tensor) -> Tensor:
    """(m,) logarithm of the expected improvement over the best of what was scored, as the model has it."""
    import torch
    from botorch.acquisition.analytic import LogExpectedImprovement

    with torch.no_grad():
        best = model.posterior(known).mean.max()
        acquisition = LogExpectedImprovement(model, best_f=best)
        return torch.cat([acquisition(part.unsqueeze(1)) for part in offered.split(_CHUNK)])
