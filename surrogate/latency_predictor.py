"""A latency predictor from any table of measured whole models, and its transfer to another device."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data.errors import DataFileError, InputError
from surrogate.intervals import Errors, fit_errors
from surrogate.layered import Layers, fit_layers
from surrogate.table import (
    COST_FEATURES,
    HYPERPARAMETERS,
    PRICED,
    TARGET,
    column_values,
    refuse_duplicates,
    table_features,
)
from surrogate.transfer import Adaptation, fit_adaptation

if TYPE_CHECKING:
    import pandas as pd

_DOCUMENT, _TREES, _OWN_TREES = "latency_predictor.json", "latency_residual.json", "own_residual.json"
_SCHEMA = hashlib.sha256("|".join((*HYPERPARAMETERS, *COST_FEATURES, "layers 2")).encode()).hexdigest()[:16]
_FEWEST_ROWS = 5
# Standard deviation that a device's own ways add to a transferred predictor's errors before its rows show it.
_TRANSFER_DEVIATION = 0.1
# Out-of-fold errors are too small, since the layers were chosen by them; by about this many rows' share.
_CHOICE_OPTIMISM = 5.0
# The leave-one-out errors of fewer rows say nothing: the scale factor fits them by itself.
_FEWEST_TO_JUDGE = 3
# From so many rows of another device a predictor of them alone has a say beside the adapted one.
_FEWEST_FOR_OWN = 8
_SHARE_POWER = 4
_EXPECTED, _OWN_ERROR = 4, 0.1


@dataclass(frozen=True)
class LatencyPredictor:
    """Layers on cost features, their out-of-fold errors, an adaptation to another device, and what was measured.

    ``own`` are layers of the other device's rows alone; ``own_share`` is their part in the logarithm.
    ``lowest`` and ``highest`` are the measured range of each feature (f,); ``names`` are the features'.
    """

    layers: Layers
    errors: Errors
    features: tuple[str, ...] | None
    names: tuple[str, ...]
    lowest: tuple[float, ...]
    highest: tuple[float, ...]
    middle: tuple[float, float]
    adaptation: Adaptation | None = None
    own: Layers | None = None
    own_share: float = 0.0

    @classmethod
    def fit(
        cls, frame: pd.DataFrame, *, features: Sequence[str] | None = None, target: str = TARGET, seed: int = 0
    ) -> LatencyPredictor:
        """Fit to a table with columns layers, hidden, heads, intermediate, seq_len, batch and ``latency_ms``.

        Args:
            frame: one row per measured model; other columns are ignored, but for ``threads``.
            features: numeric columns to use instead of the six hyperparameters.
            target: column of the latency, ms.
            seed: seed of folds and trees.

        Raises:
            InputError: fewer than five rows, a missing column, or a bad or repeated row (named by its number).
        """
        chosen = tuple(features) if features is not None else None
        inputs, names = table_features(frame, chosen)
        latencies = column_values(frame, target, positive=True)
        if len(latencies) < _FEWEST_ROWS:
            raise InputError(f"a latency predictor needs at least {_FEWEST_ROWS} rows, not {len(latencies)}")
        refuse_duplicates(inputs, latencies)
        layers, errors = fit_layers(inputs, latencies, _priced(names, chosen), seed)
        errors = errors * (1 + _CHOICE_OPTIMISM / len(errors))
        logarithms = np.log(latencies)
        return cls(
            layers=layers,
            errors=fit_errors(layers.scaling.apply(inputs), errors),
            features=chosen,
            names=names,
            lowest=tuple(inputs.min(axis=0).tolist()),
            highest=tuple(inputs.max(axis=0).tolist()),
            middle=(float(logarithms.mean()), max(float(logarithms.std()), 1e-6)),
        )

    def predict(self, frame: pd.DataFrame) -> np.ndarray:
        """(n,) predicted ms of the rows of a table."""
        return np.exp(self._logarithms(self._inputs(frame)))

    def interval(self, frame: pd.DataFrame, coverage: float = 0.9) -> tuple[np.ndarray, np.ndarray]:
        """(lower, upper), each (n,) ms: calibrated on out-of-fold relative errors, wider where rows are harder."""
        inputs = self._inputs(frame)
        middle = self._logarithms(inputs)
        half = self.errors.half_width(self.layers.scaling.apply(inputs), coverage)
        return np.exp(middle - half), np.exp(middle + half)

    def probability_within(self, frame: pd.DataFrame, budget_ms: float) -> np.ndarray:
        """(n,) probability that a row's measured latency is at most ``budget_ms``."""
        if not budget_ms > 0:
            raise InputError(f"a budget is a positive number of milliseconds, not {budget_ms}")
        inputs = self._inputs(frame)
        distances = np.log(budget_ms) - self._logarithms(inputs)
        return self.errors.probability_below(distances, self.layers.scaling.apply(inputs))

    def outside(self, frame: pd.DataFrame) -> np.ndarray:
        """(n,) whether a row lies outside what was measured: a feature of it, cost included, beyond all rows of the
        fit. The intervals then promise nothing."""
        inputs = self._inputs(frame)
        margin = 1e-9 * np.maximum(np.abs(self.lowest), np.abs(self.highest))
        low, high = np.array(self.lowest) - margin, np.array(self.highest) + margin
        return np.asarray(((inputs < low) | (inputs > high)).any(axis=1))

    def adapt(self, rows: pd.DataFrame, *, target: str = TARGET, seed: int = 0) -> LatencyPredictor:
        """The predictor for another device from any number of its rows; none changes nothing.

        One to three rows give little more than a scale factor; see :mod:`surrogate.transfer` for what more rows give.
        From eight on it is averaged with a predictor of these rows alone, each weighed by the inverse fourth power of
        its error on rows it has not seen (Bates and Granger, 1969).
        """
        if len(rows) == 0:
            return self
        latencies = column_values(rows, target, positive=True)
        inputs = self._inputs(rows)
        before = self.layers.predict(inputs)
        shown = self.layers.scaling.apply(inputs)
        adaptation, errors = fit_adaptation(
            np.log(latencies) - before, before, shown, *self.middle, self.errors.deviation
        )
        own, share = None, 0.0
        if len(rows) >= _FEWEST_FOR_OWN:
            own, own_errors = fit_layers(inputs, latencies, _priced(self.names, self.features), seed)
            share = _own_share(errors, own_errors, self.errors.deviation)
            errors = (1 - share) * errors + share * own_errors
        judged = np.sort(errors).tolist() if len(rows) >= _FEWEST_TO_JUDGE else []
        prior = float(np.hypot(self.errors.deviation, _TRANSFER_DEVIATION))
        learnt = Errors(tuple(judged), prior=prior)
        return replace(self, adaptation=adaptation, own=own, own_share=share, errors=learnt)

    def _inputs(self, frame: pd.DataFrame) -> np.ndarray:
        inputs, names = table_features(frame, self.features)
        if names == self.names:
            return inputs
        missing = [name for name in self.names if name not in names]
        if missing:
            raise InputError(f"the predictor was fitted with {missing[0]}, which the table does not give")
        return inputs[:, [names.index(name) for name in self.names]]

    def _logarithms(self, inputs: np.ndarray) -> np.ndarray:
        value = self.layers.predict(inputs)
        if self.adaptation is None:
            return value
        value = value + self.adaptation.apply(value, self.layers.scaling.apply(inputs))
        return value if self.own is None else (1 - self.own_share) * value + self.own_share * self.own.predict(inputs)

    def save(self, path: Path) -> None:
        """Write JSON and XGBoost's JSON into the directory ``path``."""
        path.mkdir(parents=True, exist_ok=True)
        document = {
            "schema": _SCHEMA,
            "layers": self.layers.save(path / _TREES),
            "own": None if self.own is None else self.own.save(path / _OWN_TREES),
            "own_share": self.own_share,
            "errors": self.errors.to_dict(),
            "features": self.features,
            "names": self.names,
            "range": (self.lowest, self.highest),
            "middle": self.middle,
            "adaptation": None if self.adaptation is None else self.adaptation.to_dict(),
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
            return cls._from_document(document, path)
        except (KeyError, TypeError, ValueError) as error:
            raise DataFileError(path, f"the saved predictor is damaged ({error}): train it again") from error

    @classmethod
    def _from_document(cls, document: dict[str, Any], path: Path) -> LatencyPredictor:
        names, adaptation, own = document["features"], document["adaptation"], document["own"]
        lowest, highest = document["range"]
        mean, deviation = document["middle"]
        return cls(
            layers=Layers.load(document["layers"], path / _TREES),
            own=None if own is None else Layers.load(own, path / _OWN_TREES),
            own_share=float(document["own_share"]),
            errors=Errors.from_dict(document["errors"]),
            features=None if names is None else tuple(names),
            names=tuple(document["names"]),
            lowest=tuple(lowest),
            highest=tuple(highest),
            middle=(float(mean), float(deviation)),
            adaptation=None if adaptation is None else Adaptation.from_dict(adaptation),
        )


def _own_share(adapted: np.ndarray, own: np.ndarray, usual: float) -> float:
    """Share of the predictor of the new rows alone, from both predictors' errors on rows they have not seen (n,).

    Few errors may be small by luck, so a few expected ones join them: ``usual``, the source's own, for the adapted
    predictor, and those of a predictor of few rows for the other.
    """
    joined = [(np.append(np.abs(adapted), [usual] * _EXPECTED)), np.append(np.abs(own), [_OWN_ERROR] * _EXPECTED)]
    sizes = np.maximum([errors.mean() for errors in joined], 1e-9)
    weights = (sizes.min() / sizes) ** _SHARE_POWER
    return float(weights[1] / weights.sum())


def _priced(names: Sequence[str], chosen: Sequence[str] | None) -> tuple[int, ...]:
    """Columns that a law of cost may price: none of a table of other features, whose signs nobody knows."""
    return () if chosen is not None else tuple(index for index, name in enumerate(names) if name in PRICED)
