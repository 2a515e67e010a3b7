"""What a block asks of a processor's core: which of the runtime's loops its code runs how often, and bytes by reuse.

The loops are those of :mod:`fusion.cycles.probes`, by name; trip counts follow the emitters' tiles.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from fusion.block import FLOAT_BYTES, Block, epilogue_vectors, result_size
from fusion.emit.c import emit_block
from fusion.emit.c.attention import Blocking, attention_blocking, parts_of
from fusion.emit.c.attention_parts import QUERY_BLOCK
from fusion.emit.c.product import product_panel, product_pieces
from fusion.emit.c.tiling import Tiling, choose_tiling, row_pieces
from fusion.emit.c.unit import SHORT_STEPS
from fusion.emit.layout import round_up
from fusion.target import Target

_LINE_BYTES = 64
# Steps of an epilogue that take a whole row.
_ROW_LOOPS = frozenset({"layer_norm", "l2_norm", "row_softmax", "row_log_softmax"})


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
    return Work(emit_block(block, target).tiles, _gathered(loops), tuple(streams))


def tile_loop(height: int, width: int, kind: str = "") -> str:
    """The name of a register tile's loop: ``tile 8x3``, ``tile 8x3 fetch``, ``tile 8x3 across``."""
    return f"tile {height}x{width} {kind}".rstrip()


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
    rows, inner, columns = block.sizes["rows"], block.sizes["inner"], block.sizes["columns"]
    tiling = choose_tiling(rows, inner, columns, target)
    chunks = -(-inner // tiling.depth_block)
    whole, rest = divmod(_vectors(columns, target), tiling.vectors)
    weight_lines = inner * round_up(columns, target.lanes) * FLOAT_BYTES / _LINE_BYTES
    pieces = [
        (height, width, number * panels)
        for height, number in row_pieces(rows, tiling.rows)
        for width, panels in ((tiling.vectors, whole), (rest, 1))
        if width and panels
    ]
    # While it computes, a block fetches the weights of the next one, taken to be as many as its own: a line a step.
    fetching = min(1.0, weight_lines / (inner * sum(number for _, _, number in pieces)))
    loops = []
    for height, width, number in pieces:
        for kind, share in (("fetch", fetching), ("", 1 - fetching)):
            loops.append(LoopRuns(tile_loop(height, width, kind), share * number * chunks, share * number * inner))
    vectors = rows * _vectors(columns, target)
    loops.append(LoopRuns("end residual", 0, vectors * (chunks - 1)))  # sums of earlier chunks come back
    loops += _epilogue(block, rows, columns, target, in_registers=True)
    return loops, _gemm_streams(block, target, tiling)


def _gemm_streams(block: Block, target: Target, tiling: Tiling) -> list[Stream]:
    rows, inner, columns = block.sizes["rows"], block.sizes["inner"], block.sizes["columns"]
    panel, panels = tiling.panel(target), -(-columns // tiling.panel(target))
    row_blocks, row_tiles = -(-rows // tiling.row_block), sum(number for _, number in row_pieces(rows, tiling.rows))
    weights, operand = inner * columns * FLOAT_BYTES, rows * inner * FLOAT_BYTES
    chunk = tiling.depth_block * panel * FLOAT_BYTES
    own_rows = tiling.row_block * inner * FLOAT_BYTES
    again = inner * panel * FLOAT_BYTES + own_rows if tiling.panels_first else weights + own_rows
    other_rows = operand if tiling.panels_first else own_rows
    return [
        Stream(weights + epilogue_vectors(block) * columns * FLOAT_BYTES, math.inf, steady=True),
        Stream(weights * (row_blocks - 1), again, steady=True),
        Stream(weights * (row_tiles - row_blocks), chunk + tiling.rows * tiling.depth_block * FLOAT_BYTES, steady=True),
        Stream(operand, operand),
        Stream(operand * (panels - 1), other_rows + inner * panel * FLOAT_BYTES),
        *_results(block, rows, columns),
    ]


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
    sums = max(1, len(block.table_entries) - 1) if not block.window_offsets else 1
    loops = [LoopRuns("rows sum", rows * sums, rows * sums * _vectors(columns, target))]
    loops += _epilogue(block, rows, columns, target)
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
