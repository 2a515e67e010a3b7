"""How far a measured latency lies from the predicted one: calibrated intervals and probabilities.

Errors are of the logarithm, on rows left out, over what a process expected of each row (where there is one) and an
estimate of how hard the row is to predict. With enough of them an interval is an order statistic (conformal); with few,
Student's t with a prior on the spread takes its place.

Sources: Lei et al., Distribution-free predictive inference for regression, 2018; Barber et al., Predictive inference
with the jackknife+, 2021 (section 2: the cross-validated form; here the refitted models' predictions are taken for the
final one's).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from surrogate.arguments import check_coverage

# Fewer errors than this have no trustworthy order statistics; with a prior, Student's t is the better for longer.
_FEWEST_FOR_RANKS, _FEWEST_BESIDE_PRIOR = 20, 50
# Rows before the difficulty is looked for, how strongly it is held at one, and how far it may go from one.
_FEWEST_FOR_DIFFICULTY, _DIFFICULTY_PULL, _DIFFICULTY_RANGE = 100, 20.0, 3.0
_FOLDS = 5
# What a mean absolute error is of a standard deviation, for a normal law.
_SMALLEST = 1e-6
# A prior on the spread counts as much as this many errors.
_PRIOR_WEIGHT = 20.0


@dataclass(frozen=True)
class Errors:
    """``scores`` are errors of the logarithm over the rows' difficulty; ``slopes`` make the difficulty's logarithm.

    ``prior`` is the standard deviation expected before any score was seen; it counts as twenty scores.
    """

    scores: tuple[float, ...]
    slopes: tuple[float, ...] = ()
    prior: float | None = None

    def half_width(self, inputs: np.ndarray, coverage: float) -> np.ndarray:
        """(n,) half widths of the logarithm's interval at standardised features (n, f)."""
        coverage = check_coverage(coverage)
        sizes = np.sort(np.abs(self.scores))
        rank = int(np.ceil((len(sizes) + 1) * coverage))
        ranked = self._ranked and rank <= len(sizes)
        unit = float(sizes[rank - 1]) if ranked else self._student_quantile((1 + coverage) / 2)
        return unit * difficulty(inputs, self.slopes)

    def probability_below(self, distances: np.ndarray, inputs: np.ndarray) -> np.ndarray:
        """(n,) probability that the logarithm's error is at most ``distances`` (n,) at features (n, f)."""
        from scipy.stats import t

        units = distances / difficulty(inputs, self.slopes)
        if not self._ranked:
            return np.asarray(t.cdf(units / self.deviation, df=self._freedom))
        below = np.searchsorted(np.sort(self.scores), units, side="right")
        return np.asarray((below + 0.5) / (len(self.scores) + 1))

    @property
    def deviation(self) -> float:
        """Root mean square of the scores and the prior."""
        squares = float(np.square(self.scores).sum())
        if self.prior is None:
            return max(float(np.sqrt(squares / max(len(self.scores), 1))), _SMALLEST)
        return float(np.sqrt((squares + _PRIOR_WEIGHT * self.prior**2) / (len(self.scores) + _PRIOR_WEIGHT)))

    @property
    def _ranked(self) -> bool:
        return len(self.scores) >= (_FEWEST_FOR_RANKS if self.prior is None else _FEWEST_BESIDE_PRIOR)

    @property
    def _freedom(self) -> float:
        return max(len(self.scores) + (0.0 if self.prior is None else _PRIOR_WEIGHT), 1.0)

    def _student_quantile(self, share: float) -> float:
        from scipy.stats import t

        return float(t.ppf(share, df=self._freedom)) * self.deviation

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionary."""
        return asdict(self)

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> Errors:
        """Inverse of :meth:`to_dict`."""
        prior = document["prior"]
        return cls(tuple(document["scores"]), tuple(document["slopes"]), None if prior is None else float(prior))


def difficulty(inputs: np.ndarray, slopes: tuple[float, ...]) -> np.ndarray:
    """(n,) how many times its usual size an error has at standardised features (n, f)."""
    if not slopes:
        return np.ones(len(inputs))
    limit = np.log(_DIFFICULTY_RANGE)
    return np.asarray(np.exp(np.clip(inputs @ np.array(slopes), -limit, limit)))


def fit_errors(inputs: np.ndarray, errors: np.ndarray, prior: float | None = None) -> Errors:
    """Errors (n,) of the logarithm at standardised features (n, f), with a difficulty only where it cross-validates.

    ``prior`` is their standard deviation as expected before, where a process has given one: it steadies few errors.
    """
    from sklearn.model_selection import KFold

    plain = Errors(tuple(np.sort(errors).tolist()), prior=prior)
    if len(errors) < _FEWEST_FOR_DIFFICULTY:
        return plain
    hardness = np.ones(len(errors))
    for train, test in KFold(_FOLDS, shuffle=True, random_state=0).split(inputs):
        hardness[test] = difficulty(inputs[test], _difficulty_slopes(inputs[train], errors[train]))
    if _misfit(errors / hardness) + np.log(hardness).mean() >= _misfit(errors):
        return plain
    # Scores come from difficulties that have not seen their row.
    return Errors(tuple(np.sort(errors / hardness).tolist()), _difficulty_slopes(inputs, errors), prior)


def _difficulty_slopes(inputs: np.ndarray, errors: np.ndarray) -> tuple[float, ...]:
    """Ridge of the logarithm of the errors' size, centred: its level is in the scores."""
    sizes = np.log(np.maximum(np.abs(errors), _SMALLEST))
    sizes = np.maximum(sizes, np.quantile(sizes, 0.1))
    pull = _DIFFICULTY_PULL * np.eye(inputs.shape[1])
    return tuple(np.linalg.solve(inputs.T @ inputs + pull, inputs.T @ (sizes - sizes.mean())).tolist())


def _misfit(scores: np.ndarray) -> float:
    """Negative log likelihood a row under a Laplace law of fitted width, but for a constant."""
    return float(np.log(np.abs(scores).mean()))
