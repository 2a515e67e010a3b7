"""From raw measurements to training targets: drift corrected, repeated rows combined, provenance checked."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data.architecture import Architecture
from data.drift import drift_of
from data.errors import InputError
from data.measurement import Measurement, Provenance


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
    """Undisturbed milliseconds by subject hash: of each of its blocks the quietest row's time, summed.

    Each time is corrected for the row's drift where that helps. The quietest, since what others do to a machine only
    ever adds time: on a virtual one, two of its cores may be two threads of one real core for a while, which no counter
    inside shows and which doubles every figure. Block by block, since a long model is hardly ever left alone for a
    whole run. Where blocks are unknown, it is the lowest of the rows' medians.
    """
    drift = drift_of(rows)
    quietest: dict[str, np.ndarray] = {}
    for row in rows:
        times = np.array(row.steps_ms or (row.median_ms,)) / drift.factor(row)
        known = quietest.get(row.subject_hash)
        # Rows that tell their blocks count for more than those that do not.
        if known is None or len(times) > len(known):
            quietest[row.subject_hash] = times
        elif len(times) == len(known):
            quietest[row.subject_hash] = np.minimum(times, known)
    return {subject: float(times.sum()) for subject, times in quietest.items()}


def model_latencies(rows: Sequence[Measurement]) -> tuple[list[Architecture], np.ndarray]:
    """Distinct architectures of whole-model rows and their undisturbed ms (n,)."""
    times = corrected_ms(rows)
    signatures = {row.subject_hash: row.signature for row in rows}
    architectures = [Architecture.from_dict(json.loads(signatures[key])) for key in times]
    return architectures, np.array(list(times.values()))


def disturbance(rows: Sequence[Measurement]) -> float:
    """The median over rows of a row's median over its subject's undisturbed time; 1 for no rows."""
    quiet = corrected_ms(rows)
    return float(np.median([row.median_ms / quiet[row.subject_hash] for row in rows])) if rows else 1.0
