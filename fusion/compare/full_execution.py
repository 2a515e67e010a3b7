"""Execution information with what takes measurements of its own: the machine's peak, and the static runner's memory."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace

from data.errors import PocketBertError
from fusion.build.execution import Execution
from fusion.compare.peak import measure_peak
from fusion.compiled import CompiledModel

_TIME_LIMIT_S = 300


def measure_execution(compiled: CompiledModel, warmup: int = 5, runs: int = 50) -> Execution:
    """Times the model in this process, measures the machine's peak, and runs the static runner for its memory; of a
    model on the GPU the first alone.

    Raises:
        DeviceError, ToolchainError: the peak or the runner cannot be built or run.
    """
    compiled.time(warmup, runs)
    execution = compiled.summary.execution
    assert execution is not None
    if compiled.unit == "gpu":
        return execution
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
