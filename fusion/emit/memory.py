"""The memory that a compiled model holds while it runs, known from its architecture without compiling it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from data.architecture import Architecture
from fusion.block import Block
from fusion.emit.arena import Wiring, lay_out, result_bytes, tensor_bytes, wiring_of
from fusion.emit.c import Unit
from fusion.emit.emitter import Emitter
from fusion.emit.layout import ALIGNMENT, round_up
from fusion.graph import TensorType
from fusion.planning.architecture_plan import architecture_plan, plan_architecture
from fusion.planning.depth import PLANNED_LAYERS, Structure, repeated_blocks, shape_of, structure

# As in runtime/model.c and weights.c: the header of the weights file, a counter, and what is kept of each step.
_HEADER_BYTES, _COUNTER_BYTES, _STEP_BYTES = 64, 4, 24
# Where the tensors of one layer are looked for in the places of another; doubled until it is found.
_PROBED_LAYERS = 6


def memory_bytes(architectures: Sequence[Architecture], emitter: Emitter[Any], threads: int) -> tuple[int, ...]:
    """Bytes that compiled models of these architectures hold: weights as the emitter packs them and activations, and on
    a processor scratch of all threads and counters, as ``pb_memory_bytes`` of the runtime counts them. The process
    around comes on top.

    Models that differ in depth only are planned once.
    """
    memory = _Memory(emitter, threads)
    return tuple(memory.of(architecture) for architecture in architectures)


@dataclass(frozen=True)
class _Layers:
    """A plan of ``PLANNED_LAYERS``, and which of its blocks every further layer runs again."""

    planned: Sequence[Block]
    kind: Structure
    span: slice

    @property
    def layer(self) -> Sequence[Block]:
        return self.planned[self.span]

    def blocks(self, depth: int) -> tuple[Block, ...]:
        """The blocks of a model of ``depth`` layers."""
        repeated = tuple(self.layer) * (depth - PLANNED_LAYERS + 1)
        return (*self.planned[: self.span.start], *repeated, *self.planned[self.span.stop :])


def _cycle(wiring: Wiring, offsets: Mapping[str, int], span: slice, depth: int) -> tuple[int, int] | None:
    """From which depth on, and every how many layers, a model has the arena of a shallower one.

    First fit decides by what is live: where the same tensors are live in the same places as some layers before, all
    that follows repeats.
    """
    length = span.stop - span.start
    index_of = {name: index for index, name in enumerate(wiring.made, start=1)}
    seen: dict[frozenset[tuple[int, str | int]], int] = {}
    for layers in range(depth):
        end = span.start + layers * length
        live = frozenset(
            (offsets[name], index - end if (index := index_of.get(name, 0)) > span.start else name)
            for name in (*wiring.initial, *wiring.made[:end])
            if wiring.last_use.get(name, 0) > end
        )
        if live in seen:
            return layers + PLANNED_LAYERS - 1, layers - seen[live]
        seen[live] = layers
    return None


@dataclass(frozen=True)
class _Memory:
    """Memory of models with one emitter's code; what several of them have in common is computed once."""

    emitter: Emitter[Any]
    threads: int
    known: dict[tuple[object, ...], int] = field(default_factory=dict)
    layers: dict[tuple[object, ...], _Layers] = field(default_factory=dict)
    cycles: dict[tuple[object, ...], tuple[int, int] | None] = field(default_factory=dict)
    spans: dict[Structure, slice] = field(default_factory=dict)
    wirings: dict[tuple[object, ...], Wiring] = field(default_factory=dict)
    parts: dict[Block, tuple[int, Any]] = field(default_factory=dict)

    def of(self, architecture: Architecture) -> int:
        """Bytes of a model of any depth: beyond a few layers each takes the places of an earlier one."""
        shape = shape_of(architecture)
        if shape not in self.layers:
            self.layers[shape] = self._layers(architecture)
        layers = self.layers[shape]
        depth = self._depth_alike(layers, architecture)
        key = (depth, *shape)
        if key not in self.known:
            blocks = layers.blocks(depth)
            _, arena = self._placed(layers, architecture, depth)[1]
            self.known[key] = arena + self._around(blocks) + self._steps(blocks)
        return self.known[key] + (architecture.layers - depth) * self._steps(layers.layer)

    def _layers(self, architecture: Architecture) -> _Layers:
        planned = plan_architecture(replace(architecture, layers=PLANNED_LAYERS))
        kind = structure(planned)
        if kind not in self.spans:
            self.spans[kind] = repeated_blocks(planned, architecture)
        return _Layers(planned, kind, self.spans[kind])

    def _depth_alike(self, layers: _Layers, architecture: Architecture) -> int:
        """The smallest depth known to need as many bytes of activations as this one."""
        probed = _PROBED_LAYERS
        while probed < architecture.layers:
            shape = (probed, *shape_of(architecture))
            if shape not in self.cycles:
                wiring, (offsets, _) = self._placed(layers, architecture, probed)
                self.cycles[shape] = _cycle(wiring, offsets, layers.span, probed)
            if cycle := self.cycles[shape]:
                first, period = cycle
                return min(architecture.layers, first + (architecture.layers - first) % period)
            probed *= 2
        return architecture.layers

    def _placed(
        self, layers: _Layers, architecture: Architecture, depth: int
    ) -> tuple[Wiring, tuple[dict[str, int], int]]:
        """How a model of this depth is wired, and where its tensors lie."""
        wiring = self._wiring(architecture, depth, layers.kind)
        ids = tensor_bytes(TensorType((1, architecture.seq_len), "int64"))
        made = (result_bytes(block) for block in layers.blocks(depth))
        sizes = dict.fromkeys(wiring.initial, ids) | dict(zip(wiring.made, made, strict=True))
        return wiring, lay_out(wiring, sizes)

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
