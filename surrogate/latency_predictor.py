"""A latency predictor from any table of measured whole models, and its transfer to another device."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from data.errors import DataFileError, InputError
from surrogate.boosting import Residual, fit_residual, grow
from surrogate.linear import Base, fit_base, ridge
from surrogate.table import HYPERPARAMETERS, TARGET, column_values, table_features

if TYPE_CHECKING:
    import pandas as pd

_DOCUMENT, _TREES = "latency_predictor.json", "latency_residual.json"
_SCHEMA = hashlib.sha256("|".join((*HYPERPARAMETERS, "cost features 1")).encode()).hexdigest()[:16]
_FEWEST_ROWS = 5
_FOLDS = 5
# Strengths of the pull of an adaptation's slopes towards zero; infinite is the plain scale factor.
_PULLS = (3.0, 10.0, 30.0, 100.0, float("inf"))
_FEWEST_FOR_SLOPES = 5


@dataclass(frozen=True)
class Adaptation:
    """What another device adds to the logarithm: an offset (the scale factor) and slopes on the base's features."""

    offset: float = 0.0
    slopes: tuple[float, ...] = ()


@dataclass(frozen=True)
class LatencyPredictor:
    """A base on cost features, XGBoost on the logarithm of the rest, and an adaptation to the device.

    ``log_residuals`` are out-of-fold errors of the logarithm, sorted by size: the intervals come from them.
    """

    base: Base
    residual: Residual
    features: tuple[str, ...] | None
    log_residuals: tuple[float, ...]
    adaptation: Adaptation = Adaptation()

    @classmethod
    def fit(
        cls, frame: pd.DataFrame, *, features: Sequence[str] | None = None, target: str = TARGET, seed: int = 0
    ) -> LatencyPredictor:
        """Fit to a table with columns layers, hidden, heads, intermediate, seq_len, batch and ``latency_ms``.

        Args:
            frame: one row per measured model; other columns are ignored.
            features: numeric columns to use instead of the six hyperparameters.
            target: column of the latency, ms.
            seed: seed of folds and trees.

        Raises:
            InputError: fewer than five rows, a missing column, or a bad row (named by its number).
        """
        chosen = tuple(features) if features is not None else None
        inputs, _ = table_features(frame, chosen)
        latencies = column_values(frame, target, positive=True)
        if len(latencies) < _FEWEST_ROWS:
            raise InputError(f"a latency predictor needs at least {_FEWEST_ROWS} rows, not {len(latencies)}")
        base = fit_base(inputs, latencies, seed)
        residual = fit_residual(inputs, np.log(latencies) - base.predict(inputs), seed)
        errors = _out_of_fold(inputs, latencies, base, residual.choice, seed)
        return cls(base, residual, chosen, tuple(float(value) for value in np.sort(np.abs(errors))))

    def predict(self, frame: pd.DataFrame) -> np.ndarray:
        """(n,) predicted ms of the rows of a table."""
        inputs, _ = table_features(frame, self.features)
        logarithm = self.base.predict(inputs) + self.residual.predict(inputs) + self.adaptation.offset
        if self.adaptation.slopes:
            logarithm = logarithm + self.base.standardised(inputs) @ np.array(self.adaptation.slopes)
        return np.exp(logarithm)

    def interval(self, frame: pd.DataFrame, coverage: float = 0.9) -> tuple[np.ndarray, np.ndarray]:
        """(lower, upper), each (n,) ms: conformal on the out-of-fold relative errors."""
        if not 0 < coverage < 1:
            raise InputError(f"coverage must lie between 0 and 1, not {coverage}")
        rank = min(int(np.ceil((len(self.log_residuals) + 1) * coverage)), len(self.log_residuals))
        half, predicted = self.log_residuals[rank - 1], self.predict(frame)
        return predicted * np.exp(-half), predicted * np.exp(half)

    def adapt(self, rows: pd.DataFrame, *, target: str = TARGET) -> LatencyPredictor:
        """The predictor for another device from a few of its rows; none changes nothing.

        One to four rows give a scale factor. From five on slopes on the base's features are added, pulled towards zero
        as strongly as leave-one-out finds best, so that the scale factor remains a choice.
        """
        if len(rows) == 0:
            return self
        plain = replace(self, adaptation=Adaptation())
        left = np.log(column_values(rows, target, positive=True)) - np.log(plain.predict(rows))
        scaled = Adaptation(offset=float(np.median(left)))
        if len(rows) < _FEWEST_FOR_SLOPES:
            return replace(self, adaptation=scaled)
        inputs = self.base.standardised(table_features(rows, self.features)[0])
        pull = min(_PULLS, key=lambda strength: _leave_one_out(inputs, left, strength))
        adaptation = scaled if np.isinf(pull) else _slopes(inputs, left, pull)
        errors = np.abs(left - adaptation.offset - _along(inputs, adaptation))
        # The rows of the new device are few, so its errors join the old ones rather than replace them.
        pooled = tuple(np.sort([*errors, *self.log_residuals]).tolist())
        return replace(self, adaptation=adaptation, log_residuals=pooled)

    def save(self, path: Path) -> None:
        """Write JSON and XGBoost's JSON into the directory ``path``."""
        path.mkdir(parents=True, exist_ok=True)
        self.residual.save(path / _TREES)
        document = {
            "schema": _SCHEMA,
            "base": self.base.to_dict(),
            "features": self.features,
            "trees": self.residual.trees is not None,
            "cross_validated": self.residual.cross_validated,
            "log_residuals": self.log_residuals,
            "adaptation": {"offset": self.adaptation.offset, "slopes": self.adaptation.slopes},
        }
        partial = path / f"{_DOCUMENT}.partial"
        partial.write_text(json.dumps(document), encoding="utf-8")
        partial.replace(path / _DOCUMENT)

    @classmethod
    def load(cls, path: Path) -> LatencyPredictor:
        """Inverse of :meth:`save`.

        Raises:
            DataFileError: the files are missing, damaged, or of another feature schema.
        """
        from surrogate.device_predictor import read_document

        document = read_document(path / _DOCUMENT, _SCHEMA)
        try:
            names = document["features"]
            adaptation = document["adaptation"]
            return cls(
                base=Base.from_dict(document["base"]),
                residual=Residual.load(path / _TREES, document["trees"], document["cross_validated"]),
                features=None if names is None else tuple(names),
                log_residuals=tuple(document["log_residuals"]),
                adaptation=Adaptation(adaptation["offset"], tuple(adaptation["slopes"])),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise DataFileError(path, f"the saved predictor is damaged ({error}): train it again") from error


def _out_of_fold(
    inputs: np.ndarray, latencies: np.ndarray, base: Base, choice: tuple[int, int] | None, seed: int
) -> np.ndarray:
    """(n,) errors of the logarithm, each from a predictor of the same form and size that has not seen the row."""
    from sklearn.model_selection import KFold

    errors = np.zeros(len(latencies))
    folds = KFold(min(_FOLDS, len(latencies)), shuffle=True, random_state=seed)
    for train, test in folds.split(inputs):
        refitted = ridge(inputs[train], latencies[train], base.form, base.strength)
        errors[test] = np.log(latencies[test]) - refitted.predict(inputs[test])
        if choice is not None:
            left = np.log(latencies[train]) - refitted.predict(inputs[train])
            errors[test] -= grow(choice, inputs[train], left, seed).predict(inputs[test])
    return errors


def _slopes(inputs: np.ndarray, left: np.ndarray, pull: float) -> Adaptation:
    """Ridge on the standardised features; the offset is not pulled."""
    centre = inputs.mean(axis=0)
    shifted = inputs - centre
    slopes = np.linalg.solve(shifted.T @ shifted + pull * np.eye(inputs.shape[1]), shifted.T @ (left - left.mean()))
    return Adaptation(float(left.mean() - centre @ slopes), tuple(float(value) for value in slopes))


def _along(inputs: np.ndarray, adaptation: Adaptation) -> np.ndarray:
    return inputs @ np.array(adaptation.slopes) if adaptation.slopes else np.zeros(len(inputs))


def _leave_one_out(inputs: np.ndarray, left: np.ndarray, pull: float) -> float:
    """Mean absolute error on each row of an adaptation to the others."""
    total = 0.0
    for index in range(len(left)):
        rest = np.arange(len(left)) != index
        if np.isinf(pull):
            adaptation = Adaptation(float(np.median(left[rest])))
        else:
            adaptation = _slopes(inputs[rest], left[rest], pull)
        total += abs(left[index] - adaptation.offset - float(_along(inputs[index : index + 1], adaptation)[0]))
    return total / len(left)
