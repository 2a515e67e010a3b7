"""From one device to another with a few rows: what the new one adds to the logarithm of the predicted latency.

The logarithm of new over predicted latency is taken for a Gaussian process (Rasmussen and Williams, 2006, chapter 2)

    offset + slope x log latency + slopes x features + smooth + noise

whose offset, the scale factor, is free, and whose other parts are held near zero by prior variances. Each combination
of the variances, zero among them, counts by how well it explains the rows (its marginal likelihood), so that two or
three rows give the scale factor, ten a little more, and fifty nearly a law of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from surrogate.smooth import kernel

# Prior standard deviations: devices differ by any factor; at one published set of settings, by 4 to 12% beyond it.
_OFFSET = 3.0
_SLOPES_LATENCY = (0.0, 0.05, 0.2)
_SLOPES_FEATURES = (0.0, 0.05, 0.15, 0.5)
_SMOOTHS = (0.0, 0.05, 0.15)
# Deviations of the noise, in units of the source predictor's own error: what it does not know, slopes must not explain.
_NOISES = (0.5, 1.0, 2.0, 4.0, 8.0)
# Prior probability that a part is not there at all.
_ABSENT = 0.5
_LENGTH = 1.0


@dataclass(frozen=True)
class Adaptation:
    """What another device adds: an offset, a slope on the predicted logarithm (standardised), slopes on the
    standardised features (f,), and a smooth part of ``weights`` (m,) at ``points`` (m, f)."""

    offset: float
    centre: float
    scale: float
    slope: float
    slopes: np.ndarray
    points: np.ndarray
    weights: np.ndarray

    def apply(self, logarithms: np.ndarray, inputs: np.ndarray) -> np.ndarray:
        """(n,) what is added to predicted logarithms (n,) at standardised features (n, f)."""
        along = self.slope * (logarithms - self.centre) / self.scale
        smooth = kernel(inputs, self.points, _LENGTH) @ self.weights
        return np.asarray(self.offset + along + inputs @ self.slopes + smooth)

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionary."""
        arrays = {name: getattr(self, name).tolist() for name in ("slopes", "points", "weights")}
        return {name: getattr(self, name) for name in ("offset", "centre", "scale", "slope")} | arrays

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> Adaptation:
        """Inverse of :meth:`to_dict`."""
        offset, centre, scale, slope = (float(document[name]) for name in ("offset", "centre", "scale", "slope"))
        slopes, points, weights = (np.array(document[name], dtype=float) for name in ("slopes", "points", "weights"))
        return cls(offset, centre, scale, slope, slopes, points, weights)


@dataclass(frozen=True)
class _Explanation:
    """One combination of variances: (slope, features, smooth), its log evidence, ``dual`` (n,) and errors (n,)."""

    variances: tuple[float, float, float]
    evidence: float
    dual: np.ndarray
    left_out: np.ndarray


def fit_adaptation(
    ratios: np.ndarray, logarithms: np.ndarray, inputs: np.ndarray, centre: float, scale: float, noise: float
) -> tuple[Adaptation, np.ndarray]:
    """The adaptation to logarithms of new over predicted latency (n,), and its leave-one-out errors (n,).

    Args:
        ratios: (n,) natural logarithms of measured over predicted latency.
        logarithms: (n,) predicted logarithms; ``centre`` and ``scale`` standardise them.
        inputs: (n, f) standardised features.
        noise: standard deviation of the source predictor's own errors of the logarithm.
    """
    shown = (logarithms - centre) / scale
    middle = float(np.median(ratios))
    explanations = list(_explanations(ratios - middle, shown, inputs, noise))
    evidence = np.array([found.evidence for found in explanations])
    shares = np.exp(evidence - evidence.max())
    shares /= shares.sum()

    duals = np.array([found.dual for found in explanations])
    variances = np.array([found.variances for found in explanations])
    dual = shares @ duals
    along, features, smooth = (shares * variances[:, part] for part in range(3))
    adaptation = Adaptation(
        offset=middle + _OFFSET**2 * float(dual.sum()),
        centre=centre,
        scale=scale,
        slope=float(along @ duals @ shown),
        slopes=features @ duals @ inputs / inputs.shape[1],
        points=inputs,
        weights=smooth @ duals,
    )
    return adaptation, shares @ np.array([found.left_out for found in explanations])


def _explanations(ratios: np.ndarray, shown: np.ndarray, inputs: np.ndarray, usual: float) -> Iterator[_Explanation]:
    parts = (np.outer(shown, shown), inputs @ inputs.T / inputs.shape[1], kernel(inputs, inputs, _LENGTH))
    choices = (_SLOPES_LATENCY, _SLOPES_FEATURES, _SMOOTHS)
    for deviations in product(*choices):
        belief = sum(_log_prior(value, choice) for value, choice in zip(deviations, choices, strict=True))
        variances = (deviations[0] ** 2, deviations[1] ** 2, deviations[2] ** 2)
        covariance = _OFFSET**2 + sum(variance * part for variance, part in zip(variances, parts, strict=True))
        values, vectors = np.linalg.eigh(covariance)
        rotated = vectors.T @ ratios
        for noise in np.array(_NOISES) * usual:
            spread = np.maximum(values, 0.0) + noise**2
            dual = vectors @ (rotated / spread)
            evidence = belief - 0.5 * float(rotated**2 @ (1 / spread) + np.log(spread).sum())
            yield _Explanation(variances, evidence, dual, dual / (vectors**2 @ (1 / spread)))


def _log_prior(deviation: float, choices: tuple[float, ...]) -> float:
    """Of a part's prior deviation: absent, or any of the others alike."""
    return float(np.log(_ABSENT if deviation == 0 else (1 - _ABSENT) / (len(choices) - 1)))
