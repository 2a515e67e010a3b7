"""Times several engines on one model in one process, in turn."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median

# ONNX Runtime's threads spin after a run and would slow the next engine.
_PAUSE_S = 0.05


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


def time_in_turn(
    engines: Mapping[str, Callable[[], object]],
    rounds: int = 10,
    runs: int = 10,
    warmup: int = 3,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[EngineTiming, ...]:
    """Times each engine for a few runs, pauses, goes on to the next, and so on for all rounds.

    So each engine meets the same moods of a shared machine, and none is slowed by another's spinning threads.
    """
    samples: dict[str, list[float]] = {name: [] for name in engines}
    for turn in range(rounds):
        for name, call in engines.items():
            time.sleep(_PAUSE_S)
            for run in range(warmup + runs):
                start = time.perf_counter()
                call()
                elapsed = (time.perf_counter() - start) * 1e3
                if run >= warmup:
                    samples[name].append(elapsed)
        if progress:
            progress(turn + 1, rounds)
    return tuple(EngineTiming(name, tuple(values)) for name, values in samples.items())
