"""Properties of graphs, plans and memory for any architecture."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.architecture import Architecture, preset
from data.errors import InputError, ModelError
from fusion import Block, plan_architecture, target_named
from fusion.emit.arena import tensor_bytes
from fusion.emit.c.program import build_program
from fusion.emit.c.tiling import choose_tiling
from fusion.emit.program import Program
from fusion.graph import Graph, Operator, TensorType, check
from fusion.planning.architecture_plan import architecture_plan
from fusion.planning.plan import Plan
from fusion.target import TARGETS


@st.composite
def architectures(draw: st.DrawFn) -> Architecture:
    heads = draw(st.integers(1, 12))
    return Architecture(
        layers=draw(st.integers(1, 5)),
        hidden=heads * draw(st.integers(1, 80)),
        heads=heads,
        intermediate=draw(st.integers(1, 2000)),
        vocab_size=draw(st.integers(1, 40000)),
        seq_len=draw(st.integers(1, 512)),
        labels=draw(st.integers(1, 5)),
    )


@given(architectures())
@settings(max_examples=60, deadline=None)
def test_every_operator_is_in_one_block_after_its_inputs(architecture: Architecture) -> None:
    plan = architecture_plan(architecture)
    placed = [operator.output for fused in plan.blocks for operator in fused.operators]
    assert sorted([*placed, *plan.views]) == sorted(operator.output for operator in plan.graph.operators)
    ready = set(plan.graph.inputs)
    for fused in plan.blocks:
        assert {plan.views[name].source if name in plan.views else name for name in fused.inputs} <= ready
        ready.add(fused.output)


@given(architectures())
@settings(max_examples=60, deadline=None)
def test_blocks_survive_their_signature(architecture: Architecture) -> None:
    for block in set(plan_architecture(architecture)):
        assert Block.from_signature(block.signature) == block
        assert Block.from_signature(block.signature).hash == block.hash
        assert block.cost.flops > 0
        assert block.cost.bytes_moved > 0


@given(architectures())
@settings(max_examples=40, deadline=None)
def test_fusion_saves_blocks_and_never_work(architecture: Architecture) -> None:
    fused, unfused = architecture_plan(architecture), architecture_plan(architecture, fuse=False)
    assert len(fused.blocks) < len(unfused.blocks)
    assert fused.saved_bytes > unfused.saved_bytes
    assert sum(f.block.cost.flops for f in fused.blocks) == sum(f.block.cost.flops for f in unfused.blocks)


def lifetimes(plan: Plan) -> dict[str, tuple[int, int]]:
    """First and last block (from 0) at which each tensor must hold its value."""
    spans = dict.fromkeys(plan.graph.inputs, (0, 0))
    for index, fused in enumerate(plan.blocks):
        for name in fused.inputs:
            source = plan.views[name].source if name in plan.views else name
            spans[source] = (spans[source][0], index)
        spans[fused.output] = (index, index)
    for name in plan.graph.outputs:
        source = plan.views[name].source if name in plan.views else name
        spans[source] = (spans[source][0], len(plan.blocks))
    return spans


@given(architectures(), st.sampled_from(sorted(TARGETS)))
@settings(max_examples=25, deadline=None)
def test_live_tensors_never_share_memory(architecture: Architecture, target: str) -> None:
    plan = architecture_plan(architecture)
    program: Program = build_program(plan, target_named(target))
    places = {step.fused.output: step.output for step in program.steps}
    places |= {port.name: port.offset for port in program.inputs}
    spans = [
        (places[name], places[name] + tensor_bytes(plan.graph.types[name]), first, last)
        for name, (first, last) in lifetimes(plan).items()
    ]
    for index, (start, end, first, last) in enumerate(spans):
        assert end <= program.arena_bytes
        for other_start, other_end, other_first, other_last in spans[index + 1 :]:
            apart = end <= other_start or other_end <= start
            assert apart or last < other_first or other_last < first


@given(st.integers(1, 512), st.integers(1, 4096), st.integers(1, 4096), st.sampled_from(sorted(TARGETS)))
def test_tilings_fit_the_registers(rows: int, inner: int, columns: int, name: str) -> None:
    target = target_named(name)
    tiling = choose_tiling(rows, inner, columns, target)
    assert tiling.rows * tiling.vectors + tiling.vectors + 1 <= target.registers
    assert tiling.row_block % tiling.rows == 0
    assert 1 <= tiling.depth_block <= inner


def test_a_classifier_computes_its_last_layer_for_one_row_only() -> None:
    blocks = plan_architecture(Architecture(3, 192, 6, 768))
    assert [block.sizes["rows"] for block in blocks[-8:]] == [1, 128, 1, 1, 1, 1, 1, 1]
    queries, keys_and_values = blocks[-8:-6]
    assert (queries.sizes["columns"], keys_and_values.sizes["columns"]) == (192, 2 * 192)


def test_fusion_of_bert_base_and_deep_narrow() -> None:
    assert len(plan_architecture(preset("bert-base"))) == 12 * 5 + 4
    assert len(plan_architecture(preset("deep-narrow"))) == 28 * 5 + 4


@pytest.mark.parametrize(
    ("operators", "problem"),
    [
        ((Operator("tanh", ("missing",), "y"),), "read before it is made"),
        ((Operator("tanh", ("x",), "y"), Operator("tanh", ("x",), "y")), "made twice"),
        ((Operator("tanh", ("x",), "z"),), "no type"),
        ((Operator("erf", ("x",), "y"),), "not canonical"),
        ((), "never made"),
    ],
)
def test_illegal_graphs_are_refused(operators: tuple[Operator, ...], problem: str) -> None:
    types = {"x": TensorType((1, 4)), "y": TensorType((1, 4))}
    with pytest.raises(ModelError, match=problem):
        check(Graph(("x",), ("y",), operators, types), canonical=True)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        '{"anchor": "gemm"}',
        '{"anchor":"x","shape":{},"epilogue":[],"attributes":{},"precision":"fp32"}',
    ],
)
def test_what_is_no_signature_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="not the signature"):
        Block.from_signature(text)
