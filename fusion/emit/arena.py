"""The arena: where the tensors of a program lie, one after the other in the same place where they can."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fusion.block import FLOAT_BYTES, NARROW_RESULT, PRECISION_BYTES, Block
from fusion.emit.layout import ALIGNMENT, narrow_bytes, round_up, row_stride
from fusion.graph import TensorType
from fusion.planning.plan import Plan


@dataclass(frozen=True)
class Wiring:
    """Which tensors a plan has and how long each is needed, whatever their sizes.

    ``initial`` exist before the first block: model inputs, and sources that nobody makes (a block alone). ``made`` are
    the blocks' own, in their order. ``last_use`` is the index (from 1) of the last block that reads a tensor; a model's
    outputs live for ever.
    """

    initial: tuple[str, ...]
    made: tuple[str, ...]
    last_use: Mapping[str, int]


def wiring_of(plan: Plan) -> Wiring:
    """The wiring of a plan; tensors that lie within others are read where those are."""
    made = tuple(fused.output for fused in plan.blocks)
    read = [plan.viewed(name) for fused in plan.blocks for name in fused.inputs]
    unmade = [name for name in read if name not in set(made)]
    uses: dict[str, int] = {}
    for index, fused in enumerate(plan.blocks, start=1):
        uses[fused.output] = max(uses.get(fused.output, 0), index)
        for name in fused.inputs:
            uses[plan.viewed(name)] = index
    for name in plan.graph.outputs:
        uses[plan.viewed(name)] = len(plan.blocks) + 1
    return Wiring(tuple(dict.fromkeys([*plan.graph.inputs, *unmade])), made, uses)


def lay_out(wiring: Wiring, sizes: Mapping[str, int]) -> tuple[dict[str, int], int]:
    """Byte offsets of all tensors of ``sizes`` bytes, reusing the place of those that are read no more (first fit), and
    the bytes that they take together."""
    offsets: dict[str, int] = {}
    live: list[tuple[int, int, str]] = []
    total = 0
    for index, names in enumerate((wiring.initial, *((name,) for name in wiring.made))):
        for name in names:
            size = sizes[name]
            offset = _first_gap(live, size)
            offsets[name] = offset
            live = sorted([*live, (offset, size, name)])
            total = max(total, offset + size)
        live = [entry for entry in live if wiring.last_use.get(entry[2], 0) > index]
    return offsets, total


def _first_gap(live: Sequence[tuple[int, int, str]], size: int) -> int:
    """The lowest offset where ``size`` bytes fit between the live tensors, which are sorted."""
    offset = 0
    for start, length, _ in live:
        if offset + size <= start:
            return offset
        offset = max(offset, start + length)
    return offset


def tensor_bytes(type_: TensorType, number_bytes: int = FLOAT_BYTES) -> int:
    """Bytes of a tensor in the arena: ids as int32, activations as padded rows of numbers of so many bytes.

    A whole vector may be read at a view's last columns: activations end in a line that nobody writes.
    """
    if type_.dtype != "float32":
        return round_up(type_.rows * type_.columns * 4, ALIGNMENT)
    return round_up(type_.rows * row_stride(type_.columns) * number_bytes, ALIGNMENT) + ALIGNMENT


def result_type(block: Block) -> TensorType:
    """The type of the tensor that a block makes, known from the block alone."""
    sizes, rows = block.sizes, block.sizes["rows"]
    if block.anchor == "position_ids":
        return TensorType((1, rows), "int64")
    if block.anchor in {"scores", "softmax"}:
        return TensorType((sizes.get("heads", 1), rows, sizes["keys"]))
    width = sizes.get("heads", 1) * sizes.get("head_size", 1)
    columns = sizes.get("columns", sizes.get("hidden", width))
    return TensorType((1, sizes.get("result_rows", rows), sizes.get("result_columns", columns)))


def result_bytes(block: Block) -> int:
    """Bytes in the arena of what a block makes on a processor, with the narrow copy of its rows where it leaves one."""
    type_, narrow = result_type(block), dict(block.attributes).get(NARROW_RESULT)
    return tensor_bytes(type_) + narrow_copy_bytes(type_, str(narrow) if narrow else None)


def narrow_copy_bytes(type_: TensorType, precision: str | None) -> int:
    """Bytes of the narrow copy behind a tensor's fp32 rows; none without a precision."""
    return narrow_bytes(type_.rows, type_.columns, PRECISION_BYTES[precision]) if precision else 0
