"""Packs a block's weights as its kernels read them: the matrix or tables first, then the epilogue's constants."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fusion.block import FLOAT_BYTES, Block, epilogue_vectors
from fusion.emit.layout import ALIGNMENT, round_up
from fusion.emit.opencl.family import Tile
from fusion.emit.opencl.kernel import matrix_bytes, padded
from fusion.emit.opencl.product import matrix_width

_DTYPES = {"fp32": np.float32, "fp16": np.float16}


def matrix_numbers(block: Block, tile: Tile | None) -> int:
    """Numbers of a block's matrix or tables, with what fills rows up."""
    if tile is not None:
        return block.sizes["inner"] * matrix_width(block, tile)
    width = padded(block.sizes.get("hidden", 0) // max(1, len(block.window_offsets)))
    return width * sum(block.table_entries)


def weight_bytes(block: Block, tile: Tile | None) -> int:
    """Bytes of a block's weights in the file, whole cache lines."""
    width = padded(block.sizes.get("columns", block.sizes.get("hidden", 0)))
    constants = epilogue_vectors(block) * width
    if "tokens" in block.sizes:
        constants += 4 * padded(block.sizes["tokens"] + 1)
    return round_up(matrix_bytes(block, matrix_numbers(block, tile)) + constants * FLOAT_BYTES, ALIGNMENT)


def pack_weights(block: Block, weights: Sequence[np.ndarray], tile: Tile | None) -> np.ndarray:
    """bytes [weight_bytes]: the constants of a block in the order of its plan."""
    arrays = list(weights)
    packed = np.zeros(weight_bytes(block, tile), np.uint8)
    matrices = [arrays.pop(0) for _ in range(1 if tile else len(block.table_entries))]
    numbers = packed.view(_DTYPES[block.precision])
    if tile:
        _pack_matrix(np.asarray(matrices[0], np.float32), tile, matrix_width(block, tile), numbers)
    else:
        _pack_rows(matrices, numbers)
    constants = packed[matrix_bytes(block, matrix_numbers(block, tile)) :].view(np.float32)
    _pack_rows(arrays, constants)
    return packed


def _pack_matrix(matrix: np.ndarray, tile: Tile, width: int, out: np.ndarray) -> None:
    """(inner, columns) with zeros to whole tiles: row by row, or panel by panel of a tile's columns."""
    inner, columns = matrix.shape
    filled = np.zeros((inner, width), out.dtype)
    filled[:, :columns] = matrix
    if tile.panels:
        filled = filled.reshape(inner, width // tile.columns, tile.columns).transpose(1, 0, 2)
    out[: filled.size] = filled.reshape(-1)


def _pack_rows(arrays: Sequence[np.ndarray], out: np.ndarray) -> None:
    """Rows one after the other, each with zeros to whole vectors."""
    at = 0
    for array in arrays:
        rows = np.asarray(array).reshape(-1, array.shape[-1])
        width = padded(rows.shape[1])
        out[at : at + len(rows) * width].reshape(-1, width)[:, : rows.shape[1]] = rows
        at += len(rows) * width
