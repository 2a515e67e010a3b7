"""Laws of the rewriter on small graphs: what is left of them, and that it computes what ONNX Runtime computes."""

from __future__ import annotations

import math
from itertools import permutations
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from data.errors import InputError, ModelError, UnsupportedOperatorError
from fusion import compile_model
from fusion.frontend.canonical import canonicalize
from fusion.importing.onnx_import import import_onnx
from fusion.rewriting.rewrite import simplify
from fusion.rewriting.views import IDENTITY, View, compose, normal_view

pytestmark = pytest.mark.usefixtures("shared_home")

SEQ_LEN, WIDTH, COLUMNS = 6, 8, 12

# Constants that the graphs below may use, by name.
_GENERATOR = np.random.default_rng(0)
CONSTANTS = {
    "table": _GENERATOR.normal(size=(20, WIDTH)),
    "w": _GENERATOR.normal(size=(WIDTH, COLUMNS)),
    "wt": _GENERATOR.normal(size=(COLUMNS, WIDTH)),
    "w3": _GENERATOR.normal(size=(1, WIDTH, COLUMNS)),
    "b": _GENERATOR.normal(size=COLUMNS),
    "b2": _GENERATOR.normal(size=(1, 1, COLUMNS)),
    "s": _GENERATOR.normal(size=COLUMNS),
    "g": _GENERATOR.normal(size=WIDTH),
    "rows": _GENERATOR.normal(size=(1, SEQ_LEN, COLUMNS)),
    "half": np.array(0.5),
    "three": np.array([3.0]),
    "epsilon": np.array(1e-3),
    "two": np.array(2.0),
}
NUMBERS = {
    "ten": [1, SEQ_LEN, COLUMNS],
    "heads": [1, SEQ_LEN, 3, 4],
    "flat": [SEQ_LEN, COLUMNS],
    "last": [-1],
    "first": [0],
    "row": [2],
    "next": [3],
    "middle": [1],
    "low": [0],
    "high": [SEQ_LEN],
}

# Each line: operator, inputs, output, attributes; the first reads "x", which is looked up, and the last makes "y".
Line = tuple[str, str, str, dict[str, object]]
CASES: dict[str, tuple[list[Line], list[str]]] = {
    "softmax of columns": ([("Softmax", "x", "y", {"axis": 1})], ["gather", "row_softmax", "view", "view"]),
    "some rows": ([("Slice", "x low row middle", "a", {}), ("Relu", "a", "y", {})], ["gather", "relu", "rows"]),
    "turned": ([("Transpose", "x", "y", {"perm": [0, 2, 1]})], ["gather", "view"]),
    "one column": ([("Gather", "x row", "y", {"axis": 2})], ["columns", "gather"]),
    "logarithm of softmax": ([("LogSoftmax", "x", "y", {})], ["gather", "row_log_softmax"]),
    "unit rows": ([("LpNormalization", "x", "y", {"axis": 2})], ["gather", "l2_norm"]),
    "unit columns": ([("LpNormalization", "x", "y", {"axis": 1})], ["gather", "l2_norm", "view", "view"]),
    "mean of rows": ([("ReduceMean", "x", "y", {"axes": [1]})], ["gather", "no_norm", "pool"]),
    "largest of rows": ([("ReduceMax", "x", "y", {"axes": [-2], "keepdims": 0})], ["gather", "pool"]),
    "side by side": ([("Relu", "x", "a", {}), ("Concat", "x a", "y", {"axis": 2})], ["concat", "gather", "relu"]),
    "scale and vectors enter weights and bias": (
        [
            ("Mul", "x half", "a", {}),
            ("MatMul", "a w", "c", {}),
            ("Div", "c three", "d", {}),
            ("Add", "b d", "e", {}),
            ("Mul", "e s", "f", {}),
            ("Sub", "f b2", "y", {}),
        ],
        ["bias", "gather", "matmul"],
    ),
    "no_norm before a product": (
        [("Mul", "x g", "a", {}), ("Add", "a g", "c", {}), ("MatMul", "c w3", "y", {})],
        ["bias", "gather", "matmul"],
    ),
    "gemm on flat rows": (
        [
            ("MatMul", "x w", "a", {}),
            ("Reshape", "a flat", "c", {}),
            ("Gemm", "c wt g", "y", {"alpha": 0.5, "beta": 2.0}),
        ],
        ["bias", "gather", "matmul", "matmul"],
    ),
    "views that cancel": (
        [
            ("MatMul", "x w", "a", {}),
            ("Reshape", "a heads", "c", {}),
            ("Transpose", "c", "d", {"perm": [0, 2, 1, 3]}),
            ("Mul", "d half", "e", {}),
            ("Transpose", "e", "f", {"perm": [0, 2, 1, 3]}),
            ("Reshape", "f ten", "y", {}),
        ],
        ["gather", "matmul"],
    ),
    "layer normalisation spelled out": (
        [
            ("MatMul", "x w", "a", {}),
            ("ReduceMean", "a", "m", {"axes": [-1]}),
            ("Sub", "a m", "c", {}),
            ("Mul", "c c", "q", {}),
            ("ReduceMean", "q", "v", {"axes": [2]}),
            ("Add", "epsilon v", "e", {}),
            ("Sqrt", "e", "r", {}),
            ("Div", "c r", "n", {}),
            ("Mul", "s n", "l", {}),
            ("Add", "l b", "k", {}),
            ("Mul", "k half", "y", {}),
        ],
        ["gather", "layer_norm", "matmul"],
    ),
    "the same twice": (
        [("Tanh", "x", "a", {}), ("Tanh", "x", "c", {}), ("Add", "a c", "d", {}), ("MatMul", "d w", "y", {})],
        ["add", "gather", "matmul", "tanh"],
    ),
    "rows and a residual": (
        [("MatMul", "x w", "a", {}), ("Add", "a rows", "c", {}), ("Add", "c b", "d", {}), ("Add", "d a", "y", {})],
        ["add", "add_rows", "gather", "matmul"],
    ),
    "one row by slice": (
        [("MatMul", "x w", "a", {}), ("Slice", "a row next middle", "y", {})],
        ["gather", "matmul", "select_row"],
    ),
    "one row by index": (
        [("MatMul", "x w", "a", {}), ("Gather", "a last", "y", {"axis": 1})],
        ["gather", "matmul", "select_row"],
    ),
}


def save(lines: list[Line], path: Path) -> Path:
    """The graph of some lines as a file."""
    nodes = [helper.make_node("Gather", ["table", "input_ids"], ["x"])]
    nodes += [helper.make_node(kind, names.split(), [out], **attributes) for kind, names, out, attributes in lines]
    arrays = {name: value.astype(np.float32) for name, value in CONSTANTS.items()}
    arrays |= {name: np.array(value, np.int64) for name, value in NUMBERS.items()}
    used = {"table"}.union(*(names.split() for _, names, _, _ in lines))
    initializers = [numpy_helper.from_array(value, name) for name, value in arrays.items() if name in used]
    ids = helper.make_tensor_value_info("input_ids", onnx.TensorProto.INT64, [1, SEQ_LEN])
    output = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "laws", [ids], [output], initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(path))
    return path


@pytest.mark.parametrize("name", CASES)
def test_a_law_leaves_these_operators_and_the_same_numbers(name: str, tmp_path: Path) -> None:
    lines, kinds = CASES[name]
    path = save(lines, tmp_path / "law.onnx")
    graph = simplify(canonicalize(import_onnx(path, SEQ_LEN)))
    assert sorted(operator.kind for operator in graph.operators) == kinds
    ids = {"input_ids": np.arange(SEQ_LEN)[None] * 3}
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    expected = np.asarray(session.run(None, ids)[0])
    (output,) = compile_model(path, seq_len=SEQ_LEN, threads=1).run(ids)
    assert output.shape == expected.shape
    assert np.abs(output - expected).max() < 1e-4


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ([("Erf", "x", "y", {})], "operator erf .*output \\[1, 6, 8\\]"),
        ([("ReduceProd", "x", "y", {"axes": [2]})], "ReduceProd|operator reduceprod"),
        ([("Gather", "x high", "y", {"axis": 1})], "index 6 is looked up in a table of 6 entries"),
        ([("ReduceMean", "x", "y", {"axes": [1, 2]})], "operator reducemean"),
        ([("Hardmax", "x", "y", {})], "Hardmax .*\\[1, 6, 8\\].*Supported: .*MatMul"),
        ([("Identity", "table", "y", {})], "not computed from the ids"),
        ([("Identity", "input_ids", "y", {})], "made of ids alone"),
    ],
)
def test_what_has_no_canonical_form_is_named(lines: list[Line], problem: str, tmp_path: Path) -> None:
    with pytest.raises((UnsupportedOperatorError, ModelError), match=problem) as caught:
        simplify(canonicalize(import_onnx(save(lines, tmp_path / "odd.onnx"), SEQ_LEN)))
    assert isinstance(caught.value, InputError)


_FACTORS = ([48], [6, 8], [8, 6], [2, 24], [16, 3], [4, 12], [2, 3, 8], [4, 3, 4], [12, 2, 2], [1, 48, 1], [2, 3, 2, 4])
REORDERINGS = st.sampled_from([(list(f), list(perm)) for f in _FACTORS for perm in permutations(range(len(f)))])


def moved(view: View, values: np.ndarray) -> np.ndarray:
    sizes, perm = view
    return values.reshape(sizes).transpose(perm).reshape(-1) if sizes else values


@given(REORDERINGS, REORDERINGS)
def test_views_compose_to_what_they_do_in_turn(
    first: tuple[list[int], list[int]], second: tuple[list[int], list[int]]
) -> None:
    values = np.arange(48)
    views = [normal_view(*first), normal_view(*second)]
    assert (moved(views[0], values) == values.reshape(first[0]).transpose(first[1]).reshape(-1)).all()
    in_turn = moved(views[1], moved(views[0], values))
    view = compose(views[0], views[1], math.prod(first[0]))
    if view is not None:
        assert (moved(view, values) == in_turn).all()
        assert (view == IDENTITY) == bool((in_turn == values).all())
