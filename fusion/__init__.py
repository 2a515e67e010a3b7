"""The compiler: operator graph, rewriting, fusion plan, generated C, compiled models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from data.architecture import Architecture
from fusion.architecture_graph import architecture_graph
from fusion.block import Block, Cost, make_block
from fusion.plan import plan_graph
from fusion.rewrite import simplify
from fusion.runner import Runner, build_model_suite, build_suite
from fusion.target import Target, host_target, target_named

if TYPE_CHECKING:
    from fusion.compiled import CompiledModel

__all__ = [
    "Block",
    "Cost",
    "Runner",
    "Target",
    "build_model_suite",
    "build_suite",
    "compile_model",
    "host_target",
    "make_block",
    "plan_architecture",
    "target_named",
]


def plan_architecture(architecture: Architecture) -> tuple[Block, ...]:
    """The blocks that a model of this architecture runs, in execution order, without weights or compiler."""
    return tuple(fused.block for fused in plan_graph(simplify(architecture_graph(architecture))).blocks)


def compile_model(source: Any, **options: Any) -> CompiledModel:
    """Compiles an ONNX file or a Hugging Face directory: :func:`fusion.compiled.compile_model`."""
    from fusion import compiled

    return compiled.compile_model(source, **options)
