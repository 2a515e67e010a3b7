"""The compiler: operator graph, rewriting, fusion plan, generated C, compiled models."""

from __future__ import annotations

from data.architecture import Architecture
from fusion.architecture_graph import architecture_graph
from fusion.block import Block, Cost, make_block
from fusion.plan import plan_graph

__all__ = ["Block", "Cost", "make_block", "plan_architecture"]


def plan_architecture(architecture: Architecture) -> tuple[Block, ...]:
    """The blocks that a model of this architecture runs, in execution order, without weights or compiler."""
    return tuple(fused.block for fused in plan_graph(architecture_graph(architecture)).blocks)
