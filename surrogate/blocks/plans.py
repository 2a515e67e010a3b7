"""The blocks of many architectures at once, as distinct blocks and how often each architecture runs them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from data.architecture import Architecture
from fusion import Block, plan_architecture
from fusion.planning.depth import PLANNED_LAYERS, Structure, repeated_blocks, shape_of, structure

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


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


def count_blocks(architectures: Sequence[Architecture], fuse: bool = True) -> BlockCounts:
    """Plan every architecture; models that differ in depth only are planned once and counted together. Without
    ``fuse``, each operator is a block."""
    from scipy.sparse import diags

    shapes: dict[tuple[object, ...], int] = {}
    examples: list[Architecture] = []
    members = np.zeros(len(architectures), dtype=np.int64)
    further = np.array([architecture.layers - PLANNED_LAYERS for architecture in architectures], dtype=np.float64)
    for position, architecture in enumerate(architectures):
        members[position] = shapes.setdefault(shape_of(architecture), len(shapes))
        if members[position] == len(examples):
            examples.append(replace(architecture, layers=PLANNED_LAYERS))
    blocks, plain, repeated = _count_shapes(examples, fuse)
    counts = (plain[members] + diags(further) @ repeated[members]).tocsr()
    counts.eliminate_zeros()
    return BlockCounts(blocks, counts)


def _count_shapes(examples: Sequence[Architecture], fuse: bool) -> tuple[tuple[Block, ...], csr_matrix, csr_matrix]:
    """(distinct blocks, how often each example runs them, how often each further layer does)."""
    from scipy.sparse import csr_matrix

    index: dict[Block, int] = {}
    entries: list[tuple[int, int, int]] = []
    spans: dict[Structure, slice] = {}
    for row, example in enumerate(examples):
        for block, is_repeated in _counted(example, fuse, spans):
            entries.append((row, index.setdefault(block, len(index)), is_repeated))
    rows, columns, repeats = np.array(entries, dtype=np.int64).reshape(-1, 3).T
    shape = (len(examples), len(index))
    plain = csr_matrix((np.ones(len(rows)), (rows, columns)), shape=shape)
    return tuple(index), plain, csr_matrix((repeats.astype(float), (rows, columns)), shape=shape)


def _counted(architecture: Architecture, fuse: bool, spans: dict[Structure, slice]) -> Iterator[tuple[Block, int]]:
    """Each block of the plan of two layers, and 1 where each further layer runs it again (a single one does not)."""
    plan = plan_architecture(architecture, fuse)
    kind = structure(plan)
    if kind not in spans:
        spans[kind] = repeated_blocks(plan, architecture, fuse)
    repeated = range(*spans[kind].indices(len(plan)))
    for position, block in enumerate(plan):
        yield block, int(position in repeated)
