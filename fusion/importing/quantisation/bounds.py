"""Bounds of what nodes compute, as far as their operators tell: the least and the largest number.

They answer one question: whether quantising to a range that begins at zero cuts anything off, as it does where a tool
left an activation (ReLU) to that range, or only says again that a softmax has no negative numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np
import onnx
from onnx import TensorProto

Bounds = tuple[float, float]
UNKNOWN: Bounds = (-np.inf, np.inf)
_TRUTH: Bounds = (0.0, 1.0)
_POSITIVE: Bounds = (0.0, np.inf)


def bounds_of_array(values: np.ndarray) -> Bounds:
    """Of a constant; unknown when it is empty or holds NaN."""
    if not values.size or values.dtype.kind not in "biuf":
        return UNKNOWN
    low, high = float(values.min()), float(values.max())
    return UNKNOWN if np.isnan(low) or np.isnan(high) else (low, high)


def bounds_of_node(node: onnx.NodeProto, known: Mapping[str, Bounds]) -> Bounds:
    """Of a node's outputs, from its operands'."""
    operands = [known.get(name, UNKNOWN) for name in node.input]
    if node.op_type in _FIXED:
        return _FIXED[node.op_type]
    if node.op_type in _SAME and operands:
        return operands[0]
    rule = _RULES.get(node.op_type)
    if rule is None or len(operands) < (2 if node.op_type in _OF_TWO else 1):
        return UNKNOWN
    with np.errstate(all="ignore"):
        low, high = rule(node, operands)
    return UNKNOWN if np.isnan(low) or np.isnan(high) else (float(low), float(high))


def _add(node: onnx.NodeProto, operands: Sequence[Bounds]) -> Bounds:
    (a, b), (c, d) = operands[:2]
    return a + c, b + d


def _subtract(node: onnx.NodeProto, operands: Sequence[Bounds]) -> Bounds:
    (a, b), (c, d) = operands[:2]
    return a - d, b - c


def _multiply(node: onnx.NodeProto, operands: Sequence[Bounds]) -> Bounds:
    if node.input[0] == node.input[1]:
        return _POSITIVE
    ends = [_times(one, other) for one in operands[0] for other in operands[1]]
    return min(ends), max(ends)


def _times(one: float, other: float) -> float:
    return 0.0 if 0 in (one, other) else one * other


def _divide(node: onnx.NodeProto, operands: Sequence[Bounds]) -> Bounds:
    (low, _), (least, _) = operands[:2]
    return _POSITIVE if low >= 0 and least >= 0 else UNKNOWN


def _power(node: onnx.NodeProto, operands: Sequence[Bounds]) -> Bounds:
    exponent, same = operands[1]
    return _POSITIVE if exponent == same and exponent % 2 == 0 else UNKNOWN


def _sum(node: onnx.NodeProto, operands: Sequence[Bounds]) -> Bounds:
    return _POSITIVE if operands[0][0] >= 0 else UNKNOWN


def _relu(node: onnx.NodeProto, operands: Sequence[Bounds]) -> Bounds:
    low, high = operands[0]
    return max(low, 0.0), max(high, 0.0)


def _cast(node: onnx.NodeProto, operands: Sequence[Bounds]) -> Bounds:
    """Whole numbers are cut off towards zero."""
    to = next((entry.i for entry in node.attribute if entry.name == "to"), 0)
    (low, high) = operands[0]
    if to == TensorProto.BOOL:
        return _TRUTH
    if to == TensorProto.FLOAT:
        return low, high
    return (np.floor(low), np.ceil(high)) if to in (TensorProto.INT32, TensorProto.INT64) else UNKNOWN


def _clip(node: onnx.NodeProto, operands: Sequence[Bounds]) -> Bounds:
    limits = {entry.name: entry.f for entry in node.attribute}
    least = operands[1][0] if len(operands) > 1 else limits.get("min", -np.inf)
    return max(operands[0][0], least), max(operands[0][1], least)


def _largest(node: onnx.NodeProto, operands: Sequence[Bounds]) -> Bounds:
    return max(low for low, _ in operands), max(high for _, high in operands)


def _either(node: onnx.NodeProto, operands: Sequence[Bounds]) -> Bounds:
    choices = operands[1:] if node.op_type == "Where" else operands
    return min(low for low, _ in choices), max(high for _, high in choices)


_FIXED: Mapping[str, Bounds] = MappingProxyType(
    dict.fromkeys("And Equal Greater GreaterOrEqual IsInf IsNaN Less LessOrEqual Not Or Xor".split(), _TRUTH)
    | dict.fromkeys("HardSigmoid Sigmoid Softmax".split(), _TRUTH)
    | dict.fromkeys("Abs Exp NonZero ReduceL1 ReduceL2 ReduceSumSquare Shape Size Softplus Sqrt".split(), _POSITIVE)
    | dict.fromkeys("Cos Erf Sin Tanh".split(), (-1.0, 1.0))
)
# Operators that move, choose or average the numbers of their first operand.
_SAME = frozenset(
    "Dropout Expand Flatten Gather GatherElements GatherND Identity ReduceMax ReduceMean ReduceMin Reshape Slice "
    "Split Squeeze Tile Transpose Unsqueeze".split()
)
_OF_TWO = frozenset("Add Div Mul Pow Sub Where".split())
_RULES: Mapping[str, Callable[[onnx.NodeProto, Sequence[Bounds]], Bounds]] = MappingProxyType(
    {
        "Add": _add,
        "Cast": _cast,
        "Clip": _clip,
        "Concat": _either,
        "Div": _divide,
        "Max": _largest,
        "Min": _either,
        "Mul": _multiply,
        "Pow": _power,
        "ReduceSum": _sum,
        "Relu": _relu,
        "Sub": _subtract,
        "Where": _either,
    }
)
