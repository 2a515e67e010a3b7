"""Models of other precisions as fp32: half, bfloat16 and double tensors, and casts to them.

The compiler computes in fp32 throughout. What a half-precision model computes differs from that by its own rounding; a
number of a double-precision model that fp32 cannot hold becomes the largest that it can.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import AttributeProto, NodeProto, TensorProto, numpy_helper

from fusion.importing.evaluation import constant_array
from fusion.importing.onnx_nodes import all_graphs

_OTHERS = frozenset({TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE})
# Attributes that hold an element type.
_TYPES = frozenset({"to", "dtype", "stash_type", "softmax_precision", "output_dtype"})


def convert_to_single(model: onnx.ModelProto) -> None:
    """Makes every floating-point tensor of a model fp32, in place.

    Raises:
        ModelError: a tensor's data does not fit its shape.
    """
    for graph in all_graphs(model.graph):
        del graph.value_info[:]
        for tensor in graph.initializer:
            _convert(tensor)
        for value in (*graph.input, *graph.output):
            if value.type.tensor_type.elem_type in _OTHERS:
                value.type.tensor_type.elem_type = TensorProto.FLOAT
        for node in graph.node:
            _convert_node(node)


def _convert_node(node: NodeProto) -> None:
    for entry in node.attribute:
        if entry.type == AttributeProto.TENSOR:
            _convert(entry.t)
        elif entry.type == AttributeProto.INT and entry.name in _TYPES and entry.i in _OTHERS:
            entry.i = TensorProto.FLOAT


def _convert(tensor: TensorProto) -> None:
    if tensor.data_type not in _OTHERS:
        return
    name, values = tensor.name, as_single(constant_array(tensor))
    tensor.CopyFrom(numpy_helper.from_array(values, name))


def as_single(values: np.ndarray) -> np.ndarray:
    """Floating-point numbers as fp32; finite ones stay finite."""
    most = np.finfo(np.float32).max
    if values.dtype == np.float64:
        values = np.where(np.isfinite(values), values.clip(-most, most), values)
    return values.astype(np.float32)
