"""Trials of a transfer: a source's predictor sees some rows of the target, is judged by others, and chooses models.

Each split keeps a third of the models aside. No predictor sees them, on the source or on the target: every number of
rows is judged by the same models, and models are chosen among them. So a choice is one among models that nobody has
measured, as in a search.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from data.errors import InputError
from data.progress import Progress, ProgressEvent
from surrogate.metrics import prediction_errors
from surrogate.tables.latency_predictor import LatencyPredictor
from surrogate.tables.shared_models import SharedModels
from surrogate.tables.table import TARGET

if TYPE_CHECKING:
    import pandas as pd

SPLITS = 10
# A model is chosen when it keeps the budget with at least this probability.
SURE = 0.9
_JUDGED_PART = 3
_FEWEST_FROM_SCRATCH = 5

Chooser = Callable[[LatencyPredictor, "pd.DataFrame", int, int], np.ndarray]


def _random_rows(predictor: LatencyPredictor, rows: pd.DataFrame, count: int, seed: int) -> np.ndarray:
    """(count,) indices of the first rows: they come in random order."""
    return np.arange(count)


def _informative_rows(predictor: LatencyPredictor, rows: pd.DataFrame, count: int, seed: int) -> np.ndarray:
    """(count,) indices of the rows that tell most about the target."""
    return predictor.choose(rows, count, seed)


# By what rule the rows of the target are chosen that are measured.
CHOOSERS: Mapping[str, Chooser] = MappingProxyType({"random": _random_rows, "chosen": _informative_rows})


@dataclass(frozen=True)
class Pick:
    """The best model that seemed to keep a budget, and what it really takes on the target.

    ``model`` is its index, None like ``latency_ms`` where no model seemed to keep it. ``given_up`` is what it lacks
    against the best model that really keeps it, in points of accuracy or as a share of the size; None where the pick
    does not keep it.
    """

    budget_ms: float
    model: int | None
    latency_ms: float | None
    given_up: float | None

    @property
    def overshoot(self) -> float:
        """Latency over the budget, less one; at most zero where the budget is kept."""
        return 0.0 if self.latency_ms is None else self.latency_ms / self.budget_ms - 1


@dataclass(frozen=True)
class Trial:
    """One split of one transfer: errors (MAPE, 0.05 = 5%) after ``samples`` rows of the target, and a pick a budget.

    ``choice`` is how the rows were chosen; ``scale`` is the source's predictor times one fitted factor, ``adapt``
    :meth:`LatencyPredictor.adapt`, ``scratch`` a predictor of these rows alone, None where they are too few.
    """

    source: str
    target: str
    choice: str
    samples: int
    scale: float
    adapt: float
    scratch: float | None
    picks: tuple[Pick, ...]


@dataclass(frozen=True)
class _Split:
    """Indices of the models that may be seen (p,) and that judge (j,), each in random order."""

    pool: np.ndarray
    judged: np.ndarray


@dataclass(frozen=True)
class _Task:
    """What every trial of a study shares: ``budgets`` (b,) ms by target, ``features`` as :meth:`LatencyPredictor.fit`
    takes them."""

    shared: SharedModels
    samples: Sequence[int]
    budgets: Mapping[str, Sequence[float]]
    features: Sequence[str] | None
    seed: int


@dataclass(frozen=True)
class _Pair:
    """A source's predictor on its way to a target, in one split: ``pool`` may be seen, ``judged`` are the rows of the
    target by which it is judged, ``alone`` the errors from scratch by number of rows."""

    source: str
    target: str
    predictor: LatencyPredictor
    split: _Split
    pool: pd.DataFrame
    judged: pd.DataFrame
    alone: Mapping[int, float | None]


def judged_models(count: int) -> int:
    """How many of ``count`` models are kept aside in each split; all others may be seen."""
    return count // _JUDGED_PART


def run_trials(
    shared: SharedModels,
    samples: Sequence[int],
    budgets: Mapping[str, Sequence[float]],
    features: Sequence[str] | None,
    seed: int,
    progress: Progress,
) -> tuple[Trial, ...]:
    """All trials between all pairs of devices: each split, each way of choosing rows, each number of them.

    Args:
        shared: the models.
        samples: numbers of rows of the target, none above those that a split leaves to see.
        budgets: (b,) latency budgets in ms, by target.
        features: feature columns; None takes the hyperparameters.
        seed: seed of the splits.
        progress: is told of each source and split.
    """
    from threadpoolctl import threadpool_limits

    # Matrices of 50 rows: two threads of BLAS wait for each other (an eigh takes 4.8 ms with two, 0.6 ms with one).
    with threadpool_limits(limits=1):
        return _all_trials(_Task(shared, samples, budgets, features, seed), progress)


def _all_trials(task: _Task, progress: Progress) -> tuple[Trial, ...]:
    """Split by split and source by source, since a source's predictor serves all its targets."""
    devices = task.shared.devices
    found: list[Trial] = []
    for number in range(SPLITS):
        split = _split(len(task.shared), number, task.seed)
        alone = {target: _errors_from_scratch(task, target, split) for target in devices}
        for place, source in enumerate(devices, start=1):
            known = task.shared.table(source).iloc[split.pool]
            try:
                predictor = LatencyPredictor.fit(known, features=task.features, seed=task.seed)
            except InputError as error:
                raise InputError(f"device {source}: {error}") from error
            for target in devices:
                if target != source:
                    found.extend(_trials(task, source, target, predictor, split, alone[target]))
            done = number * len(devices) + place
            progress(ProgressEvent("transfer", done, SPLITS * len(devices), f"from {source}"))
    return tuple(found)


def _split(count: int, number: int, seed: int) -> _Split:
    order = np.random.default_rng([seed, number]).permutation(count)
    judged = judged_models(count)
    return _Split(order[judged:], order[:judged])


def _errors_from_scratch(task: _Task, target: str, split: _Split) -> dict[int, float | None]:
    """MAPE of predictors of the target's rows alone, by their number; the same whatever the source."""
    table = task.shared.table(target)
    judged = table.iloc[split.judged]
    errors: dict[int, float | None] = {}
    for count in task.samples:
        if count < _FEWEST_FROM_SCRATCH:
            errors[count] = None
            continue
        own = LatencyPredictor.fit(table.iloc[split.pool[:count]], features=task.features, seed=task.seed)
        errors[count] = _mape(judged, own.predict(judged))
    return errors


def _trials(
    task: _Task,
    source: str,
    target: str,
    predictor: LatencyPredictor,
    split: _Split,
    alone: Mapping[int, float | None],
) -> list[Trial]:
    """Each way of choosing rows with each number of them, for one pair and split."""
    table = task.shared.table(target)
    pair = _Pair(source, target, predictor, split, table.iloc[split.pool], table.iloc[split.judged], alone)
    # Without rows there is nothing to choose.
    choices = CHOOSERS if any(task.samples) else ("random",)
    return [_trial(task, pair, choice, count) for choice in choices for count in task.samples]


def _trial(task: _Task, pair: _Pair, choice: str, count: int) -> Trial:
    seen = pair.pool.iloc[CHOOSERS[choice](pair.predictor, pair.pool, count, task.seed)]
    adapted = pair.predictor.adapt(seen, compared=False)
    picks = [
        pick(task.shared, pair.source, pair.target, pair.split.judged, _chances(task, pair, adapted, count, ms), ms)
        for ms in task.budgets[pair.target]
    ]
    return Trial(
        source=pair.source,
        target=pair.target,
        choice=choice,
        samples=count,
        scale=_mape(pair.judged, _factor(pair.predictor, seen) * pair.predictor.predict(pair.judged)),
        adapt=_mape(pair.judged, adapted.predict(pair.judged)),
        scratch=pair.alone[count] if choice == "random" else None,
        picks=tuple(picks),
    )


def _factor(predictor: LatencyPredictor, seen: pd.DataFrame) -> float:
    """The median ratio of measured to predicted latency; one without rows."""
    if len(seen) == 0:
        return 1.0
    return float(np.median(seen[TARGET].to_numpy(dtype=np.float64) / predictor.predict(seen)))


def _mape(judged: pd.DataFrame, predicted: np.ndarray) -> float:
    return prediction_errors(judged[TARGET].to_numpy(dtype=np.float64), predicted).mape


def _chances(task: _Task, pair: _Pair, adapted: LatencyPredictor, count: int, budget_ms: float) -> np.ndarray:
    """(j,) probability that each judged model keeps the budget on the target.

    Who has not seen the target can only take the source's own latencies for the target's, as if they were certain.
    """
    if count == 0:
        return (task.shared.latencies[pair.source][pair.split.judged] <= budget_ms).astype(np.float64)
    return adapted.probability_within(pair.judged, budget_ms)


def pick(
    shared: SharedModels, source: str, target: str, candidates: np.ndarray, chances: np.ndarray, budget_ms: float
) -> Pick:
    """The best candidate that keeps the budget with probability :data:`SURE`, and what it really takes.

    Args:
        shared: the models; their latencies on the target are looked up.
        source: device whose latency stands for size where neither accuracy nor size is known.
        target: device on which the budget is to be kept.
        candidates: (c,) indices of the models to choose from.
        chances: (c,) probability that each keeps the budget; of equally good ones the likeliest is taken.
        budget_ms: latency budget.
    """
    worth, truth = shared.worth(source)[candidates], shared.latencies[target][candidates]
    likely = np.flatnonzero(chances >= SURE)
    if len(likely) == 0:
        return Pick(budget_ms, None, None, None)
    best = max(likely, key=lambda index: (worth[index], chances[index]))
    kept = truth <= budget_ms
    given_up = shared.given_up(float(worth[kept].max()), float(worth[best])) if kept[best] else None
    return Pick(budget_ms, int(candidates[best]), float(truth[best]), given_up)
