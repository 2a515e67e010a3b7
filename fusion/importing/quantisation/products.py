"""Integer products of dynamically quantised files as products in fp32.

    Mul(Cast(MatMulInteger(DynamicQuantizeLinear(x), w, its zero point, w's)), Mul(its scale, w's))

Products of scales, and of integer products with scales, are followed in any order; the multiplication that brings the
last missing scale becomes the product in fp32.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto

from fusion.importing.quantisation.whole_numbers import Root, WholeNumbers
from fusion.importing.quantised_weights import check_scale


@dataclass(frozen=True)
class _Factors:
    """A product of scales: those that are found while the model runs, and constants."""

    dynamic: tuple[str, ...] = ()
    constants: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Sum:
    """An integer product; the real one is this times the missing scales, and times constants."""

    node: onnx.NodeProto
    missing: tuple[str, ...]
    constants: tuple[str, ...] = ()


class IntegerProducts:
    """Follows scales and integer products through the nodes of a file."""

    def __init__(self, numbers: WholeNumbers) -> None:
        self._numbers, self._known = numbers, numbers.known
        self._scales: dict[str, _Factors] = {}
        self._sums: dict[str, _Sum] = {}

    def quantise(self, node: onnx.NodeProto) -> None:
        """Notes what ``DynamicQuantizeLinear`` makes."""
        whole, scale, zero = [*node.output, "", ""][:3]
        self._numbers.add_root(whole, Root(node.input[0] if node.input else "", scale, zero))
        self._scales[scale] = _Factors((scale,))

    def multiply_integers(self, node: onnx.NodeProto) -> str:
        """Notes which scales are missing from a ``MatMulInteger``, or returns what is wrong with it."""
        names = [*node.input, "", "", "", ""][:4]
        missing = []
        for name, zero in zip(names[:2], names[2:], strict=True):
            if self._known.is_constant(name):
                self._numbers.check_numbers(name, zero)
                if zero and self._known.value(zero) is None:
                    return "the zero points of its weights are computed while the model runs, which is not supported"
                continue
            root = self._numbers.root(name)
            if root is None or root.scale not in self._scales or not self._numbers.same(root.zero, zero):
                return "an operand is neither constant nor what DynamicQuantizeLinear makes, with its zero point"
            missing.append(root.scale)
        if missing:
            self._sums[node.output[0]] = _Sum(node, tuple(missing))
        return ""

    def cast(self, node: onnx.NodeProto) -> None:
        """Follows an integer product through its cast."""
        to_float = any(entry.name == "to" and entry.i == TensorProto.FLOAT for entry in node.attribute)
        if to_float and node.input and node.input[0] in self._sums:
            self._sums[node.output[0]] = self._sums[node.input[0]]

    def multiply(self, node: onnx.NodeProto) -> bool:
        """Whether a multiplication has become the product in fp32."""
        names = [*node.input, "", ""][:2]
        for name, other in (names, names[::-1]):
            factors = self._factors(other)
            if factors is not None and name in self._scales:
                mine = self._scales[name]
                self._scales[node.output[0]] = _Factors(
                    (*mine.dynamic, *factors.dynamic), (*mine.constants, *factors.constants)
                )
                return False
            if factors is not None and name in self._sums:
                return self._scale(node, self._sums[name], factors)
        return False

    def _factors(self, name: str) -> _Factors | None:
        return self._scales.get(name) or (_Factors((), (name,)) if self._known.is_constant(name) else None)

    def _scale(self, node: onnx.NodeProto, product: _Sum, factors: _Factors) -> bool:
        missing = Counter(product.missing)
        missing.subtract(factors.dynamic)
        if min(missing.values()) < 0:
            return False
        constants = (*product.constants, *factors.constants)
        left = tuple(missing.elements())
        if left:
            self._sums[node.output[0]] = _Sum(product.node, left, constants)
            return False
        self._emit(product.node, constants, node.output[0])
        return True

    def _emit(self, node: onnx.NodeProto, constants: Sequence[str], output: str) -> None:
        """The product in fp32; constants that are one, or one a column, become the scale of constant weights.

        Raises:
            ValueError: a constant is no scale.
        """
        for value in (self._known.value(name) for name in constants):
            if value is not None:
                check_scale(value.reshape(-1))
        names = [*node.input, "", "", "", ""][:4]
        operands = []
        for index in (0, 1):
            name, zero = names[index], names[index + 2]
            if self._known.is_constant(name):
                scale = self._scale_of_columns(constants, zero) if index else None
                constants = constants if scale is None else ()
                operands.append(self._weights(node, index, scale, f"{output}/weights{index}"))
                continue
            root = self._numbers.root(name)
            assert root is not None  # as multiply_integers has seen
            real, problem = self._numbers.real(node, name, root.scale, root.zero)
            assert not problem
            operands.append(real)
        result = self._numbers.emit("MatMul", operands, f"{output}/product" if constants else output, node)
        for index, constant in enumerate(constants):
            last = index == len(constants) - 1
            made = output if last else f"{output}/product{index}"
            result = self._numbers.emit("Mul", [result, constant], made, node)

    def _weights(self, node: onnx.NodeProto, index: int, scale: np.ndarray | None, output: str) -> str:
        name, zero = node.input[index], [*node.input, "", ""][index + 2]
        if scale is None:
            point = self._known.value(zero) if zero else None
            scale = np.ones(() if point is None else point.shape, np.float32)
        tensor = self._numbers.constant(scale, f"{output}/scale")
        return self._numbers.emit("DequantizeLinear", [name, tensor, zero], output, node, axis=index - 2)

    def _scale_of_columns(self, constants: Sequence[str], zero: str) -> np.ndarray | None:
        """The constants' product, of the zero point's shape; None where it is of another."""
        point = self._known.value(zero) if zero else None
        shape = () if point is None else point.shape
        product = np.ones((), np.float32)
        for name in constants:
            value = self._known.value(name)
            if value is None or value.ndim > 1:
                return None
            product = product * value.astype(np.float32)
        if product.size == 1:
            return np.full(shape, product.reshape(()), np.float32)
        return product if product.shape == shape else None
