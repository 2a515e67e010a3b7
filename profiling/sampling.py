"""What to measure: blocks and whole models that cover the search space.

Architectures are drawn from a scrambled Sobol sequence; the blocks to measure are chosen from those of many such
architectures, spread by farthest-point sampling in the logarithm of their sizes.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import zip_longest

import numpy as np

from data.architecture import Architecture
from data.errors import InputError
from fusion.block import Block

# How many architectures are planned to find the candidate blocks.
_CANDIDATE_ARCHITECTURES = 1024
# Blocks of a single row occur once in a model and take little of its time, so fewer of them are measured.
_SINGLE_ROW_WEIGHT = 0.4
# Equally distant blocks are told apart at random.
_TIE = 1e-9


@dataclass(frozen=True)
class SamplingRange:
    """The part of the search space that is measured. ``sparse_hidden`` are widths beyond it, drawn rarely."""

    layers: tuple[int, int] = (2, 12)
    hidden: tuple[int, ...] = tuple(range(64, 513, 32))
    sparse_hidden: tuple[int, ...] = (576, 640, 768)
    sparse_share: float = 0.1
    head_size: tuple[int, int] = (16, 64)
    intermediate_ratio: tuple[float, float] = (1.0, 4.0)
    intermediate_step: int = 64
    seq_len: int = 128
    vocab_size: int = 30522
    max_positions: int = 512
    labels: int = 2

    def __post_init__(self) -> None:
        if self.layers[0] > self.layers[1] or not self.hidden or self.intermediate_step < 1:
            raise InputError("the sampling range is empty")

    def heads(self, hidden: int) -> tuple[int, ...]:
        """Numbers of heads that divide ``hidden`` into heads of an allowed, even size."""
        smallest, largest = self.head_size
        sizes = (size for size in range(smallest, largest + 1) if hidden % size == 0 and size % 8 == 0)
        return tuple(sorted(hidden // size for size in sizes))


def sample_architectures(space: SamplingRange, count: int, seed: int) -> tuple[Architecture, ...]:
    """``count`` distinct architectures that fill the space evenly; equal seeds give equal ones."""
    from scipy.stats import qmc

    sobol = qmc.Sobol(d=5, seed=np.random.default_rng(seed))
    chosen: dict[Architecture, None] = {}
    for _ in range(20):
        for point in sobol.random(max(64, 1 << (count - 1).bit_length())):
            chosen.setdefault(_architecture(space, point))
            if len(chosen) == count:
                return tuple(chosen)
    return tuple(chosen)


def _architecture(space: SamplingRange, point: np.ndarray) -> Architecture:
    """The architecture at a point of the unit cube (5,): layers, hidden, heads, intermediate, sparse."""
    widths = space.sparse_hidden if point[4] < space.sparse_share and space.sparse_hidden else space.hidden
    hidden = int(_pick(widths, point[1]))
    low, high = (ratio * hidden / space.intermediate_step for ratio in space.intermediate_ratio)
    steps = range(max(1, int(np.ceil(low))), max(1, int(high)) + 1) or (max(1, int(high)),)
    return Architecture(
        layers=int(_pick(range(space.layers[0], space.layers[1] + 1), point[0])),
        hidden=hidden,
        heads=int(_pick(space.heads(hidden) or (1,), point[2])),
        intermediate=int(_pick(steps, point[3])) * space.intermediate_step,
        vocab_size=space.vocab_size,
        seq_len=space.seq_len,
        max_positions=max(space.max_positions, space.seq_len),
        labels=space.labels,
    )


def _pick(values: Sequence[int], share: float) -> int:
    return values[min(int(share * len(values)), len(values) - 1)]


@cache
def candidate_blocks(space: SamplingRange, seed: int) -> tuple[Block, ...]:
    """Distinct blocks of many architectures of the space, in a stable order."""
    # Two layers hold every block that more layers hold; the last one differs, as only its first row is read.
    shapes = {replace(arch, layers=2): None for arch in sample_architectures(space, _CANDIDATE_ARCHITECTURES, seed)}
    return distinct_blocks(shapes)


def distinct_blocks(architectures: Iterable[Architecture]) -> tuple[Block, ...]:
    """The distinct blocks of some architectures, in the order in which they first occur."""
    from fusion import plan_architecture

    return tuple({block: None for architecture in architectures for block in plan_architecture(architecture)})


def choose_blocks(candidates: Sequence[Block], count: int, seed: int, given: Sequence[Block] = ()) -> tuple[Block, ...]:
    """``count`` of the candidates, spread over kinds and sizes, away from the ``given`` ones.

    Each kind (anchor, epilogue, one row or many) gets a number that grows with the square root of its candidates;
    within a kind each next block is the one farthest, in the logarithm of the sizes, from all those chosen.
    """
    kinds: dict[tuple[str, tuple[str, ...], bool], list[Block]] = defaultdict(list)
    for block in sorted(candidates, key=lambda block: block.signature):
        kinds[_kind(block)].append(block)
    taken: dict[tuple[str, tuple[str, ...], bool], list[Block]] = defaultdict(list)
    for block in given:
        taken[_kind(block)].append(block)
    quotas = _quotas({kind: len(blocks) for kind, blocks in kinds.items()}, count + len(given))
    random = np.random.default_rng(seed)
    chosen = [
        _farthest(kinds[kind], taken[kind], max(0, quota - len(taken[kind])), random) for kind, quota in quotas.items()
    ]
    # In turns, so that a number that suits no quota leaves out the last of each kind.
    in_turns = [block for turn in zip_longest(*chosen) for block in turn if block is not None]
    return tuple(in_turns[:count])


def profile_blocks(
    space: SamplingRange, fit_models: Sequence[Architecture], count: int, seed: int
) -> tuple[Block, ...]:
    """``count`` blocks: half of them from the fitted models, which are compiled anyway; the others fill the gaps."""
    given = choose_blocks(distinct_blocks(fit_models), count // 2, seed)
    return (*given, *choose_blocks(candidate_blocks(space, seed), count - len(given), seed, given))


def _kind(block: Block) -> tuple[str, tuple[str, ...], bool]:
    return block.anchor, block.epilogue, block.sizes["rows"] == 1


def _quotas(
    sizes: dict[tuple[str, tuple[str, ...], bool], int], count: int
) -> dict[tuple[str, tuple[str, ...], bool], int]:
    roots = {kind: np.sqrt(size) * (_SINGLE_ROW_WEIGHT if kind[2] else 1.0) for kind, size in sizes.items()}
    total = sum(roots.values())
    return {kind: min(sizes[kind], max(4, math.ceil(count * root / total))) for kind, root in roots.items()}


def _farthest(blocks: list[Block], given: list[Block], count: int, random: np.random.Generator) -> list[Block]:
    """Farthest-point sampling: each next block maximises the distance to the nearest taken one."""
    points = _log_sizes(blocks)
    if given:
        distances = np.min(np.linalg.norm(points[:, None] - _log_sizes(given)[None], axis=2), axis=1)
    else:
        distances = np.full(len(blocks), np.inf)
    chosen: list[Block] = []
    while len(chosen) < count:
        # Nothing taken yet: begin with the largest, so that predictions never extrapolate upwards.
        ties = points.sum(axis=1) if np.isinf(distances).all() else distances + _TIE * random.random(len(blocks))
        index = int(np.argmax(ties))
        if distances[index] <= 0:
            break
        chosen.append(blocks[index])
        distances = np.minimum(distances, np.linalg.norm(points - points[index], axis=1))
    return chosen


def _log_sizes(blocks: Sequence[Block]) -> np.ndarray:
    """(blocks, sizes) natural logarithms of the sizes, in the order of their names."""
    return np.log([[size for _, size in sorted(block.shape)] for block in blocks])
