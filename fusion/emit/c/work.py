"""What a block asks of a processor's core: which of the runtime's loops its code runs how often, and bytes by reuse.

The loops are those of :mod:`fusion.cycles.probes`, by name; trip counts follow the emitters' tiles.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from fusion.block import FLOAT_BYTES, NARROW_RESULT, Block, epilogue_vectors, product_precision, result_size
from fusion.emit.arena import narrow_copy_bytes, result_type
from fusion.emit.c.attention import Blocking, attention_blocking, parts_of
from fusion.emit.c.attention_parts import QUERY_BLOCK
from fusion.emit.c.half_packing import HALF_DEPTH
from fusion.emit.c.narrow import narrow_operand
from fusion.emit.c.packed_matrix import PackedMatrix, packed_matrix
from fusion.emit.c.product import product_panel, product_pieces
from fusion.emit.c.rows import beside_tables
from fusion.emit.c.sharing import tile_count
from fusion.emit.c.tiling import row_pieces
from fusion.emit.c.unit import SHORT_STEPS
from fusion.emit.layout import round_up
from fusion.target import Target

_LINE_BYTES = 64
# Steps of an epilogue that take a whole row.
_ROW_LOOPS = frozenset({"layer_norm", "l2_norm", "row_softmax", "row_log_softmax"})
# What loops of register tiles are called by precision.
_TILES = MappingProxyType({"fp32": "tile", "int8": "int8", "fp16": "half"})


@dataclass(frozen=True)
class LoopRuns:
    """How often a loop is entered, and how many steps are made there in all."""

    name: str
    entries: float
    steps: float


@dataclass(frozen=True)
class Stream:
    """Bytes that are read or written, and how many others pass before they are again: what a cache must hold to have
    them still. Infinite for weights, which a run reads once. ``steady`` where the addresses follow each other for long,
    so that processors fetch ahead while they compute."""

    bytes: float
    distance: float
    steady: bool = False


@dataclass(frozen=True)
class Work:
    """All that a block's code does on however many cores: ``tiles`` equal pieces that cores take one at a time."""

    tiles: int
    loops: tuple[LoopRuns, ...]
    streams: tuple[Stream, ...]


def work_of(block: Block, target: Target) -> Work:
    """What the code of a block for a target does."""
    loops, streams = _WORK.get(block.anchor, _moving)(block, target)
    more_loops, more_streams = _narrow_copy(block, target)
    return Work(tile_count(block, target), _gathered([*loops, *more_loops]), (*streams, *more_streams))


def tile_loop(height: int, width: int, kind: str = "", precision: str = "fp32") -> str:
    """The name of a register tile's loop: ``tile 8x3``, ``tile 8x3 fetch``, ``tile 8x3 across``, ``int8 10x2``,
    ``half 8x4 more`` (one more part of the inner dimension than the first)."""
    return f"{_TILES[precision]} {height}x{width} {kind}".rstrip()


_Found = tuple[list[LoopRuns], list[Stream]]


def _gathered(loops: Iterable[LoopRuns]) -> tuple[LoopRuns, ...]:
    """Each loop once, in the order of their names."""
    entries, steps = Counter[str](), Counter[str]()
    for loop in loops:
        entries[loop.name] += loop.entries  # type: ignore[assignment]
        steps[loop.name] += loop.steps  # type: ignore[assignment]
    return tuple(LoopRuns(name, entries[name], steps[name]) for name in sorted(entries))


def _vectors(columns: int, target: Target) -> int:
    return -(-columns // target.lanes)


def _gemm(block: Block, target: Target) -> _Found:
    rows, columns = block.sizes["rows"], block.sizes["columns"]
    matrix = packed_matrix(block, target)
    whole, rest = divmod(_vectors(columns, target), matrix.tiling.vectors)
    pieces = [
        (height, width, number * panels)
        for height, number in row_pieces(rows, matrix.tiling.rows)
        for width, panels in ((matrix.tiling.vectors, whole), (rest, 1))
        if width and panels
    ]
    # While it computes, a block fetches the weights of the next one, taken to be as many as its own: a line a step.
    weight_lines = matrix.matrix_elements * FLOAT_BYTES / _LINE_BYTES
    fetching = min(1.0, weight_lines / (matrix.groups * sum(number for _, _, number in pieces)))
    precision, inner = product_precision(block), matrix.groups * matrix.group
    parts = -(-inner // (HALF_DEPTH if precision == "fp16" else matrix.tiling.depth_block))
    entries = parts if precision == "fp32" else 1
    loops = []
    for height, width, number in pieces:
        for kind, share in (("fetch", fetching), ("", 1 - fetching)):
            name = tile_loop(height, width, kind, precision)
            loops.append(LoopRuns(name, share * number * entries, share * number * matrix.groups))
        if precision == "fp16":
            loops.append(LoopRuns(tile_loop(height, width, "more", precision), number * (parts - 1), 0))
    if precision == "fp32":  # sums of earlier parts come back
        loops.append(LoopRuns("end residual", 0, rows * _vectors(columns, target) * (parts - 1)))
    loops += _epilogue(block, rows, columns, target, in_registers=True)
    return loops, _gemm_streams(block, target, matrix)


def _gemm_streams(block: Block, target: Target, matrix: PackedMatrix) -> list[Stream]:
    rows, inner, columns = block.sizes["rows"], block.sizes["inner"], block.sizes["columns"]
    tiling = matrix.tiling
    panel_bytes, panels = matrix.panel_elements * FLOAT_BYTES, -(-columns // tiling.panel(target))
    row_blocks, row_tiles = -(-rows // tiling.row_block), sum(number for _, number in row_pieces(rows, tiling.rows))
    row_bytes = inner * FLOAT_BYTES if product_precision(block) == "fp32" else narrow_operand(block).stride
    weights, operand, own_rows = matrix.elements * FLOAT_BYTES, rows * row_bytes, tiling.row_block * row_bytes
    again = panel_bytes + own_rows if tiling.panels_first else weights + own_rows
    other_rows = operand if tiling.panels_first else own_rows
    part = tiling.depth_block / inner
    return [
        Stream(weights + epilogue_vectors(block) * columns * FLOAT_BYTES, math.inf, steady=True),
        Stream(weights * (row_blocks - 1), again, steady=True),
        Stream(weights * (row_tiles - row_blocks), part * (panel_bytes + tiling.rows * row_bytes), steady=True),
        Stream(operand, operand),
        Stream(operand * (panels - 1), other_rows + panel_bytes),
        *_results(block, rows, columns),
    ]


def _narrow_copy(block: Block, target: Target) -> _Found:
    """What leaves the narrow copy of a block's rows, for the products that read it."""
    precision = dict(block.attributes).get(NARROW_RESULT)
    if precision is None:
        return [], []
    type_ = result_type(block)
    copy_bytes = narrow_copy_bytes(type_, str(precision))
    steps = type_.rows * _vectors(type_.columns, target)
    return [LoopRuns(f"rows {precision}", type_.rows, steps)], [Stream(copy_bytes, copy_bytes)]


def _results(block: Block, rows: int, columns: int) -> list[Stream]:
    """What is written, what is added to it, and what is normalised where it lies."""
    result = rows * columns * FLOAT_BYTES
    return [Stream(result * (1 + block.epilogue.count("residual")), result)]


def _epilogue(block: Block, rows: int, columns: int, target: Target, *, in_registers: bool = False) -> list[LoopRuns]:
    """The steps of an epilogue: those at its beginning in registers where a product's sums still are."""
    vectors, loops = _vectors(columns, target), []
    for step in block.epilogue:
        in_registers = in_registers and step in SHORT_STEPS
        if step in _ROW_LOOPS:
            loops.append(LoopRuns(f"rows {step.replace('log_', '')}", rows, rows * (vectors - 1)))
        elif in_registers:
            loops.append(LoopRuns(f"end {_alike(step)}", 0, rows * vectors))
        else:
            loops.append(LoopRuns(f"rows {_alike(step)}", rows, rows * vectors))
    return loops


def _alike(step: str) -> str:
    """The step whose loop stands for this one."""
    return {"add_rows": "residual", "pool": "sum", "top": "sum", "mask_rows": "sum"}.get(step, step)


def _product(
    count: int, columns: int, depth: int, times: float, target: Target, largest: int, kind: str
) -> list[LoopRuns]:
    """A product of ``count`` rows with a matrix in cache, ``times`` over."""
    return [
        LoopRuns(tile_loop(height, width, kind), number * times, number * depth * times)
        for height, width, number in product_pieces(count, largest, columns, target)
    ]


def _attention(block: Block, target: Target) -> _Found:
    rows, heads = block.sizes["rows"], block.sizes["heads"]
    blocking = attention_blocking(block, target)
    loops: list[LoopRuns] = []
    for count in parts_of(rows, blocking.queries):
        loops += _queries(block, blocking, count, target)
    loops = [LoopRuns(loop.name, loop.entries * heads, loop.steps * heads) for loop in loops]
    return loops, _attention_streams(block, blocking, target)


def _attention_streams(block: Block, blocking: Blocking, target: Target) -> list[Stream]:
    """Scores are written, gone through for their maxima and read by each panel of values; keys are read by each panel
    of queries, values copied. All of a block of queries is touched again and again."""
    rows, keys, size, heads = (block.sizes[name] for name in ("rows", "keys", "head_size", "heads"))
    padded, calls = round_up(size, target.lanes), heads * -(-rows // blocking.queries)
    panels = -(-blocking.width // product_panel(blocking.keys, blocking.width, target))
    value_panels = -(-padded // product_panel(blocking.queries, size, target))
    scores = (2 + value_panels) * keys * blocking.width
    own = keys * padded * panels + scores + 2 * keys * padded + 3 * blocking.width * padded
    held = (blocking.keys * (blocking.width + 2 * padded) + 2 * blocking.width * padded) * FLOAT_BYTES
    width = heads * size * FLOAT_BYTES
    return [Stream(own * calls * FLOAT_BYTES, held), Stream((rows + 2 * keys) * width, (rows + 2 * keys) * width)]


def _queries(block: Block, blocking: Blocking, count: int, target: Target) -> list[LoopRuns]:
    """The loops of one block of queries of one head."""
    rows, keys, size = block.sizes["rows"], block.sizes["keys"], block.sizes["head_size"]
    vectors, padded = blocking.width // target.lanes, _vectors(size, target)
    key_parts = parts_of(keys, blocking.keys)
    loops = [LoopRuns("transpose", vectors, vectors * (size / target.lanes))]
    for part in key_parts:
        loops += _product(part, blocking.width, size, 1, target, max(key_parts), "")
        for together, number in ((2, vectors // 2), (1, vectors % 2)):
            loops.append(LoopRuns(f"online_softmax {together}", number, number * part))
        loops.append(LoopRuns("copy_rows", part, part * padded))
        loops += _product(count, size, part, 1, target, max(parts_of(rows, blocking.queries)), "across")
    loops.append(LoopRuns("scale_rows", 0, (len(key_parts) - 1) * count * padded))
    loops.append(LoopRuns("store_scaled", count, count * padded))
    return loops


def _scores(block: Block, target: Target) -> _Found:
    rows, keys, size, heads = (block.sizes[name] for name in ("rows", "keys", "head_size", "heads"))
    blocks = parts_of(rows, min(QUERY_BLOCK, rows))
    vectors = _vectors(keys, target)
    loops = [LoopRuns("transpose", vectors * len(blocks) * heads, vectors * size / target.lanes * len(blocks) * heads)]
    for count in blocks:
        loops += _product(count, keys, size, heads, target, max(blocks), "")
    result = heads * rows * keys * FLOAT_BYTES
    operands = heads * size * (rows + keys * len(blocks)) * FLOAT_BYTES
    return loops, [Stream(operands, heads * size * (rows + keys) * FLOAT_BYTES), Stream(result, result)]


def _context(block: Block, target: Target) -> _Found:
    rows, keys, size, heads = (block.sizes[name] for name in ("rows", "keys", "head_size", "heads"))
    blocks, padded = parts_of(rows, min(QUERY_BLOCK, rows)), _vectors(size, target)
    loops = [LoopRuns("copy_rows", keys * len(blocks) * heads, keys * padded * len(blocks) * heads)]
    for count in blocks:
        loops += _product(count, size, keys, heads, target, max(blocks), "")
    loops.append(LoopRuns("store_scaled", rows * heads, rows * padded * heads))
    scores, values = heads * rows * keys * FLOAT_BYTES, heads * size * keys * len(blocks) * FLOAT_BYTES
    return loops, [Stream(scores, scores), Stream(values, values), Stream(rows * heads * size * FLOAT_BYTES, values)]


def _softmax(block: Block, target: Target) -> _Found:
    rows, keys = block.sizes["rows"], block.sizes["keys"]
    moved = 2 * rows * keys * FLOAT_BYTES
    return [LoopRuns("rows softmax", rows, rows * _vectors(keys, target))], [Stream(moved, moved)]


def _embeddings(block: Block, target: Target) -> _Found:
    rows, columns = block.sizes["rows"], block.sizes["hidden"]
    tables = len(block.table_entries) + block.constant_tables
    sums = max(1, tables - 1) if not block.window_offsets else 1
    name = "rows int8 table" if block.precision == "int8" else "rows sum"
    loops = [LoopRuns(name, rows * sums, rows * sums * _vectors(columns, target))]
    loops += _epilogue(beside_tables(block), rows, columns, target)
    return loops, [Stream(block.cost.weight_bytes, math.inf), *_results(block, rows, columns)]


def _rowwise(block: Block, target: Target) -> _Found:
    rows, columns = block.sizes["rows"], block.sizes["columns"]
    constants = epilogue_vectors(block) * columns * FLOAT_BYTES
    streams = [Stream(rows * columns * FLOAT_BYTES, rows * columns * FLOAT_BYTES), Stream(constants, math.inf)]
    return _epilogue(block, rows, columns, target), [*streams, *_results(block, rows, columns)]


def _moving(block: Block, target: Target) -> _Found:
    """What moves numbers about, or chooses among them: a pass over what is read or written, whichever is more."""
    rows, columns = block.sizes["rows"], block.sizes.get("columns", 1)
    results = math.prod(result_size(block)) if "columns" in block.sizes else rows
    vectors = max(rows * columns, results) / target.lanes
    return [LoopRuns("rows sum", rows, vectors)], [Stream(block.cost.bytes_moved, block.cost.bytes_moved)]


_WORK: Mapping[str, Callable[[Block, Target], _Found]] = MappingProxyType(
    {
        "gemm": _gemm,
        "attention": _attention,
        "scores": _scores,
        "context": _context,
        "softmax": _softmax,
        "embeddings": _embeddings,
        "rowwise": _rowwise,
    }
)
