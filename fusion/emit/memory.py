"""The memory that a compiled model holds while it runs, known from its architecture without compiling it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from data.architecture import Architecture
from fusion.block import Block
from fusion.emit.arena import Wiring, lay_out, result_type, tensor_bytes, wiring_of
from fusion.emit.c import Unit
from fusion.emit.emitter import Emitter
from fusion.emit.layout import ALIGNMENT, round_up
from fusion.graph import TensorType
from fusion.planning.architecture_plan import architecture_plan, plan_architecture
from fusion.planning.depth import PLANNED_LAYERS, Structure, repeated_blocks, shape_of, structure

# As in runtime/model.c and weights.c: the header of the weights file, a counter, and what is kept of each step.
_HEADER_BYTES, _COUNTER_BYTES, _STEP_BYTES = 64, 4, 24
# With one layer more every tensor finds the place that the same tensor of the layer before had.
_SETTLED_LAYERS = 3


def memory_bytes(architectures: Sequence[Architecture], emitter: Emitter[Any], threads: int) -> tuple[int, ...]:
    """Bytes that compiled models of these architectures hold: weights as the emitter packs them and activations, and on
    a processor scratch of all threads and counters, as ``pb_memory_bytes`` of the runtime counts them. The process
    around comes on top.

    Models that differ in depth only are planned once.
    """
    memory = _Memory(emitter, threads)
    return tuple(memory.of(architecture) for architecture in architectures)


@dataclass(frozen=True)
class _Memory:
    """Memory of models with one emitter's code; what several of them have in common is computed once."""

    emitter: Emitter[Any]
    threads: int
    known: dict[tuple[object, ...], tuple[int, int]] = field(default_factory=dict)
    spans: dict[Structure, slice] = field(default_factory=dict)
    wirings: dict[tuple[object, ...], Wiring] = field(default_factory=dict)
    parts: dict[Block, tuple[int, Any]] = field(default_factory=dict)

    def of(self, architecture: Architecture) -> int:
        """Bytes of a model of any depth: beyond a few layers each adds as much."""
        depth = min(architecture.layers, _SETTLED_LAYERS)
        key = (depth, *shape_of(architecture))
        if key not in self.known:
            self.known[key] = self._shallow(architecture, depth)
        shallow, layer = self.known[key]
        return shallow + (architecture.layers - depth) * layer

    def _shallow(self, architecture: Architecture, depth: int) -> tuple[int, int]:
        """Bytes of a model of so few layers, and of each further layer."""
        planned = plan_architecture(replace(architecture, layers=PLANNED_LAYERS))
        kind = structure(planned)
        if kind not in self.spans:
            self.spans[kind] = repeated_blocks(planned, architecture)
        span = self.spans[kind]
        layer = planned[span]
        blocks = (*planned[: span.start], *layer * (depth - PLANNED_LAYERS + 1), *planned[span.stop :])
        wiring = self._wiring(architecture, depth, kind)
        ids = tensor_bytes(TensorType((1, architecture.seq_len), "int64"))
        made = (tensor_bytes(result_type(block)) for block in blocks)
        _, arena = lay_out(wiring, dict.fromkeys(wiring.initial, ids) | dict(zip(wiring.made, made, strict=True)))
        return arena + self._around(blocks) + self._steps(blocks), self._steps(layer)

    def _around(self, blocks: Sequence[Block]) -> int:
        """What a processor's runtime needs beside weights and activations."""
        units = [unit for unit in (self._part(block)[1] for block in blocks) if isinstance(unit, Unit)]
        if not units:
            return 0
        scratch = round_up(max(unit.scratch_bytes for unit in units), ALIGNMENT)
        counters = _COUNTER_BYTES * (max(unit.ready_count for unit in units) + 1) + _STEP_BYTES
        return _HEADER_BYTES + scratch * self.threads + counters

    def _steps(self, blocks: Sequence[Block]) -> int:
        parts = [self._part(block) for block in blocks]
        return sum(weights + (_STEP_BYTES if isinstance(unit, Unit) else 0) for weights, unit in parts)

    def _part(self, block: Block) -> tuple[int, Any]:
        """The bytes of a block's weights, and its code."""
        if block not in self.parts:
            self.parts[block] = self.emitter.weight_bytes(block), self.emitter.unit(block)
        return self.parts[block]

    def _wiring(self, architecture: Architecture, depth: int, kind: Structure) -> Wiring:
        key = (depth, architecture.token_types, kind)
        if key not in self.wirings:
            self.wirings[key] = wiring_of(architecture_plan(replace(architecture, layers=depth)))
        return self.wirings[key]
