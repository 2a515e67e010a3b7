"""What carries over from one device to another: ranks, transferred predictors, and each other's best models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from data.errors import InputError
from surrogate.latency_predictor import LatencyPredictor
from surrogate.metrics import prediction_errors
from surrogate.table import HYPERPARAMETERS, TARGET, column_values

if TYPE_CHECKING:
    import pandas as pd

FEWEST_SHARED = 12
_SPLITS = 5
_FEWEST_FROM_SCRATCH = 5
_SHARED_KEYS = 6  # digits by which feature values of two devices are compared


@dataclass(frozen=True)
class Transfer:
    """Error (MAPE, 0.05 = 5%) on ``target`` after seeing ``samples`` of its rows; None where a method needs more.

    ``scale``: the source's predictor times one fitted factor; ``adapt``: :meth:`LatencyPredictor.adapt`; ``scratch``:
    a predictor of the target's rows alone.
    """

    source: str
    target: str
    samples: int
    scale: float
    adapt: float
    scratch: float | None


@dataclass(frozen=True)
class Overshoot:
    """What becomes of the largest model within the budget on ``source`` when it runs on ``target``.

    ``overshoot`` is its latency there over the budget, less one; ``size_share`` its size over that of the largest model
    within the budget on the target itself, None where nothing fits there.
    """

    source: str
    target: str
    budget_ms: float
    best: dict[str, float]
    latency_ms: float
    overshoot: float
    size_share: float | None


@dataclass(frozen=True)
class Study:
    """The outcome; ``rank_correlation`` is (devices, devices), ``provenance`` by device."""

    devices: tuple[str, ...]
    provenance: dict[str, str]
    models: int
    rank_correlation: tuple[tuple[float, ...], ...]
    transfers: tuple[Transfer, ...]
    overshoots: tuple[Overshoot, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionary for JSON."""
        return asdict(self)


def study(
    tables: Mapping[str, pd.DataFrame],
    *,
    samples: Sequence[int] = (0, 5, 10, 20),
    budget_ms: float | None = None,
    provenance: Mapping[str, str] | None = None,
    features: Sequence[str] | None = None,
    seed: int = 0,
) -> Study:
    """Compare devices on the models that all of them have measured.

    Args:
        tables: by device, rows with the feature columns and ``latency_ms``.
        samples: numbers of rows of the target that a transfer may see.
        budget_ms: latency budget; None takes the median latency of each source device.
        provenance: ``measured``, ``simulated`` or ``published`` by device.
        features: feature columns; None takes the six hyperparameters.
        seed: seed of the splits.

    Raises:
        InputError: fewer than two devices, bad rows, or too few models that all devices share.
    """
    if len(tables) < 2:
        raise InputError("a portability study needs at least two devices")
    names = tuple(features) if features is not None else HYPERPARAMETERS
    shared = _shared_models(tables, names)
    devices = tuple(shared)
    latencies = {device: table[TARGET].to_numpy(dtype=np.float64) for device, table in shared.items()}
    pairs = [(source, target) for source in devices for target in devices if source != target]
    return Study(
        devices=devices,
        provenance={device: (provenance or {}).get(device, "measured") for device in devices},
        models=len(latencies[devices[0]]),
        rank_correlation=_rank_correlation([latencies[device] for device in devices]),
        transfers=tuple(
            transfer
            for source, target in pairs
            for transfer in _transfers(source, target, shared, samples, features, seed)
        ),
        overshoots=tuple(
            overshoot
            for source, target in pairs
            if (overshoot := _overshoot(source, target, shared, names, budget_ms)) is not None
        ),
    )


def _shared_models(tables: Mapping[str, pd.DataFrame], names: Sequence[str]) -> dict[str, pd.DataFrame]:
    """The rows that every device has, in one order; repeated models of a device are averaged."""
    import pandas as pd

    keyed = {}
    for device, table in tables.items():
        try:
            columns = {name: column_values(table, name, positive=False).round(_SHARED_KEYS) for name in names}
            columns[TARGET] = column_values(table, TARGET, positive=True)
        except InputError as error:
            raise InputError(f"device {device}: {error}") from error
        keyed[device] = pd.DataFrame(columns).groupby(list(names))[TARGET].median()
    common = None
    for series in keyed.values():
        common = series.index if common is None else common.intersection(series.index)
    if common is None or len(common) < FEWEST_SHARED:
        found = 0 if common is None else len(common)
        raise InputError(f"the devices share {found} models; a portability study needs at least {FEWEST_SHARED}")
    return {device: series.loc[common].reset_index() for device, series in keyed.items()}


def _rank_correlation(latencies: Sequence[np.ndarray]) -> tuple[tuple[float, ...], ...]:
    from scipy.stats import spearmanr

    return tuple(tuple(float(spearmanr(left, right).statistic) for right in latencies) for left in latencies)


def _transfers(
    source: str,
    target: str,
    tables: Mapping[str, pd.DataFrame],
    samples: Sequence[int],
    features: Sequence[str] | None,
    seed: int,
) -> list[Transfer]:
    """Transfer errors at each number of samples, averaged over random choices of the samples."""
    predictor = LatencyPredictor.fit(tables[source], features=features, seed=seed)
    table = tables[target]
    # At least a quarter of the rows is left to judge by.
    counts = [count for count in samples if count <= 0.75 * len(table)]
    return [Transfer(source, target, count, *_mean_errors(predictor, table, count, features, seed)) for count in counts]


def _mean_errors(
    predictor: LatencyPredictor, table: pd.DataFrame, count: int, features: Sequence[str] | None, seed: int
) -> tuple[float, float, float | None]:
    errors: list[tuple[float, float, float]] = []
    for split in range(_SPLITS if count else 1):
        order = np.random.default_rng([seed, split]).permutation(len(table))
        seen, judged = table.iloc[order[:count]], table.iloc[order[count:]]
        truth = judged[TARGET].to_numpy(dtype=np.float64)
        plain = predictor.predict(judged)
        factor = np.median(seen[TARGET].to_numpy(dtype=np.float64) / predictor.predict(seen)) if count else 1.0
        adapted = predictor.adapt(seen).predict(judged)
        scratch = np.nan
        if count >= _FEWEST_FROM_SCRATCH:
            own = LatencyPredictor.fit(seen, features=features, seed=seed)
            scratch = prediction_errors(truth, own.predict(judged)).mape
        scaled = prediction_errors(truth, factor * plain).mape
        errors.append((scaled, prediction_errors(truth, adapted).mape, scratch))
    scaled, adapted_error, scratch = (float(value) for value in np.mean(errors, axis=0))
    return scaled, adapted_error, None if np.isnan(scratch) else scratch


def _overshoot(
    source: str, target: str, tables: Mapping[str, pd.DataFrame], names: Sequence[str], budget_ms: float | None
) -> Overshoot | None:
    """None where nothing fits the budget on the source."""
    there = tables[target][TARGET].to_numpy(dtype=np.float64)
    here = tables[source][TARGET].to_numpy(dtype=np.float64)
    budget = budget_ms if budget_ms is not None else float(np.median(here))
    sizes = _sizes(tables[source])
    fits_here, fits_there = here <= budget, there <= budget
    if not fits_here.any():
        return None
    best = int(np.argmax(np.where(fits_here, sizes, -np.inf)))
    own = float(sizes[fits_there].max()) if fits_there.any() else None
    row = tables[source].iloc[best]
    return Overshoot(
        source=source,
        target=target,
        budget_ms=budget,
        best={name: float(row[name]) for name in names},
        latency_ms=float(there[best]),
        overshoot=float(there[best] / budget - 1),
        size_share=None if own is None else float(sizes[best] / own),
    )


def _sizes(table: pd.DataFrame) -> np.ndarray:
    """(n,) what stands for a model's accuracy: its encoder's weights, or its latency where these are not known."""
    if not set(HYPERPARAMETERS) <= set(table.columns):
        return table[TARGET].to_numpy(dtype=np.float64)
    layers, hidden, inner = (table[name].to_numpy(dtype=np.float64) for name in ("layers", "hidden", "intermediate"))
    return np.asarray(layers * (4 * hidden**2 + 2 * hidden * inner))
