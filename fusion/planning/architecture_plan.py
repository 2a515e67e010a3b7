"""From a bare architecture to its fusion plan: what profiling measures and prediction sums."""

from __future__ import annotations

from functools import lru_cache

from data.architecture import Architecture
from fusion.block import Block
from fusion.planning.architecture_graph import architecture_graph
from fusion.planning.narrow_products import with_narrow_products
from fusion.planning.plan import Plan, plan_graph
from fusion.rewriting.rewrite import simplify


def architecture_plan(architecture: Architecture, *, fuse: bool = True) -> Plan:
    """The plan that a model of this architecture gets when it is imported, without weights."""
    plan = plan_graph(simplify(architecture_graph(architecture)), fuse=fuse)
    return plan if architecture.precision == "fp32" else with_narrow_products(plan, architecture.precision)


# A search asks for the same shapes again and again.
@lru_cache(maxsize=1 << 16)
def plan_architecture(architecture: Architecture, fuse: bool = True) -> tuple[Block, ...]:
    """The blocks that a model of this architecture runs, in execution order, without weights or compiler; without
    ``fuse``, one block an operator."""
    return tuple(fused.block for fused in architecture_plan(architecture, fuse=fuse).blocks)
