"""Execution information: how fast a compiled model runs, how well it uses the machine, and how much memory it takes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Execution:
    """Figures of the timed runs, ids in to outputs out.

    ``cpu_utilisation`` is the processor time of the model's threads over wall time x threads; threads that wait for
    each other spin, and so count. On a GPU it is None, and ``gpu_utilisation`` the share of the wall time in which
    kernels ran, by the device's own clock: the rest is launches and copies. ``gflops`` is the rate at the smallest
    latency, 10^9 operations a second, as the peak is a smallest time as well. ``model_bytes`` is what the runtime
    holds: weights, activations, scratch. The machine's peak and the whole process's largest memory (the static
    runner's) are None until they are measured.
    """

    median_ms: float
    min_ms: float
    runs: int
    cpu_utilisation: float | None
    gflops: float
    model_bytes: int
    peak_gflops: float | None = None
    peak_tile: str | None = None
    peak_share: float | None = None
    process_peak_bytes: int | None = None
    gpu_utilisation: float | None = None


def execution_of(run_s: np.ndarray, flops: int, utilisation: float, model_bytes: int, unit: str = "cpu") -> Execution:
    """Figures of timed runs: seconds [runs], operations of one run; ``utilisation`` is that of the unit."""
    shortest = float(run_s.min())
    return Execution(
        median_ms=float(np.median(run_s)) * 1e3,
        min_ms=shortest * 1e3,
        runs=len(run_s),
        cpu_utilisation=utilisation if unit == "cpu" else None,
        gflops=flops / shortest / 1e9,
        model_bytes=model_bytes,
        gpu_utilisation=utilisation if unit == "gpu" else None,
    )
