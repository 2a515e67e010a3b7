"""The seeded splits by which predictors are judged: rows kept aside, and transfer to another device."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from data.errors import InputError
from surrogate import LatencyPredictor
from surrogate.tables.table import TARGET
from tests.benchmarks.predictor_methods import Figures, Method, Prediction, judge, mean_figures
from tests.benchmarks.predictor_methods import with_interval as predicted_by
from tests.benchmarks.predictor_tables import Table

TRAIN_SHARE, JUDGED_SHARE = 0.8, 0.1
FEWEST_FROM_SCRATCH = 5
_MOST_JUDGED = 400

Tick = Callable[[str], None]


@dataclass(frozen=True)
class Held:
    """One method on one table: the mean over seeds, and the worst seed's MAPE and RMSE (ms). ``rows`` were seen."""

    table: str
    rows: int
    method: str
    mean: Figures
    worst_mape: float
    worst_rmse: float


def held_out(
    table: Table, methods: Mapping[str, Method], seeds: Sequence[int], rows: int | None, tick: Tick
) -> list[Held]:
    """Methods on rows kept aside, over seeded splits.

    ``rows`` None takes 80% to learn from, leaves 10% out and judges by the last 10%; a number takes so many rows and
    judges by all others.
    """
    found: dict[str, list[Figures]] = {}
    seen = 0
    for seed in seeds:
        order = np.random.default_rng(seed).permutation(len(table.rows))
        seen = int(TRAIN_SHARE * len(order)) if rows is None else rows
        judging = order[-int(JUDGED_SHARE * len(order)) :] if rows is None else order[seen:]
        train, judged = table.rows.iloc[order[:seen]], table.rows.iloc[judging]
        for name, method in methods.items():
            tick(f"{table.name}, {seen} rows, seed {seed}: {name}")
            try:
                prediction = method(train, judged, table.features)
            except InputError:  # a table of other columns has no FLOPs
                continue
            found.setdefault(name, []).append(judge(judged[TARGET].to_numpy(dtype=float), prediction))
    return [
        Held(table.name, seen, name, mean_figures(all_), max(one.mape for one in all_), max(one.rmse for one in all_))
        for name, all_ in found.items()
    ]


def noise_floor(table: Table) -> float | None:
    """MAPE between two sessions of the same models: what a prediction by the other session would have."""
    if table.again is None:
        return None
    return float(np.abs(table.again / table.rows[TARGET].to_numpy(dtype=float) - 1).mean())


@dataclass(frozen=True)
class Moved:
    """Transfer from ``source`` to ``target`` with ``rows`` of it: MAPE of each way, None where it needs more rows;
    ``covered`` and ``width`` are the adapted predictor's 90% intervals'; ``chosen`` is the adapted one's MAPE where the
    predictor has chosen the rows, by the same rows kept aside. ``group`` is that of both tables."""

    group: str
    source: str
    target: str
    rows: int
    scale: float
    adapt: float
    scratch: float | None
    covered: float | None
    width: float | None
    chosen: float | None = None


def transfers(
    source: Table, targets: Sequence[Table], counts: Sequence[int], seeds: Sequence[int], tick: Tick
) -> list[Moved]:
    """Transfer from a predictor of 80% of the source's rows; the target's rows are drawn anew by each seed."""
    found: dict[tuple[str, int], list[tuple[float, Figures, float, float]]] = {}
    for seed in seeds:
        order = np.random.default_rng([seed, 7]).permutation(len(source.rows))
        known = source.rows.iloc[order[: int(TRAIN_SHARE * len(order))]]
        tick(f"transfer from {source.name}, seed {seed}")
        predictor = LatencyPredictor.fit(known, features=source.features, seed=seed)
        for target in targets:
            for count in counts:
                tried = (*_moved(predictor, target, count, seed), _from_scratch(target, count, seed))
                found.setdefault((target.name, count), []).append(tried)
    return [_mean_moved(source, name, count, all_) for (name, count), all_ in found.items()]


def _drawn(target: Table, count: int, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(rows that may be seen, the first ``count`` of them drawn; rows judged) of the new device."""
    order = np.random.default_rng([seed, 11]).permutation(len(target.rows))
    may_be_seen = max(count, len(order) // 2)
    return target.rows.iloc[order[:may_be_seen]], target.rows.iloc[order[may_be_seen:][:_MOST_JUDGED]]


def _moved(predictor: LatencyPredictor, target: Table, count: int, seed: int) -> tuple[float, Figures, float]:
    """(MAPE of the scale factor, figures of the adapted one, MAPE of it by as many rows of its own choice)."""
    candidates, judged = _drawn(target, count, seed)
    seen, truth = candidates.iloc[:count], judged[TARGET].to_numpy(dtype=float)
    factor = float(np.median(seen[TARGET].to_numpy(dtype=float) / predictor.predict(seen))) if count else 1.0
    scaled = judge(truth, Prediction(factor * predictor.predict(judged))).mape
    best = candidates.iloc[predictor.choose(candidates.drop(columns=TARGET), count)]
    by_choice = judge(truth, Prediction(predictor.adapt(best, compared=False).predict(judged))).mape
    return scaled, judge(truth, predicted_by(predictor.adapt(seen, compared=False), judged)), by_choice


_known: dict[tuple[str, int, int], float] = {}


def _from_scratch(target: Table, count: int, seed: int) -> float:
    """MAPE of a predictor of these rows alone, NaN where they are too few; the same whatever the source."""
    if count < FEWEST_FROM_SCRATCH:
        return np.nan
    key = (target.name, count, seed)
    if key not in _known:
        candidates, judged = _drawn(target, count, seed)
        own = LatencyPredictor.fit(candidates.iloc[:count], features=target.features, seed=seed)
        _known[key] = judge(judged[TARGET].to_numpy(dtype=float), Prediction(own.predict(judged))).mape
    return _known[key]


def _mean_moved(source: Table, target: str, count: int, all_: Sequence[tuple[float, Figures, float, float]]) -> Moved:
    adapted = mean_figures([figures for _, figures, _, _ in all_])
    scratch = float(np.mean([own for *_, own in all_]))
    return Moved(
        group=source.group,
        source=source.name,
        target=target,
        rows=count,
        scale=float(np.mean([scaled for scaled, *_ in all_])),
        adapt=adapted.mape,
        scratch=None if np.isnan(scratch) else scratch,
        covered=adapted.covered if count else None,
        width=adapted.width if count else None,
        chosen=float(np.mean([by_choice for _, _, by_choice, _ in all_])) if count else None,
    )
