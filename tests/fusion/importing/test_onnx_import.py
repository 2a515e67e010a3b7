"""Broken and unknown ONNX files end in one of our errors, never in a crash."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from data.architecture import Architecture
from data.errors import DataFileError, ModelError, PocketBertError, UnsupportedOperatorError
from fusion import Block, plan_architecture
from fusion.frontend.canonical import canonicalize
from fusion.importing.onnx_import import import_onnx
from fusion.planning.plan import plan_graph
from fusion.rewriting.rewrite import simplify
from tests.fusion.models import export

ARCHITECTURE = Architecture(1, 32, 2, 64, vocab_size=50, seq_len=8)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(ARCHITECTURE, tmp_path_factory.mktemp("good"))


def read(path: Path) -> tuple[Block, ...]:
    plan = plan_graph(simplify(canonicalize(import_onnx(path, ARCHITECTURE.seq_len))))
    return tuple(fused.block for fused in plan.blocks)


def test_the_unchanged_file_is_read(good: Path) -> None:
    assert read(good) == plan_architecture(ARCHITECTURE)


@pytest.mark.parametrize("seed", range(40))
def test_damaged_bytes_give_our_error_or_a_legal_model(seed: int, good: Path, tmp_path: Path) -> None:
    generator = np.random.default_rng(seed)
    data = bytearray(good.read_bytes())
    if seed % 2:
        data = data[: int(generator.integers(1, len(data)))]
    for _ in range(3):
        data[int(generator.integers(0, len(data)))] = int(generator.integers(0, 256))
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(bytes(data))
    try:
        read(broken)
    except PocketBertError as error:
        assert str(error)


def drop_node(model: onnx.ModelProto, index: int) -> None:
    del model.graph.node[index % len(model.graph.node)]


def rename_operator(model: onnx.ModelProto, index: int) -> None:
    model.graph.node[index % len(model.graph.node)].op_type = "Banana"


def other_operator(model: onnx.ModelProto, index: int) -> None:
    model.graph.node[index % len(model.graph.node)].op_type = "Sin"


def make_cycle(model: onnx.ModelProto, index: int) -> None:
    node = model.graph.node[index % len(model.graph.node)]
    if node.input:
        node.input[0] = model.graph.node[-1].output[0]


def reshape_constant(model: onnx.ModelProto, index: int) -> None:
    tensor = model.graph.initializer[index % len(model.graph.initializer)]
    tensor.dims[:] = [3, 7]


def huge_constant(model: onnx.ModelProto, index: int) -> None:
    tensor = model.graph.initializer[index % len(model.graph.initializer)]
    tensor.dims[:] = [1 << 40, 1 << 20]


def swap_inputs(model: onnx.ModelProto, index: int) -> None:
    node = model.graph.node[index % len(model.graph.node)]
    node.input[:] = list(node.input)[::-1]


MUTATIONS: list[Callable[[onnx.ModelProto, int], None]] = [
    drop_node,
    rename_operator,
    other_operator,
    make_cycle,
    reshape_constant,
    huge_constant,
    swap_inputs,
]


@pytest.mark.parametrize("mutation", MUTATIONS)
@pytest.mark.parametrize("index", range(0, 60, 7))
def test_mutated_graphs_give_our_error_or_a_legal_model(
    mutation: Callable[[onnx.ModelProto, int], None], index: int, good: Path, tmp_path: Path
) -> None:
    model = onnx.load(str(good))
    mutation(model, index)
    (tmp_path / "mutated.onnx").write_bytes(model.SerializeToString())
    try:
        read(tmp_path / "mutated.onnx")
    except PocketBertError as error:
        assert str(error)


def small_model(path: Path, kind: str, seq_len: int = 8) -> Path:
    """ids -> gather -> an operator of a kind."""
    table = numpy_helper.from_array(np.ones((10, 4), np.float32), "table")
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["x"], name="look"),
        helper.make_node(kind, ["x"], ["y"], name="odd"),
    ]
    inputs = [helper.make_tensor_value_info("input_ids", onnx.TensorProto.INT64, [1, seq_len])]
    outputs = [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)]
    graph = helper.make_graph(nodes, "g", inputs, outputs, [table])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), str(path))
    return path


def test_an_unsupported_operator_is_named_with_its_node_and_shape(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedOperatorError, match=r"operator sin \(node odd, output \[1, 8, 4\]\).*layer_norm"):
        read(small_model(tmp_path / "sin.onnx", "Sin"))


def test_element_wise_operators_fuse_into_the_embeddings(tmp_path: Path) -> None:
    (block,) = read(small_model(tmp_path / "tanh.onnx", "Tanh"))
    assert (block.anchor, block.epilogue) == ("embeddings", ("tanh",))


def test_missing_files_and_other_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataFileError, match="no such ONNX file"):
        read(tmp_path / "absent.onnx")
    (tmp_path / "text.onnx").write_text("hello")
    with pytest.raises(DataFileError, match="ONNX"):
        read(tmp_path / "text.onnx")


def test_ids_that_nothing_makes_are_named(tmp_path: Path, good: Path) -> None:
    model = onnx.load(str(good))
    model.graph.input[0].name = "pixels"
    onnx.save(model, str(tmp_path / "other.onnx"))
    with pytest.raises(ModelError, match="'input_ids' is read before it is made"):
        read(tmp_path / "other.onnx")
