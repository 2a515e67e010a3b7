"""Warm-up until stable: which of the timed runs still belong to the warm-up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import median

from profiling.device import RawSamples

# Runs looked at together, and how far their median may lie above that of the later half.
_WINDOW, _TOLERANCE = 5, 0.05


def steady_from(times_ms: Sequence[float]) -> int | None:
    """Index of the first run from which on the program is as fast as in the later half; None where it gets there only
    in that half."""
    half = len(times_ms) // 2
    usual = median(times_ms[half:])
    for start in range(0, half, _WINDOW):
        if median(times_ms[start : start + _WINDOW]) <= (1 + _TOLERANCE) * usual:
            return start
    return None if half else 0


def without_warmup(raw: RawSamples) -> RawSamples:
    """The samples with those runs moved to the warm-up that were made before the program was steady."""
    start = steady_from(raw.samples_ms) or 0
    return replace(raw, warmups_ms=(*raw.warmups_ms, *raw.samples_ms[:start]), samples_ms=raw.samples_ms[start:])
