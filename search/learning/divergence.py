"""How far a student's answers are from its teacher's: tells students apart that a score on few examples cannot."""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING

import numpy as np

from data.tasks import Kind
from search.learning.objectives import symmetric_divergence
from search.learning.units import Units
from search.records import Divergence

if TYPE_CHECKING:
    from numpy.typing import NDArray


def divergence(kind: Kind, own: NDArray[np.float32], wanted: NDArray[np.float32], units: Units) -> Divergence:
    """The divergence of predictions from the teacher's, both (n, k) as :func:`~search.learning.objectives.predict`
    gives them, n at least 1; ``units`` are the training labels'."""
    import torch

    one, other = (torch.from_numpy(np.asarray(values, dtype=np.float64)) for values in (own, wanted))
    if kind in ("classification", "tokens"):
        each = symmetric_divergence(one, other)
    else:
        each = ((one - other) / units.deviation).square().mean(dim=1)
    return Divergence(float(each.mean()), float(each.std(correction=0) / sqrt(len(each))))
