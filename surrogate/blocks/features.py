"""Cost features of blocks: what a block must do, and how well that fits the target's registers, caches and threads."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from fusion.block import PRECISION_BYTES, Block
from fusion.emit.c.packed_matrix import packed_matrix
from fusion.emit.c.sharing import makespan, tile_count
from fusion.emit.c.tiling import product_cost
from fusion.target import Target

_EPILOGUES = ("gelu", "residual", "layer_norm", "tanh")
# What plans of architectures are made of; other anchors, which only imported models hold, have no feature of their own.
_ANCHORS = ("embeddings", "gemm", "attention", "rowwise", "scores", "softmax", "context", "position_ids")
# A shared last-level cache of usual size, beside the target's own L2.
_SHARED_CACHE = 4 << 20
_KEPT = 1 << 16

FEATURE_NAMES: tuple[str, ...] = (
    "log_flops",
    "log_bytes",
    "log_weight_bytes",
    "log_intensity",
    "log_rows",
    "log_inner",
    "log_columns",
    "log_heads",
    "log_cycles",
    "waste",
    "log_tiles",
    "idle_share",
    "tile_rows",
    "tile_vectors",
    "row_remainder",
    "column_remainder",
    "log_weights_over_l2",
    "log_bytes_over_l2",
    "log_bytes_over_shared_cache",
    "log_threads",
    "log_lanes",
    *(f"epilogue_{name}" for name in _EPILOGUES),
    *(f"anchor_{name}" for name in _ANCHORS),
    "int8",
)
# Non-negative terms of the physical base: a constant, the busiest thread's work, bytes moved, and that thread's passes
# over elements.
BASE_NAMES: tuple[str, ...] = (
    "constant",
    "busiest_cycles",
    "weight_bytes",
    "activation_bytes",
    "busiest_elements",
    "busiest_scores",
    "busiest_bytes",
)
SCHEMA_HASH = hashlib.sha256("|".join((*FEATURE_NAMES, *BASE_NAMES)).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Setting:
    """What blocks run on: the compiler's target and the number of CPU threads; and how fast the cores are that run
    them, the fastest one at 1, where they are not all alike."""

    target: Target
    threads: int
    speeds: tuple[float, ...] = ()

    @property
    def power(self) -> float:
        """How many of the fastest cores they are worth."""
        return sum(self.speeds) or self.threads

    def shared(self, tiles: int) -> float:
        """How many tiles' time passes on the fastest core until all are done; a slow core may end the last."""
        return _makespan(self.speeds, tiles) if self.speeds else -(-tiles // self.threads)


@dataclass(frozen=True)
class Loops:
    """The loops of any block, named as a GEMM's: attention and embeddings have their own reading of them."""

    rows: int
    inner: int
    columns: int
    heads: int = 1


@dataclass(frozen=True)
class _Work:
    """``cycles`` of one core by the emitter's own count; ``tiles`` that threads share; the register tile; and bytes of
    operands that a tile of a product goes through."""

    cycles: float
    tiles: int
    tile_rows: int = 1
    tile_columns: int = 1
    tile_bytes: float = 0.0


@lru_cache(maxsize=_KEPT)
def _makespan(speeds: tuple[float, ...], tiles: int) -> float:
    return makespan([1 / speed for speed in speeds], tiles)


def loops_of(block: Block) -> Loops:
    """Rows, reduction length and columns of a block; heads are independent copies."""
    sizes = block.sizes
    if block.anchor == "attention":
        return Loops(sizes["rows"], sizes["keys"], sizes["head_size"], sizes["heads"])
    if block.anchor == "embeddings":
        return Loops(sizes["rows"], sizes["tables"], sizes["hidden"])
    # Attention in three blocks, as plans without fusion have it.
    if block.anchor == "scores":
        return Loops(sizes["rows"], sizes["head_size"], sizes["keys"], sizes["heads"])
    if block.anchor == "context":
        return Loops(sizes["rows"], sizes["keys"], sizes["head_size"], sizes["heads"])
    if block.anchor == "softmax":
        return Loops(sizes["rows"], 1, sizes["keys"])
    return Loops(sizes["rows"], sizes.get("inner", 1), sizes["columns"])


def kind_of(block: Block) -> str:
    """Blocks of one kind run the same loops, so that their times follow one law of cost."""
    single = " single row" if block.sizes["rows"] == 1 else ""
    precision = "" if block.precision == "fp32" else f" {block.precision}"
    return f"{block.anchor} {'+'.join(block.epilogue)}{single}{precision}"


def block_features(blocks: Sequence[Block], setting: Setting) -> np.ndarray:
    """(blocks, features) in the order of :data:`FEATURE_NAMES`."""
    rows = [_features(block, setting) for block in blocks]
    return np.array(rows, dtype=np.float64).reshape(len(blocks), len(FEATURE_NAMES))


def base_features(blocks: Sequence[Block], setting: Setting) -> np.ndarray:
    """(blocks, terms) in the order of :data:`BASE_NAMES`; cycles in millions, bytes and elements in thousands."""
    rows = [_base(block, setting) for block in blocks]
    return np.array(rows, dtype=np.float64).reshape(len(blocks), len(BASE_NAMES))


@lru_cache(maxsize=_KEPT)
def _work(block: Block, target: Target) -> _Work:
    loops, tiles = loops_of(block), tile_count(block, target)
    if block.anchor == "attention":
        scores = loops.columns * product_cost(loops.inner, loops.rows, target)
        context = loops.inner * product_cost(loops.columns, loops.rows, target)
        return _Work(loops.heads * (scores + context), tiles, tile_columns=target.lanes)
    if block.anchor in ("scores", "context"):
        return _Work(loops.heads * loops.inner * product_cost(loops.rows, loops.columns, target), tiles)
    if block.anchor != "gemm":
        return _Work(loops.rows * loops.columns * loops.inner / target.lanes, tiles)
    tiling = packed_matrix(block, target).tiling
    cycles = loops.inner * product_cost(loops.rows, loops.columns, target)
    operands = (tiling.row_block + tiling.panel(target)) * loops.inner * PRECISION_BYTES[block.precision]
    return _Work(cycles, tiles, tiling.rows, tiling.panel(target), operands)


def _features(block: Block, setting: Setting) -> list[float]:
    loops, cost, target = loops_of(block), block.cost, setting.target
    work = _work(block, target)
    ideal = cost.flops / (2 * target.lanes)
    # A table's rows that are only looked up, as without fusion, are no arithmetic.
    flops = max(cost.flops, 1)
    sizes = (flops, cost.bytes_moved, cost.weight_bytes + 1, flops / cost.bytes_moved)
    weights_over_l2 = (cost.weight_bytes + 1) / target.l2_bytes
    caches = (weights_over_l2, cost.bytes_moved / target.l2_bytes, cost.bytes_moved / _SHARED_CACHE)
    return [
        *np.log(sizes),
        *np.log((loops.rows, loops.inner, loops.columns, loops.heads)),
        np.log(work.cycles),
        work.cycles / max(ideal, 1.0),
        np.log(work.tiles),
        1 - work.tiles / (setting.shared(work.tiles) * setting.power),
        work.tile_rows,
        work.tile_columns / target.lanes,
        _waste(loops.rows, work.tile_rows),
        _waste(loops.columns, work.tile_columns),
        *np.log(caches),
        np.log(setting.threads),
        np.log(target.lanes),
        *(float(name in block.epilogue) for name in _EPILOGUES),
        *(float(name == block.anchor) for name in _ANCHORS),
        float(block.precision == "int8"),
    ]


def _base(block: Block, setting: Setting) -> list[float]:
    loops, cost, work = loops_of(block), block.cost, _work(block, setting.target)
    share = setting.shared(work.tiles) / work.tiles
    return [
        1.0,
        work.cycles * share / 1e6,
        cost.weight_bytes / 1e3,
        (cost.bytes_moved - cost.weight_bytes) / 1e3,
        share * loops.heads * loops.rows * loops.columns / 1e3,
        share * loops.heads * loops.rows * loops.inner / 1e3 if block.anchor == "attention" else 0.0,
        setting.shared(work.tiles) * work.tile_bytes / 1e3,
    ]


def _waste(size: int, step: int) -> float:
    """Share of the last tile's work that is thrown away, over the whole."""
    return 1 - size / (-(-size // step) * step)
