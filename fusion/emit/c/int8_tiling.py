"""Tile sizes of an int8 product, chosen for the shape and the target as those of fp32 products are."""

from __future__ import annotations

import math

from fusion.emit.c.tiling import Tiling, row_pieces
from fusion.emit.layout import round_up
from fusion.target import Target

# Register tiles (rows, vectors) by a target's registers: accumulators, a line of weights and the bytes of a row fit.
_REGISTER_TILES = {32: ((8, 3), (12, 2), (6, 4)), 16: ((6, 2), (4, 2), (3, 3))}
_SINGLE_ROW_TILE = (1, 4)
_MIN_TILES = 16
# Rows a tile, by the weights' share of a core's L2 cache.
_ROW_BLOCKS = ((0.5, 32), (4.0, 64), (math.inf, 128))


def choose_int8_tiling(rows: int, inner: int, columns: int, target: Target) -> Tiling:
    """The register tile that wastes least, and row blocks as :func:`choose_tiling` makes them, of weights of a byte.

    The whole inner dimension is one step: its sums stay in registers, and a panel's weights are a quarter of fp32's.
    """
    tiles = _REGISTER_TILES[target.registers] if rows > 1 else (_SINGLE_ROW_TILE,)
    tile_rows, vectors = min(tiles, key=lambda tile: _cost(rows, columns, tile, target))
    tile_rows = row_pieces(rows, tile_rows)[0][0]
    panels = -(-columns // (vectors * target.lanes))
    weight_bytes = round_up(inner, target.int8_group) * columns
    wanted = next(rows for share, rows in _ROW_BLOCKS if weight_bytes <= share * target.l2_bytes)
    row_block = round_up(wanted, tile_rows)
    while row_block > tile_rows and panels * -(-rows // row_block) < _MIN_TILES:
        row_block = round_up(row_block // 2, tile_rows)
    fits = weight_bytes <= target.l2_bytes // 2
    return Tiling(tile_rows, vectors, min(row_block, round_up(rows, tile_rows)), inner, not fits)


def _cost(rows: int, columns: int, tile: tuple[int, int], target: Target) -> float:
    """Steps of multiplications along the inner dimension, or of the loads that they wait for."""
    total = 0.0
    tile_rows, vectors = tile
    whole, rest = divmod(-(-columns // target.lanes), vectors)
    for height, row_count in row_pieces(rows, tile_rows):
        for width, column_count in ((vectors, whole), (rest, 1)):
            if width:
                total += row_count * column_count * max(height * width, height + width)
    return total
