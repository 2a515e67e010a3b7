"""What a block costs on this machine, measured: settles the fusions that the table leaves open by running both ways."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass, field

from data.errors import DeviceError
from fusion.block import Block
from fusion.runner import build_suite
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
            self.known_ms[block] = min(self._shortest_ms(block) for _ in range(_REPEATS))
        return self.known_ms[block]

    def _shortest_ms(self, block: Block) -> float:
        runner = build_suite([block], self.target)
        command = runner.command(
            block.hash, threads=self.threads, warmup=_WARMUP, runs=_RUNS, rotate_bytes=_ROTATE_BYTES, fill_weights=True
        )
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_TIME_LIMIT_S, check=True)
            return float(min(json.loads(done.stdout)["samples_ms"]))
        except (OSError, subprocess.SubprocessError, ValueError, KeyError) as error:
            raise DeviceError(f"block {block.name} cannot be timed on this machine: {error}") from error
