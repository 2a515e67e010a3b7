"""What is known of a file's tensors before it is imported: which are constant, small values, and bounds."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from fusion.importing.evaluation import COMPUTED, constant_array, constant_value
from fusion.importing.input_names import MASK
from fusion.importing.quantisation.bounds import UNKNOWN, Bounds, bounds_of_array, bounds_of_node
from fusion.importing.quantised_weights import dequantized, quantized

_MOST_VALUES = 1 << 20
# Operators behind which small values are still known, without computing much.
_CONVERTING: Mapping[str, Callable[..., np.ndarray]] = MappingProxyType(
    {"DequantizeLinear": dequantized, "QuantizeLinear": quantized}
)
_FOLLOWED = frozenset("Cast Identity Reshape Squeeze Unsqueeze".split()) | _CONVERTING.keys()
_FEW_BITS = (TensorProto.INT4, TensorProto.UINT4)
_CASTS: Mapping[int, np.dtype[Any]] = MappingProxyType(
    {
        kind: np.dtype(helper.tensor_dtype_to_np_dtype(kind))
        for kind in (TensorProto.FLOAT, TensorProto.INT8, TensorProto.UINT8, TensorProto.INT32, TensorProto.INT64)
    }
)


class KnownTensors:
    """Tensors of a model, as its nodes are added in their order."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._tensors: dict[str, TensorProto] = {tensor.name: tensor for tensor in graph.initializer}
        self._makers: dict[str, onnx.NodeProto] = {}
        self._constants = set(self._tensors)
        self._bounds: dict[str, Bounds] = {MASK: (0.0, 1.0)}

    def add(self, node: onnx.NodeProto) -> None:
        """Takes note of a node's outputs."""
        operands = [name for name in node.input if name]
        self._makers.update((name, node) for name in node.output)
        computed = node.op_type in COMPUTED if operands else node.op_type == "Constant"
        if computed and self._constants.issuperset(operands):
            self._constants.update(name for name in node.output if name)
            return  # their values tell more than their operators' bounds
        bounds = bounds_of_node(node, {name: self.bounds(name) for name in operands})
        for name in node.output:
            self._bounds[name] = bounds

    def add_tensor(self, tensor: TensorProto) -> None:
        """Takes note of a constant that was made."""
        self._tensors[tensor.name] = tensor
        self._constants.add(tensor.name)

    def maker(self, name: str) -> onnx.NodeProto | None:
        """The node that makes a tensor."""
        return self._makers.get(name)

    def is_constant(self, name: str) -> bool:
        """Whether a tensor is a constant of the file, or made of such alone."""
        return name in self._constants

    def bounds(self, name: str) -> Bounds:
        """The least and the largest number that a tensor may hold."""
        if name not in self._bounds:
            value = self.value(name)
            self._bounds[name] = UNKNOWN if value is None else bounds_of_array(value)
        return self._bounds[name]

    def element_type(self, name: str) -> int:
        """ONNX's number of a constant's type; zero for what is no tensor of the file's own."""
        return self._tensors[name].data_type if name in self._tensors else 0

    def is_of_few_bits(self, name: str) -> bool:
        """Whether a constant is of a type of less than 8 bits, which NumPy does not have."""
        return self.element_type(name) in _FEW_BITS

    def value(self, name: str) -> np.ndarray | None:
        """The values of a constant; None when they are many, or computed in another way than is followed here.

        Raises:
            ModelError: a tensor's data does not fit its shape.
        """
        steps: list[onnx.NodeProto] = []
        seen: set[str] = set()
        while (value := self._stored(name)) is None:
            node = self._makers.get(name)
            if node is None or name in seen or node.op_type not in _FOLLOWED or not node.input:
                return None
            steps.append(node)
            seen.add(name)
            name = node.input[0]
        for node in reversed(steps):
            value = self._after(node, value) if value is not None else None
        return value

    def _stored(self, name: str) -> np.ndarray | None:
        """What the file holds under a name, unless that is much."""
        if name in self._tensors:
            count = math.prod(self._tensors[name].dims)
            return constant_array(self._tensors[name]) if 0 <= count <= _MOST_VALUES else None
        node = self._makers.get(name)
        if node is None or node.op_type != "Constant":
            return None
        value = constant_value(node)
        return value if value.size <= _MOST_VALUES else None

    def _after(self, node: onnx.NodeProto, value: np.ndarray) -> np.ndarray | None:
        """What an operator makes of a value."""
        if node.op_type == "Cast":
            kind = next((entry.i for entry in node.attribute if entry.name == "to"), 0)
            return value.astype(_CASTS[kind]) if kind in _CASTS else None
        if node.op_type not in _CONVERTING:
            return value
        operands = [self._stored(name) for name in node.input[1:3] if name]
        if not operands or any(operand is None or operand.size != 1 for operand in operands):
            return None
        try:
            return _CONVERTING[node.op_type]({entry.name: entry.i for entry in node.attribute}, value, *operands)
        except ValueError:
            return None  # as folding it will tell
