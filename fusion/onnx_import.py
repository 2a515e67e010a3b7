"""ONNX to the operator graph: shapes fixed, everything that does not depend on the ids folded to constants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import google.protobuf.message
import numpy as np
import onnx
from onnx import helper, numpy_helper, shape_inference
from onnx.reference import ReferenceEvaluator

from data.errors import DataFileError, ModelError, UnsupportedOperatorError
from fusion.graph import Attribute, Graph, Operator, TensorType
from fusion.key_mask import replace_key_masks

_MAX_ELEMENTS = 1 << 28
# What ONNX's own inference and reference evaluator raise on nodes that break its rules.
_INFERENCE_ERRORS = (onnx.checker.ValidationError, shape_inference.InferenceError, RuntimeError, TypeError, ValueError)
_EVALUATION_ERRORS = (*_INFERENCE_ERRORS, ArithmeticError, AttributeError, LookupError, MemoryError)
_TAKEN_INPUTS = ("input_ids", "attention_mask", "token_type_ids")


def import_onnx(path: Path | str, seq_len: int) -> Graph:
    """The operator graph of an ONNX file at batch 1 and a fixed sequence length.

    Raises:
        DataFileError: the file cannot be read as ONNX.
        ModelError: shapes do not fit, or are too large.
        UnsupportedOperatorError: an operator whose shapes ONNX itself does not know.
    """
    model = _load(Path(path))
    importer = _Importer(model, seq_len)
    for node in model.graph.node:
        importer.add(node)
    return replace_key_masks(importer.graph(), model, seq_len)


def _load(path: Path) -> onnx.ModelProto:
    if not path.is_file():
        raise DataFileError(path, "no such ONNX file")
    try:
        model = onnx.load(str(path))
    except (google.protobuf.message.DecodeError, onnx.checker.ValidationError, ValueError, OSError) as error:
        raise DataFileError(path, f"cannot be read as ONNX ({_first_line(error)})") from error
    if not model.graph.node:
        raise DataFileError(path, "holds no ONNX graph")
    return model


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


@dataclass
class _Importer:
    """Goes through the nodes in order, keeping constants and types."""

    model: onnx.ModelProto
    seq_len: int
    constants: dict[str, np.ndarray] = field(default_factory=dict)
    types: dict[str, TensorType] = field(default_factory=dict)
    operators: list[Operator] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.opsets = {entry.domain: entry.version for entry in self.model.opset_import}
        for tensor in self.model.graph.initializer:
            self._constant(tensor.name, _array(tensor))
        self.inputs = tuple(value.name for value in self.model.graph.input if value.name not in self.constants)
        for name in self.inputs:
            if name not in _TAKEN_INPUTS:
                raise ModelError(f"input {name!r} is not one of {', '.join(_TAKEN_INPUTS)}")
            self.types[name] = TensorType((1, self.seq_len), "int64")

    def graph(self) -> Graph:
        outputs = tuple(value.name for value in self.model.graph.output)
        missing = [name for name in outputs if name not in self.types]
        if missing or not outputs:
            raise ModelError(f"output {missing[0]!r} is never made" if missing else "the model has no output")
        return Graph(
            self.inputs,
            outputs,
            tuple(self.operators),
            self.types,
            self.constants,
            source_operators=sum(node.op_type != "Constant" for node in self.model.graph.node),
        )

    def add(self, node: onnx.NodeProto) -> None:
        """Folds a node to constants, or adds its operator."""
        for name in node.input:
            if name and name not in self.types:
                raise ModelError(f"{_describe(node)}: {name!r} is read before it is made")
        shapes = self._shapes(node)
        for name, type_ in shapes.items():
            if name in self.types:
                raise ModelError(f"{_describe(node)}: {name!r} is made twice")
            if type_.rows * type_.columns > _MAX_ELEMENTS:
                raise ModelError(f"{_describe(node)}: {name!r} of shape {list(type_.shape)} is too large")
        if node.op_type == "Shape":
            self._constant(node.output[0], _shape_value(node, self.types[node.input[0]]))
        elif all(name in self.constants or not name for name in node.input):
            for name, value in zip(node.output, self._evaluate(node), strict=False):
                self._constant(name, np.asarray(value))
        else:
            self._operator(node, shapes)

    def _operator(self, node: onnx.NodeProto, shapes: Mapping[str, TensorType]) -> None:
        used = [name for name in node.output if name]
        self.types.update({name: shapes[name] for name in used})
        attributes = tuple(sorted((entry.name, _attribute(node, entry)) for entry in node.attribute))
        self.operators.append(Operator(node.op_type.lower(), tuple(node.input), used[0], attributes, node.name))

    def _constant(self, name: str, value: np.ndarray) -> None:
        self.constants[name] = value
        self.types[name] = TensorType(tuple(int(size) for size in value.shape), str(value.dtype))

    def _shapes(self, node: onnx.NodeProto) -> dict[str, TensorType]:
        """Types of a node's outputs, from ONNX's own inference with all known values."""
        version = self.opsets.get(node.domain, 0)
        try:
            schema = onnx.defs.get_schema(node.op_type, version, node.domain)
        except onnx.defs.SchemaError as error:
            raise UnsupportedOperatorError(f"{_describe(node)}: unknown to ONNX opset {version}") from error
        if any(entry.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS) for entry in node.attribute):
            raise UnsupportedOperatorError(f"{_describe(node)}: operators with a graph inside are not supported")
        types = {name: _type_proto(self.types[name]) for name in node.input if name}
        data = {
            name: numpy_helper.from_array(self.constants[name], name)
            for name in node.input
            if name in self.constants and self.constants[name].size <= 64
        }
        try:
            inferred = shape_inference.infer_node_outputs(schema, node, types, data, opset_imports=self._imports())
        except _INFERENCE_ERRORS as error:
            raise ModelError(f"{_describe(node)}: {_first_line(error)}") from error
        return {name: _tensor_type(node, name, type_) for name, type_ in inferred.items() if name}

    def _evaluate(self, node: onnx.NodeProto) -> list[Any]:
        feeds = {name: self.constants[name] for name in node.input if name}
        values = [helper.make_value_info(name, _type_proto(self.types[name])) for name in feeds]
        outputs = [onnx.ValueInfoProto(name=name) for name in node.output if name]
        graph = helper.make_graph([node], "constant", values, outputs)
        try:
            return list(ReferenceEvaluator(helper.make_model(graph, opset_imports=self._imports())).run(None, feeds))
        except _EVALUATION_ERRORS as error:
            raise ModelError(f"{_describe(node)}: cannot be computed ({_first_line(error)})") from error

    def _imports(self) -> list[onnx.OperatorSetIdProto]:
        return list(self.model.opset_import)


def _array(tensor: onnx.TensorProto) -> np.ndarray:
    try:
        return numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError) as error:
        raise ModelError(f"initializer {tensor.name!r}: {_first_line(error)}") from error


def _describe(node: onnx.NodeProto) -> str:
    return f"operator {node.op_type} (node {node.name or (node.output[0] if node.output else '?')})"


def _shape_value(node: onnx.NodeProto, type_: TensorType) -> np.ndarray:
    bounds = {entry.name: entry.i for entry in node.attribute}
    return np.array(type_.shape[bounds.get("start", 0) : bounds.get("end")], dtype=np.int64)


def _attribute(node: onnx.NodeProto, entry: onnx.AttributeProto) -> Attribute:
    value = helper.get_attribute_value(entry)
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, int | float):
        return value
    if isinstance(value, list | tuple) and all(isinstance(item, int) for item in value):
        return tuple(value)
    raise UnsupportedOperatorError(f"{_describe(node)}: attribute {entry.name!r} of an unsupported type")


def _type_proto(type_: TensorType) -> onnx.TypeProto:
    return helper.make_tensor_type_proto(helper.np_dtype_to_tensor_dtype(np.dtype(type_.dtype)), type_.shape)


def _tensor_type(node: onnx.NodeProto, name: str, type_: onnx.TypeProto) -> TensorType:
    tensor = type_.tensor_type
    if not tensor.HasField("shape") or any(not size.HasField("dim_value") for size in tensor.shape.dim):
        raise ModelError(f"{_describe(node)}: the shape of {name!r} cannot be known before the model runs")
    shape = tuple(size.dim_value for size in tensor.shape.dim)
    if any(size < 0 for size in shape):
        raise ModelError(f"{_describe(node)}: {name!r} has the shape {list(shape)}")
    return TensorType(shape, str(helper.tensor_dtype_to_np_dtype(tensor.elem_type)))
