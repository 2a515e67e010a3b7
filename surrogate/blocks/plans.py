"""The blocks of many architectures at once, as distinct blocks and how often each architecture runs them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from operator import attrgetter
from typing import TYPE_CHECKING

import numpy as np

from data.architecture import Architecture
from fusion.block import Block

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

# Plans are kept: a search asks for the same shapes again and again.
_KEPT_PLANS = 1 << 16
_PLANNED_LAYERS = 2
# All that makes two architectures' layers differ.
_SHAPE = attrgetter(*(field.name for field in fields(Architecture) if field.name != "layers"))

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
    """Plan every architecture; models that differ in depth only are planned once and counted together."""
    from scipy.sparse import diags

    shapes: dict[tuple[object, ...], int] = {}
    examples: list[Architecture] = []
    members = np.zeros(len(architectures), dtype=np.int64)
    further = np.zeros(len(architectures))
    for position, architecture in enumerate(architectures):
        deep = architecture.layers >= _PLANNED_LAYERS
        members[position] = shapes.setdefault((deep, *_SHAPE(architecture)), len(shapes))
        if members[position] == len(examples):
            examples.append(replace(architecture, layers=_PLANNED_LAYERS) if deep else architecture)
        further[position] = max(architecture.layers - _PLANNED_LAYERS, 0)
    blocks, plain, repeated = _count_shapes(examples)
    return BlockCounts(blocks, (plain[members] + diags(further) @ repeated[members]).tocsr())


def _count_shapes(examples: Sequence[Architecture]) -> tuple[tuple[Block, ...], csr_matrix, csr_matrix]:
    """(distinct blocks, how often each example runs them, how often each further layer does)."""
    from scipy.sparse import csr_matrix

    index: dict[Block, int] = {}
    entries: list[tuple[int, int, int]] = []
    spans: dict[_Structure, tuple[int, int]] = {}
    for row, example in enumerate(examples):
        for block, is_repeated in _counted(example, spans):
            entries.append((row, index.setdefault(block, len(index)), is_repeated))
    rows, columns, repeats = np.array(entries, dtype=np.int64).reshape(-1, 3).T
    shape = (len(examples), len(index))
    plain = csr_matrix((np.ones(len(rows)), (rows, columns)), shape=shape)
    return tuple(index), plain, csr_matrix((repeats.astype(float), (rows, columns)), shape=shape)


def _counted(architecture: Architecture, spans: dict[_Structure, tuple[int, int]]) -> Iterator[tuple[Block, int]]:
    """Each block of the plan of one or two layers, and 1 where each further layer runs it again.

    The last layer may differ from the others, as a sequence's classifier reads its first row only; so models of two
    layers and more are counted from the plan of two layers, in which the first layer stands for all but the last.
    """
    if architecture.layers < _PLANNED_LAYERS:
        yield from ((block, 0) for block in _plan(architecture))
        return
    plan = _plan(architecture)
    structure = tuple((block.anchor, block.epilogue, block.sizes["rows"]) for block in plan)
    if structure not in spans:
        spans[structure] = _layer_span(plan, architecture)
    start, length = spans[structure]
    for position, block in enumerate(plan):
        yield block, int(start <= position < start + length)


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
