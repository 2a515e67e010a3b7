"""The optimisers that replays compare: the search's own, and what one would do without it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from search.optimization.acquisition import most_promising
from search.optimization.evidence import Choices, Evidence

# Of regularised evolution (Real et al. 2019), for a few dozen trials: how many live, and how many of them compete.
_POPULATION, _TOURNAMENT = 8, 4
# A child is one of so many that are nearest to its parent.
_NEIGHBOURS = 8


@dataclass(frozen=True)
class Table:
    """Scored candidates: ``points`` (n, d) in the unit cube, ``trends`` (n, k), ``scores`` (n,)."""

    points: NDArray[np.float64]
    trends: NDArray[np.float64]
    scores: NDArray[np.float64]


Method = Callable[[Table, int, np.random.Generator], list[int]]
"""(table, how many to try, source of chance) -> indices, in the order in which they were tried."""


def search(table: Table, count: int, random: np.random.Generator) -> list[int]:
    """What ``search`` does among candidates that are sure to be admitted."""
    tried: list[int] = []
    seed = int(random.integers(2**31))
    while len(tried) < count:
        left = np.setdiff1d(np.arange(len(table.scores)), tried)
        evidence = Evidence(table.points[tried], table.trends[tried], table.scores[tried], np.zeros(len(tried)))
        choices = Choices(table.points[left], table.trends[left], np.ones(len(left)))
        (best,) = most_promising(evidence, choices, 1, seed + len(tried))
        tried.append(int(left[best]))
    return tried


def largest_first(table: Table, count: int, random: np.random.Generator) -> list[int]:
    """By the first trend, falling."""
    return [int(index) for index in np.argsort(-table.trends[:, 0], kind="stable")[:count]]


def at_random(table: Table, count: int, random: np.random.Generator) -> list[int]:
    """Any."""
    return [int(index) for index in random.permutation(len(table.scores))[:count]]


def evolution(table: Table, count: int, random: np.random.Generator) -> list[int]:
    """Regularised evolution: the best of some of the youngest has a child, and the oldest dies."""
    tried = at_random(table, min(_POPULATION, count), random)
    while len(tried) < count:
        competing = random.choice(tried[-_POPULATION:], _TOURNAMENT, replace=False)
        parent = int(competing[np.argmax(table.scores[competing])])
        tried.append(int(random.choice(_nearest(table, parent, tried)[:_NEIGHBOURS])))
    return tried


def local_search(table: Table, count: int, random: np.random.Generator) -> list[int]:
    """The neighbours of the best so far, the nearest first."""
    tried = at_random(table, 1, random)
    while len(tried) < count:
        best = tried[int(np.argmax(table.scores[tried]))]
        tried.append(int(_nearest(table, best, tried)[0]))
    return tried


def tpe(table: Table, count: int, random: np.random.Generator) -> list[int]:
    """Optuna's tree-structured Parzen estimator over sizes and trend; the untried candidate nearest to what it suggests
    is tried, and it is told of that one."""
    try:
        import optuna
    except ModuleNotFoundError as error:
        raise SystemExit("error: tpe needs Optuna: pip install -e .[replays], or leave it out of --methods") from error

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    trends = (table.trends - table.trends.min(axis=0)) / np.ptp(table.trends, axis=0)
    points = np.hstack([table.points, trends])
    ranges = {f"x{axis}": optuna.distributions.FloatDistribution(0.0, 1.0) for axis in range(points.shape[1])}
    study = optuna.create_study(
        direction="maximize", sampler=optuna.samplers.TPESampler(seed=int(random.integers(2**31)))
    )
    tried: list[int] = []
    while len(tried) < count:
        asked = study.ask(ranges)
        wanted = np.array([asked.params[name] for name in ranges])
        study.tell(asked, state=optuna.trial.TrialState.FAIL)  # what is told is the candidate that stands for it
        distances = ((points - wanted) ** 2).sum(axis=1)
        distances[tried] = np.inf
        tried.append(int(distances.argmin()))
        values = dict(zip(ranges, map(float, points[tried[-1]]), strict=True))
        done = optuna.trial.create_trial(params=values, distributions=ranges, value=float(table.scores[tried[-1]]))
        study.add_trial(done)
    return tried


def sizes_known(table: Table, count: int, random: np.random.Generator) -> list[int]:
    """Any of those whose first two sizes, depth and width, are the best in the mean, as if that were known beforehand:
    what further knowledge is measured against, since no method can have this."""
    order = random.permutation(len(table.scores))
    return [int(index) for index in order[np.argsort(~of_best_sizes(table)[order], kind="stable")][:count]]


def of_best_sizes(table: Table) -> NDArray[np.bool_]:
    """(n,) which candidates have the depth and width that are best in the mean."""
    groups = np.unique(table.points[:, :2], axis=0, return_inverse=True)[1].reshape(-1)
    best = max(set(groups), key=lambda group: table.scores[groups == group].mean())
    return np.asarray(groups == best)


def _nearest(table: Table, to: int, tried: list[int]) -> NDArray[np.int64]:
    """The untried candidates, the nearest first."""
    order = np.argsort(((table.points - table.points[to]) ** 2).sum(axis=1), kind="stable")
    return np.asarray(order[~np.isin(order, tried)])


METHODS: Mapping[str, Method] = MappingProxyType(
    {
        "search": search,
        "largest": largest_first,
        "random": at_random,
        "evolution": evolution,
        "local": local_search,
        "tpe": tpe,
        "sizes-known": sizes_known,
    }
)
