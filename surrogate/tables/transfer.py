"""What a process is told before it sees rows: of any device, and of another device than the predictor's.

About the predictor's own prediction it may stray little, about made-up devices (:mod:`surrogate.tables.generic`) as far
as devices differ; the rows decide between the two, so that a device that is nearly alike keeps the predictor's ways,
and one that is not is learnt anew. :class:`Comparison` says what that gained over two plain ways.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np

from surrogate.folds import grouped_folds
from surrogate.tables.generic import DEVICES, generic_logs
from surrogate.tables.process import Belief, LeftOut, Process, View, fit_process
from surrogate.tables.table import COST_FEATURES, HYPERPARAMETERS

# Deviations of the noise about made-up devices, and about a prediction in units of the predictor's own error.
_NOISES, _OWN_NOISES = (0.005, 0.01, 0.02, 0.04, 0.08), (0.5, 1.0, 2.0, 4.0)
# A predictor's error is at least this much on another device.
_SMALLEST_ERROR = 0.01
# Prior probability that a device has nothing in common with the predictor's but physics.
_NOTHING_IN_COMMON = 0.2
_FOLDS = 5
# How the features of a table of hyperparameters begin, their cost among them.
_ENCODERS = (*HYPERPARAMETERS, COST_FEATURES[0])
# Fewer rows cannot be cut into folds that a predictor is fitted to.
_FEWEST_TO_COMPARE, _FEWEST_FROM_SCRATCH = 3, 7


@dataclass(frozen=True)
class Comparison:
    """MAPE (0.05 = 5%) of three ways on ``rows`` rows of another device, none judged by a row that it has seen.

    ``adapted`` is the adapted predictor, ``scale`` the predictor times one fitted factor, ``scratch`` a predictor of
    these rows alone; None where the rows are too few to judge by.
    """

    rows: int
    adapted: float | None
    scale: float | None
    scratch: float | None

    def to_dict(self) -> dict[str, float | None]:
        """Plain dictionary."""
        return asdict(self)


def view_of(
    inputs: np.ndarray, names: tuple[str, ...], standardised: np.ndarray, source: np.ndarray | None = None
) -> View:
    """What a process sees of rows with features (n, f) by name, and the predictor's logarithms ``source`` (n,).

    Rows of named columns may be no encoders: then there are no made-up devices, and nothing is believed beforehand.
    """
    if names[: len(_ENCODERS)] == _ENCODERS:
        threads = inputs[:, names.index("threads")] if "threads" in names else None
        logs = generic_logs(inputs[:, : len(HYPERPARAMETERS)], threads)
        middle = logs.mean(axis=1)
        devices = (logs - middle[:, None]) / np.sqrt(DEVICES)
    else:
        middle, devices = np.zeros(len(inputs)), np.zeros((len(inputs), 0))
    beliefs = [middle] if source is None else [middle, source]
    return View(np.column_stack(beliefs), standardised, devices)


def any_device(view: View, probability: float = 1.0) -> Belief:
    """What is believed of a device of which nothing is known but physics."""
    if view.devices.shape[1] == 0:
        slopes, smooth = (0.3, 1.0, 3.0), (0.0, 0.1, 0.3)
        return Belief(0, probability, (0.0,), slopes, smooth, (1.0,), _NOISES, absent=0.5)
    return Belief(0, probability, (0.7, 1.5), (0.0, 0.05, 0.15), (0.02, 0.06), (0.5, 1.0), _NOISES, absent=0.5)


def another_device(view: View, error: float) -> tuple[Belief, Belief]:
    """What is believed of another device than the predictor's, whose own errors deviate by ``error``."""
    noises = tuple(np.multiply(_OWN_NOISES, max(error, _SMALLEST_ERROR)).tolist())
    encoders = view.devices.shape[1] > 0
    devices, slopes = ((0.0, 0.1, 0.3, 1.0), (0.0, 0.05)) if encoders else ((0.0,), (0.0, 0.05, 0.15, 0.5))
    alike = Belief(1, 1 - _NOTHING_IN_COMMON, devices, slopes, (0.0, 0.05), (1.0,), noises)
    return any_device(view, _NOTHING_IN_COMMON), alike


def adapt_process(view: View, logarithms: np.ndarray, error: float, groups: np.ndarray) -> tuple[Process, LeftOut]:
    """The process of another device from logarithms (n,) of its rows, and its errors on rows left out.

    One or two models cannot tell whether anything is in common: they give the scale factor.
    """
    unlike, alike = another_device(view, error)
    few = len(np.unique(groups)) < _FEWEST_TO_COMPARE
    return fit_process(view, logarithms, (alike,) if few else (unlike, alike), groups)


def compare(
    left: LeftOut,
    ratios: np.ndarray,
    groups: np.ndarray,
    from_scratch: Callable[[np.ndarray, np.ndarray], np.ndarray],
    seed: int,
) -> Comparison:
    """The three ways by rows left out.

    Args:
        left: the adapted predictor's errors.
        ratios: (n,) logarithms of measured over predicted latency.
        groups: (n,) rows that are left out together.
        from_scratch: errors of the logarithm on ``test`` rows of a predictor of ``train`` rows alone.
        seed: seed of the folds.
    """
    rows, count = len(ratios), len(np.unique(groups))
    if count < _FEWEST_TO_COMPARE:
        return Comparison(rows, None, None, None)
    factor = np.array([ratio - np.median(ratios[groups != group]) for ratio, group in zip(ratios, groups, strict=True)])
    scratch = None
    if count >= _FEWEST_FROM_SCRATCH:
        folds = grouped_folds(groups, _FOLDS, seed)
        scratch = _mape(np.concatenate([from_scratch(train, test) for train, test in folds]))
    return Comparison(rows, _mape(left.errors), _mape(factor), scratch)


def _mape(errors: np.ndarray) -> float:
    """Of errors of the logarithm, measured less predicted."""
    return float(np.abs(np.exp(-errors) - 1).mean())
