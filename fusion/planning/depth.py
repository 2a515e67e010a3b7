"""Models that differ in depth only: which blocks of a plan of two layers further layers run again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from operator import attrgetter

from data.architecture import Architecture
from fusion.block import Block
from fusion.planning.architecture_plan import plan_architecture

# The last layer may differ from the others, as a sequence's classifier reads its first row only: of two layers the
# first one stands for all but the last.
PLANNED_LAYERS = 2

# All that makes the layers of two architectures differ.
shape_of = attrgetter(*(field.name for field in fields(Architecture) if field.name != "layers"))

Structure = tuple[tuple[str, tuple[str, ...], int], ...]


def structure(blocks: Sequence[Block]) -> Structure:
    """What plans have in common where only their widths differ."""
    return tuple((block.anchor, block.epilogue, block.sizes["rows"]) for block in blocks)


def repeated_blocks(blocks: Sequence[Block], architecture: Architecture, fuse: bool = True) -> slice:
    """The blocks of a plan of ``PLANNED_LAYERS`` that each further layer runs again, and that one layer runs not.

    Found by planning a layer more, and one less; equal for all plans of one structure. ``fuse`` is as they are.

    Raises:
        ValueError: the plans of other depths are not made so.
    """
    blocks = tuple(blocks)
    more, less = (plan_architecture(replace(architecture, layers=PLANNED_LAYERS + change), fuse) for change in (1, -1))
    length = len(more) - len(blocks)
    for start in range(len(blocks) - length + 1):
        end = start + length
        if more == (*blocks[:end], *blocks[start:]) and less == (*blocks[:start], *blocks[end:]):
            return slice(start, end)
    raise ValueError("plans of other depths do not repeat a layer of the plan of two layers, or leave it out")
