"""What the optimiser is given, as arrays: what was scored, and what may be chosen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Evidence:
    """Scored candidates: ``points`` (n, d) in the unit cube, ``trends`` (n, k), ``scores`` (n,), and the standard
    ``errors`` (n,) of the scores.

    Trends are what a score is known to grow with, such as the logarithm of a candidate's size.
    """

    points: NDArray[np.float64]
    trends: NDArray[np.float64]
    scores: NDArray[np.float64]
    errors: NDArray[np.float64]


@dataclass(frozen=True)
class Pending:
    """Candidates that are being scored: ``points`` (p, d) and ``trends`` (p, k), in the units of the evidence's."""

    points: NDArray[np.float64]
    trends: NDArray[np.float64]


@dataclass(frozen=True)
class Choices:
    """Candidates that may be chosen: ``points`` (m, d) and ``trends`` (m, k) in the units of the evidence's, and the
    probability ``within`` (m,) of each to be admitted, above 0."""

    points: NDArray[np.float64]
    trends: NDArray[np.float64]
    within: NDArray[np.float64]
