"""What a session measures, one at a time: blocks and whole models, and the reference block beside them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from data.architecture import Architecture
from data.measurement import Subject
from fusion.block import Block, make_block
from profiling.device import Device

if TYPE_CHECKING:
    from fusion import Runner

# Weights come from L3 or DRAM in a whole model, so successive runs of a block read other copies of them.
ROTATE_BYTES = 16 << 20
# A block of middling size that both uses the vector units and reads weights: what slows models slows it.
REFERENCE_BLOCK = make_block("gemm", {"rows": 128, "inner": 256, "columns": 1024}, ("bias", "gelu"))
# A tiny model whose blocks, compiled beside the reference, stand for all that the compiler generates.
_PROBE = Architecture(layers=2, hidden=64, heads=2, intermediate=128)
# A block is run until about this much work was timed, at an assumed speed, within these limits.
_WORK_MS, _ASSUMED_FLOPS_PER_MS = 20.0, 50e6
_FEWEST_RUNS, _MOST_RUNS = 15, 100
_MODEL_RUNS = 20
# Wall-clock limit of a job: at least so many seconds, and what its work would take on a very slow core.
_SHORTEST_LIMIT_S, _SLOWEST_FLOPS_PER_S = 60.0, 5e9
ANALYTIC_COMPILER = "analytic model"


@dataclass(frozen=True)
class Item:
    """What one row is about: the program to run and the identity under which it is stored."""

    kind: Subject
    hash: str
    signature: str
    program: str
    blocks: tuple[Block, ...]
    runs: int
    warmup: int
    rotate_bytes: int = 0

    @property
    def title(self) -> str:
        """What people read."""
        return self.blocks[0].name if self.kind == "block" else self.program

    @property
    def time_limit_s(self) -> float:
        """Seconds after which its job is taken to hang."""
        flops = sum(block.cost.flops for block in self.blocks) * (self.runs + self.warmup)
        return max(_SHORTEST_LIMIT_S, flops / _SLOWEST_FLOPS_PER_S)

    def longer(self, times: int) -> Item:
        """The same with more runs, for a median that is more certain."""
        return replace(self, runs=self.runs * times)


def block_item(block: Block, runs: int | None = None) -> Item:
    """A block as an item; without ``runs``, with a number of them that suits its size."""
    if runs is None:
        runs = round(_WORK_MS * _ASSUMED_FLOPS_PER_MS / max(block.cost.flops, 1))
        runs = min(max(runs, _FEWEST_RUNS), _MOST_RUNS)
    return Item("block", block.hash, block.signature, block.hash, (block,), runs, max(3, runs // 10), ROTATE_BYTES)


def model_item(
    architecture: Architecture, program: str = "", runs: int | None = None, warmup: int | None = None
) -> Item:
    """A whole model as an item; ``program`` is its name in the runner, by default the architecture's."""
    from fusion import plan_architecture

    text = architecture.to_json()
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    runs = _MODEL_RUNS if runs is None else runs
    warmup = max(3, runs // 10) if warmup is None else warmup
    return Item("model", digest, text, program or architecture.name, plan_architecture(architecture), runs, warmup)


def reference_runner(device: Device) -> Runner | None:
    """The runner of the reference block and of a tiny model's blocks; None for a device that executes no code."""
    if not device.needs_runner:
        return None
    from fusion import build_suite, plan_architecture

    return build_suite((REFERENCE_BLOCK, *plan_architecture(_PROBE)), device.target)


def compiler_for(device: Device) -> str:
    """The compiler under which measurements of this device are stored now."""
    return compiler_of(reference_runner(device))


def compiler_of(reference: Runner | None) -> str:
    """Name and version of the compiler, and the hash of what it makes of the reference blocks.

    The hash changes with the code generator, the runtime, the C compiler and its flags, so that timings of code that
    is generated otherwise are never mixed.
    """
    return f"{reference.compiler}, code {reference.binary_hash[:12]}" if reference is not None else ANALYTIC_COMPILER
