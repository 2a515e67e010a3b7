"""What a session visits: whole models; and the blocks whose compiled code stands for the compiler."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from data.architecture import Architecture
from fusion.block import Block, make_block
from profiling.device import Device, Visit

if TYPE_CHECKING:
    from fusion import Runner

# A block of middling size, one of those whose compiled code tells compilers apart.
REFERENCE_BLOCK = make_block("gemm", {"rows": 128, "inner": 256, "columns": 1024}, ("bias", "gelu"))
# A tiny model whose blocks, compiled beside the reference, stand for all that the compiler generates.
_PROBE = Architecture(layers=2, hidden=64, heads=2, intermediate=128)
# Work of one visit at an assumed speed, by which rounds are cut; and its wall-clock limit on a very slow core.
_ASSUMED_FLOPS_PER_S, _SLOWEST_FLOPS_PER_S = 60e9, 5e9
_OPENING_S = 0.02
ANALYTIC_COMPILER = "analytic model"


@dataclass(frozen=True)
class Item:
    """What is visited: the program to run and the identity under which its rows are stored."""

    hash: str
    signature: str
    program: str
    blocks: tuple[Block, ...]

    def visit(self, warmup: int, runs: int) -> Visit:
        """Its turn in a round."""
        return Visit(self.program, self.blocks, warmup, runs)

    def seconds(self, runs: int) -> float:
        """Roughly how long a visit of so many runs takes, on an ordinary core."""
        return _OPENING_S + self._flops * runs / _ASSUMED_FLOPS_PER_S

    def limit_s(self, runs: int) -> float:
        """Seconds after which a visit is taken to hang."""
        return 1.0 + self._flops * runs / _SLOWEST_FLOPS_PER_S

    @property
    def _flops(self) -> int:
        return sum(block.cost.flops for block in self.blocks)


def model_item(architecture: Architecture, program: str = "", fuse: bool = True) -> Item:
    """A whole model as an item; ``program`` is its name in the runner, by default the architecture's. Without ``fuse``
    its blocks are its operators; its rows are told from others by their compiler (:func:`compiler_for`)."""
    from fusion import plan_architecture

    text = architecture.to_json()
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    return Item(digest, text, program or architecture.name, plan_architecture(architecture, fuse))


def reference_runner(device: Device) -> Runner | None:
    """The runner of the reference block and of a tiny model's blocks; None for a device that executes no code."""
    if not device.needs_runner:
        return None
    from fusion import build_suite, plan_architecture

    return build_suite((REFERENCE_BLOCK, *plan_architecture(_PROBE)), device.machine)


def compiler_for(device: Device, fuse: bool = True) -> str:
    """The compiler under which measurements of this device are stored now: one that does not fuse is another one."""
    compiler = compiler_of(reference_runner(device))
    return compiler if fuse else f"{compiler}, without fusion"


def compiler_of(reference: Runner | None) -> str:
    """Name and version of the compiler, and the hash of what it makes of the reference blocks.

    The hash changes with the code generator, the runtime, the C compiler and its flags, so that timings of code that
    is generated otherwise are never mixed.
    """
    return f"{reference.compiler}, code {reference.binary_hash[:12]}" if reference is not None else ANALYTIC_COMPILER
