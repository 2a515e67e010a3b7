"""Execution information: how fast a compiled model runs, how well it uses the machine, and how much memory it takes."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from data.errors import PocketBertError
from fusion.compare.peak import measure_peak

if TYPE_CHECKING:
    from fusion.compiled import CompiledModel

_TIME_LIMIT_S = 300


@dataclass(frozen=True)
class Execution:
    """Figures of the timed runs, ids in to outputs out.

    ``cpu_utilisation`` is the processor time of the model's threads over wall time x threads; threads that wait for
    each other spin, and so count. ``gflops`` is the rate at the smallest latency, 10^9 operations a second, as the
    peak is a smallest time as well. ``model_bytes`` is what the runtime holds: weights, activations, scratch. The
    machine's peak and the whole process's largest memory (the static runner's) are None until they are measured.
    """

    median_ms: float
    min_ms: float
    runs: int
    cpu_utilisation: float
    gflops: float
    model_bytes: int
    peak_gflops: float | None = None
    peak_tile: str | None = None
    peak_share: float | None = None
    process_peak_bytes: int | None = None


def execution_of(run_s: np.ndarray, flops: int, utilisation: float, model_bytes: int) -> Execution:
    """Figures of timed runs: seconds [runs], operations of one run."""
    shortest = float(run_s.min())
    return Execution(
        median_ms=float(np.median(run_s)) * 1e3,
        min_ms=shortest * 1e3,
        runs=len(run_s),
        cpu_utilisation=utilisation,
        gflops=flops / shortest / 1e9,
        model_bytes=model_bytes,
    )


def full_execution(compiled: CompiledModel, warmup: int = 5, runs: int = 50) -> Execution:
    """Times the model in this process, measures the machine's peak, and runs the static runner for its memory.

    Raises:
        DeviceError, ToolchainError: the peak or the runner cannot be built or run.
    """
    compiled.time(warmup, runs)
    execution = compiled.summary.execution
    assert execution is not None
    peak = measure_peak(compiled.target, compiled.threads)
    return replace(
        execution,
        peak_gflops=peak.gflops,
        peak_tile=peak.tile,
        peak_share=execution.gflops / peak.gflops,
        process_peak_bytes=_runner_peak_bytes(compiled),
    )


def _runner_peak_bytes(compiled: CompiledModel) -> int:
    """The static runner's largest resident set over a few runs, bytes."""
    command = compiled.runner().command("model", threads=compiled.threads, warmup=1, runs=2)
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIME_LIMIT_S, check=True)
        return int(json.loads(done.stdout)["peak_memory_bytes"])
    except (OSError, subprocess.SubprocessError, ValueError, KeyError) as error:
        raise PocketBertError(f"the static runner failed: {error}") from error
