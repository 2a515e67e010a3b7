"""An ONNX file as the importer wants it: functions inlined, tensors dense and fp32, nodes in order and needed."""

from __future__ import annotations

import math
from pathlib import Path

import google.protobuf.message
import numpy as np
import onnx
from onnx import AttributeProto, inliner, numpy_helper

from data.errors import DataFileError, ModelError, first_line
from fusion.importing.evaluation import constant_array
from fusion.importing.external_data import load_external_data, read_model
from fusion.importing.onnx_nodes import all_graphs, needed_nodes
from fusion.importing.precision import convert_to_single

_MAX_DENSE_ELEMENTS = 1 << 28


def load_onnx(path: Path) -> onnx.ModelProto:
    """The model of an ONNX file with its weights, prepared for import.

    Raises:
        DataFileError: the file cannot be read as ONNX.
        ModelError: a tensor's data does not fit its shape.
    """
    model = _read(path)
    for graph in all_graphs(model.graph):
        _make_dense(graph)
    nodes = list(model.graph.node)
    kept = needed_nodes(nodes, [value.name for value in model.graph.output])
    if [id(node) for node in kept] != [id(node) for node in nodes]:
        copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in kept]
        del model.graph.node[:]
        model.graph.node.extend(copies)
    convert_to_single(model)
    return model


def _read(path: Path) -> onnx.ModelProto:
    model = load_external_data(read_model(path), path)
    try:
        if model.functions:
            model = inliner.inline_local_functions(model)
    except (google.protobuf.message.Error, onnx.checker.ValidationError, RuntimeError, ValueError) as error:
        raise DataFileError(path, f"cannot be read as ONNX ({first_line(error)})") from error
    if not model.graph.node:
        raise DataFileError(path, "holds no ONNX graph")
    return model


def _make_dense(graph: onnx.GraphProto) -> None:
    """Sparse tensors, of the graph and of its ``Constant`` nodes, as ordinary ones."""
    for sparse in graph.sparse_initializer:
        graph.initializer.append(numpy_helper.from_array(dense_array(sparse), sparse.values.name))
    del graph.sparse_initializer[:]
    for node in graph.node:
        for entry in node.attribute:
            if entry.type == AttributeProto.SPARSE_TENSOR and node.op_type == "Constant":
                tensor = numpy_helper.from_array(dense_array(entry.sparse_tensor))
                entry.Clear()
                entry.name, entry.type = "value", AttributeProto.TENSOR
                entry.t.CopyFrom(tensor)


def dense_array(sparse: onnx.SparseTensorProto) -> np.ndarray:
    """A sparse tensor with its zeros; indices are of the flat tensor [n], or one for each axis [n, rank].

    Raises:
        ModelError: indices do not fit the shape, or the tensor is too large.
    """
    shape, name = tuple(sparse.dims), sparse.values.name
    values, indices = constant_array(sparse.values).reshape(-1), constant_array(sparse.indices)
    if min(shape, default=0) < 0 or math.prod(shape) > _MAX_DENSE_ELEMENTS:
        raise ModelError(f"sparse tensor {name!r} has the shape {list(shape)}")
    dense = np.zeros(shape, values.dtype)
    try:
        flat = indices if indices.ndim == 1 else np.ravel_multi_index(tuple(indices.T), shape)
        if flat.size and (flat.min() < 0 or flat.size != values.size):
            raise ModelError(f"sparse tensor {name!r}: indices do not fit the shape {list(shape)}")
        dense.reshape(-1)[flat] = values
    except (IndexError, ValueError, TypeError) as error:
        raise ModelError(f"sparse tensor {name!r}: {first_line(error)}") from error
    return dense
