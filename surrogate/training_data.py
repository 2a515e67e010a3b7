"""From raw measurements to training targets: drift corrected, repeated rows combined, provenance checked."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data.errors import InputError
from data.measurement import Measurement, Provenance

# The reference block's own noise: drift below it is not corrected. Beyond the limit the correction stops growing,
# since what slows one block by half does not slow every block by half.
_DRIFT_NOISE, _DRIFT_LIMIT = 0.03, 1.5


@dataclass(frozen=True)
class Origin:
    """Where a predictor's training data come from; all its rows share it."""

    device: str
    fingerprint: str
    unit: str
    threads: int
    compiler: str
    provenance: Provenance


def origin_of(rows: Sequence[Measurement]) -> Origin:
    """The common origin of measurements.

    Raises:
        InputError: there are none, or they come from different devices, units, threads or compilers.
    """
    origins = {Origin(row.device, row.fingerprint, row.unit, row.threads, row.compiler, row.provenance) for row in rows}
    if len(origins) != 1:
        raise InputError(f"a predictor needs measurements of one device and compiler, not of {len(origins)}")
    return origins.pop()


def corrected_ms(rows: Sequence[Measurement]) -> dict[str, float]:
    """Milliseconds by subject hash: the median over its rows of their drift-corrected medians."""
    references = [row.reference_ms for row in rows if row.reference_ms is not None]
    baseline = float(np.median(references)) if references else None
    times: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        times[row.subject_hash].append(row.median_ms / _drift(row.reference_ms, baseline))
    return {subject: float(np.median(values)) for subject, values in times.items()}


def _drift(reference_ms: float | None, baseline_ms: float | None) -> float:
    """How much slower than usual the machine was, 1.0 where unknown or within the reference's noise."""
    if reference_ms is None or baseline_ms is None:
        return 1.0
    factor = reference_ms / baseline_ms
    if abs(factor - 1) <= _DRIFT_NOISE:
        return 1.0
    return min(max(factor, 1 / _DRIFT_LIMIT), _DRIFT_LIMIT)
