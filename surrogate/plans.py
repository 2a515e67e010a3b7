"""The blocks of many architectures at once, as distinct blocks and how often each architecture runs them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from data.architecture import Architecture
from fusion.block import Block

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

# Plans of one-layer models are kept: a search asks for the same shapes again and again.
_KEPT_PLANS = 1 << 16


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
    for architecture in architectures:
        for block, count in _shape_plan(replace(architecture, layers=1)):
            columns.append(index.setdefault(block, len(index)))
            values.append(count[0] + count[1] * architecture.layers)
        ends.append(len(columns))
    shape = (len(architectures), len(index))
    return BlockCounts(tuple(index), csr_matrix((np.array(values, dtype=float), columns, ends), shape=shape))


@lru_cache(maxsize=_KEPT_PLANS)
def _shape_plan(one_layer: Architecture) -> tuple[tuple[Block, tuple[int, int]], ...]:
    """Each block of a one-layer model with its number outside the layers and in each layer."""
    from fusion import plan_architecture

    plan = plan_architecture(one_layer)
    start, length = _layer_span(plan, one_layer)
    return tuple(
        (block, (0, 1) if start <= position < start + length else (1, 0)) for position, block in enumerate(plan)
    )


def _layer_span(plan: Sequence[Block], one_layer: Architecture) -> tuple[int, int]:
    """(first block, number of blocks) of the layer in the plan of a one-layer model.

    A second layer repeats blocks of the first, so it is found by comparing with the plan of two layers.
    """
    from fusion import plan_architecture

    two = plan_architecture(replace(one_layer, layers=2))
    length = len(two) - len(plan)
    for start in range(len(plan) - length + 1):
        if two == (*plan[: start + length], *plan[start:]):
            return start, length
    raise ValueError("the plan of a two-layer model does not repeat that of a one-layer model")
