"""What each launch of a block asks of a GPU: how many work-items, and what one of them computes and moves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from types import MappingProxyType

from fusion.block import FLOAT_BYTES, Block, number_bytes
from fusion.emit.opencl.family import Family
from fusion.emit.opencl.kernel import Kernel, OpenClUnit
from fusion.emit.opencl.program import OpenClEmitter

# How often a function of whole rows goes over a row: twice for what it needs to know of it, then to read and store.
_TIMES_A_ROW = 4


@dataclass(frozen=True)
class Launch:
    """One launch of ``items`` work-items, those that fill up groups among them.

    Each does ``flops`` operations and moves ``image_bytes`` through the image path and ``buffer_bytes`` through
    buffers; what neighbours along the first axis of a group read at once counts once for them all. All work-items
    together bring ``weight_bytes`` from memory, and take or leave ``activation_bytes``. A product is ``raw`` where it
    stores its result before anything is applied to it, as without fusion.
    """

    items: int
    flops: float
    image_bytes: float
    buffer_bytes: float
    weight_bytes: float
    activation_bytes: float
    raw: bool = False


def launches_of(block: Block, emitter: OpenClEmitter) -> tuple[Launch, ...]:
    """What a block launches, in order: its kernel, and the function of whole rows that has a kernel of its own."""
    unit = emitter.unit(block)
    first, *rest = unit.kernels
    item = _ITEMS.get(block.anchor, _moving)(unit, first, emitter.family)
    scale = number_bytes(block) / FLOAT_BYTES
    weights = block.cost.weight_bytes * scale
    launch = Launch(
        prod(first.items),
        item.flops,
        item.image_numbers * number_bytes(block),
        item.buffer_numbers * number_bytes(block),
        weights,
        block.cost.bytes_moved * scale - weights,
        raw=block.anchor == "gemm" and not block.epilogue,
    )
    return launch, *(_row_function(block, kernel) for kernel in rest)


def _row_function(block: Block, kernel: Kernel) -> Launch:
    """The result, brought to its end in place; its operations are counted with those of the kernel before it."""
    columns = block.sizes["columns"] if "columns" in block.sizes else block.sizes["hidden"]
    result, items = block.sizes["rows"] * columns * number_bytes(block), prod(kernel.items)
    return Launch(items, 0, 0, _TIMES_A_ROW * result / items, 0, 2 * result)


@dataclass(frozen=True)
class _Item:
    """One work-item: operations, and numbers that it moves through images and buffers."""

    flops: float
    image_numbers: float
    buffer_numbers: float


def _product(unit: OpenClUnit, kernel: Kernel, family: Family) -> _Item:
    """A tile: neighbours have other columns, but the same rows."""
    sizes, tile = unit.block.sizes, unit.tile
    assert tile is not None
    flops = unit.block.cost.flops * tile.rows * tile.columns / (sizes["rows"] * sizes["columns"])
    weights, activations = tile.columns * sizes["inner"], tile.rows * sizes["inner"] / kernel.group[0]
    return _Item(flops, weights, activations) if tile.image else _Item(flops, 0, weights + activations)


def _attention(unit: OpenClUnit, kernel: Kernel, family: Family) -> _Item:
    """Some queries: neighbours have others of the same head, whose keys and values they read together."""
    rows, keys, heads, size = (unit.block.sizes[name] for name in ("rows", "keys", "heads", "head_size"))
    queries = min(family.queries, rows)
    moved = 2 * queries * size + 2 * keys * size / kernel.group[0]
    return _Item(unit.block.cost.flops * queries / (rows * heads), 0, moved)


def _scores(unit: OpenClUnit, kernel: Kernel, family: Family) -> _Item:
    """A key: neighbours have others, but the same query."""
    rows, keys, heads, size = (unit.block.sizes[name] for name in ("rows", "keys", "heads", "head_size"))
    return _Item(unit.block.cost.flops / (rows * keys * heads), 0, size + size / kernel.group[0] + 1)


def _softmax(unit: OpenClUnit, kernel: Kernel, family: Family) -> _Item:
    """A row."""
    block = unit.block
    return _Item(block.cost.flops / block.sizes["rows"], 0, _TIMES_A_ROW * block.sizes["keys"])


def _context(unit: OpenClUnit, kernel: Kernel, family: Family) -> _Item:
    """Some columns: neighbours have others, but the same weights where they are of the same head."""
    rows, keys, heads, size = (unit.block.sizes[name] for name in ("rows", "keys", "heads", "head_size"))
    columns = family.width if size % family.width == 0 else 1
    moved = keys * (columns + 1 / min(kernel.group[0], size // columns)) + columns
    return _Item(unit.block.cost.flops * columns / (rows * heads * size), 0, moved)


def _moving(unit: OpenClUnit, kernel: Kernel, family: Family) -> _Item:
    """Its part of the block, where every number is moved once."""
    cost, items = unit.block.cost, prod(kernel.items)
    return _Item(cost.flops / items, 0, cost.bytes_moved / FLOAT_BYTES / items)


_ITEMS: Mapping[str, Callable[[OpenClUnit, Kernel, Family], _Item]] = MappingProxyType(
    {"gemm": _product, "attention": _attention, "scores": _scores, "softmax": _softmax, "context": _context}
)
