"""A GPU's kernels, built before anything is timed: its driver compiles them when they run for the first time."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from data.errors import DeviceError
from data.progress import Progress, ProgressEvent, no_progress

if TYPE_CHECKING:
    from fusion import Runner

# A model has a dozen kernels or two, each a second or two at most.
BUILD_LIMIT_S = 180.0


def build_kernels(
    programs: Sequence[str], run: Callable[[str], object], at_once: int, progress: Progress = no_progress
) -> None:
    """Runs each program once, ``at_once`` side by side, so that binaries of all kernels are kept; errors of ``run`` are
    passed on."""
    with ThreadPoolExecutor(at_once) as pool:
        for done, (program, _) in enumerate(zip(programs, pool.map(run, programs), strict=True), 1):
            progress(ProgressEvent("build kernels", done, len(programs), program))


def run_here(program: str, runner: Runner, environment: Mapping[str, str]) -> None:
    """Runs a program of a runner once on this machine.

    Raises:
        DeviceError: the driver does not build a kernel, or does not run it; the message is the runner's.
    """
    command = runner.command(program, threads=1, warmup=0, runs=1, fill_weights=runner.weights is None)
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=BUILD_LIMIT_S, check=False, env=dict(environment)
        )
    except subprocess.TimeoutExpired as error:
        raise DeviceError(f"the GPU's driver did not build and run {program} within {BUILD_LIMIT_S:g} s") from error
    except OSError as error:
        raise DeviceError(f"{command[0]} cannot be started: {error.strerror}") from error
    if done.returncode:
        said = done.stderr.strip().splitlines()
        reason = said[-1] if said else "without a message"
        raise DeviceError(f"{program} ended with status {done.returncode}: {reason}")
