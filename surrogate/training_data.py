"""From raw measurements to training targets: drift corrected, repeated rows combined, provenance checked."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data.disturbance import is_disturbed, is_slowed
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
    """Milliseconds by subject hash: the lowest of its undisturbed rows' drift-corrected medians.

    The lowest, since what others do to a machine only ever adds time: on a virtual one, two of its cores may be
    two threads of one real core for a while, which no counter inside shows and which doubles every figure. Where
    every row of a subject was slowed, its fastest run stands in. Rows whose median is uncertain count only where
    there is no other.
    """
    references = [row.reference_ms for row in rows if row.reference_ms is not None and not is_slowed(row)]
    baseline = float(np.median(references)) if references else None
    grouped: dict[str, list[Measurement]] = defaultdict(list)
    for row in rows:
        grouped[row.subject_hash].append(row)
    return {subject: _combined_ms(group, baseline) for subject, group in grouped.items()}


def _combined_ms(rows: Sequence[Measurement], baseline_ms: float | None) -> float:
    quiet = [row for row in rows if not is_disturbed(row)] or [row for row in rows if not is_slowed(row)]
    if not quiet:
        return min(min(row.samples_ms) for row in rows)
    return min(row.median_ms / _drift(row.reference_ms, baseline_ms) for row in quiet)


def _drift(reference_ms: float | None, baseline_ms: float | None) -> float:
    """How much slower than usual the machine was, 1.0 where unknown or within the reference's noise."""
    if reference_ms is None or baseline_ms is None:
        return 1.0
    factor = reference_ms / baseline_ms
    if abs(factor - 1) <= _DRIFT_NOISE:
        return 1.0
    return min(max(factor, 1 / _DRIFT_LIMIT), _DRIFT_LIMIT)
