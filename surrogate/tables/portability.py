"""What carries over from one device to another: ranks, transferred predictors, and each other's best models."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from data.errors import InputError
from data.progress import Progress, no_progress
from surrogate.arguments import check_seed, positive_number
from surrogate.metrics import rank_correlation
from surrogate.tables.budget_safety import (
    OWN_BUDGETS,
    SOURCE_BUDGETS,
    Overshoot,
    SafeSamples,
    Safety,
    overshoots,
    quantile_budgets,
    safe_samples,
    safety,
)
from surrogate.tables.plausibility import check_units
from surrogate.tables.shared_models import SharedModels, Worth, shared_models, table_noise
from surrogate.tables.table import HYPERPARAMETERS, TARGET, column_values, named_features, table_features
from surrogate.tables.transfer_trials import SPLITS, Trial, judged_models, run_trials

if TYPE_CHECKING:
    import pandas as pd

SAMPLES = (0, 5, 10, 20, 50)


@dataclass(frozen=True)
class Transfer:
    """Error (MAPE, 0.05 = 5%) on ``target`` after seeing ``samples`` of its rows, the mean over splits.

    ``choice`` is how the rows were chosen; ``scale`` is the source's predictor times one fitted factor, ``adapt``
    :meth:`LatencyPredictor.adapt`, ``scratch`` a predictor of the target's rows alone, None where they are too few.
    """

    source: str
    target: str
    choice: str
    samples: int
    scale: float
    adapt: float
    scratch: float | None


@dataclass(frozen=True)
class Study:
    """The outcome; ``rank_correlation`` is (devices, devices), ``provenance`` and ``noise_floor`` are by device.

    ``judged`` of the ``models`` are kept aside in each of the ``splits``; ``left_out`` are numbers of samples above
    what is left. ``judged_by`` says what makes one model better than another.
    """

    devices: tuple[str, ...]
    provenance: dict[str, str]
    models: int
    judged: int
    splits: int
    left_out: tuple[int, ...]
    judged_by: Worth
    rank_correlation: tuple[tuple[float, ...], ...]
    noise_floor: dict[str, float | None]
    transfers: tuple[Transfer, ...]
    safety: tuple[Safety, ...]
    safe_samples: tuple[SafeSamples, ...]
    overshoots: tuple[Overshoot, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionary for JSON."""
        return asdict(self)

    @property
    def names(self) -> dict[str, str]:
        """How people see each device: marked where it was not measured."""
        return _names(self.provenance)


def study(
    tables: Mapping[str, pd.DataFrame],
    *,
    samples: Sequence[int] = SAMPLES,
    budget_ms: float | None = None,
    provenance: Mapping[str, str] | None = None,
    noise_floor: Mapping[str, float | None] | None = None,
    features: Sequence[str] | None = None,
    seed: int = 0,
    progress: Progress = no_progress,
) -> Study:
    """Compare devices on the models that all of them have measured.

    Args:
        tables: by device, rows with the feature columns and ``latency_ms``, and where known ``accuracy`` (of the
            model) and ``session``.
        samples: numbers of rows of the target that a transfer may see.
        budget_ms: latency budget; None takes quantiles of each device's latencies.
        provenance: ``measured`` (the default), ``simulated`` or ``published`` by device.
        noise_floor: MAPE between sessions by device, where the tables have no column ``session``.
        features: feature columns; None takes the six hyperparameters.
        seed: seed of the splits.
        progress: is told how far it is.

    Raises:
        InputError: fewer than two devices, bad rows, too few models that all devices share, or a budget or numbers of
            samples that cannot be.
    """
    if budget_ms is not None:
        budget_ms = positive_number("a budget is a positive number of milliseconds", budget_ms)
    seed, names = check_seed(seed), named_features(features) or HYPERPARAMETERS
    shared = shared_models(tables, names)
    for device, table in tables.items():
        _check_units(device, table, names)
    where = {device: (provenance or {}).get(device, "measured") for device in shared.devices}
    counts, left_out = _usable(samples, len(shared))
    trials = run_trials(shared, counts, _own_budgets(shared, budget_ms), features, seed, progress)
    grouped = _grouped(trials)
    curve = [safety(group) for group in grouped.values()]
    return Study(
        devices=shared.devices,
        provenance=where,
        models=len(shared),
        judged=judged_models(len(shared)),
        splits=SPLITS,
        left_out=left_out,
        judged_by=shared.judged_by,
        rank_correlation=_rank_correlation([shared.latencies[device] for device in shared.devices]),
        noise_floor={
            device: _noise(tables[device], names, (noise_floor or {}).get(device), where[device])
            for device in shared.devices
        },
        transfers=tuple(_transfer(group) for group in grouped.values()),
        safety=tuple(curve),
        safe_samples=_safe_samples(curve, _names(where), shared.judged_by),
        overshoots=_all_overshoots(shared, budget_ms),
    )


def _names(provenance: Mapping[str, str]) -> dict[str, str]:
    return {device: device if word == "measured" else f"{device} ({word})" for device, word in provenance.items()}


def _usable(samples: Sequence[int], models: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(numbers of rows that can be seen, those above what is left beside the judged models), each rising."""
    if not samples or min(samples) < 0:
        raise InputError(f"numbers of samples are whole numbers from 0 up, not {list(samples)}")
    most = models - judged_models(models)
    usable = tuple(sorted({count for count in samples if count <= most}))
    if not usable:
        raise InputError(
            f"the devices share {models} models, of which {most} may be seen: take fewer samples than that"
        )
    return usable, tuple(sorted(set(samples) - set(usable)))


def _check_units(device: str, table: pd.DataFrame, names: Sequence[str]) -> None:
    """Refuses a device's latencies that cannot be milliseconds of its models, ``InputError`` with its name."""
    known = set(names) == set(HYPERPARAMETERS)
    inputs, columns = table_features(table, None if known else names)
    try:
        check_units(inputs, columns, column_values(table, TARGET, positive=True), hyperparameters=known)
    except InputError as error:
        raise InputError(f"device {device}: {error}") from error


def _own_budgets(shared: SharedModels, budget_ms: float | None) -> dict[str, tuple[float, ...]]:
    """Budgets that each device is to keep, in ms."""
    return {
        device: (budget_ms,) if budget_ms is not None else quantile_budgets(latencies, OWN_BUDGETS)
        for device, latencies in shared.latencies.items()
    }


def _grouped(trials: Sequence[Trial]) -> dict[tuple[str, str, str, int], list[Trial]]:
    """Trials of all splits by source, target, choice of rows and rising number of them."""
    grouped: dict[tuple[str, str, str, int], list[Trial]] = defaultdict(list)
    for trial in trials:
        grouped[trial.source, trial.target, trial.choice, trial.samples].append(trial)
    return grouped


def _transfer(trials: Sequence[Trial]) -> Transfer:
    first = trials[0]
    scratch = [trial.scratch for trial in trials if trial.scratch is not None]
    return Transfer(
        source=first.source,
        target=first.target,
        choice=first.choice,
        samples=first.samples,
        scale=float(np.mean([trial.scale for trial in trials])),
        adapt=float(np.mean([trial.adapt for trial in trials])),
        scratch=float(np.mean(scratch)) if scratch else None,
    )


def _safe_samples(curve: Sequence[Safety], names: Mapping[str, str], judged_by: Worth) -> tuple[SafeSamples, ...]:
    """One for each pair and choice of rows."""
    grouped: dict[tuple[str, str, str], list[Safety]] = defaultdict(list)
    for point in curve:
        grouped[point.source, point.target, point.choice].append(point)
    return tuple(safe_samples(points, names, judged_by) for points in grouped.values())


def _all_overshoots(shared: SharedModels, budget_ms: float | None) -> tuple[Overshoot, ...]:
    """Of each pair, at quantiles of the source's latencies where no budget is given."""
    found: list[Overshoot] = []
    for source in shared.devices:
        budgets = (budget_ms,) if budget_ms is not None else quantile_budgets(shared.latencies[source], SOURCE_BUDGETS)
        for target in shared.devices:
            if target != source:
                found.extend(overshoots(shared, source, target, budgets))
    return tuple(found)


def _noise(table: pd.DataFrame, names: Sequence[str], given: float | None, provenance: str) -> float | None:
    """MAPE between sessions; the spread of simulated or published figures says nothing about a device."""
    if provenance != "measured":
        return None
    return table_noise(table, names) if given is None else given


def _rank_correlation(latencies: Sequence[np.ndarray]) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(rank_correlation(left, right) for right in latencies) for left in latencies)
