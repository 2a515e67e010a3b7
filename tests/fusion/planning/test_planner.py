"""Properties of the planner on arbitrary canonical graphs, and what settles its open questions."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.architecture import Architecture
from fusion import Block
from fusion.build.library import NativeModel
from fusion.build.toolchain import Toolchain
from fusion.compare.measured_cost import MeasuredCost
from fusion.emit.c.program import build_program, emit_table
from fusion.emit.weights import write_weights
from fusion.graph import Graph, Operator, TensorType, check, without_dead_code
from fusion.planning.architecture_graph import architecture_graph
from fusion.planning.architecture_plan import architecture_plan
from fusion.planning.cost import gpu_roofline_ms, roofline_ms
from fusion.planning.plan import Plan, plan_graph
from fusion.rewriting.rewrite import simplify
from fusion.target import host_target, target_named
from profiling.sampling import SamplingRange, sample_architectures
from tests.fusion.interpreter import evaluate
from tests.support import new_home

ROWS, WIDTH = 6, 8
UNARY = ("gelu", "relu", "tanh", "bias", "no_norm", "layer_norm", "matmul", "add_rows")


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Residual networks of any shape: each operator reads any tensors made before it."""
    generator = np.random.default_rng(draw(st.integers(0, 1000)))
    types = {"input_ids": TensorType((1, ROWS), "int64")}
    constants: dict[str, np.ndarray] = {}
    operators: list[Operator] = []

    def constant(*shape: int) -> str:
        name = f"c{len(constants)}"
        constants[name] = generator.normal(size=shape).astype(np.float32)
        types[name] = TensorType(shape)
        return name

    def apply(kind: str, inputs: tuple[str, ...], **attributes: float) -> str:
        name = f"t{len(operators)}"
        operators.append(Operator(kind, inputs, name, tuple(sorted(attributes.items())), name))
        types[name] = TensorType((1, ROWS, WIDTH))
        return name

    made = [apply("gather", (constant(20, WIDTH), "input_ids"))]
    for _ in range(draw(st.integers(1, 14))):
        kind = draw(st.sampled_from((*UNARY, "add", "add", "gather", "attention")))
        x, y, z = (draw(st.sampled_from(made)) for _ in range(3))
        if kind == "gather":
            made.append(apply("gather", (constant(20, WIDTH), "input_ids")))
        elif kind == "add":
            made.append(apply("add", (x, y)))
        elif kind == "attention":
            made.append(apply("attention", (x, y, z), heads=2, scale=0.5))
        elif kind == "layer_norm":
            made.append(apply(kind, (x, constant(WIDTH), constant(WIDTH)), epsilon=1e-5))
        elif kind == "no_norm":
            made.append(apply(kind, (x, constant(WIDTH), constant(WIDTH))))
        else:
            shapes = {"bias": (WIDTH,), "matmul": (WIDTH, WIDTH), "add_rows": (ROWS, WIDTH)}
            made.append(apply(kind, (x, constant(*shapes[kind])) if kind in shapes else (x,)))
    outputs = tuple(dict.fromkeys([made[-1], draw(st.sampled_from(made))]))
    return check(without_dead_code(Graph(("input_ids",), outputs, tuple(operators), types, constants)), canonical=True)


def placed(plan: Plan) -> list[str]:
    return [operator.output for fused in plan.blocks for operator in fused.operators]


@given(graphs(), st.booleans())
@settings(max_examples=150, deadline=None)
def test_any_graph_gets_blocks_in_an_order_that_runs(graph: Graph, fuse: bool) -> None:
    plan = plan_graph(simplify(graph), fuse=fuse)
    assert sorted([*placed(plan), *plan.views]) == sorted(operator.output for operator in plan.graph.operators)
    ready = set(plan.graph.inputs)
    for fused in plan.blocks:
        assert {plan.views[name].source if name in plan.views else name for name in fused.inputs} <= ready
        ready.add(fused.output)
    build_program(plan, target_named("x86_64-avx2"))


@given(graphs())
@settings(max_examples=60, deadline=None)
def test_rewriting_keeps_the_meaning(graph: Graph) -> None:
    ids = np.random.default_rng(0).integers(0, 20, (1, ROWS))
    before = evaluate(graph, {"input_ids": ids})
    after = evaluate(simplify(graph), {"input_ids": ids})
    for first, second in zip(before, after, strict=True):
        assert np.allclose(first, second, rtol=1e-3, atol=1e-3 * max(1.0, float(np.abs(first).max())))


@given(graphs(), st.booleans())
@settings(max_examples=12, deadline=None)
def test_compiled_graphs_compute_what_they_mean(graph: Graph, fuse: bool) -> None:
    target, ids = host_target(), np.random.default_rng(0).integers(0, 20, (1, ROWS))
    plan = plan_graph(simplify(graph), fuse=fuse)
    program = build_program(plan, target)
    with tempfile.TemporaryDirectory() as folder:
        sources = [*(unit.source for unit in program.units), emit_table([program])]
        library = Toolchain(target, Path(folder)).library(sources)
        weights = write_weights(program, plan.graph.constants, Path(folder) / "weights.bin")
        native = NativeModel(library, weights, program, 2)
        made = native.run({"input_ids": ids})
        native.close()
    for first, second in zip(made, evaluate(graph, {"input_ids": ids}), strict=True):
        assert np.allclose(first.reshape(second.shape), second, rtol=1e-3, atol=1e-3 * max(1.0, np.abs(second).max()))


def test_a_step_between_sums_of_embeddings_keeps_its_place() -> None:
    shapes = {"table": (20, WIDTH), "rows": (ROWS, WIDTH)}
    types = {"input_ids": TensorType((1, ROWS), "int64")} | {name: TensorType(shape) for name, shape in shapes.items()}
    kinds = (("gather", "table", "input_ids"), ("gelu", "t0"), ("add_rows", "t1", "rows"))
    operators = tuple(Operator(kind, tuple(inputs), f"t{i}", (), f"t{i}") for i, (kind, *inputs) in enumerate(kinds))
    types |= {operator.output: TensorType((1, ROWS, WIDTH)) for operator in operators}
    constants = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    (fused,) = plan_graph(Graph(("input_ids",), ("t2",), operators, types, constants)).blocks
    assert fused.block.epilogue == ("gelu", "add_rows") and fused.weights == ("table", "rows")


def names(plan: Plan) -> list[str]:
    return [fused.block.name.split()[0] for fused in plan.blocks]


def test_cost_settles_what_the_table_leaves_open() -> None:
    graph = simplify(architecture_graph(Architecture(1, 64, 2, 128, vocab_size=100, seq_len=32)))
    assert "attention" in names(plan_graph(graph))

    def dislikes(*anchors: str) -> list[str]:
        def cost(block: Block) -> float:
            closing = "layer_norm" in block.epilogue and block.anchor == "gemm"
            return 100.0 if block.anchor in anchors or ("norm" in anchors and closing) else roofline_ms(block)

        return names(plan_graph(graph, cost=cost))

    apart = dislikes("attention")
    assert "attention" not in apart and {"scores", "softmax", "context"} <= set(apart)
    assert "rowwise" not in names(plan_graph(graph)) and "rowwise" in dislikes("norm")


@pytest.mark.parametrize("layers", [1, 3])
def test_without_fusion_each_operator_is_a_block(layers: int) -> None:
    plan = architecture_plan(Architecture(layers, 64, 2, 128, vocab_size=100, seq_len=32), fuse=False)
    assert all(len(fused.operators) == 1 for fused in plan.blocks)
    assert plan.saved_bytes == 0


def test_fusion_saves_the_bytes_of_what_stays_inside() -> None:
    architecture = Architecture(2, 64, 2, 128, vocab_size=100, seq_len=32)
    fused, unfused = architecture_plan(architecture), architecture_plan(architecture, fuse=False)
    made = sum(fused.graph.types[block.output].rows for block in fused.blocks)
    assert 0 < made < sum(unfused.graph.types[block.output].rows for block in unfused.blocks)
    assert fused.saved_bytes > 4 * 32 * 128 * 2


def test_the_interpreter_agrees_with_compiled_code(tmp_path: Path) -> None:
    """The reference of these properties is itself checked against ONNX Runtime's model."""
    from fusion.frontend.canonical import canonicalize
    from fusion.importing.onnx_import import import_onnx
    from tests.fusion.models import export, random_inputs, reference

    architecture = Architecture(2, 48, 3, 64, vocab_size=100, seq_len=12)
    path = export(architecture, tmp_path)
    inputs = random_inputs(architecture, 9)
    graph = canonicalize(import_onnx(path, 12))
    assert np.abs(evaluate(graph, inputs)[0] - reference(path, inputs)).max() < 1e-4


def test_a_measured_cost_times_both_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POCKETBERT_HOME", str(new_home(tmp_path)))
    cost = MeasuredCost(threads=1)
    plan = plan_graph(simplify(architecture_graph(Architecture(1, 32, 2, 64, vocab_size=50, seq_len=16))), cost=cost)
    timed = {block.anchor for block in cost.known_ms}
    assert {"attention", "scores", "softmax", "context", "gemm", "rowwise"} <= timed
    assert all(value > 0 for value in cost.known_ms.values())
    attention = [block for block in cost.known_ms if block.anchor == "attention"]
    assert any(fused.block.anchor in {"attention", "scores"} for fused in plan.blocks) and attention
    assert cost(attention[0]) == cost.known_ms[attention[0]]


def test_an_encoder_is_planned_alike_for_processor_and_gpu() -> None:
    """So that profiles and predictors of both count the same blocks."""
    sampled = sample_architectures(SamplingRange(), 40, seed=1)
    odd = [Architecture(1, 32, 2, 32, vocab_size=100, seq_len=8), Architecture(1, 1024, 16, 4096, seq_len=512)]
    for architecture in (*(replace(each, layers=2) for each in sampled), *odd):
        graph = simplify(architecture_graph(architecture))
        by_cost = [plan_graph(graph, cost=cost) for cost in (roofline_ms, gpu_roofline_ms)]
        first, second = ([fused.block for fused in plan.blocks] for plan in by_cost)
        assert first == second
