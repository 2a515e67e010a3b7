"""Whether a node of an ONNX file may be handed to ONNX's own shape inference.

That inference is C++ which trusts its nodes: an axis out of range ends the process. So operators, counts of operands,
attributes and their ranges are checked here first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import onnx
from onnx import AttributeProto, helper

from data.errors import ModelError, UnsupportedOperatorError
from fusion.graph import TensorType
from fusion.importing.evaluation import COMPUTED, describe

KNOWN = COMPUTED | frozenset(
    "ArgMax ArgMin Constant Dropout Gelu Gemm LayerNormalization LogSoftmax LpNormalization MatMul ReduceL2 "
    "ReduceSumSquare Shape Sigmoid Softmax Split TopK".split()
)
_GRAPHS = (AttributeProto.GRAPH, AttributeProto.GRAPHS)
_LARGEST_NUMBER = 1 << 31

Ranks = Sequence[int]


def check_node(node: onnx.NodeProto, schema: onnx.defs.OpSchema, types: Mapping[str, TensorType]) -> None:
    """Nothing, when the node keeps to its operator's schema.

    Raises:
        UnsupportedOperatorError: an operator that the front end does not know, or one with a graph inside.
        ModelError: operands or attributes that the operator does not have.
    """
    shapes = [list(types[name].shape) for name in node.input if name]
    if any(entry.type in _GRAPHS for entry in node.attribute):
        raise UnsupportedOperatorError(f"{describe(node)}: operators with a graph inside are not supported")
    if node.op_type not in KNOWN:
        raise UnsupportedOperatorError(
            f"{describe(node)} of operands {', '.join(map(str, shapes))} is not supported. "
            f"Supported: {', '.join(sorted(KNOWN))}"
        )
    _check_counts(node, schema)
    present = {entry.name: entry for entry in node.attribute}
    required = [name for name, entry in schema.attributes.items() if entry.required]
    for name in required:
        if name not in present:
            raise ModelError(f"{describe(node)} lacks the attribute {name!r}")
    ranks = [len(shape) for shape in shapes]
    for name, entry in present.items():
        if name not in schema.attributes or int(schema.attributes[name].type.value) != entry.type:
            raise ModelError(f"{describe(node)} has no attribute {name!r} of that type")
        if not _in_range(entry, ranks, node.op_type == "Flatten"):
            raise ModelError(f"{describe(node)}: {name} is out of range for operands {', '.join(map(str, shapes))}")


def _check_counts(node: onnx.NodeProto, schema: onnx.defs.OpSchema) -> None:
    needed = range(schema.min_input)
    missing = len(node.input) < schema.min_input or any(not node.input[index] for index in needed)
    if missing or len(node.input) > schema.max_input:
        raise ModelError(f"{describe(node)} has {len(node.input)} operands, or lacks one of {schema.min_input}")
    if not schema.min_output <= len(node.output) <= schema.max_output:
        raise ModelError(f"{describe(node)} has {len(node.output)} outputs")


def _in_range(entry: AttributeProto, ranks: Ranks, behind: bool) -> bool:
    """``behind``: whether an axis may be the one behind the last."""
    value = helper.get_attribute_value(entry)
    if entry.name == "axis":
        rank = max(ranks, default=0)
        return -rank <= value < rank + behind
    if entry.name in _RANGES:
        return _RANGES[entry.name](value, ranks)
    numbers = value if entry.type == AttributeProto.INTS else [value] if entry.type == AttributeProto.INT else []
    return all(abs(number) < _LARGEST_NUMBER for number in numbers)


# By attribute: whether its value fits operands of these ranks.
_RANGES: Mapping[str, Callable[..., bool]] = MappingProxyType(
    {
        "axes": lambda value, ranks: all(abs(axis) <= max(ranks, default=0) + len(value) for axis in value),
        "batch_dims": lambda value, ranks: 0 <= value < min(ranks, default=0),
        "perm": lambda value, ranks: ranks[:1] == [len(value)] and sorted(value) == list(range(len(value))),
    }
)
