"""How far a student's answers are from its teacher's: tells students apart that a score on few examples cannot."""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING

import numpy as np

from data.tasks import Kind
from search.learning.units import Units
from search.records import Divergence

if TYPE_CHECKING:
    from numpy.typing import NDArray


def divergence(kind: Kind, own: NDArray[np.float32], wanted: NDArray[np.float32], units: Units) -> Divergence:
    """The divergence of predictions from the teacher's, both (n, k) as :func:`~search.learning.objectives.predict`
    gives them, n at least 1; ``units`` are the training labels'."""
    one, other = (np.asarray(values, dtype=np.float64) for values in (own, wanted))
    if kind in ("classification", "tokens"):
        logs = _log_softmax(one), _log_softmax(other)
        each = ((np.exp(logs[0]) - np.exp(logs[1])) * (logs[0] - logs[1])).sum(axis=1) / 2
    else:
        each = (((one - other) / units.deviation) ** 2).mean(axis=1)
    return Divergence(float(each.mean()), float(each.std() / sqrt(len(each))))


def _log_softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy.special import log_softmax

    return np.asarray(log_softmax(logits, axis=1))
