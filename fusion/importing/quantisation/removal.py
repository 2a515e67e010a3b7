"""Takes the quantisation of activations out of an ONNX file, which leaves the fp32 file of the same meaning.

    DequantizeLinear(QuantizeLinear(x))                       x, or relu(x) where the range begins at zero
    DequantizeLinear(Reshape(Gather(numbers, ids)))           Reshape(Gather(DequantizeLinear(numbers), ids))
    Mul(Cast(MatMulInteger(DynamicQuantizeLinear(x), w)), s)  MatMul(x, DequantizeLinear(w, s))

and all that ``operators.py`` spells out. Weights keep the values that the file gives them. What goes is the rounding of
activations, and their being cut off at the ends of ranges that a tool calibrated; but a range that begins at zero may
stand for an activation that the tool took out (ReLU), and that stays.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx

from data.errors import ModelError, UnsupportedOperatorError
from fusion.importing.evaluation import describe
from fusion.importing.expansion_list import check_known
from fusion.importing.microsoft_operators import DOMAIN
from fusion.importing.onnx_nodes import needed_nodes
from fusion.importing.quantisation.operators import INTEGER, QUANTISED, check_form, spelled_out
from fusion.importing.quantisation.products import IntegerProducts
from fusion.importing.quantisation.whole_numbers import WholeNumbers

_DOMAINS = ("", "ai.onnx", DOMAIN)
_PAIR = ("QuantizeLinear", "DequantizeLinear")
# The one of the operators that are spelled out that quantises within.
_WITHIN = "DynamicQuantizeMatMul"


def without_quantisation(model: onnx.ModelProto) -> int:
    """Takes the quantisation of activations out of a model, in place; to how many bits it was at most, 0 where there
    was none.

    Raises:
        ModelError: scales or zero points are not what they should be, or an operand is missing.
        UnsupportedOperatorError: quantised numbers are used in a way that is not known; names the operator.
    """
    kinds = {node.op_type for node in model.graph.node if node.domain in _DOMAINS}
    if kinds.isdisjoint((*INTEGER, *QUANTISED)):
        return 0
    opset = next((one.version for one in model.opset_import if one.domain in ("", "ai.onnx")), 0)
    removal = _Removal(model.graph)
    for node in model.graph.node:
        for made in spelled_out(node, opset):
            removal.add(made)
    kept = needed_nodes(removal.numbers.nodes, [value.name for value in model.graph.output])
    removal.check(kept)
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in kept]
    del model.graph.node[:]
    model.graph.node.extend(copies)
    return max(removal.numbers.bits, 8 * (_WITHIN in kinds))


class _Removal:
    """Goes through the nodes in order."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.numbers = WholeNumbers(graph)
        self._products = IntegerProducts(self.numbers)
        self._problems: dict[str, str] = {}

    def add(self, node: onnx.NodeProto) -> None:
        """A node of the file, or what takes its place.

        Raises:
            ModelError: scales or zero points are not what they should be, or operands or attributes.
        """
        if node.domain in _DOMAINS and node.op_type in INTEGER:
            check_form(node)
        try:
            replaced = node.domain in _DOMAINS and bool(node.output and node.output[0]) and self._replaced(node)
        except ValueError as error:
            raise ModelError(f"{describe(node)}: {error}") from error
        if not replaced:
            self.numbers.append(node)

    def check(self, kept: Sequence[onnx.NodeProto]) -> None:
        """Refuses quantised numbers that something still reads.

        Raises:
            UnsupportedOperatorError: names the operator, and why it could not be taken out.
        """
        left = [node for node in kept if node.domain in _DOMAINS and node.op_type in INTEGER and self._runs(node)]
        if not left:
            return
        for node in kept:
            if node.op_type not in INTEGER:
                check_known(node)  # what reads them may be what is not known
        # Of a product that is not understood, and of what it reads, it is the one to name.
        node = min(left, key=lambda one: (one.output[0] not in self._problems, one.op_type != "MatMulInteger"))
        problem = self._problems.get(node.output[0]) or _read_by(node, kept)
        raise UnsupportedOperatorError(f"{describe(node)}: {problem}; take the floating-point file")

    def _replaced(self, node: onnx.NodeProto) -> bool:
        """Takes note of a node; whether another has taken its place."""
        name, scale, zero = [*node.input, "", "", ""][:3]
        problem = ""
        if node.op_type == "Mul":
            return self._products.multiply(node)
        if node.op_type == "Cast":
            self._products.cast(node)
        elif node.op_type == "DynamicQuantizeLinear":
            self._products.quantise(node)
        elif node.op_type == "MatMulInteger":
            problem = self._products.multiply_integers(node)
        elif self._is_of_weights(node, name):
            return self._kept(node)
        elif node.op_type == "QuantizeLinear":
            problem = self.numbers.quantise(node, name, scale, zero)
        elif node.op_type == "DequantizeLinear":
            real, problem = self.numbers.real(node, name, scale, zero)
            if not problem:
                self.numbers.emit("Identity", [real], node.output[0], node)
                return True
        if problem:
            self._problems[node.output[0]] = problem
        return False

    def _is_of_weights(self, node: onnx.NodeProto, name: str) -> bool:
        """Whether a node of a pair is about weights. A single number, as in a spelled-out GELU, is rounded like an
        activation."""
        known = self.numbers.known
        if node.op_type not in _PAIR or not known.is_constant(name) or self.numbers.root(name) is not None:
            return False
        value = known.value(name) if node.op_type == "QuantizeLinear" else None
        return value is None or value.size != 1

    def _kept(self, node: onnx.NodeProto) -> bool:
        """Weights stay as they are; the axis of a single scale, which says nothing and may lie outside, goes."""
        name, scale, zero = [*node.input, ""][:3]
        if node.op_type == "DequantizeLinear":
            self.numbers.check_numbers(name, zero)
        value = self.numbers.known.value(scale) if scale else None
        if value is None or value.size != 1 or not any(entry.name == "axis" for entry in node.attribute):
            return False
        copy = onnx.NodeProto.FromString(node.SerializeToString())
        del copy.attribute[:]
        copy.attribute.extend(entry for entry in node.attribute if entry.name != "axis")
        self.numbers.append(copy)
        return True

    def _runs(self, node: onnx.NodeProto) -> bool:
        """Whether a node has to be computed while the model runs."""
        constant = bool(node.input) and self.numbers.known.is_constant(node.input[0])
        return node.op_type not in _PAIR or not constant


def _read_by(node: onnx.NodeProto, kept: Sequence[onnx.NodeProto]) -> str:
    numbers = {node.output[0]}
    numbers |= {one.output[0] for one in kept if one.op_type == "Cast" and numbers & set(one.input)}
    readers = [one for one in kept if numbers & set(one.input) and one.output[0] not in numbers]
    reader = next(iter(readers), None)
    if reader is None:
        return "whole numbers as an output are not supported"
    return f"its whole numbers are read by {describe(reader)}, which is not supported"
