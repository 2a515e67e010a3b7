"""Operators on quantised numbers, each spelled out as an operator of fp32 between others that quantise.

    QLinearAdd(a, b) = QuantizeLinear(Add(DequantizeLinear(a), DequantizeLinear(b)))

so that only QuantizeLinear, DequantizeLinear, DynamicQuantizeLinear and MatMulInteger are left to understand. What the
operators compute is in ONNX's and in ONNX Runtime's lists of operators (ContribOperators.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx
from onnx import helper

from data.errors import ModelError
from fusion.importing.evaluation import describe
from fusion.importing.expansion import Expand, Expansion
from fusion.importing.microsoft_operators import DOMAIN

_LAST = -1
# The opset since which softmax is along one axis, rather than over all axes from its own on.
_NOT_FLATTENED = 13
_TABLES = {2: (8, 13), 3: (9, 14), 4: (10, 15), 5: (11, 16), 6: (12, 17)}  # operand: (scale, zero point)


def spelled_out(node: onnx.NodeProto, opset: int) -> list[onnx.NodeProto]:
    """The nodes that an operator of ``QUANTISED`` stands for, or the node itself; ``opset`` is the file's.

    Raises:
        ModelError: it has operands or attributes that it should not have, or lacks some.
        UnsupportedOperatorError: what it computes depends on a mixture of opsets.
    """
    expand = QUANTISED.get(node.op_type) if node.domain in ("", "ai.onnx", DOMAIN) else None
    if expand is None or not any(node.output):
        return [node]
    check_form(node)
    expansion = Expansion(node, {}, {})
    if node.op_type == "QLinearSoftmax" and (expansion.attribute("opset", 13) < _NOT_FLATTENED) != (
        opset < _NOT_FLATTENED
    ):
        raise expansion.refuse(f"a softmax of another opset than the file's, {opset}, is not supported")
    expand(expansion)
    return expansion.nodes


def check_form(node: onnx.NodeProto) -> None:
    """Nothing, when an operator has as many operands and such attributes as it may have.

    Raises:
        ModelError: it has not.
    """
    least, most, attributes = FORMS[node.op_type]
    if not least <= len(node.input) <= most:
        raise ModelError(f"{describe(node)} has {len(node.input)} operands")
    for entry in node.attribute:
        if entry.name not in attributes:
            raise ModelError(f"{describe(node)} has no attribute {entry.name!r}")


def _real(expansion: Expansion, numbers: int, scale: int, zero: int, axis: int | None = None) -> str:
    """The fp32 tensor of operands: whole numbers, scale and zero point; ``axis`` is that of several scales."""
    if not expansion.operand(numbers) or not expansion.operand(scale):
        raise ModelError(f"{describe(expansion.node)} lacks an operand")
    operands = [expansion.operand(index) for index in (numbers, scale, zero)]
    operands = operands if operands[2] else operands[:2]
    attributes: dict[str, Any] = {} if axis is None else {"axis": axis}
    return expansion.apply("DequantizeLinear", *operands, **attributes)


def _finish(expansion: Expansion, name: str, scale: int, zero: int) -> None:
    """Quantises the result."""
    if not expansion.operand(scale):
        raise ModelError(f"{describe(expansion.node)} lacks an operand")
    operands = [name, expansion.operand(scale), expansion.operand(zero)]
    expansion.apply("QuantizeLinear", *(operands if operands[2] else operands[:2]), output=expansion.output(0))


def _two_operands(kind: str) -> Expand:
    """(a, scale, zero point, b, scale, zero point, scale and zero point of the result)."""

    def expand(expansion: Expansion) -> None:
        result = expansion.apply(kind, _real(expansion, 0, 1, 2), _real(expansion, 3, 4, 5))
        _finish(expansion, result, 6, 7)

    return expand


def _product(expansion: Expansion) -> None:
    """``QLinearMatMul``: operands as of :func:`_two_operands`, with scales for each column of the second."""
    result = expansion.apply("MatMul", _real(expansion, 0, 1, 2), _real(expansion, 3, 4, 5, _LAST))
    _finish(expansion, result, 6, 7)


def _gemm(expansion: Expansion) -> None:
    """``QGemm``: alpha (A B + C); C is of the scales' product, without a zero point; the result may be fp32."""
    attributes = {name: expansion.attribute(name, 0) for name in ("transA", "transB")}
    alpha = expansion.attribute("alpha", 1.0)
    names = [_real(expansion, 0, 1, 2), _real(expansion, 3, 4, 5, 0 if attributes["transB"] else 1)]
    if expansion.operand(6):
        scale = expansion.apply("Mul", expansion.operand(1), expansion.operand(4))
        if alpha != 1:
            scale = expansion.apply("Mul", scale, expansion.constant(np.array(alpha, np.float32)))
        names.append(expansion.apply("DequantizeLinear", expansion.operand(6), scale, axis=_LAST))
    to_real = not expansion.operand(7)
    output = expansion.output(0) if to_real else ""
    result = expansion.apply("Gemm", *names, output=output, alpha=alpha, **attributes)
    if not to_real:
        _finish(expansion, result, 7, 8)


def _one_operand(kind: str) -> Expand:
    """(x, scale, zero point, scale and zero point of the result)."""

    def expand(expansion: Expansion) -> None:
        _finish(expansion, expansion.apply(kind, _real(expansion, 0, 1, 2)), 3, 4)

    return expand


def _softmax(expansion: Expansion) -> None:
    result = expansion.apply("Softmax", _real(expansion, 0, 1, 2), axis=expansion.attribute("axis", -1))
    _finish(expansion, result, 3, 4)


def _concat(expansion: Expansion) -> None:
    """(scale and zero point of the result, then three operands for each part)."""
    starts = range(2, len(expansion.node.input), 3)
    parts = [_real(expansion, index, index + 1, index + 2) for index in starts]
    _finish(expansion, expansion.apply("Concat", *parts, axis=expansion.attribute("axis", 0)), 0, 1)


def _where(expansion: Expansion) -> None:
    """(condition, three operands for each choice, scale and zero point of the result)."""
    choices = [_real(expansion, 1, 2, 3), _real(expansion, 4, 5, 6)]
    _finish(expansion, expansion.apply("Where", expansion.operand(0), *choices), 7, 8)


def _biased(expansion: Expansion, left: str, right: str, bias: int) -> None:
    """A product in fp32, with a bias if there is one."""
    if expansion.operand(bias):
        product = expansion.apply("MatMul", left, right)
        expansion.apply("Add", product, expansion.operand(bias), output=expansion.output(0))
    else:
        expansion.apply("MatMul", left, right, output=expansion.output(0))


def _product_to_float(expansion: Expansion) -> None:
    """``MatMulIntegerToFloat``: (A, B, their scales, their zero points, bias)."""
    _biased(expansion, _real(expansion, 0, 2, 4), _real(expansion, 1, 3, 5, _LAST), 6)


def _product_of_real(expansion: Expansion) -> None:
    """``DynamicQuantizeMatMul``: (A in fp32, B, its scale, its zero point, bias)."""
    _biased(expansion, expansion.operand(0), _real(expansion, 1, 2, 3, _LAST), 4)


def _attention(expansion: Expansion) -> None:
    """``QAttention``: (input, weights, bias, their scales, mask, their zero points, earlier keys and values)."""
    operands = [_real(expansion, 0, 3, 6), _real(expansion, 1, 4, 7, _LAST)]
    operands += [expansion.operand(index) for index in (2, 5, 8)]
    _same_outputs(expansion, "Attention", operands)


def _embeddings(expansion: Expansion) -> None:
    """``QEmbedLayerNormalization``: every table and vector quantised; ids and mask as they are."""
    operands = [expansion.operand(index) for index in range(8)]
    for index, (scale, zero) in _TABLES.items():
        operands[index] = _real(expansion, index, scale, zero) if operands[index] else ""
    _same_outputs(expansion, "EmbedLayerNormalization", operands)


def _same_outputs(expansion: Expansion, kind: str, operands: list[str]) -> None:
    """An operator of ONNX Runtime's own with the node's attributes and outputs."""
    node = expansion.node
    made = helper.make_node(kind, operands, list(node.output), f"{node.name or node.output[0]}/{kind}", domain=DOMAIN)
    made.attribute.extend(node.attribute)
    expansion.nodes.append(made)


QUANTISED: Mapping[str, Expand] = MappingProxyType(
    {
        "DynamicQuantizeMatMul": _product_of_real,
        "MatMulIntegerToFloat": _product_to_float,
        "QAttention": _attention,
        "QEmbedLayerNormalization": _embeddings,
        "QGemm": _gemm,
        "QLinearAdd": _two_operands("Add"),
        "QLinearConcat": _concat,
        "QLinearMatMul": _product,
        "QLinearMul": _two_operands("Mul"),
        "QLinearSigmoid": _one_operand("Sigmoid"),
        "QLinearSoftmax": _softmax,
        "QLinearWhere": _where,
    }
)
# The fewest and the most operands of each operator, and its attributes.
FORMS: Mapping[str, tuple[int, int, frozenset[str]]] = MappingProxyType(
    {
        "DequantizeLinear": (2, 3, frozenset("axis block_size output_dtype".split())),
        "DynamicQuantizeLinear": (1, 1, frozenset()),
        "DynamicQuantizeMatMul": (3, 5, frozenset()),
        "MatMulInteger": (2, 4, frozenset()),
        "MatMulIntegerToFloat": (4, 7, frozenset()),
        "QAttention": (
            5,
            9,
            frozenset("do_rotary mask_filter_value num_heads past_present_share_buffer scale unidirectional".split()),
        ),
        "QEmbedLayerNormalization": (18, 18, frozenset(("epsilon",))),
        "QGemm": (6, 9, frozenset("alpha transA transB".split())),
        "QLinearAdd": (7, 8, frozenset()),
        "QLinearConcat": (5, 1 << 16, frozenset(("axis",))),
        "QLinearMatMul": (8, 8, frozenset()),
        "QLinearMul": (7, 8, frozenset()),
        "QLinearSigmoid": (4, 5, frozenset()),
        "QLinearSoftmax": (4, 5, frozenset("axis opset".split())),
        "QLinearWhere": (9, 9, frozenset()),
        "QuantizeLinear": (2, 3, frozenset("axis block_size output_dtype precision saturate".split())),
    }
)
# What the operators are spelled out in, and what dynamically quantised files hold.
INTEGER = frozenset(FORMS) - frozenset(QUANTISED)
