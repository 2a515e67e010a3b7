"""Programs: blocks with places in memory, whatever language they are emitted in."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Generic, TypeVar

from data.errors import ModelError
from fusion.block import (
    FLOAT_BYTES,
    NARROW_RESULT,
    RESULT,
    Block,
    narrow_rows,
    number_bytes,
    tensor_number_bytes,
)
from fusion.emit.arena import lay_out, narrow_copy_bytes, result_type, tensor_bytes, wiring_of
from fusion.emit.c_text import c_string
from fusion.emit.emitter import Emitter, Unit
from fusion.emit.layout import row_stride
from fusion.graph import Graph, TensorType
from fusion.planning.fused_block import MAX_INPUTS, FusedBlock, View
from fusion.planning.plan import Plan

_INT_LIMIT = 2**31 - 1
_MASK_VALUES = 2
# Which operand of a block its mask is.
_MASK_OPERANDS: Mapping[str, int] = MappingProxyType({"attention": 3, "softmax": 1})


AnyUnit = TypeVar("AnyUnit", bound=Unit)


@dataclass(frozen=True)
class Step(Generic[AnyUnit]):
    """A block with byte offsets: into the arena for inputs and output, into the weights file for its weights."""

    fused: FusedBlock
    unit: AnyUnit
    inputs: tuple[int, ...]
    output: int
    weights: int
    weight_bytes: int


@dataclass(frozen=True)
class Port:
    """A model input (ids, each below ``limit``) or output; ``offset`` in bytes into the arena."""

    name: str
    rows: int
    columns: int
    stride: int
    limit: int
    offset: int


@dataclass(frozen=True)
class Program(Generic[AnyUnit]):
    """A model, or a single block, as the runtime runs it; its weights are packed by its ``emitter``."""

    name: str
    emitter: Emitter[AnyUnit]
    steps: tuple[Step[AnyUnit], ...]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    arena_bytes: int
    weight_bytes: int

    @property
    def id(self) -> str:
        """Content hash of the code and the layout: 32 hexadecimal digits."""
        places = [
            (step.unit.block.hash, step.inputs, step.output, step.weights, step.weight_bytes) for step in self.steps
        ]
        layout = [places, self.inputs, self.outputs, self.arena_bytes, self.weight_bytes]
        content = [*map(repr, layout), *map(repr, self.units)]
        return hashlib.sha256("\n".join(content).encode()).hexdigest()[:32]

    @property
    def units(self) -> tuple[AnyUnit, ...]:
        """The distinct units, sorted by block hash."""
        return tuple(unit for _, unit in sorted({step.unit.block.hash: step.unit for step in self.steps}.items()))

    @property
    def number_bytes(self) -> int:
        """Bytes of a number of its matrices."""
        return number_bytes(self.steps[0].unit.block) if self.steps else number_bytes(None)


def place(plan: Plan, emitter: Emitter[AnyUnit], name: str = "model") -> Program[AnyUnit]:
    """Lays a plan out in memory, all of whose blocks have one precision."""
    units = {block: emitter.unit(block) for block in {fused.block for fused in plan.blocks}}
    numbers, narrow = _number_bytes(plan), _narrow_copies(plan)
    sizes = {
        name: tensor_bytes(type_, numbers.get(name, FLOAT_BYTES)) + narrow_copy_bytes(type_, narrow.get(name))
        for name, type_ in plan.graph.types.items()
    }
    offsets, arena_bytes = lay_out(wiring_of(plan), sizes)
    steps, weight_offset = [], 0
    for fused in plan.blocks:
        if len(fused.inputs) > MAX_INPUTS:
            raise ModelError(f"block {fused.block.name} reads {len(fused.inputs)} tensors; kernels take {MAX_INPUTS}")
        inputs = tuple(_place(plan, offsets, source, numbers) for source in fused.inputs)
        weight_bytes = emitter.weight_bytes(fused.block)
        steps.append(Step(fused, units[fused.block], inputs, offsets[fused.output], weight_offset, weight_bytes))
        weight_offset += weight_bytes
    limits = _limits(plan)
    graph = plan.graph
    return Program(
        name,
        emitter,
        tuple(steps),
        tuple(_input_port(source, graph.types[source], offsets[source], limits) for source in graph.inputs),
        tuple(
            _output_port(plan, offsets, result, name, numbers)
            for result, name in zip(graph.outputs, graph.output_names or graph.outputs, strict=True)
        ),
        arena_bytes,
        weight_offset,
    )


def _number_bytes(plan: Plan) -> dict[str, int]:
    """Bytes of a number of each tensor that a block makes or reads."""
    read = {
        plan.viewed(name): tensor_number_bytes(fused.block, place)
        for fused in plan.blocks
        for place, name in enumerate(fused.inputs)
    }
    return read | {fused.output: tensor_number_bytes(fused.block, RESULT) for fused in plan.blocks}


def _narrow_copies(plan: Plan) -> dict[str, str]:
    """The precision of the narrow copy behind each tensor that has one."""
    copies: dict[str, str] = {}
    for fused in plan.blocks:
        attributes = dict(fused.block.attributes)
        if fused.block.reads_narrow_rows:
            copies[plan.viewed(fused.inputs[0])] = fused.block.precision
        if NARROW_RESULT in attributes:
            copies[fused.output] = str(attributes[NARROW_RESULT])
    return copies


def block_plan(block: Block) -> Plan:
    """A plan that holds one block alone, for measuring it; its weights have no values."""
    operands = _operands(block)
    types = {name: type_ for name, type_, _ in operands}
    views = {name: view for name, _, view in operands if view is not None}
    for name, view in views.items():
        outer = types.get(view.source, TensorType((1, 0, 0)))
        rows, columns = max(types[name].rows, outer.rows), _outer_columns(block, list(types).index(name), types[name])
        rows = max(rows, narrow_rows(block)[1])
        types[view.source] = TensorType((1, rows, columns))
    types["result"] = result_type(block)
    fused = FusedBlock(block, tuple(name for name, _, _ in operands), (), "result", ())
    ids = tuple(name for name, type_, _ in operands if type_.dtype == "int64")
    return Plan(Graph(ids, (), (), types), (fused,), views)


_Operand = tuple[str, TensorType, View | None]


def _operands(block: Block) -> list[_Operand]:
    """Name, type and place of each activation that a block reads."""
    sizes, attributes = block.sizes, dict(block.attributes)
    rows, keys = sizes["rows"], sizes.get("keys", 1)
    width = sizes.get("heads", 1) * sizes.get("head_size", 1)
    ids, mask = TensorType((1, rows), "int64"), ("attention_mask", TensorType((1, keys), "int64"), None)
    masked = [mask] if "masked_bias" in attributes else []
    scores = TensorType((sizes.get("heads", 1), rows, keys))
    queries, others = TensorType((1, rows, width)), TensorType((1, keys, width))
    if block.anchor == "attention":
        sources = str(attributes["sources"])
        places = [View(f"source{digit}", column=sources[:i].count(digit) * width) for i, digit in enumerate(sources)]
        named = zip("qkv", (queries, others, others), places, strict=True)
        return [*((name, type_, view) for name, type_, view in named), *masked]
    if block.anchor in {"embeddings", "position_ids"}:
        found: list[_Operand] = [(f"ids{i}", ids, None) for i in range(len(block.table_entries) or 1)]
    elif block.anchor == "scores":
        found = [("q", queries, None), ("k", others, None)]
    elif block.anchor == "softmax":
        found = [("scores", TensorType((rows, keys)), None), *masked]
    elif block.anchor == "context":
        found = [("weights", scores, None), ("v", others, None)]
    elif block.anchor == "concat":
        widths = str(attributes["widths"]).split(",")
        found = [(f"part{i}", TensorType((1, rows, int(width))), None) for i, width in enumerate(widths)]
    else:
        found = [("source", TensorType((1, rows, sizes.get("inner", sizes.get("columns", 1)))), None)]
    if "tokens" in sizes:
        found.append(("attention_mask", TensorType((1, sizes["tokens"]), "int64"), None))
    residuals = block.epilogue.count("residual")
    found += [(f"residual{i}", result_type(block), None) for i in range(residuals)]
    if narrow_rows(block)[1] > rows:
        name, type_, _ = found[0]
        found[0] = (name, type_, View(f"{name}/outer", row=narrow_rows(block)[0]))
    return [
        (name, type_, View(f"{name}/outer") if f"columns{index}" in attributes else view)
        for index, (name, type_, view) in enumerate(found)
    ]


def _outer_columns(block: Block, operand: int, type_: TensorType) -> int:
    return int(dict(block.attributes).get(f"columns{operand}", type_.columns))


def _place(plan: Plan, offsets: Mapping[str, int], name: str, numbers: Mapping[str, int]) -> int:
    if name not in plan.views:
        return offsets[name]
    view = plan.views[name]
    return offsets[view.source] + (view.row * _stride(plan, name) + view.column) * numbers[view.source]


def _stride(plan: Plan, name: str) -> int:
    """Elements from row to row of a tensor where it lies."""
    return row_stride(plan.graph.types[plan.viewed(name)].columns)


def _limits(plan: Plan) -> dict[str, int]:
    """The number of entries of the smallest table that each id input looks up; masks are 0 or 1."""
    limits: dict[str, int] = {}
    for fused in plan.blocks:
        if "masked_bias" in dict(fused.block.attributes):
            mask = fused.inputs[_MASK_OPERANDS[fused.block.anchor]]
            limits[mask] = min(limits.get(mask, _INT_LIMIT), _MASK_VALUES)
        if fused.block.anchor == "embeddings":
            for name, entries in zip(fused.inputs, fused.block.table_entries, strict=False):
                limits[name] = min(limits.get(name, _INT_LIMIT), entries)
    return limits


def _input_port(name: str, type_: TensorType, offset: int, limits: Mapping[str, int]) -> Port:
    if type_.dtype == "float32":
        raise ModelError(f"input {name!r} holds fp32 numbers; only token ids and masks are taken")
    rows = type_.rows * type_.columns
    return Port(name, rows, 1, 1, limits.get(name, _INT_LIMIT), offset)


def _output_port(plan: Plan, offsets: Mapping[str, int], result: str, name: str, numbers: Mapping[str, int]) -> Port:
    type_ = plan.graph.types[result]
    if type_.dtype != "float32":
        raise ModelError(f"output {name!r} holds {type_.dtype}; only fp32 outputs are given")
    return Port(name, type_.rows, type_.columns, _stride(plan, result), 0, _place(plan, offsets, result, numbers))


def port_rows(ports: Sequence[Port]) -> str:
    """C initialisers of inputs or outputs."""
    rows = (
        f"  {{{c_string(port.name)}, {port.rows}, {port.columns}, {port.stride}, {port.limit}, {port.offset}L}},\n"
        for port in ports
    )
    return "".join(rows) or "  {0}"
