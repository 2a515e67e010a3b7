"""Packs a block's weights as its generated code reads them: panels, padding to whole vectors, one flat array."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

import numpy as np

from fusion.block import FLOAT_BYTES, Block, epilogue_vectors
from fusion.emit.c.half_packing import halve_weights, pack_half
from fusion.emit.c.int8_packing import column_corrections, pack_int8, quantise_weights
from fusion.emit.c.packed_matrix import packed_matrix
from fusion.emit.c.rows import LookupTable, lookup_tables
from fusion.emit.layout import ALIGNMENT, round_up
from fusion.target import Target


def pack_weights(block: Block, weights: Sequence[np.ndarray], target: Target) -> np.ndarray:
    """fp32 [elements]: the constants of a block in the order of its plan, packed for the target."""
    arrays = [np.asarray(array, dtype=np.float32) for array in weights]
    packed = np.zeros(weight_elements(block, target), np.float32)
    rest = packed
    if block.anchor == "gemm":
        pack = _PACKERS[block.precision]
        rest = pack(block, arrays.pop(0), target, packed)
    elif block.anchor == "embeddings" and block.precision == "int8":
        for table in lookup_tables(block, target)[0]:
            rest = _pack_table(table, arrays.pop(0), target, rest)
    for array in arrays:
        rest = _pack_rows(array, target, rest)
    return packed


def _pack_matrix(block: Block, matrix: np.ndarray, target: Target, out: np.ndarray) -> np.ndarray:
    """(inner, columns) to panels: panel, inner, column; the last panel is cut to whole vectors. Returns what is left
    of ``out``."""
    inner, columns = block.sizes["inner"], block.sizes["columns"]
    panel = packed_matrix(block, target).tiling.panel(target)
    whole = columns // panel
    panels = out[: whole * inner * panel].reshape(whole, inner, panel)
    panels[...] = matrix[:, : whole * panel].reshape(inner, whole, panel).transpose(1, 0, 2)
    out = out[panels.size :]
    return _pack_rows(matrix[:, whole * panel :], target, out) if columns % panel else out


def _pack_int8(block: Block, matrix: np.ndarray, target: Target, out: np.ndarray) -> np.ndarray:
    """(inner, columns) to panels of small whole numbers, then the scales of the columns, and what is added to their
    sums. Returns what is left of ``out``."""
    layout, columns = packed_matrix(block, target), block.sizes["columns"]
    quantised, scales = quantise_weights(matrix, target.int8_pair_limit)
    numbers = pack_int8(quantised, layout.tiling.panel(target), target.lanes, layout.group)
    out.view(np.int8)[: numbers.size] = numbers
    out = out[layout.matrix_elements :]
    out[:columns] = scales
    out = out[layout.scales :]
    if layout.corrections:
        out.view(np.int32)[:columns] = column_corrections(quantised, target.int8_offset)
    return out[layout.corrections :]


def _pack_table(table: LookupTable, rows: np.ndarray, target: Target, out: np.ndarray) -> np.ndarray:
    """(entries, columns) as small whole numbers, rows padded to whole vectors, then the scales of the rows. Returns
    what is left of ``out``."""
    # Rows' scales are those of columns of weights; nothing limits pairs, which are not summed.
    quantised, scales = quantise_weights(rows.reshape(-1, rows.shape[-1]).T, None)
    numbers = out.view(np.int8)[: table.entries * table.width].reshape(-1, table.width)
    numbers[:, : rows.shape[-1]] = quantised.T
    out = out[numbers.size // FLOAT_BYTES :]
    out[: table.entries] = scales
    return out[round_up(table.entries, target.lanes) :]


def _pack_half(block: Block, matrix: np.ndarray, target: Target, out: np.ndarray) -> np.ndarray:
    """(inner, columns) to panels of half numbers, then the scales of the columns. Returns what is left of ``out``."""
    layout, columns = packed_matrix(block, target), block.sizes["columns"]
    halves, scales = halve_weights(matrix)
    numbers = pack_half(halves, layout.tiling.panel(target), target.lanes)
    out.view(np.float16)[: numbers.size] = numbers
    out = out[layout.matrix_elements :]
    out[:columns] = scales
    return out[layout.scales :]


_PACKERS = MappingProxyType({"fp32": _pack_matrix, "int8": _pack_int8, "fp16": _pack_half})


def _pack_rows(array: np.ndarray, target: Target, out: np.ndarray) -> np.ndarray:
    """(rows, columns) with zeros to whole vectors. Returns what is left of ``out``."""
    array = array.reshape(-1, array.shape[-1])
    width = round_up(array.shape[-1], target.lanes)
    out[: len(array) * width].reshape(-1, width)[:, : array.shape[-1]] = array
    return out[len(array) * width :]


def weight_elements(block: Block, target: Target) -> int:
    """Length of what :func:`pack_weights` returns, known without the weights."""
    width = round_up(block.sizes.get("columns", block.sizes.get("hidden", 0)), target.lanes)
    total = epilogue_vectors(block) * width
    if block.anchor == "gemm":
        total += packed_matrix(block, target).elements
    if "tokens" in block.sizes:
        total += 4 * round_up(block.sizes["tokens"] + 1, target.lanes)
    if block.anchor == "embeddings":
        total += lookup_tables(block, target)[1]
    return total


def packed_bytes(block: Block, target: Target) -> int:
    """Bytes of a block's weights in the file, whole cache lines."""
    return round_up(weight_elements(block, target) * FLOAT_BYTES, ALIGNMENT)
