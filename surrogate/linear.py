"""The base of a whole-model predictor: linear or log-linear ridge, whichever cross-validates better."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

_STRENGTHS = (0.001, 0.01, 0.1, 1.0, 10.0)
_FOLDS = 5
# A linear law may predict nothing or less far outside its data; the logarithm needs a positive number.
_SMALLEST_SHARE = 0.05

Form = Literal["log", "linear"]


@dataclass(frozen=True)
class Base:
    """``log``: log latency is linear in the features' logarithms; ``linear``: latency is linear in the features.

    Features with values that have no logarithm enter as they are in both forms.
    """

    form: Form
    logged: tuple[bool, ...]
    centre: tuple[float, ...]
    scale: tuple[float, ...]
    coefficients: tuple[float, ...]
    intercept: float
    smallest: float
    strength: float

    def standardised(self, inputs: np.ndarray) -> np.ndarray:
        """(n, f) features on the scale on which the ridge works."""
        logged = np.array(self.logged)
        shown = np.where(logged, np.log(np.where(logged & (inputs > 0), inputs, 1.0)), inputs)
        return np.asarray((shown - np.array(self.centre)) / np.array(self.scale))

    def predict(self, inputs: np.ndarray) -> np.ndarray:
        """(n,) natural logarithm of the latency in ms."""
        value = self.standardised(inputs) @ np.array(self.coefficients) + self.intercept
        return np.asarray(value if self.form == "log" else np.log(np.maximum(value, self.smallest)))

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionary."""
        return asdict(self)

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> Base:
        """Inverse of :meth:`to_dict`."""
        return cls(
            form=document["form"],
            logged=tuple(map(bool, document["logged"])),
            centre=tuple(map(float, document["centre"])),
            scale=tuple(map(float, document["scale"])),
            coefficients=tuple(map(float, document["coefficients"])),
            intercept=float(document["intercept"]),
            smallest=float(document["smallest"]),
            strength=float(document["strength"]),
        )


def fit_base(inputs: np.ndarray, latencies_ms: np.ndarray, seed: int) -> Base:
    """The form and ridge strength with the least cross-validated relative error on features (n, f)."""
    from sklearn.model_selection import KFold

    folds = list(KFold(min(_FOLDS, len(inputs)), shuffle=True, random_state=seed).split(inputs))
    forms: tuple[Form, ...] = ("log", "linear")

    def error(choice: tuple[Form, float]) -> float:
        left = [
            np.log(latencies_ms[test]) - ridge(inputs[train], latencies_ms[train], *choice).predict(inputs[test])
            for train, test in folds
        ]
        return float(np.abs(np.concatenate(left)).mean())

    best = min(((form, strength) for form in forms for strength in _STRENGTHS), key=error)
    return ridge(inputs, latencies_ms, *best)


def ridge(inputs: np.ndarray, latencies_ms: np.ndarray, form: Form, strength: float) -> Base:
    """Ridge regression of latencies (n,) on features (n, f); the linear form weighs rows by relative error."""
    logged = (inputs > 0).all(axis=0) & np.full(inputs.shape[1], form == "log")
    shown = np.where(logged, np.log(np.where(logged, inputs, 1.0)), inputs)
    centre, scale = shown.mean(axis=0), shown.std(axis=0)
    scale = np.where(scale > 1e-9, scale, 1.0)
    goal = np.log(latencies_ms) if form == "log" else latencies_ms
    weights = np.ones(len(goal)) if form == "log" else (np.median(goal) / goal) ** 2
    design = np.column_stack([(shown - centre) / scale, np.ones(len(goal))])
    pull = strength * np.diag([*np.ones(design.shape[1] - 1), 0.0])
    weighted = design * weights[:, None]
    solution = np.linalg.solve(weighted.T @ design + pull, weighted.T @ goal)
    return Base(
        form=form,
        logged=tuple(bool(value) for value in logged),
        centre=tuple(centre.tolist()),
        scale=tuple(scale.tolist()),
        coefficients=tuple(solution[:-1].tolist()),
        intercept=float(solution[-1]),
        smallest=float(_SMALLEST_SHARE * latencies_ms.min()),
        strength=strength,
    )
