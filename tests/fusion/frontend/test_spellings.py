"""Spellings of layer normalisation and activations, by hand: each is one operator, with ONNX Runtime's numbers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper, parser

from data.errors import PocketBertError, UnsupportedOperatorError
from fusion import compile_model
from fusion.frontend.canonical import canonicalize
from fusion.graph import Graph
from fusion.importing.onnx_import import import_onnx
from tests.fusion.interpreter import evaluate

SEQ_LEN, WIDTH = 5, 12
GENERATOR = np.random.default_rng(0)
FLOATS = {
    "gamma": GENERATOR.normal(1, 0.3, WIDTH),
    "beta": GENERATOR.normal(0, 0.3, WIDTH),
    "row_gamma": GENERATOR.normal(1, 0.3, (1, 1, WIDTH)),
    "epsilon": 1e-3,
    "tiny": [1e-12],
    "zero": 0.0,
    "half": 0.5,
    "minus_half": [-0.5],
    "one": 1.0,
    "two": 2.0,
    "three": 3.0,
    "count": float(WIDTH),
    "root2": 2**0.5,
    "root2_half": 1.4140625,
    "root_half": 0.70710678,
    "root_half_rounded": 0.7071,
    "a": (2 / np.pi) ** 0.5,
    "a_half": 0.7979,
    "a_short": 0.7978,
    "a_double": 2 * (2 / np.pi) ** 0.5,
    "b": 0.044715,
    "b_half": 0.044708,
    "quick": 1.702,
    "ab": 0.044715 * (2 / np.pi) ** 0.5,
    "square": GENERATOR.normal(0, 0.3, (WIDTH, SEQ_LEN)),
}
WHOLE = {
    "flat": np.array([-1, WIDTH]),
    "deep": np.array([1, SEQ_LEN, SEQ_LEN]),
    "first": np.array([0]),
    "second": np.array([1]),
} | {"two_i": np.array(2), "two_v": np.array([2]), "two_32": np.array(2, np.int32), "last": np.array([-1])}


def graph_of(lines: str, path: Path, opset: int = 17) -> Path:
    """A file that looks rows up, mixes them, and makes ``y`` of ``x`` as the lines say."""
    text = f"""<ir_version: 8, opset_import: ["" : {opset}]>
    spelled (int64[1, {SEQ_LEN}] input_ids) => (float[1, {SEQ_LEN}, {WIDTH}] y) {{
        looked_up = Gather(table, input_ids)
        x = MatMul(looked_up, mixing)
        {lines}
    }}"""
    model = parser.parse_model(text)
    model.graph.output[0].type.tensor_type.ClearField("shape")
    arrays = {name: np.asarray(value, np.float32) for name, value in FLOATS.items()} | WHOLE
    arrays |= {"table": GENERATOR.normal(0, 2, (20, 8)).astype(np.float32)}
    arrays |= {"mixing": GENERATOR.normal(0, 1, (8, WIDTH)).astype(np.float32)}
    read = {name for node in model.graph.node for name in node.input}
    model.graph.initializer.extend(numpy_helper.from_array(arrays[name], name) for name in arrays if name in read)
    onnx.save(model, str(path))
    return path


def difference(path: Path, graph: Graph) -> float:
    """The largest difference from ONNX Runtime."""
    inputs = {"input_ids": GENERATOR.integers(0, 20, (1, SEQ_LEN))}
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    expected = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"]).run(None, inputs)
    return float(np.abs(evaluate(graph, inputs)[0].reshape(expected[0].shape) - expected[0]).max())


def kinds(graph: Graph) -> set[str]:
    return {operator.kind for operator in graph.operators} - {"gather", "matmul", "bias"}


_START = "m = ReduceMean <axes = [-1]> (x) d = Sub(x, m) "
_VARIANCES = {
    "multiplied": "s = Mul(d, d) v = ReduceMean <axes = [-1]> (s)",
    "power": "s = Pow(d, two) v = ReduceMean <axes = [2]> (s)",
    "whole power": "s = Pow(d, two_i) v = ReduceMean <axes = [-1]> (s)",
    "whole power of a vector": "s = Pow(d, two_v) v = ReduceMean <axes = [-1]> (s)",
    "narrow power": "s = Pow(d, two_32) v = ReduceMean <axes = [-1]> (s)",
    "squares less square": "q = Mul(x, x) e = ReduceMean <axes = [-1]> (q) n = Mul(m, m) v = Sub(e, n)",
    "the other way": "o = Sub(m, x) s = Mul(o, o) v = ReduceMean <axes = [-1]> (s)",
    "not kept": "s = Mul(d, d) f = ReduceMean <axes = [-1], keepdims = 0> (s) v = Unsqueeze(f, last)",
    "summed": "s = Mul(d, d) t = ReduceSum(s, last) v = Div(t, count)",
}
_ENDS = {
    "divided": "t1 = Add(v, epsilon) t2 = Sqrt(t1) t3 = Div(d, t2) t4 = Mul(t3, gamma) y = Add(t4, beta)",
    "tensorflow": "t1 = Add(epsilon, v) t2 = Sqrt(t1) r = Reciprocal(t2) g = Mul(r, gamma) a1 = Mul(g, x) "
    "a2 = Mul(m, g) a3 = Sub(beta, a2) y = Add(a1, a3)",
    "tensorflow, one over": "t1 = Add(v, epsilon) t2 = Sqrt(t1) r = Div(one, t2) g = Mul(row_gamma, r) a1 = Mul(x, g) "
    "a2 = Mul(g, m) a3 = Sub(beta, a2) y = Add(a3, a1)",
    "power": "t1 = Add(v, epsilon) r = Pow(t1, minus_half) t3 = Mul(r, d) t4 = Mul(gamma, t3) y = Add(beta, t4)",
    "half power": "t1 = Add(v, epsilon) r = Pow(t1, half) t3 = Div(d, r) y = Mul(gamma, t3)",
    "no gamma": "t1 = Add(v, epsilon) t2 = Sqrt(t1) t3 = Div(d, t2) y = Add(t3, beta)",
    "neither": "t1 = Add(v, tiny) t2 = Sqrt(t1) y = Div(d, t2)",
    "clipped": "c = Max(v, zero) t1 = Add(c, epsilon) t2 = Sqrt(t1) t3 = Div(d, t2) t4 = Mul(t3, gamma) "
    "y = Add(t4, beta)",
    "gamma first": "t1 = Add(v, epsilon) t2 = Sqrt(t1) t0 = Mul(d, gamma) t3 = Div(t0, t2) y = Add(t3, beta)",
    "negated twice": "t1 = Add(v, epsilon) t2 = Sqrt(t1) t3 = Div(d, t2) t4 = Neg(t3) y = Neg(t4)",
}


@pytest.mark.parametrize("variance", _VARIANCES)
@pytest.mark.parametrize("end", _ENDS)
def test_layer_normalisation_in_any_spelling(variance: str, end: str, tmp_path: Path) -> None:
    path = graph_of(f"{_START} {_VARIANCES[variance]} {_ENDS[end]}", tmp_path / "model.onnx")
    graph = canonicalize(import_onnx(path, SEQ_LEN))
    assert kinds(graph) == {"layer_norm"}
    assert difference(path, graph) < 1e-4


def test_layer_normalisation_without_axes_of_length_one(tmp_path: Path) -> None:
    lines = """s0 = ReduceSum <keepdims = 0> (x, last) m0 = Div(s0, count) m = Unsqueeze(m0, last) d = Sub(x, m)
        q = Mul(d, d) v0 = ReduceMean <axes = [-1], keepdims = 0> (q) t0 = Add(v0, epsilon) u0 = Sqrt(t0)
        r0 = Reciprocal(u0) r = Unsqueeze(r0, last) n = Mul(d, r) g = Mul(n, gamma) y = Add(g, beta)"""
    path = graph_of(lines, tmp_path / "model.onnx")
    graph = canonicalize(import_onnx(path, SEQ_LEN))
    assert kinds(graph) == {"layer_norm"}
    assert difference(path, graph) < 1e-4


@pytest.mark.parametrize(
    "end",
    [
        "t1 = Add(v, epsilon) t2 = Sqrt(t1) y = Div(x, t2)",
        "t2 = Sqrt(v) t1 = Add(t2, epsilon) y = Div(d, t1)",
        "t1 = Add(v, epsilon) y = Div(d, t1)",
    ],
)
def test_what_is_no_layer_normalisation_is_refused(end: str, tmp_path: Path) -> None:
    path = graph_of(f"{_START} {_VARIANCES['multiplied']} {end}", tmp_path / "model.onnx")
    with pytest.raises(UnsupportedOperatorError):
        canonicalize(import_onnx(path, SEQ_LEN))


def test_token_types_looked_up_by_a_product_as_in_tensorflow(tmp_path: Path) -> None:
    model = parser.parse_model(f"""<ir_version: 8, opset_import: ["" : 13]>
    spelled (int32[batch, {SEQ_LEN}] input_word_ids, int32[batch, {SEQ_LEN}] input_type_ids)
    => (float[1, {SEQ_LEN}, 8] y) {{
        words = Gather(table, input_word_ids)
        flat = Reshape(input_type_ids, last)
        hot = OneHot <axis = -1> (flat, depth, values)
        kinds = MatMul(hot, small)
        shape = Shape(words)
        shaped = Reshape(kinds, shape)
        y = Add(words, shaped)
    }}""")
    arrays = {"table": GENERATOR.normal(size=(30, 8)).astype(np.float32), "depth": np.array(2, np.int32)}
    arrays |= {"small": GENERATOR.normal(size=(2, 8)).astype(np.float32), "values": np.array([0, 1], np.float32)}
    arrays |= {"last": WHOLE["last"]}
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in arrays.items())
    onnx.save(model, str(tmp_path / "model.onnx"))
    graph = canonicalize(import_onnx(tmp_path / "model.onnx", SEQ_LEN))
    assert [operator.kind for operator in graph.operators] == ["gather", "gather", "add"]
    ids, types = np.arange(SEQ_LEN)[None], np.arange(SEQ_LEN)[None] % 2
    (found,) = evaluate(graph, {"input_ids": ids, "token_type_ids": types})
    assert np.allclose(found, arrays["table"][ids] + arrays["small"][types])


@pytest.mark.usefixtures("shared_home")
@pytest.mark.parametrize(
    "end",
    [
        "y = Gather <axis = 1> (r, first)",
        "y = Slice(r, first, second, second)",
        "y = Softmax <axis = 1> (r)",
        "y = ReduceMean <axes = [1], keepdims = 0> (r)",
        "y = ReduceMax <axes = [1], keepdims = 1> (r)",
        "y = Transpose <perm = [0, 2, 1]> (r)",
    ],
)
def test_axes_are_counted_behind_a_product_of_flattened_rows(end: str, tmp_path: Path) -> None:
    """As many columns as rows: an operator along the wrong axis would fit, too."""
    path = graph_of(f"f = Reshape(x, flat) p = MatMul(f, square) r = Reshape(p, deep) {end}", tmp_path / "model.onnx")
    inputs = {"input_ids": GENERATOR.integers(0, 20, (1, SEQ_LEN))}
    (expected,) = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, inputs)
    (output,) = compile_model(path, seq_len=SEQ_LEN, threads=1).run(inputs)
    assert output.shape == expected.shape and np.abs(output - expected).max() < 1e-4


_GELUS: Mapping[str, str] = {
    "divided": "t = Div(x, root2) e = Erf(t) p = Add(e, one) q = Mul(x, p) y = Mul(q, half)",
    "half-precision root": "t = Div(x, root2_half) e = Erf(t) p = Add(e, one) q = Mul(x, p) y = Mul(q, half)",
    "multiplied": "t = Mul(x, root_half) e = Erf(t) p = Add(one, e) h = Mul(half, x) y = Mul(h, p)",
    "rounded": "t = Mul(root_half_rounded, x) e = Erf(t) p = Add(e, one) h = Mul(p, half) y = Mul(h, x)",
    "halved behind": "t = Div(x, root2) e = Erf(t) p = Add(e, one) q = Mul(x, p) y = Div(q, two)",
    "distributed": "t = Div(x, root2) e = Erf(t) h = Mul(x, half) he = Mul(h, e) y = Add(h, he)",
    "gate first": "t = Div(x, root2) e = Erf(t) he = Mul(e, half) p = Add(he, half) y = Mul(x, p)",
    "scaled twice": "t0 = Mul(x, two) t = Div(t0, root2) e = Erf(t) p = Add(e, one) q = Mul(t0, p) y = Mul(q, half)",
}
_TANHS: Mapping[str, str] = {
    "power": "c = Pow(x, three) k = Mul(c, b) s = Add(x, k) u = Mul(s, a) t = Tanh(u) p = Add(t, one) "
    "h = Mul(x, half) y = Mul(h, p)",
    "products": "q = Mul(x, x) c = Mul(q, x) k = Mul(b, c) s = Add(k, x) u = Mul(a, s) t = Tanh(u) p = Add(one, t) "
    "h = Mul(p, half) y = Mul(x, h)",
    "fast": "u = Mul(x, a) q = Mul(x, b) r = Mul(q, x) s = Add(r, one) w = Mul(u, s) t = Tanh(w) p = Add(t, one) "
    "h = Mul(x, half) y = Mul(h, p)",
    "half precision": "c = Pow(x, three) k = Mul(c, b_half) s = Add(x, k) u = Mul(s, a_half) t = Tanh(u) "
    "p = Add(t, one) h = Mul(x, half) y = Mul(h, p)",
    "short": "c = Pow(x, three) k = Mul(c, b) s = Add(x, k) u = Mul(s, a_short) t = Tanh(u) "
    "p = Add(t, one) h = Mul(x, half) y = Mul(h, p)",
    "distributed": "l = Mul(x, a) c = Pow(x, three) k = Mul(c, ab) s = Add(l, k) t = Tanh(s) p = Add(t, one) "
    "q = Mul(x, p) y = Mul(q, half)",
    "sigmoid": "c = Pow(x, three) k = Mul(c, b) s = Add(x, k) u = Mul(s, a_double) t = Sigmoid(u) y = Mul(x, t)",
}


@pytest.mark.parametrize("spelling", _GELUS)
def test_gelu_in_any_spelling(spelling: str, tmp_path: Path) -> None:
    path = graph_of(_GELUS[spelling], tmp_path / "model.onnx")
    graph = canonicalize(import_onnx(path, SEQ_LEN))
    assert "gelu" in kinds(graph) <= {"gelu", "no_norm"}
    assert difference(path, graph) < 1e-5


@pytest.mark.parametrize(
    "lines",
    [
        "g = Sigmoid(x) y = Mul(x, g)",
        "t = Mul(x, quick) g = Sigmoid(t) y = Mul(g, x)",
        "n = Neg(x) e = Exp(n) p = Add(one, e) y = Div(x, p)",
        "t = Tanh(x) p = Add(t, one) h = Mul(x, half) y = Mul(h, p)",
    ],
)
def test_silu_and_quick_gelu(lines: str, tmp_path: Path) -> None:
    path = graph_of(lines, tmp_path / "model.onnx")
    graph = canonicalize(import_onnx(path, SEQ_LEN))
    assert "silu" in kinds(graph) <= {"silu", "no_norm"}
    assert difference(path, graph) < 1e-5


@pytest.mark.parametrize("spelling", _TANHS)
def test_gelu_by_tanh_in_any_spelling(spelling: str, tmp_path: Path) -> None:
    path = graph_of(_TANHS[spelling], tmp_path / "model.onnx")
    graph = canonicalize(import_onnx(path, SEQ_LEN))
    assert "gelu_tanh" in kinds(graph) <= {"gelu_tanh", "no_norm"}
    assert difference(path, graph) < 2e-4


@pytest.mark.parametrize(
    "lines",
    [
        "t = Div(x, root2) e = Erf(t) p = Add(e, two) q = Mul(x, p) y = Mul(q, half)",
        "e = Erf(x) y = Mul(x, e)",
    ],
)
def test_what_is_no_gelu_is_refused(lines: str, tmp_path: Path) -> None:
    with pytest.raises(PocketBertError):
        canonicalize(import_onnx(graph_of(lines, tmp_path / "model.onnx"), SEQ_LEN))
