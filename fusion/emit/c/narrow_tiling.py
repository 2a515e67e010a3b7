"""Tile sizes of a product in int8 or half, chosen for the shape and the target as those of fp32 products are."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from fusion.block import PRECISION_BYTES
from fusion.emit.c.tiling import Tiling, row_pieces
from fusion.emit.layout import round_up
from fusion.target import Target


@dataclass(frozen=True)
class _Loop:
    """Register tiles (rows, vectors) of an inner loop, and what a step costs them beside ``rows`` x ``vectors``
    multiplications: ``a_vector`` for each vector of weights, ``a_row`` for each row, ``least`` in all. A multiplication
    gives ``results`` vectors of fp32 numbers, and a vector of weights is for as many; rows are multiplied in whole
    multiples of ``row_multiple``.

    Two loads are as long as one multiplication where they run beside them: ``a_row`` and ``a_vector`` are then 0.
    """

    tiles: tuple[tuple[int, int], ...]
    a_vector: float = 0
    a_row: float = 0
    least: float = 0
    results: int = 1
    row_multiple: int = 1


# By machine, loop and registers. `least`: vpdpbusd takes five cycles, two run in each. Cortex-A55 issues nothing beside
# a load of 16 bytes, two cycles. Before smmla the rows are put together in pairs.
_LOOPS: Mapping[tuple[str, str, int], _Loop] = MappingProxyType(
    {
        ("x86_64", "dot", 32): _Loop(((8, 3), (12, 2), (6, 4), (14, 2)), least=10),
        ("x86_64", "dot", 16): _Loop(((6, 2), (5, 2), (2, 5)), least=10),
        ("x86_64", "pairs", 32): _Loop(((8, 3), (12, 2), (6, 4))),
        ("x86_64", "pairs", 16): _Loop(((6, 2), (4, 2), (3, 3))),
        ("aarch64", "mmla", 32): _Loop(((6, 3), (8, 2), (4, 4)), a_row=0.5, row_multiple=2),
        ("aarch64", "dot", 32): _Loop(((10, 2), (8, 2), (7, 3)), a_vector=2),
        ("aarch64", "pairs", 32): _Loop(((3, 3), (2, 3), (3, 2)), a_vector=0.7, a_row=0.7),
    }
)
# Half, eight columns a multiplication: eight rows of two are what sixteen registers of scalars and 32 in all hold.
# Cortex-A55 loads 16 bytes in two cycles and issues nothing beside.
_HALF_LOOP = _Loop(((8, 4),), a_vector=2, results=2)
# One row alone: vectors of sums that hide a multiplication's latency.
_SINGLE_ROW_VECTORS = 4
SINGLE_ROW_INT8, SINGLE_ROW_HALF = ((1, _SINGLE_ROW_VECTORS * results) for results in (1, _HALF_LOOP.results))
_MIN_TILES = 16
# Rows a tile, by the weights' share of a core's L2 cache. Where they are more than half of it, a panel stays in it
# while all blocks of rows pass, so that larger blocks than these would read nothing less often.
_ROW_BLOCKS = ((0.5, 32), (math.inf, 64))
# Weights, as a share of L2, that may pass the L1 cache again for each register tile's rows: more gain nothing.
_FEW_WEIGHTS = 1 / 8


def choose_int8_tiling(rows: int, inner: int, columns: int, target: Target, *, rounded: bool = False) -> Tiling:
    """The register tile that wastes least, and row blocks as :func:`choose_tiling` makes them, of weights of a byte.

    The whole inner dimension is one step: its sums stay in registers, and a panel's weights are a quarter of fp32's.
    Rows that are ``rounded`` are made whole by one tile, a register tile's at a time, where the weights are few and
    that leaves enough tiles: their largest magnitudes, a vector's lanes at most, are then found on the way.
    """
    weight_bytes = round_up(inner, target.int8_group) * columns
    tiling = _tiling(_int8_loop(target), rows, inner, columns, weight_bytes, target)
    enough = tiling.rows <= target.lanes and -(-rows // tiling.rows) >= _MIN_TILES
    if rounded and enough and weight_bytes <= _FEW_WEIGHTS * target.l2_bytes:
        return replace(tiling, row_block=tiling.rows, whole_rows=True)
    return tiling


def choose_half_tiling(rows: int, inner: int, columns: int, target: Target) -> Tiling:
    """As :func:`choose_int8_tiling`, of weights of two bytes."""
    return _tiling(_HALF_LOOP, rows, inner, columns, PRECISION_BYTES["fp16"] * inner * columns, target)


def int8_register_tiles(target: Target) -> tuple[tuple[int, int], ...]:
    """(rows, vectors) of the register tiles that a target's int8 products of several rows choose from."""
    return _int8_loop(target).tiles


def half_register_tiles() -> tuple[tuple[int, int], ...]:
    """(rows, vectors) of the register tiles that products in half of several rows choose from."""
    return _HALF_LOOP.tiles


def _int8_loop(target: Target) -> _Loop:
    return _LOOPS[target.machine, target.int8, target.registers]


def _tiling(loop: _Loop, rows: int, inner: int, columns: int, weight_bytes: int, target: Target) -> Tiling:
    tiles = loop.tiles if rows > 1 else ((1, _SINGLE_ROW_VECTORS * loop.results),)
    tile_rows, vectors = min(tiles, key=lambda tile: _cost(rows, columns, tile, loop, target))
    tile_rows = row_pieces(rows, tile_rows)[0][0]
    panels = -(-columns // (vectors * target.lanes))
    wanted = next(rows for share, rows in _ROW_BLOCKS if weight_bytes <= share * target.l2_bytes)
    row_block = round_up(wanted, tile_rows)
    while row_block > tile_rows and panels * -(-rows // row_block) < _MIN_TILES:
        row_block = round_up(row_block // 2, tile_rows)
    fits = weight_bytes <= target.l2_bytes // 2
    return Tiling(tile_rows, vectors, min(row_block, round_up(rows, tile_rows)), inner, not fits)


def _cost(rows: int, columns: int, tile: tuple[int, int], loop: _Loop, target: Target) -> float:
    """Multiplications along the inner dimension, a step of it, and what else takes as long."""
    total = 0.0
    tile_rows, vectors = tile
    whole, rest = divmod(-(-columns // target.lanes), vectors)
    for height, row_count in row_pieces(rows, tile_rows):
        multiplied = round_up(height, loop.row_multiple)
        for width, column_count in ((-(-vectors // loop.results), whole), (-(-rest // loop.results), 1)):
            if width:
                step = multiplied * width + loop.a_vector * width + loop.a_row * height
                total += row_count * column_count * max(step, height + width, loop.least)
    return total
