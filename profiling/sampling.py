"""What to measure: whole models that cover the search space, drawn from a scrambled Sobol sequence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from data.architecture import Architecture, Precision
from data.errors import InputError
from fusion.block import Block


@dataclass(frozen=True)
class SamplingRange:
    """The part of the search space that is measured. ``sparse_hidden`` are widths beyond it, drawn rarely; models have
    the ``precisions`` by turns."""

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
    precisions: tuple[Precision, ...] = ("fp32",)

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
            precision = space.precisions[len(chosen) % len(space.precisions)]
            chosen.setdefault(replace(_architecture(space, point), precision=precision))
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


def distinct_blocks(architectures: Iterable[Architecture]) -> tuple[Block, ...]:
    """The distinct blocks of some architectures, in the order in which they first occur."""
    from fusion import plan_architecture

    return tuple({block: None for architecture in architectures for block in plan_architecture(architecture)})
