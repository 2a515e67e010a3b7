"""The blocks of many architectures at once, as distinct blocks and how often each architecture runs them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from data.architecture import Architecture
from fusion.block import Block

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

# Plans are kept: a search asks for the same shapes again and again.
_KEPT_PLANS = 1 << 16
_PLANNED_LAYERS = 2

_Structure = tuple[tuple[str, tuple[str, ...], int], ...]


@dataclass(frozen=True)
class BlockCounts:
    """Distinct ``blocks``, and the (architectures, blocks) matrix of how often each is run."""

    blocks: tuple[Block, ...]
    counts: csr_matrix

    def totals(self, times_ms: np.ndarray) -> np.ndarray:
        """(architectures,) sums of the blocks' times (blocks,) in ms."""
        return np.asarray(self.counts @ times_ms, dtype=np.float64)

    @property
    def lengths(self) -> np.ndarray:
        """(architectures,) number of blocks run."""
        return np.asarray(self.counts.sum(axis=1), dtype=np.float64).ravel()


def count_blocks(architectures: Sequence[Architecture]) -> BlockCounts:
    """Plan every architecture; models that differ in depth only are planned once."""
    from scipy.sparse import csr_matrix

    index: dict[Block, int] = {}
    columns: list[int] = []
    values: list[int] = []
    ends = [0]
    spans: dict[_Structure, tuple[int, int]] = {}
    for architecture in architectures:
        for block, count in _counted(architecture, spans):
            columns.append(index.setdefault(block, len(index)))
            values.append(count)
        ends.append(len(columns))
    shape = (len(architectures), len(index))
    return BlockCounts(tuple(index), csr_matrix((np.array(values, dtype=float), columns, ends), shape=shape))


def _counted(architecture: Architecture, spans: dict[_Structure, tuple[int, int]]) -> Iterator[tuple[Block, int]]:
    """Each block of a model's plan with how often it runs, a block that occurs in two places twice.

    The last layer differs from the others, since only its first row is read; so models of two layers and more are
    counted from the plan of two layers, in which the first layer stands for all but the last.
    """
    if architecture.layers < _PLANNED_LAYERS:
        yield from ((block, 1) for block in _plan(architecture))
        return
    planned = replace(architecture, layers=_PLANNED_LAYERS)
    plan = _plan(planned)
    structure = tuple((block.anchor, block.epilogue, block.sizes["rows"]) for block in plan)
    if structure not in spans:
        spans[structure] = _layer_span(plan, planned)
    start, length = spans[structure]
    for position, block in enumerate(plan):
        repeated = start <= position < start + length
        yield block, architecture.layers - _PLANNED_LAYERS + 1 if repeated else 1


def _layer_span(plan: Sequence[Block], planned: Architecture) -> tuple[int, int]:
    """(first block, number of blocks) of the layer that further layers repeat, found by planning one layer more."""
    longer = _plan(replace(planned, layers=planned.layers + 1))
    length = len(longer) - len(plan)
    for start in range(len(plan) - length + 1):
        if longer == (*plan[: start + length], *plan[start:]):
            return start, length
    raise ValueError("the plan of a deeper model does not repeat a layer of the plan of a shallower one")


@lru_cache(maxsize=_KEPT_PLANS)
def _plan(architecture: Architecture) -> tuple[Block, ...]:
    from fusion import plan_architecture

    return plan_architecture(architecture)
