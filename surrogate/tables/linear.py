"""The base of a whole-model predictor: linear, log-linear, or a law of cost with log-linear corrections.

They are averaged, each by how well it cross-validates. The law of cost is a sum of work with non-negative prices
(Lawson and Hanson's NNLS on relative errors); its ridge is pulled towards the law itself, so that a few rows suffice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from surrogate.folds import grouped_folds

_WEAK = (0.001, 0.01, 0.1, 1.0, 10.0)
_FOLDS = 10
_WEIGHT_POWER = 4
# Members that count less than this beside the best are left out.
_SMALLEST_WEIGHT = 0.05
# A linear law may predict nothing or less far outside its data; the logarithm needs a positive number.
_SMALLEST_SHARE = 0.05

Form = Literal["law", "log", "linear"]
# An infinite pull leaves the law (times a factor) as it is.
_STRENGTHS: dict[Form, tuple[float, ...]] = {"law": (*_WEAK, 100.0, 1e9), "log": _WEAK, "linear": _WEAK}


@dataclass(frozen=True)
class Scaling:
    """Features, or their logarithms where ``logged``, less ``centre`` over ``scale``, each (f,)."""

    logged: tuple[bool, ...]
    centre: tuple[float, ...]
    scale: tuple[float, ...]

    @classmethod
    def of(cls, inputs: np.ndarray, logs: bool) -> Scaling:
        """Of features (n, f) to mean 0 and deviation 1; ``logs``: take the logarithm of those that all have one."""
        logged = (inputs > 0).all(axis=0) & np.full(inputs.shape[1], logs)
        shown = np.where(logged, np.log(np.where(logged, inputs, 1.0)), inputs)
        deviation = shown.std(axis=0)
        scale = np.where(deviation > 1e-9, deviation, 1.0)
        return cls(tuple(bool(value) for value in logged), tuple(shown.mean(axis=0).tolist()), tuple(scale.tolist()))

    def apply(self, inputs: np.ndarray) -> np.ndarray:
        """(n, f) standardised features."""
        logged = np.array(self.logged)
        shown = np.where(logged, np.log(np.where(logged & (inputs > 0), inputs, 1.0)), inputs)
        return np.asarray((shown - np.array(self.centre)) / np.array(self.scale))

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> Scaling:
        """Inverse of :func:`dataclasses.asdict`."""
        logged = tuple(map(bool, document["logged"]))
        return cls(logged, tuple(map(float, document["centre"])), tuple(map(float, document["scale"])))


@dataclass(frozen=True)
class Base:
    """``log``: log latency is linear in the features' logarithms; ``linear``: latency is linear in the features;
    ``law``: as ``log``, but of the latency over ``prices`` times the features (the last price stands alone, ms).

    Features with values that have no logarithm enter as they are in every form.
    """

    form: Form
    scaling: Scaling
    coefficients: tuple[float, ...]
    intercept: float
    smallest: float
    strength: float
    prices: tuple[float, ...] = ()

    def predict(self, inputs: np.ndarray) -> np.ndarray:
        """(n,) natural logarithm of the latency in ms."""
        value = self.scaling.apply(inputs) @ np.array(self.coefficients) + self.intercept
        if self.form == "linear":
            return np.asarray(np.log(np.maximum(value, self.smallest)))
        return np.asarray(value + self._law(inputs) if self.form == "law" else value)

    def _law(self, inputs: np.ndarray) -> np.ndarray:
        return _log_law(inputs, np.array(self.prices), self.smallest)

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> Base:
        """Inverse of :func:`dataclasses.asdict`."""
        return cls(
            form=document["form"],
            scaling=Scaling.from_dict(document["scaling"]),
            coefficients=tuple(map(float, document["coefficients"])),
            intercept=float(document["intercept"]),
            smallest=float(document["smallest"]),
            strength=float(document["strength"]),
            prices=tuple(map(float, document["prices"])),
        )


@dataclass(frozen=True)
class Mixture:
    """Bases averaged in the logarithm, ``shares`` (members,) of one in all."""

    members: tuple[Base, ...]
    shares: tuple[float, ...]

    def predict(self, inputs: np.ndarray) -> np.ndarray:
        """(n,) natural logarithm of the latency in ms."""
        return np.asarray(np.array(self.shares) @ np.array([base.predict(inputs) for base in self.members]))

    def refitted(self, inputs: np.ndarray, latencies_ms: np.ndarray, priced: Sequence[int]) -> Mixture:
        """The same forms, strengths and shares on other rows."""
        choices = [(base.form, base.strength) for base in self.members]
        return Mixture(tuple(_chosen(inputs, latencies_ms, choices, priced)), self.shares)

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionary."""
        return asdict(self)

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> Mixture:
        """Inverse of :meth:`to_dict`."""
        members = tuple(Base.from_dict(member) for member in document["members"])
        return cls(members, tuple(map(float, document["shares"])))


def fit_mixture(
    inputs: np.ndarray, latencies_ms: np.ndarray, groups: np.ndarray, seed: int, priced: Sequence[int] = ()
) -> Mixture:
    """Every form and strength, weighed by the inverse fourth power of its cross-validated error on features (n, f).

    On a few rows the best of many by cross-validation is often the luckiest; their average is not. ``priced`` are the
    columns that a law of cost may give a price; without any there is no law. No fold splits one of the ``groups`` (n,).

    Source: Bates and Granger, The combination of forecasts, 1969 (there the inverse square).
    """
    folds = grouped_folds(groups, _FOLDS, seed)
    forms: tuple[Form, ...] = ("law", "log", "linear") if priced else ("log", "linear")
    choices = [(form, strength) for form in forms for strength in _STRENGTHS[form]]
    sums = np.zeros(len(choices))
    for train, test in folds:
        fitted = [base for form in forms for base in ridges(inputs[train], latencies_ms[train], form, priced)]
        truth = np.log(latencies_ms[test])
        sums += [float(np.abs(truth - base.predict(inputs[test])).sum()) for base in fitted]
    weights = (sums.min() / np.maximum(sums, 1e-12)) ** _WEIGHT_POWER
    kept = weights >= _SMALLEST_WEIGHT
    members = _chosen(inputs, latencies_ms, [choices[index] for index in np.flatnonzero(kept)], priced)
    return Mixture(tuple(members), tuple((weights[kept] / weights[kept].sum()).tolist()))


def _chosen(
    inputs: np.ndarray, latencies_ms: np.ndarray, choices: Sequence[tuple[Form, float]], priced: Sequence[int]
) -> list[Base]:
    """Ridge regressions by form and strength, in the order of ``choices``; what a form needs is computed once."""
    forms = dict.fromkeys(form for form, _ in choices)
    strengths = {form: [strength for other, strength in choices if other == form] for form in forms}
    found = {form: iter(ridges(inputs, latencies_ms, form, priced, strengths[form])) for form in forms}
    return [next(found[form]) for form, _ in choices]


def ridges(
    inputs: np.ndarray,
    latencies_ms: np.ndarray,
    form: Form,
    priced: Sequence[int] = (),
    strengths: Sequence[float] | None = None,
) -> list[Base]:
    """Ridge regressions of latencies (n,) on features (n, f), by strength (all of the form's where none is named).

    The linear form weighs rows by relative error.
    """
    scaling = Scaling.of(inputs, logs=form != "linear")
    smallest = float(_SMALLEST_SHARE * latencies_ms.min())
    prices = _prices(inputs, latencies_ms, priced) if form == "law" else np.zeros(0)
    goal = latencies_ms if form == "linear" else np.log(latencies_ms)
    if form == "law":
        goal = goal - _log_law(inputs, prices, smallest)
    weights = (np.median(goal) / goal) ** 2 if form == "linear" else np.ones(len(goal))
    design = np.column_stack([scaling.apply(inputs), np.ones(len(goal))])
    weighted = design * weights[:, None]
    squares, products = weighted.T @ design, weighted.T @ goal
    pull = np.diag([*np.ones(design.shape[1] - 1), 0.0])
    chosen = _STRENGTHS[form] if strengths is None else tuple(strengths)
    solutions = np.linalg.solve(squares + np.array(chosen)[:, None, None] * pull, products[:, None])
    return [
        Base(
            form=form,
            scaling=scaling,
            coefficients=tuple(solution[:-1]),
            intercept=solution[-1],
            smallest=smallest,
            strength=strength,
            prices=tuple(prices.tolist()),
        )
        for strength, solution in zip(chosen, solutions[..., 0].tolist(), strict=True)
    ]


def _prices(inputs: np.ndarray, latencies_ms: np.ndarray, priced: Sequence[int]) -> np.ndarray:
    """(f + 1,) prices p >= 0 that minimise the sum of ((features @ p + p0 - t) / t)^2; zero where not ``priced``."""
    from scipy.optimize import nnls

    columns = [*priced, inputs.shape[1]]
    terms = np.column_stack([inputs, np.ones(len(inputs))])[:, columns]
    largest = np.maximum(terms.max(axis=0), 1e-12)
    solution, _ = nnls(terms / largest / latencies_ms[:, None], np.ones(len(latencies_ms)))
    prices = np.zeros(inputs.shape[1] + 1)
    prices[columns] = solution / largest
    return prices


def _log_law(inputs: np.ndarray, prices: np.ndarray, smallest: float) -> np.ndarray:
    """(n,) natural logarithm of the law's ms."""
    return np.asarray(np.log(np.maximum(inputs @ prices[:-1] + prices[-1], smallest)))
