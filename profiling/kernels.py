"""A GPU's kernels, built before anything is timed: its driver compiles them when they run for the first time."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from data.progress import Progress, ProgressEvent, no_progress
from profiling.device import Round, Visit

if TYPE_CHECKING:
    from fusion import Runner

# A model has a dozen kernels or two, each a second or two at most.
_LIMIT_S = 180.0


def build_kernels(
    runner: Runner, go: Callable[[Round], object], at_once: int, progress: Progress = no_progress
) -> None:
    """Makes a round of each program of a runner, which runs it once, ``at_once`` side by side, so that binaries of all
    kernels are kept; errors of ``go`` are passed on."""
    programs, fill = runner.programs, runner.weights is None
    rounds = [Round((Visit(each, (), 0, 1),), 1, runner, fill_weights=fill, time_limit_s=_LIMIT_S) for each in programs]
    with ThreadPoolExecutor(at_once) as pool:
        for done, (program, _) in enumerate(zip(programs, pool.map(go, rounds), strict=True), 1):
            progress(ProgressEvent("build kernels", done, len(programs), program))
