"""Cost features of blocks: what a block must do, and how well that fits the target's vectors and threads."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fusion.block import ANCHORS, FLOAT_BYTES, Block

_EPILOGUES = ("gelu", "residual", "layer_norm", "tanh")
# Rows of the register tiles that the emitter may choose, and their columns in vectors.
_TILE_ROWS = (8, 12)
_TILE_VECTORS = (1, 2, 3, 4)
_CACHES = (32 << 10, 512 << 10, 4 << 20)

FEATURE_NAMES: tuple[str, ...] = (
    "log_flops",
    "log_bytes",
    "log_weight_bytes",
    "log_intensity",
    "log_rows",
    "log_inner",
    "log_columns",
    "log_heads",
    "log_tiles",
    "idle_share",
    *(f"row_remainder_{rows}" for rows in _TILE_ROWS),
    *(f"column_remainder_{vectors}" for vectors in _TILE_VECTORS),
    *(f"log_cache_{cache >> 10}k" for cache in _CACHES),
    *(f"epilogue_{name}" for name in _EPILOGUES),
    *(f"anchor_{name}" for name in ANCHORS),
)
# Non-negative terms of the physical base: a constant, work, and the bytes that must be moved.
BASE_NAMES: tuple[str, ...] = ("constant", "flops", "padded_flops", "weight_bytes", "activation_bytes", "elements")
SCHEMA_HASH = hashlib.sha256("|".join((*FEATURE_NAMES, *BASE_NAMES)).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Loops:
    """The loops of any block, named as a GEMM's: attention and embeddings have their own reading of them."""

    rows: int
    inner: int
    columns: int
    heads: int = 1


def loops_of(block: Block) -> Loops:
    """Rows, reduction length and columns of a block; heads are independent copies."""
    sizes = block.sizes
    if block.anchor == "attention":
        return Loops(sizes["rows"], sizes["keys"], sizes["head_size"], sizes["heads"])
    if block.anchor == "embeddings":
        return Loops(sizes["rows"], sizes["tables"], sizes["hidden"])
    return Loops(sizes["rows"], sizes.get("inner", 1), sizes["columns"])


def kind_of(block: Block) -> str:
    """Blocks of one kind run the same loops, so that their times follow one law of cost."""
    single = " single row" if block.sizes["rows"] == 1 else ""
    return f"{block.anchor} {'+'.join(block.epilogue)}{single}"


def block_features(blocks: Sequence[Block], vector_bytes: int, threads: int) -> np.ndarray:
    """(blocks, features) in the order of :data:`FEATURE_NAMES`."""
    rows = [_features(block, vector_bytes // FLOAT_BYTES, threads) for block in blocks]
    return np.array(rows, dtype=np.float64).reshape(len(blocks), len(FEATURE_NAMES))


def base_features(blocks: Sequence[Block], vector_bytes: int) -> np.ndarray:
    """(blocks, terms) in the order of :data:`BASE_NAMES`; flops in millions, bytes and elements in thousands."""
    rows = [_base(block, vector_bytes // FLOAT_BYTES) for block in blocks]
    return np.array(rows, dtype=np.float64).reshape(len(blocks), len(BASE_NAMES))


def _features(block: Block, lanes: int, threads: int) -> list[float]:
    loops, cost = loops_of(block), block.cost
    tiles = loops.heads * _ceil(loops.rows, 8) * _ceil(loops.columns, 2 * lanes)
    rounds = _ceil(tiles, threads) * threads
    sizes = (cost.flops, cost.bytes_moved, cost.weight_bytes + 1, cost.flops / cost.bytes_moved)
    return [
        *np.log(sizes),
        *np.log((loops.rows, loops.inner, loops.columns, loops.heads, tiles)),
        1 - tiles / rounds,
        *(_waste(loops.rows, rows) for rows in _TILE_ROWS),
        *(_waste(loops.columns, vectors * lanes) for vectors in _TILE_VECTORS),
        *(np.log(cost.bytes_moved / cache) for cache in _CACHES),
        *(float(name in block.epilogue) for name in _EPILOGUES),
        *(float(name == block.anchor) for name in ANCHORS),
    ]


def _base(block: Block, lanes: int) -> list[float]:
    loops, cost = loops_of(block), block.cost
    padding = _ceil(loops.columns, 2 * lanes) * 2 * lanes / loops.columns
    return [
        1.0,
        cost.flops / 1e6,
        cost.flops * (padding - 1) / 1e6,
        cost.weight_bytes / 1e3,
        (cost.bytes_moved - cost.weight_bytes) / 1e3,
        loops.heads * loops.rows * loops.columns / 1e3,
    ]


def _ceil(size: int, step: int) -> int:
    return -(-size // step)


def _waste(size: int, step: int) -> float:
    """Share of the last tile's work that is thrown away, over the whole."""
    return 1 - size / (_ceil(size, step) * step)
