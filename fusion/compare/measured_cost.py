"""What a block costs on this machine, measured: settles the fusions that the table leaves open by running both ways."""

from __future__ import annotations

from dataclasses import dataclass, field

from fusion.block import Block
from fusion.build.machine import Processor
from fusion.build.runner import build_suite, run_here, shortest_ms
from fusion.target import Target, host_target

_WARMUP, _RUNS, _REPEATS = 5, 60, 3
# Successive runs read their weights from memory, as a model's successive blocks do.
_ROTATE_BYTES = 32 << 20
_TIME_LIMIT_S = 120


@dataclass(frozen=True)
class MeasuredCost:
    """Milliseconds of a block on this machine with some threads; each block is timed once.

    The smallest time of a few processes counts: what a shared machine adds makes a run longer, never shorter.
    """

    threads: int
    target: Target = field(default_factory=host_target)
    known_ms: dict[Block, float] = field(default_factory=dict)

    def __call__(self, block: Block) -> float:
        """Milliseconds.

        Raises:
            DeviceError: the compiled block does not run here.
            ToolchainError: the C compiler failed.
        """
        if block not in self.known_ms:
            self.known_ms[block] = self._shortest_ms(block)
        return self.known_ms[block]

    def _shortest_ms(self, block: Block) -> float:
        runner = build_suite([block], Processor(self.target))
        command = runner.command(
            block.hash, threads=self.threads, warmup=_WARMUP, runs=_RUNS, rotate_bytes=_ROTATE_BYTES, fill_weights=True
        )
        failure = f"block {block.name} cannot be timed on this machine"
        return min(run_here(command, shortest_ms, failure, _TIME_LIMIT_S) for _ in range(_REPEATS))
