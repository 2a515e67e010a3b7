"""How the tiles of a block are shared among cores: how many there are, and when the last one is done."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np

from fusion.block import Block
from fusion.emit.c import emit_block
from fusion.emit.c.attention import attention_blocking
from fusion.emit.c.attention_parts import QUERY_BLOCK
from fusion.emit.c.packed_matrix import packed_matrix
from fusion.target import Target


def tile_count(block: Block, target: Target) -> int:
    """Equal tiles that cores take one at a time: those of the emitted unit, without emitting it where that is slow."""
    count = _COUNTS.get(block.anchor)
    return emit_block(block, target).tiles if count is None else count(block, target)


def makespan(tile_times: Sequence[float], tiles: int) -> float:
    """Time until the last of ``tiles`` equal tiles is done when free cores take the next one, as the compiled runtime
    does; a tile takes core i ``tile_times[i]``, in any unit.

    The tiles done are the ``tiles`` that could begin earliest, and a slow core that has begun must still end its tile.
    """
    durations = np.asarray(tile_times, dtype=float)
    starts = np.arange(tiles)[:, None] * durations[None, :]  # (tiles, cores): when core i could begin its k-th tile
    order = np.argsort(starts, axis=None, kind="stable")[:tiles]
    return float((starts + durations[None, :]).ravel()[order].max())


def _product(block: Block, target: Target) -> int:
    tiling = packed_matrix(block, target).tiling
    panels = 1 if tiling.whole_rows else -(-block.sizes["columns"] // tiling.panel(target))
    return panels * -(-block.sizes["rows"] // tiling.row_block)


def _attention(block: Block, target: Target) -> int:
    return block.sizes["heads"] * -(-block.sizes["rows"] // attention_blocking(block, target).queries)


def _attention_part(block: Block, target: Target) -> int:
    rows = block.sizes["rows"]
    return block.sizes["heads"] * -(-rows // min(QUERY_BLOCK, rows))


_COUNTS: Mapping[str, Callable[[Block, Target], int]] = MappingProxyType(
    {"gemm": _product, "attention": _attention, "scores": _attention_part, "context": _attention_part}
)
