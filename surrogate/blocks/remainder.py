"""What a model takes beside its blocks: a factor on their sum, a time for each block, and a constant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data.architecture import Architecture
from data.errors import InputError
from surrogate.blocks.block_predictor import BlockPredictor
from surrogate.blocks.plans import count_blocks

# How strongly the factor on the sum of the blocks is held at one, in units of one model's squared relative error.
_FACTOR_PRIOR = 0.3
_FACTOR_RANGE = (0.5, 2.0)
_FEWEST_MODELS = 3


@dataclass(frozen=True)
class Remainder:
    """A model's time = ``factor`` x sum of its blocks + ``per_block_ms`` x number of blocks + ``constant_ms``."""

    factor: float = 1.0
    per_block_ms: float = 0.0
    constant_ms: float = 0.0

    def apply(self, terms: np.ndarray) -> np.ndarray:
        """(n,) ms of models with :func:`remainder_terms` (n, 3)."""
        return np.asarray(terms @ np.array([self.factor, self.per_block_ms, self.constant_ms]))


def remainder_terms(blocks: BlockPredictor, architectures: Sequence[Architecture], fuse: bool = True) -> np.ndarray:
    """(n, 3) sum of the predicted blocks in ms, number of blocks, and one, of each model as planned with ``fuse``."""
    if not architectures:
        return np.zeros((0, 3))
    counted = count_blocks(architectures, fuse)
    sums_ms = counted.totals(blocks.predict(counted.blocks))
    return np.column_stack([sums_ms, counted.lengths, np.ones(len(architectures))])


def fit_remainder(terms: np.ndarray, latencies_ms: np.ndarray) -> Remainder:
    """Non-negative remainder that minimises the relative error of models with :func:`remainder_terms` (n, 3); the
    factor on the sum is held near one.

    Raises:
        InputError: fewer than three models.
    """
    from scipy.optimize import lsq_linear

    if len(terms) < _FEWEST_MODELS:
        raise InputError(f"a device predictor needs at least {_FEWEST_MODELS} whole models, not {len(terms)}")
    prior = np.sqrt(_FACTOR_PRIOR) * np.array([[1.0, 0.0, 0.0]])
    matrix = np.vstack([terms / latencies_ms[:, None], prior])
    goal = np.append(np.ones(len(latencies_ms)), prior[0, 0])
    bounds = ([_FACTOR_RANGE[0], 0.0, 0.0], [_FACTOR_RANGE[1], np.inf, np.inf])
    solution = lsq_linear(matrix, goal, bounds).x
    return Remainder(*(float(value) for value in solution))


def predict_left_out(terms: np.ndarray, latencies_ms: np.ndarray, first: int) -> np.ndarray:
    """(n - first,) ms of the models from ``first`` on, each by a remainder fitted to all models but itself."""
    predicted = []
    for index in range(first, len(terms)):
        others = np.arange(len(terms)) != index
        predicted.append(float(fit_remainder(terms[others], latencies_ms[others]).apply(terms[index])))
    return np.array(predicted)
