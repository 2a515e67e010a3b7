"""How far a session's figures can be trusted: the drift of its reference block and the spread of its samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data.disturbance import is_disturbed
from data.measurement import Measurement

# Above these the figures are still stored, but the machine is called unstable beside them.
DRIFT_LIMIT = 0.15
SPREAD_LIMIT = 0.10
DISTURBED_LIMIT = 0.25


@dataclass(frozen=True)
class SessionQuality:
    """``drift``: the reference's range over its median; ``spread``: median interquartile range over the median.

    ``disturbed`` is the share of rows during which other programs took cores away.
    """

    drift: float
    spread: float
    disturbed: float = 0.0

    @property
    def stable(self) -> bool:
        """Whether all are within their limits."""
        return self.drift <= DRIFT_LIMIT and self.spread <= SPREAD_LIMIT and self.disturbed <= DISTURBED_LIMIT

    @property
    def warning(self) -> str:
        """One line for people, empty where the session was stable."""
        if self.stable:
            return ""
        return (
            f"the machine was unstable while measuring (reference block drifted {self.drift:.0%}, samples spread "
            f"{self.spread:.0%}, other programs took cores away in {self.disturbed:.0%} of the rows): close them "
            "and profile again for better predictions"
        )


def session_quality(rows: Sequence[Measurement]) -> SessionQuality:
    """Quality of a series of measurements; nothing is known (zeros) about an empty one."""
    references = np.array([row.reference_ms for row in rows if row.reference_ms is not None])
    spreads = [np.subtract(*np.percentile(row.samples_ms, [75, 25])) / row.median_ms for row in rows]
    # The 5th to 95th percentile, so that one preempted run is not taken for drift.
    drift = float(np.subtract(*np.percentile(references, [95, 5])) / np.median(references)) if references.size else 0.0
    disturbed = float(np.mean([is_disturbed(row) for row in rows])) if rows else 0.0
    return SessionQuality(drift, float(np.median(spreads)) if spreads else 0.0, disturbed)
