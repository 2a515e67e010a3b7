"""A Gaussian process about one or more beliefs of a device, averaged over how far it may stray from them.

    log latency = belief + offset + made-up devices' ways + slopes x features + smooth + noise

The offset, a scale factor, is free; the other parts are held near zero by prior deviations. Each combination of belief
and deviations, zero among them, counts by how well it explains the rows (its marginal likelihood), so that a few rows
give a scale factor, some more a little, and many a law of their own.

Source: Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006, chapters 2 and 5 (5.10-5.12: rows left
out in closed form); the shares of what is left out are those without the row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np

from surrogate.tables.smooth import kernel, left_out

# Prior deviation of the offset: devices differ by any factor.
_OFFSET = 3.0
# Combinations that count less than this beside the best are dropped, and so many are kept at most.
_SMALLEST_SHARE, _MOST_KEPT = 0.02, 16
# Combinations are weighed on at most so many rows, and on more only a few of them are kept.
_MOST_TO_WEIGH, _KEPT_OF_MANY = 150, 4


@dataclass(frozen=True)
class View:
    """What a process sees of rows: ``beliefs`` (n, b) of their logarithm, standardised ``inputs`` (n, f), and how far
    each made-up device departs from their mean, ``devices`` (n, m); m is 0 where rows are no encoders."""

    beliefs: np.ndarray
    inputs: np.ndarray
    devices: np.ndarray

    def __len__(self) -> int:
        return len(self.inputs)

    def rows(self, chosen: np.ndarray) -> View:
        """Some of the rows, by index."""
        return View(self.beliefs[chosen], self.inputs[chosen], self.devices[chosen])


@dataclass(frozen=True)
class Belief:
    """A column of ``View.beliefs``, its prior probability, and the prior deviations of the parts and of the noise.

    ``absent`` is the prior probability of a deviation of zero, where there is one among several.
    """

    column: int
    probability: float
    devices: tuple[float, ...]
    slopes: tuple[float, ...]
    smooth: tuple[float, ...]
    lengths: tuple[float, ...]
    noises: tuple[float, ...]
    absent: float = 0.8


@dataclass(frozen=True)
class Combination:
    """One belief with deviations of each part, and its share of one in all."""

    column: int
    devices: float
    slopes: float
    smooth: float
    length: float
    noise: float
    share: float

    def covariance(self, left: View, right: View) -> np.ndarray:
        """(n, m) prior covariance of rows, noise left out."""
        linear = left.inputs @ right.inputs.T / left.inputs.shape[1]
        ways = left.devices @ right.devices.T
        near = kernel(left.inputs, right.inputs, self.length)
        return np.asarray(_OFFSET**2 + self.devices**2 * ways + self.slopes**2 * linear + self.smooth**2 * near)

    def variance(self, view: View) -> np.ndarray:
        """(n,) diagonal of :meth:`covariance`, and the noise's variance."""
        linear = (view.inputs**2).sum(axis=1) / view.inputs.shape[1]
        ways = (view.devices**2).sum(axis=1)
        parts = self.devices**2 * ways + self.slopes**2 * linear + self.smooth**2
        return np.asarray(_OFFSET**2 + parts + self.noise**2)


@dataclass(frozen=True)
class LeftOut:
    """(n,) errors of the logarithm of rows left out, and the deviations that were expected of them."""

    errors: np.ndarray
    deviations: np.ndarray


@dataclass(frozen=True)
class _Solved:
    """A combination at the rows: eigenvectors (n, n), eigenvalues with noise (n,), dual weights (n,), offset."""

    vectors: np.ndarray
    spread: np.ndarray
    dual: np.ndarray
    offset: float

    def evidence(self) -> float:
        """Log marginal likelihood, but for a constant."""
        return -0.5 * float(np.square(self.vectors.T @ self.dual) @ self.spread + np.log(self.spread).sum())


@dataclass(frozen=True)
class Process:
    """The combinations kept, at rows seen (n) with logarithms ``values`` (n,)."""

    combinations: tuple[Combination, ...]
    seen: View
    values: np.ndarray

    def predict(self, view: View) -> np.ndarray:
        """(n,) expected logarithms."""
        total = np.zeros(len(view))
        for combination, solved in zip(self.combinations, self._solved, strict=True):
            total += combination.share * self._mean(combination, solved, view)
        return total

    def deviation(self, view: View) -> np.ndarray:
        """(n,) standard deviations of measured logarithms, noise included."""
        shares = np.array([combination.share for combination in self.combinations])
        pairs = list(zip(self.combinations, self._solved, strict=True))
        means = np.array([self._mean(*pair, view) for pair in pairs])
        inside = np.array([self._variance(*pair, view) for pair in pairs])
        return np.asarray(np.sqrt(shares @ (inside + (means - shares @ means) ** 2)))

    def _mean(self, combination: Combination, solved: _Solved, view: View) -> np.ndarray:
        away = combination.covariance(view, self.seen) @ solved.dual
        return np.asarray(view.beliefs[:, combination.column] + solved.offset + away)

    def _variance(self, combination: Combination, solved: _Solved, view: View) -> np.ndarray:
        known = np.square(combination.covariance(view, self.seen) @ solved.vectors) @ (1 / solved.spread)
        return np.asarray(np.maximum(combination.variance(view) - known, combination.noise**2))

    @cached_property
    def _solved(self) -> list[_Solved]:
        return [
            next(_solve(combination, (combination.noise,), self.seen, self.values)) for combination in self.combinations
        ]

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionary; the view of the rows seen is made again from their features."""
        return {"combinations": [asdict(one) for one in self.combinations], "values": self.values.tolist()}

    @classmethod
    def from_dict(cls, document: dict[str, Any], seen: View) -> Process:
        """Inverse of :meth:`to_dict`."""
        combinations = tuple(Combination(**one) for one in document["combinations"])
        return cls(combinations, seen, np.array(document["values"], dtype=np.float64))


def fit_process(
    view: View, values: np.ndarray, beliefs: Sequence[Belief], groups: np.ndarray | None = None
) -> tuple[Process, LeftOut]:
    """The process for logarithms (n,) of rows, and its errors on rows left out: those of equal ``groups`` (n,) at once.

    Of many rows a seeded draw decides how much each combination counts.
    """
    few = np.arange(len(values))
    if len(values) > _MOST_TO_WEIGH:
        few = np.sort(np.random.default_rng(0).permutation(len(values))[:_MOST_TO_WEIGH])
    weighed = list(_weighed(view.rows(few), values[few], beliefs))
    combinations = _kept(weighed, _MOST_KEPT if len(few) == len(values) else _KEPT_OF_MANY)
    process = Process(tuple(combinations), view, values)
    return process, _left_out(process, np.arange(len(values)) if groups is None else groups)


def _weighed(view: View, values: np.ndarray, beliefs: Sequence[Belief]) -> Iterator[tuple[Combination, float]]:
    """Each combination and the logarithm of its prior probability times its likelihood."""
    for belief in beliefs:
        levels = (belief.devices, belief.slopes, belief.smooth)
        for deviations in product(*levels):
            lengths = belief.lengths if deviations[2] > 0 else belief.lengths[:1]
            prior = np.log(belief.probability / len(belief.noises) / len(lengths))
            prior += sum(
                _log_prior(value, choice, belief.absent) for value, choice in zip(deviations, levels, strict=True)
            )
            for length in lengths:
                plain = Combination(belief.column, *deviations, length, 0.0, 1.0)
                solutions = _solve(plain, belief.noises, view, values)
                for noise, solved in zip(belief.noises, solutions, strict=True):
                    combination = Combination(belief.column, *deviations, length, noise, 1.0)
                    yield combination, float(prior) + solved.evidence()


def _solve(combination: Combination, noises: Sequence[float], view: View, values: np.ndarray) -> Iterator[_Solved]:
    """One solution for each deviation of the noise, from one set of eigenvectors."""
    left = values - view.beliefs[:, combination.column]
    offset = float(np.median(left))
    eigenvalues, vectors = np.linalg.eigh(combination.covariance(view, view))
    rotated = vectors.T @ (left - offset)
    for noise in noises:
        spread = np.maximum(eigenvalues, 0.0) + noise**2
        yield _Solved(vectors, spread, vectors @ (rotated / spread), offset)


def _kept(weighed: Sequence[tuple[Combination, float]], most: int) -> list[Combination]:
    """The combinations that count, with shares of one in all, largest first."""
    evidence = np.array([found for _, found in weighed])
    order = np.argsort(-evidence, kind="stable")[:most]
    shares = np.exp(evidence[order] - evidence[order[0]])
    order, shares = order[shares >= _SMALLEST_SHARE], shares[shares >= _SMALLEST_SHARE]
    shares = shares / shares.sum()
    fields = [asdict(weighed[index][0]) for index in order]
    return [Combination(**{**one, "share": float(share)}) for one, share in zip(fields, shares, strict=True)]


def _left_out(process: Process, groups: np.ndarray) -> LeftOut:
    """Each row's error by the combinations, weighed as without the row."""
    errors, variances = (np.zeros((len(process.combinations), len(process.values))) for _ in range(2))
    for index, solved in enumerate(process._solved):
        errors[index], variances[index] = left_out(solved.vectors, 1 / solved.spread, solved.dual, groups)
    likelihood = -0.5 * (errors**2 / variances + np.log(variances))
    log_shares = np.log([combination.share for combination in process.combinations])[:, None] - likelihood
    shares = np.exp(log_shares - log_shares.max(axis=0))
    shares /= shares.sum(axis=0)
    mean = (shares * errors).sum(axis=0)
    return LeftOut(mean, np.sqrt((shares * (variances + (errors - mean) ** 2)).sum(axis=0)))


def _log_prior(deviation: float, levels: Sequence[float], absent: float) -> float:
    """Of a part's prior deviation: absent, or any of the others alike."""
    if len(levels) == 1:
        return 0.0
    if 0 not in levels:
        return -float(np.log(len(levels)))
    return float(np.log(absent if deviation == 0 else (1 - absent) / (len(levels) - 1)))
