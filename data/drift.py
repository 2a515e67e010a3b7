"""Drift of a machine's speed through a session, and whether the reference block knows it.

A reference block is timed beside the rows. On a phone that warms up it slows as everything else does, and dividing by
it takes the drift out. On a shared machine, whose neighbours come and go within seconds, it was disturbed at another
moment than the row beside it, and dividing by it adds its noise to theirs. Rows of one subject tell the two apart.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data.disturbance import is_slowed
from data.measurement import Measurement

# The reference block's own noise: drift below it is not corrected. Beyond the limit the correction stops growing,
# since what slows one block by half does not slow every block by half.
_NOISE, _LIMIT = 0.03, 1.5
# Subjects with repeated rows before these decide; with fewer the reference is believed. It then has to make rows agree
# so much better: chance alone makes them agree a little better or worse.
_FEWEST_REPEATED, _HELPS = 5, 0.5


@dataclass(frozen=True)
class Drift:
    """``baseline_ms`` is the reference block's usual time; None where rows are left as they are."""

    baseline_ms: float | None

    def corrected_ms(self, row: Measurement) -> float:
        """The row's undisturbed time over how much slower than usual the machine was, ms."""
        return row.undisturbed_ms / self.factor(row)

    def factor(self, row: Measurement) -> float:
        """How much slower than usual the machine was beside a row; 1 where unknown or within the reference's noise."""
        if row.reference_ms is None or self.baseline_ms is None:
            return 1.0
        factor = row.reference_ms / self.baseline_ms
        return 1.0 if abs(factor - 1) <= _NOISE else min(max(factor, 1 / _LIMIT), _LIMIT)


UNCORRECTED = Drift(None)


def drift_of(rows: Sequence[Measurement]) -> Drift:
    """The correction by the reference, unless repeated rows of one subject show that it does not help."""
    references = [row.reference_ms for row in rows if row.reference_ms is not None and not is_slowed(row)]
    if not references:
        return UNCORRECTED
    by_reference = Drift(float(np.median(references)))
    spreads = [(_spread(group, by_reference), _spread(group, UNCORRECTED)) for group in _repeated(rows)]
    if len(spreads) < _FEWEST_REPEATED:
        return by_reference
    corrected, plain = np.mean(spreads, axis=0)
    return by_reference if corrected < _HELPS * plain else UNCORRECTED


def _repeated(rows: Sequence[Measurement]) -> list[list[Measurement]]:
    """Undisturbed rows of each subject that has several beside a reference."""
    groups: dict[str, list[Measurement]] = defaultdict(list)
    for row in rows:
        if row.reference_ms is not None and not is_slowed(row):
            groups[row.subject_hash].append(row)
    return [group for group in groups.values() if len(group) > 1]


def _spread(rows: Sequence[Measurement], drift: Drift) -> float:
    """Standard deviation of the rows' logarithms."""
    return float(np.std(np.log([drift.corrected_ms(row) for row in rows])))
