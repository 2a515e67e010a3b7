"""Parts of an ONNX model computed while it is read: operators on constants, and what follows from ids or mask alone.

Only operators whose cost is bounded by their operands' and results' sizes are computed, and only up to a size, so that
no file can keep the compiler busy or fill the memory.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper, shape_inference
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from data.errors import ModelError, UnsupportedOperatorError, first_line
from fusion.graph import Graph, TensorType
from fusion.importing.quantised_weights import dequantized, quantized

# What ONNX's own inference and reference evaluator raise on nodes that break its rules.
INFERENCE_ERRORS = (onnx.checker.ValidationError, shape_inference.InferenceError, RuntimeError, TypeError, ValueError)
_EVALUATION_ERRORS = (*INFERENCE_ERRORS, ArithmeticError, AssertionError, AttributeError, LookupError, MemoryError)

COMPUTED = frozenset(
    "Abs Add And Cast CastLike Ceil Clip Concat ConstantOfShape Cos CumSum DequantizeLinear Div Equal Erf Exp "
    "Expand Flatten Floor Gather GatherElements GatherND Greater GreaterOrEqual Identity IsInf IsNaN Less "
    "LessOrEqual Log MatMul Max Min Mod Mul Neg NonZero Not OneHot Or Pad Pow QuantizeLinear Range Reciprocal "
    "ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum Relu Reshape Round Sign Sin Size Slice Softmax Split Sqrt "
    "Squeeze Sub Sum Tanh Tile Transpose Trilu Unsqueeze Where Xor".split()
)
_MAX_ELEMENTS = 1 << 24
_MAX_PART_ELEMENTS = 1 << 25
_MAX_WEIGHT_ELEMENTS = 1 << 29
_MAX_PRODUCTS = 1 << 32
# Operators of weights, which may be as large as the file that holds them.
_OF_WEIGHTS = frozenset("Cast DequantizeLinear Identity QuantizeLinear Reshape Squeeze Transpose Unsqueeze".split())


class OutsideTableError(ModelError):
    """An index that is looked up outside its table; ``many``, when one of several."""

    def __init__(self, subject: str, index: int, entries: int, many: bool) -> None:
        super().__init__(f"{subject}: index {index} is looked up in a table of {entries} entries")
        self.subject, self.index, self.entries, self.many = subject, index, entries, many


class _IndexOutsideError(IndexError):
    """What the evaluator's operators raise: they don't know whose they are."""


def _check_indices(indices: np.ndarray, entries: int) -> None:
    for index in (int(indices.max()), int(indices.min())) if indices.size else ():
        if not -entries <= index < entries:
            raise _IndexOutsideError(index, entries, indices.size > 1)


class Gather(OpRun):
    """In place of the evaluator's own, whose error does not tell the index."""

    def _run(self, data: np.ndarray, indices: np.ndarray, axis: int = 0) -> tuple[np.ndarray]:
        _check_indices(indices, data.shape[axis])
        return (np.take(data, indices, axis=axis),)


class GatherElements(OpRun):
    """In place of the evaluator's own, which takes at most 32 choices."""

    def _run(self, data: np.ndarray, indices: np.ndarray, axis: int = 0) -> tuple[np.ndarray]:
        axis %= data.ndim
        _check_indices(indices, data.shape[axis])
        near = tuple(slice(None) if one == axis else slice(size) for one, size in enumerate(indices.shape))
        return (np.take_along_axis(data[near], indices, axis),)


def describe(node: onnx.NodeProto) -> str:
    """How errors name a node."""
    return f"operator {node.op_type} (node {node.name or (node.output[0] if node.output else '?')})"


def type_proto(type_: TensorType) -> onnx.TypeProto:
    """ONNX's form of a type."""
    return helper.make_tensor_type_proto(helper.np_dtype_to_tensor_dtype(np.dtype(type_.dtype)), type_.shape)


def evaluate_node(
    node: onnx.NodeProto,
    constants: Mapping[str, np.ndarray],
    types: Mapping[str, TensorType],
    opsets: Sequence[onnx.OperatorSetIdProto],
) -> list[np.ndarray]:
    """The outputs of a node whose inputs are all constant; ``types`` holds those of its outputs as well.

    Raises:
        UnsupportedOperatorError: an operator that is not computed here.
        ModelError: the result is too large, or ONNX finds the node at fault.
    """
    if node.op_type == "Constant":
        return [constant_value(node)]
    check_computed(node, types)
    feeds = {name: constants[name] for name in node.input if name}
    if node.op_type in _DIRECT:
        return [_directly(node, [feeds[name] for name in node.input if name])]
    values = [helper.make_value_info(name, type_proto(types[name])) for name in feeds]
    outputs = [onnx.ValueInfoProto(name=name) for name in node.output if name]
    model = helper.make_model(helper.make_graph([node], "constant", values, outputs), opset_imports=list(opsets))
    return _run(model, feeds, describe(node))


def check_computed(node: onnx.NodeProto, types: Mapping[str, TensorType]) -> None:
    """Refuses operators that are not computed here, and tensors that are too large for it."""
    if node.op_type not in COMPUTED or node.domain:
        raise UnsupportedOperatorError(
            f"{describe(node)} is not supported on constants. Supported: {', '.join(sorted(COMPUTED))}"
        )
    limit = _MAX_WEIGHT_ELEMENTS if node.op_type in _OF_WEIGHTS else _MAX_ELEMENTS
    if node.op_type == "MatMul" and _products(node, types) > _MAX_PRODUCTS:
        raise ModelError(f"{describe(node)}: a product of constants is too large to compute")
    for name in node.output:
        if name in types and types[name].rows * types[name].columns > limit:
            raise ModelError(f"{describe(node)}: {name!r} of shape {list(types[name].shape)} is too large to compute")


def _products(node: onnx.NodeProto, types: Mapping[str, TensorType]) -> int:
    """Multiplications in a product of matrices."""
    result = types.get(node.output[0])
    return result.rows * result.columns * types[node.input[0]].columns if result is not None else 0


def dependents(graph: Graph, source: str, kinds: str = "") -> set[str]:
    """Tensors that depend on one input and on nothing else; with ``kinds``, of these NumPy kinds of types alone."""
    found = {source}
    for operator in graph.operators:
        sources = [name for name in operator.inputs if name and name not in graph.constants]
        wanted = not kinds or np.dtype(graph.types[operator.output].dtype).kind in kinds
        if wanted and sources and all(name in found for name in sources):
            found.add(operator.output)
    return found - {source}


def frontier(graph: Graph, dependent: set[str], problem: str) -> list[str]:
    """Those of the dependent tensors that other operators read.

    Raises:
        UnsupportedOperatorError: an output of the model is one of them; ``problem`` is what the message says of it.
    """
    found: dict[str, None] = {}
    for operator in graph.operators:
        if operator.output not in dependent:
            found.update(dict.fromkeys(name for name in operator.inputs if name in dependent))
    lost = [name for name in graph.outputs if name in dependent]
    if lost:
        raise UnsupportedOperatorError(f"output {lost[0]!r} {problem}")
    return list(found)


def evaluate_part(
    graph: Graph, model: onnx.ModelProto, wanted: Sequence[str], feeds: Sequence[Mapping[str, np.ndarray]]
) -> list[list[np.ndarray]]:
    """The wanted tensors, for each of the inputs' values.

    Raises:
        UnsupportedOperatorError, ModelError: as :func:`evaluate_node`.
    """
    nodes = _needed_nodes(graph, model, set(wanted))
    for node in nodes:
        check_computed(node, graph.types)
    made = [graph.types[name] for node in nodes for name in node.output if name in graph.types]
    if sum(type_.rows * type_.columns for type_ in made) > _MAX_PART_ELEMENTS:
        raise ModelError(f"the part of the model that makes {wanted[0]!r} is too large to compute")
    inner = {name for node in nodes for name in node.output}
    known = {name: graph.constants[name] for node in nodes for name in node.input if name in graph.constants}
    inputs = [onnx.ValueInfoProto(name=name) for name in sorted({*known, *feeds[0]} - inner)]
    outputs = [onnx.ValueInfoProto(name=name) for name in wanted]
    part = helper.make_model(helper.make_graph(nodes, "part", inputs, outputs), opset_imports=list(model.opset_import))
    return [_run(part, {**known, **values}, f"the part of the model that makes {wanted[0]!r}") for values in feeds]


def _run(model: onnx.ModelProto, feeds: Mapping[str, np.ndarray], subject: str) -> list[np.ndarray]:
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # such as the mean of nothing: the result says it too
            results: list[Any] = list(
                ReferenceEvaluator(model, new_ops=[Gather, GatherElements]).run(None, dict(feeds))
            )
    except _IndexOutsideError as error:
        raise OutsideTableError(subject, *error.args) from error
    except _EVALUATION_ERRORS as error:
        raise ModelError(f"{subject}: cannot be computed ({first_line(error)})") from error
    return [np.asarray(result) for result in results]


def constant_value(node: onnx.NodeProto) -> np.ndarray:
    """What a ``Constant`` holds.

    Raises:
        ModelError: not one value, or data that does not fit its shape.
        UnsupportedOperatorError: text, or something else that is no tensor.
    """
    values = {entry.name: entry for entry in node.attribute}
    if len(values) != 1:
        raise ModelError(f"{describe(node)} holds {len(values)} values")
    (name,) = values
    if name == "value":
        return constant_array(values[name].t)
    dtypes = {"value_float": np.float32, "value_floats": np.float32, "value_int": np.int64, "value_ints": np.int64}
    if name not in dtypes:
        raise UnsupportedOperatorError(f"{describe(node)}: {name} is not supported")
    return np.array(helper.get_attribute_value(values[name]), dtypes[name])


def constant_array(tensor: onnx.TensorProto) -> np.ndarray:
    """A tensor of the file; ``ModelError`` when its data does not fit its shape or its type has no NumPy kind."""
    try:
        array = _widened(numpy_helper.to_array(tensor))
    except (ValueError, TypeError, KeyError, OverflowError, MemoryError) as error:
        raise ModelError(f"tensor {tensor.name!r}: {first_line(error)}") from error
    if array.dtype.kind not in "biuf":
        raise ModelError(f"tensor {tensor.name!r} holds {array.dtype.name}")
    return array


# Types that NumPy does not know, in those that hold their values.
_WIDER: Mapping[str, str] = MappingProxyType(
    {"int4": "int8", "uint4": "uint8", "int2": "int8", "uint2": "uint8", "bfloat16": "float32"}
)


def _widened(array: np.ndarray) -> np.ndarray:
    wider = _WIDER.get(array.dtype.name, "float32" if array.dtype.name.startswith("float8") else "")
    return array.astype(wider) if wider else array


def _directly(node: onnx.NodeProto, operands: Sequence[np.ndarray]) -> np.ndarray:
    """What NumPy does as well: without copies of weights."""
    attributes = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
    try:
        return _DIRECT[node.op_type](attributes, *operands)
    except (ValueError, TypeError, IndexError) as error:
        raise ModelError(f"{describe(node)}: cannot be computed ({first_line(error)})") from error


_DIRECT: Mapping[str, Callable[..., np.ndarray]] = MappingProxyType(
    {
        "DequantizeLinear": dequantized,
        "QuantizeLinear": quantized,
        "Identity": lambda attributes, value: value,
        "Transpose": lambda attributes, value: np.ascontiguousarray(value.transpose(attributes.get("perm"))),
    }
)


def _needed_nodes(graph: Graph, model: onnx.ModelProto, wanted: set[str]) -> list[onnx.NodeProto]:
    needed, kept = set(wanted), []
    for node in reversed(model.graph.node):
        if needed & set(node.output) and not all(name in graph.constants for name in node.output if name):
            kept.append(node)
            needed.update(node.input)
    return kept[::-1]
