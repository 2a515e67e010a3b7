"""Tile sizes of a matrix product, chosen for the shape and the target."""

from __future__ import annotations

import math
from dataclasses import dataclass

from fusion.block import FLOAT_BYTES
from fusion.emit.layout import round_up
from fusion.target import Target

# Register tiles (rows, vectors) whose accumulators, one line of weights and a broadcast fit the registers.
_REGISTER_TILES = {32: ((8, 3), (12, 2), (6, 4), (14, 2)), 16: ((6, 2), (5, 2), (3, 3), (2, 5))}
# Accumulators that hide the latency of two multiply-adds a cycle: four cycles each, five on older AVX2 processors.
_IN_FLIGHT = {32: 8, 16: 10}
# One row alone: as many accumulators as hide the latency of a multiply-add.
SINGLE_ROW_TILE = (1, 4)
_MIN_TILES = 16
# Rows a tile, by the weights' share of a core's L2 cache: small tiles share out evenly, large ones read weights less.
_ROW_BLOCKS = ((0.5, 32), (4.0, 64), (math.inf, 128))


@dataclass(frozen=True)
class Tiling:
    """``rows`` x ``vectors`` accumulators in registers; ``row_block`` rows and one panel a tile; ``depth_block``
    elements of the inner dimension at a time; ``panels_first`` goes through all row blocks before the next panel.
    With ``whole_rows`` a tile is all panels of a block of rows."""

    rows: int
    vectors: int
    row_block: int
    depth_block: int
    panels_first: bool = False
    whole_rows: bool = False

    def panel(self, target: Target) -> int:
        """Columns of a panel."""
        return self.vectors * target.lanes


def register_tiles(target: Target) -> tuple[tuple[int, int], ...]:
    """(rows, vectors) of the register tiles that a target's products of several rows choose from."""
    return _REGISTER_TILES[target.registers]


def choose_tiling(rows: int, inner: int, columns: int, target: Target) -> Tiling:
    """The register tile that wastes least, then row blocks small enough to share out and large enough to reuse
    the weights that they stream."""
    tiles = _REGISTER_TILES[target.registers] if rows > 1 else (SINGLE_ROW_TILE,)
    tile_rows, vectors = min(tiles, key=lambda tile: _cost(rows, columns, tile, target))
    tile_rows = row_pieces(rows, tile_rows)[0][0]
    panels = -(-columns // (vectors * target.lanes))
    weight_bytes = inner * columns * FLOAT_BYTES
    fits = weight_bytes <= target.l2_bytes // 2
    wanted = next(rows for share, rows in _ROW_BLOCKS if weight_bytes <= share * target.l2_bytes)
    row_block = round_up(wanted, tile_rows)
    while row_block > tile_rows and panels * -(-rows // row_block) < _MIN_TILES:
        row_block = round_up(row_block // 2, tile_rows)
    most_depth = max(256, target.l2_bytes // 4 // (vectors * target.vector_bytes))
    depth_block = -(-inner // -(-inner // most_depth))
    return Tiling(tile_rows, vectors, min(row_block, round_up(rows, tile_rows)), depth_block, not fits)


def row_pieces(rows: int, tile_rows: int) -> tuple[tuple[int, int], ...]:
    """(height, how many) of register tiles that cover ``rows``: heights that differ by one at most, since a few rows
    left over would keep too few multiply-adds in flight."""
    count = -(-rows // tile_rows)
    short, tall_count = divmod(rows, count)
    pieces = ((short + 1, tall_count), (short, count - tall_count))
    return tuple((height, number) for height, number in pieces if height and number)


def product_cost(rows: int, columns: int, target: Target) -> float:
    """Cycles of one step along the inner dimension of a small product, with the best register tile."""
    return min(_cost(rows, columns, tile, target) for tile in _REGISTER_TILES[target.registers])


def packed_elements(inner: int, columns: int, target: Target, tiling: Tiling) -> int:
    """Elements of a packed matrix: whole panels, the last one cut to whole vectors."""
    panel = tiling.panel(target)
    whole, rest = divmod(columns, panel)
    return inner * (whole * panel + round_up(rest, target.lanes))


def _cost(rows: int, columns: int, tile: tuple[int, int], target: Target) -> float:
    """Cycles of one step along the inner dimension: multiply-adds, and loads or latency where they are the limit."""
    total = 0.0
    tile_rows, vectors = tile
    whole, rest = divmod(-(-columns // target.lanes), vectors)
    for height, row_count in row_pieces(rows, tile_rows):
        for width, column_count in ((vectors, whole), (rest, 1)):
            # Two loads and two multiply-adds a cycle; each row also broadcasts one element.
            if width:
                steps = max(height * width, height + width, _IN_FLIGHT[target.registers])
                total += row_count * column_count * steps
    return total
