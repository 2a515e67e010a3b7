"""Times several engines on one model in one process, in turn."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median, quantiles

# Some engines' threads spin after a run (ONNX Runtime's for about 50 ms) and would slow the next engine. Spinning stays
# as each engine has it by default; before each turn we wait until the process uses next to no processor time.
_LEAST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 1.0
_SLICE_S, _QUIET_SHARE = 0.01, 0.1
# Threads that were woken on one core may share it this long before the system moves one: no part of an engine's speed.
_LEAST_WARMUP_S = 0.02
PAUSE = (
    f"engines keep their own spinning; before each turn the process sleeps at least {_LEAST_PAUSE_S * 1e3:.0f} ms, "
    "until all threads are asleep"
)


@dataclass(frozen=True)
class EngineTiming:
    """Raw times of one engine, milliseconds, in the order in which they were taken."""

    engine: str
    samples_ms: tuple[float, ...]

    @property
    def median_ms(self) -> float:
        """Median of the samples."""
        return median(self.samples_ms)

    @property
    def min_ms(self) -> float:
        """Smallest sample."""
        return min(self.samples_ms)

    @property
    def p90_ms(self) -> float:
        """90th percentile of the samples."""
        return quantiles(self.samples_ms, n=10, method="inclusive")[8] if len(self.samples_ms) > 1 else self.median_ms


@dataclass(frozen=True)
class TurnTimings:
    """The engines' times over the finished rounds; fewer than ``planned`` after Ctrl-C."""

    timings: tuple[EngineTiming, ...]
    rounds: int
    planned: int


def time_in_turn(
    engines: Mapping[str, Callable[[], object]],
    rounds: int = 10,
    runs: int = 10,
    warmup: int = 3,
    progress: Callable[[int, int], None] | None = None,
) -> TurnTimings:
    """Times each engine for a few runs, pauses, goes on to the next, and so on for all rounds.

    A turn begins with ``warmup`` runs, or more where these take less than 20 ms. So each engine meets the same moods
    of a shared machine, and none is slowed by another's spinning threads. Ctrl-C ends it early and keeps the finished
    rounds.

    Raises:
        KeyboardInterrupt: before the first round was finished.
    """
    samples: dict[str, list[float]] = {name: [] for name in engines}
    done = 0
    try:
        while done < rounds:
            taken = {name: _time_once(call, warmup, runs) for name, call in engines.items()}
            for name, values in taken.items():
                samples[name] += values
            done += 1
            if progress:
                progress(done, rounds)
    except KeyboardInterrupt:
        if not done:
            raise
    return TurnTimings(tuple(EngineTiming(name, tuple(values)) for name, values in samples.items()), done, rounds)


def _time_once(call: Callable[[], object], warmup: int, runs: int) -> list[float]:
    """Milliseconds of each run after the pause and the warm-up."""
    _wait_until_quiet()
    warm, done = time.perf_counter() + _LEAST_WARMUP_S, 0
    while done < warmup or (warmup and time.perf_counter() < warm):
        call()
        done += 1
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        call()
        times.append((time.perf_counter() - start) * 1e3)
    return times


def _wait_until_quiet() -> None:
    end = time.perf_counter() + _LONGEST_PAUSE_S
    time.sleep(_LEAST_PAUSE_S)
    while time.perf_counter() < end:
        busy, wall = time.process_time(), time.perf_counter()
        time.sleep(_SLICE_S)
        if time.process_time() - busy < _QUIET_SHARE * (time.perf_counter() - wall):
            return
