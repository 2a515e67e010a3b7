"""A latency predictor from any table of measured whole models, and its transfer to another device."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data.errors import DataFileError, InputError
from surrogate.arguments import check_seed, positive_number, whole_number
from surrogate.folds import row_groups
from surrogate.intervals import Errors, fit_errors
from surrogate.saved import read_document, write_document
from surrogate.tables.blended import Blend, fit_blend, fit_equal
from surrogate.tables.informative import most_informative
from surrogate.tables.plausibility import check_signal, check_units
from surrogate.tables.process import Process, View
from surrogate.tables.table import (
    COST_FEATURES,
    HYPERPARAMETERS,
    PRICED,
    SESSION,
    TARGET,
    check_frame,
    column_values,
    has_column,
    label_values,
    named_features,
    refuse_duplicates,
    table_features,
)
from surrogate.tables.transfer import Comparison, adapt_process, another_device, compare, view_of

if TYPE_CHECKING:
    import pandas as pd

_DOCUMENT, _TREES = "latency_predictor.json", "latency_residual.json"
_SCHEMA = hashlib.sha256("|".join((*HYPERPARAMETERS, *COST_FEATURES, "blend 1")).encode()).hexdigest()[:16]
_FEWEST_ROWS, _PART = 5, 2048


@dataclass(frozen=True)
class LatencyPredictor:
    """What was fitted, its errors on rows it has not seen, an adaptation to another device, and what was measured.

    ``fit_error`` is the root mean square of the fit's errors of the logarithm. ``adaptation`` is a process about the
    fit's own prediction at the other device's rows ``adapted_to`` (n, f); ``comparison`` says what it gained.
    ``lowest`` and ``highest`` are the measured range of each feature (f,); ``names`` are the features'.
    """

    blend: Blend
    errors: Errors
    fit_error: float
    features: tuple[str, ...] | None
    names: tuple[str, ...]
    lowest: tuple[float, ...]
    highest: tuple[float, ...]
    adaptation: Process | None = None
    adapted_to: np.ndarray | None = None
    comparison: Comparison | None = None

    @classmethod
    def fit(
        cls, frame: pd.DataFrame, *, features: Sequence[str] | None = None, target: str = TARGET, seed: int = 0
    ) -> LatencyPredictor:
        """Fit to a table with columns layers, hidden, heads, intermediate, seq_len, batch and ``latency_ms``.

        Args:
            frame: one row per measured model; other columns are ignored, but for ``threads`` and ``session``: rows
                of one session are never used to judge a fit to others of it.
            features: numeric columns to use instead of the six hyperparameters.
            target: column of the latency, ms.
            seed: seed of folds and trees.

        Raises:
            InputError: fewer than five rows, a missing column, a bad or repeated row (named by its number), latencies
                that are no milliseconds of these models, or that say nothing about them.
        """
        seed, chosen = check_seed(seed), named_features(features)
        if chosen is not None and target in chosen:
            raise InputError(f"the column {target!r} is to be predicted: it cannot be a feature as well")
        inputs, names = table_features(frame, chosen)
        latencies = column_values(frame, target, positive=True)
        if len(latencies) < _FEWEST_ROWS:
            raise InputError(f"a latency predictor needs at least {_FEWEST_ROWS} rows, not {len(latencies)}")
        check_units(inputs, names, latencies, hyperparameters=chosen is None)
        refuse_duplicates(inputs, latencies)
        groups = row_groups(inputs, _sessions(frame))
        blend, left = fit_blend(inputs, names, latencies, _priced(names, chosen), groups, seed)
        check_signal(left.errors, latencies, inputs, names, hyperparameters=chosen is None)
        prior = None if blend.process is None else 1.0
        return cls(
            blend=blend,
            errors=fit_errors(blend.layers.scaling.apply(inputs), left.errors / left.deviations, prior),
            fit_error=float(np.sqrt(np.mean(left.errors**2))),
            features=chosen,
            names=names,
            lowest=tuple(inputs.min(axis=0).tolist()),
            highest=tuple(inputs.max(axis=0).tolist()),
        )

    def predict(self, frame: pd.DataFrame) -> np.ndarray:
        """(n,) predicted ms of the rows of a table."""
        return np.exp(self._logarithms(self._inputs(frame)))

    def interval(self, frame: pd.DataFrame, coverage: float = 0.9) -> tuple[np.ndarray, np.ndarray]:
        """(lower, upper), each (n,) ms: calibrated on out-of-fold relative errors, wider where rows are harder."""
        inputs = self._inputs(frame)
        middle, half = self._logarithms(inputs), self.errors.half_width(self._scaled(inputs), coverage)
        half = half * self._deviations(inputs)
        return np.exp(middle - half), np.exp(middle + half)

    def probability_within(self, frame: pd.DataFrame, budget_ms: float) -> np.ndarray:
        """(n,) probability that a row's measured latency is at most ``budget_ms``."""
        budget_ms = positive_number("a budget is a positive number of milliseconds", budget_ms)
        inputs = self._inputs(frame)
        distances = (np.log(budget_ms) - self._logarithms(inputs)) / self._deviations(inputs)
        return self.errors.probability_below(distances, self._scaled(inputs))

    def outside(self, frame: pd.DataFrame) -> np.ndarray:
        """(n,) whether a row lies outside what was measured: a feature of it, cost included, beyond all rows of the
        fit. The intervals then promise nothing."""
        inputs = self._inputs(frame)
        margin = 1e-9 * np.maximum(np.abs(self.lowest), np.abs(self.highest))
        low, high = np.array(self.lowest) - margin, np.array(self.highest) + margin
        return np.asarray(((inputs < low) | (inputs > high)).any(axis=1))

    def adapt(
        self, rows: pd.DataFrame, *, target: str = TARGET, seed: int = 0, compared: bool = True
    ) -> LatencyPredictor:
        """The predictor for another device from any number of its rows; none changes nothing.

        A few rows give little more than a scale factor, more what :mod:`surrogate.tables.transfer` makes of them;
        ``comparison`` of the result judges it beside the scale factor and a predictor of these rows alone, unless it is
        not to be ``compared``, which takes most of the time.
        """
        check_frame(rows)
        seed = check_seed(seed)
        if len(rows) == 0:
            return self
        latencies, inputs = column_values(rows, target, positive=True), self._inputs(rows)
        check_units(inputs, self.names, latencies, hyperparameters=self.features is None)
        refuse_duplicates(inputs, latencies)
        logarithms, groups = np.log(latencies), row_groups(inputs, _sessions(rows))
        adaptation, left = adapt_process(self._view(inputs), logarithms, self.fit_error, groups)
        check_signal(left.errors, latencies, inputs, self.names, hyperparameters=self.features is None)

        def from_scratch(train: np.ndarray, test: np.ndarray) -> np.ndarray:
            priced = _priced(self.names, self.features)
            own = fit_equal(inputs[train], self.names, latencies[train], priced, groups[train], seed)
            return np.asarray(logarithms[test] - own.predict(inputs[test]))

        ratios = logarithms - self.blend.predict(inputs)
        return replace(
            self,
            adaptation=adaptation,
            adapted_to=inputs,
            errors=fit_errors(self._scaled(inputs), left.errors / left.deviations, 1.0),
            comparison=compare(left, ratios, groups, from_scratch, seed) if compared else None,
        )

    def choose(self, frame: pd.DataFrame, count: int, seed: int = 0) -> np.ndarray:
        """(count,) row indices of candidates that are worth most to :meth:`adapt`, most valuable first.

        Each lowers most what remains uncertain of all candidates' latencies on another device; none need be measured.
        ``seed`` draws the candidates that are looked at where there are thousands.
        """
        check_frame(frame)
        seed, count = check_seed(seed), whole_number("the number of rows to choose", count, 0, None)
        if count > len(frame):
            raise InputError(f"{count} rows cannot be chosen out of {len(frame)}")
        view = self._view(self._inputs(frame))
        return most_informative(view, another_device(view, self.fit_error)[1], count, seed)

    def _inputs(self, frame: pd.DataFrame) -> np.ndarray:
        inputs, names = table_features(frame, self.features)
        if names == self.names:
            return inputs
        missing = [name for name in self.names if name not in names]
        if missing:
            raise InputError(f"the predictor was fitted with {missing[0]}, which the table does not give")
        return inputs[:, [names.index(name) for name in self.names]]

    def _scaled(self, inputs: np.ndarray) -> np.ndarray:
        return self.blend.layers.scaling.apply(inputs)

    def _view(self, inputs: np.ndarray) -> View:
        return view_of(inputs, self.names, self._scaled(inputs), self.blend.predict(inputs))

    def _logarithms(self, inputs: np.ndarray) -> np.ndarray:
        adaptation = self.adaptation
        if adaptation is None:
            return _by_parts(self.blend.predict, inputs)
        return _by_parts(lambda part: adaptation.predict(self._view(part)), inputs)

    def _deviations(self, inputs: np.ndarray) -> np.ndarray:
        """(n,) the unit of the errors: what the process expects."""
        adaptation = self.adaptation
        if adaptation is None:
            return _by_parts(self.blend.deviation, inputs)
        return _by_parts(lambda part: adaptation.deviation(self._view(part)), inputs)

    def save(self, path: Path) -> None:
        """Write JSON and XGBoost's JSON into the directory ``path``."""
        path.mkdir(parents=True, exist_ok=True)
        document = {
            "blend": self.blend.save(path / _TREES),
            "errors": self.errors.to_dict(),
            "fit_error": self.fit_error,
            "features": self.features,
            "names": self.names,
            "range": (self.lowest, self.highest),
            "adaptation": None if self.adaptation is None else self.adaptation.to_dict(),
            "adapted_to": None if self.adapted_to is None else self.adapted_to.tolist(),
            "comparison": None if self.comparison is None else self.comparison.to_dict(),
        }
        write_document(path / _DOCUMENT, _SCHEMA, document, path / _TREES)

    @classmethod
    def load(cls, path: Path) -> LatencyPredictor:
        """Inverse of :meth:`save`.

        Raises:
            DataFileError: the files are missing, damaged, or of another feature schema.
        """
        document = read_document(path / _DOCUMENT, _SCHEMA, path / _TREES)
        try:
            return cls._from_document(document, path)
        except (KeyError, TypeError, ValueError) as error:
            raise DataFileError(path, f"the saved predictor is damaged ({error}): train it again") from error

    @classmethod
    def _from_document(cls, document: dict[str, Any], path: Path) -> LatencyPredictor:
        features, comparison = document["features"], document["comparison"]
        lowest, highest = document["range"]
        names = tuple(document["names"])
        plain = cls(
            blend=Blend.load(document["blend"], names, path / _TREES),
            errors=Errors.from_dict(document["errors"]),
            fit_error=float(document["fit_error"]),
            features=None if features is None else tuple(features),
            names=names,
            lowest=tuple(lowest),
            highest=tuple(highest),
        )
        if document["adaptation"] is None:
            return plain
        rows = np.array(document["adapted_to"], dtype=np.float64)
        compared = None if comparison is None else Comparison(**comparison)
        adaptation = Process.from_dict(document["adaptation"], plain._view(rows))
        return replace(plain, adaptation=adaptation, adapted_to=rows, comparison=compared)


def _by_parts(function: Callable[[np.ndarray], np.ndarray], inputs: np.ndarray) -> np.ndarray:
    """A function of rows (n, f), so many at a time that made-up devices take tens of megabytes."""
    parts = [function(inputs[start : start + _PART]) for start in range(0, max(len(inputs), 1), _PART)]
    return np.concatenate(parts)


def _sessions(frame: pd.DataFrame) -> np.ndarray | None:
    """(n,) the sessions of rows, where the table has a column of them."""
    return label_values(frame, SESSION) if has_column(frame, SESSION) else None


def _priced(names: Sequence[str], chosen: Sequence[str] | None) -> tuple[int, ...]:
    """Columns that a law of cost may price: none of a table of other features, whose signs nobody knows."""
    return () if chosen is not None else tuple(index for index, name in enumerate(names) if name in PRICED)
