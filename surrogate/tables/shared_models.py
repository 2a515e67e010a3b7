"""The models that several devices have all measured: checked rows, one latency each, and how far sessions are apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from data.errors import InputError
from surrogate.tables.table import HYPERPARAMETERS, TARGET, column_values, has_column, label_values

if TYPE_CHECKING:
    import pandas as pd

FEWEST_SHARED = 12
ACCURACY, SESSION = "accuracy", "session"
# Digits by which feature values of two devices are compared.
_KEY_DIGITS = 6
# Fewer models than this in two sessions say nothing about their noise.
_FEWEST_REPEATED = 5

Worth = Literal["accuracy", "size", "latency"]


@dataclass(frozen=True)
class SharedModels:
    """The models that all devices have measured, in one order.

    ``features`` (n, f) is a table, ``latencies`` holds (n,) ms by device, ``accuracy`` is (n,) or None.
    """

    features: pd.DataFrame
    latencies: Mapping[str, np.ndarray]
    accuracy: np.ndarray | None

    def __len__(self) -> int:
        return len(self.features)

    @property
    def devices(self) -> tuple[str, ...]:
        """Names of the devices."""
        return tuple(self.latencies)

    def table(self, device: str) -> pd.DataFrame:
        """(n, f + 1) the features and ``latency_ms`` of one device."""
        return self.features.assign(**{TARGET: self.latencies[device]})

    @property
    def judged_by(self) -> Worth:
        """What makes one model better than another: its accuracy, else its size, else its latency on the source."""
        if self.accuracy is not None:
            return "accuracy"
        return "size" if set(HYPERPARAMETERS) <= set(self.features.columns) else "latency"

    def worth(self, source: str) -> np.ndarray:
        """(n,) how good each model is, more is better: accuracy, weights of the encoder, or ms on ``source``."""
        if self.accuracy is not None:
            return self.accuracy
        if self.judged_by == "latency":
            return self.latencies[source]
        layers, hidden, inner = (
            self.features[name].to_numpy(dtype=np.float64) for name in ("layers", "hidden", "intermediate")
        )
        return np.asarray(layers * (4 * hidden**2 + 2 * hidden * inner))

    def given_up(self, own: float, other: float) -> float:
        """What ``other`` lacks against ``own``: points of accuracy (0.02 = two points), or a share of the size."""
        return own - other if self.accuracy is not None else 1 - other / own


def check_rows(frame: pd.DataFrame, names: Sequence[str]) -> None:
    """Refuse rows that a study cannot use, before they are grouped by device.

    Raises:
        InputError: a column is missing, or a row holds NaN, text, or a number that is impossible; it is named.
    """
    for name in names:
        column_values(frame, name, positive=name in HYPERPARAMETERS)
    column_values(frame, TARGET, positive=True)
    if has_column(frame, ACCURACY):
        _check_accuracies(column_values(frame, ACCURACY, positive=False))
    for name in ("device", "provenance", SESSION):
        if has_column(frame, name):
            label_values(frame, name)


def _check_accuracies(accuracies: np.ndarray) -> None:
    """Refuses accuracies (n,) that are neither all shares nor all percent, ``InputError``."""
    shares = np.abs(accuracies) <= 1
    too_large = np.abs(accuracies) > 100
    if too_large.any():
        row = int(np.argmax(too_large))
        raise InputError(f"row {row + 1}: accuracy is {accuracies[row]:g}, neither a share nor percent")
    if shares.all() or not (shares & (accuracies != 0)).any():
        return
    # Small correlations in percent lie beside one, shares far from it.
    apart = np.abs(accuracies[~shares]).min() > 10 * np.abs(accuracies[shares]).max()
    if apart or np.median(accuracies) <= 1:
        row = int(np.argmax(~shares))
        raise InputError(f"row {row + 1}: accuracy is {accuracies[row]:g}, that of other rows at most 1: percent?")


def shared_models(tables: Mapping[str, pd.DataFrame], names: Sequence[str]) -> SharedModels:
    """The models that every device has; the repeated rows of a model on a device give their median.

    Args:
        tables: by device, rows with the feature columns, ``latency_ms``, and ``accuracy`` on all devices or on none.
        names: feature columns.

    Raises:
        InputError: fewer than two devices, a bad row, too few models in common, or a device on which all take the same.
    """
    if len(tables) < 2:
        raise InputError(f"a portability study needs at least two devices, not {len(tables)}")
    judged = any(ACCURACY in table.columns for table in tables.values())
    columns = (TARGET, ACCURACY) if judged else (TARGET,)
    keyed = {device: _by_model(device, table, names, columns) for device, table in tables.items()}
    common = _common_models(keyed)
    rows = {device: table.loc[common] for device, table in keyed.items()}
    latencies = {device: table[TARGET].to_numpy(dtype=np.float64) for device, table in rows.items()}
    for device, values in latencies.items():
        if np.ptp(values) == 0:
            raise InputError(f"device {device}: every model takes {values[0]:g} ms, so that nothing can be compared")
    accuracy = _accuracy(list(rows.values())) if judged else None
    return SharedModels(common.to_frame(index=False), latencies, accuracy)


def _accuracy(tables: Sequence[pd.DataFrame]) -> np.ndarray:
    """(n,) of each model: as accurate on one device as on another, but for rounding or several trainings."""
    return np.asarray(np.mean([table[ACCURACY].to_numpy(dtype=np.float64) for table in tables], axis=0))


def _common_models(keyed: Mapping[str, pd.DataFrame]) -> pd.Index[Any]:
    first, *others = (table.index for table in keyed.values())
    common = first
    for index in others:
        common = common.intersection(index)
    if len(common) < FEWEST_SHARED:
        raise InputError(f"the devices share {len(common)} models; a portability study needs at least {FEWEST_SHARED}")
    return common


def _by_model(device: str, table: pd.DataFrame, names: Sequence[str], columns: Sequence[str]) -> pd.DataFrame:
    """The median of each column by model, indexed by the features.

    Raises:
        InputError: naming the device and the row.
    """
    try:
        check_rows(table, names)
        values = {name: column_values(table, name, positive=False) for name in columns}
        return _keyed(table, names, values)
    except InputError as error:
        raise InputError(f"device {device}: {error}") from error


def _keyed(table: pd.DataFrame, names: Sequence[str], values: Mapping[str, np.ndarray]) -> pd.DataFrame:
    import pandas as pd

    keys = {name: column_values(table, name, positive=False).round(_KEY_DIGITS) for name in names}
    return pd.DataFrame({**keys, **values}).groupby(list(names))[list(values)].median()


def table_noise(table: pd.DataFrame, names: Sequence[str]) -> float | None:
    """:func:`session_noise` of a table with a column ``session``; None where it has none."""
    if SESSION not in table.columns:
        return None
    groups = (rows for _, rows in table.groupby(SESSION, sort=False))
    latencies = (_keyed(rows, names, {TARGET: column_values(rows, TARGET, positive=True)})[TARGET] for rows in groups)
    return session_noise([{str(key): float(value) for key, value in series.items()} for series in latencies])


def session_noise(sessions: Sequence[Mapping[str, float]]) -> float | None:
    """Mean absolute percentage error of each model's latency in one session against that in its next one.

    Args:
        sessions: ms by model of each session, in order of time.

    Returns:
        0.05 for 5%; None where fewer than five models were measured in more than one session.
    """
    latest: dict[str, float] = {}
    errors: dict[str, list[float]] = {}
    for session in sessions:
        for model, latency in session.items():
            if model in latest:
                errors.setdefault(model, []).append(abs(latency / latest[model] - 1))
            latest[model] = latency
    if len(errors) < _FEWEST_REPEATED:
        return None
    return float(np.mean([error for model in errors.values() for error in model]))
