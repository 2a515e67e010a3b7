"""Operators that are spelled out while a file is imported: einsum, attention, and what ONNX Runtime's optimiser writes.

An expansion knows the shapes of its node's operands and the values of those that are constant, and gives nodes of
ONNX's own operators in its place.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from data.errors import ModelError, UnsupportedOperatorError
from fusion.graph import TensorType
from fusion.importing.evaluation import describe


@dataclass
class Expansion:
    """A node, what is known of its operands, and the nodes that take its place."""

    node: onnx.NodeProto
    types: Mapping[str, TensorType]
    constants: Mapping[str, np.ndarray]
    nodes: list[onnx.NodeProto] = field(default_factory=list)

    def operand(self, index: int) -> str:
        """Name of an operand; empty when it is absent."""
        return self.node.input[index] if index < len(self.node.input) else ""

    def output(self, index: int) -> str:
        """Name of an output; empty when it is absent."""
        return self.node.output[index] if index < len(self.node.output) else ""

    def attribute(self, name: str, default: Any) -> Any:
        """Value of an attribute, of the default's type."""
        for entry in self.node.attribute:
            if entry.name == name:
                value = helper.get_attribute_value(entry)
                value = value.decode(errors="replace") if isinstance(value, bytes) else value
                if not isinstance(value, type(default)):
                    raise ModelError(f"{describe(self.node)}: attribute {name!r} is of another type")
                return value
        return default

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of an operand; ``ModelError`` when it is absent."""
        if name not in self.types:
            raise ModelError(f"{describe(self.node)} lacks an operand")
        return self.types[name].shape

    def value(self, index: int, what: str) -> np.ndarray:
        """An operand that has to be constant.

        Raises:
            UnsupportedOperatorError: it is computed, or absent.
        """
        name = self.operand(index)
        if name not in self.constants:
            raise UnsupportedOperatorError(f"{describe(self.node)}: its {what} must be constant")
        return self.constants[name]

    def refuse(self, problem: str) -> UnsupportedOperatorError:
        """The error that names the node and says what about it is not supported."""
        return UnsupportedOperatorError(f"{describe(self.node)}: {problem}")

    def apply(self, kind: str, *operands: str, output: str = "", **attributes: Any) -> str:
        """Adds a node and returns its result's name."""
        result = output or f"{self._stem}/{kind.lower()}{len(self.nodes)}"
        name = f"{self.node.name or self.node.output[0]}/{kind}"
        self.nodes.append(helper.make_node(kind, list(operands), [result], name=name, **attributes))
        return result

    def constant(self, value: np.ndarray) -> str:
        """Adds a constant and returns its name."""
        result = f"{self._stem}/constant{len(self.nodes)}"
        tensor = numpy_helper.from_array(np.ascontiguousarray(value))
        self.nodes.append(helper.make_node("Constant", [], [result], value=tensor))
        return result

    def reshape(self, name: str, sizes: Sequence[int], output: str = "") -> str:
        """Adds a reshape to known sizes."""
        return self.apply("Reshape", name, self.constant(np.array(sizes, np.int64)), output=output)

    def transpose(self, name: str, perm: Sequence[int], output: str = "") -> str:
        """Adds a transposition."""
        return self.apply("Transpose", name, output=output, perm=list(perm))

    @property
    def _stem(self) -> str:
        return f"{next(name for name in self.node.output if name)}/expanded"


Expand = Callable[[Expansion], None]


def split_heads(expansion: Expansion, name: str, rows: int, heads: int) -> str:
    """(1, rows, heads * size) as (1, heads, rows, size)."""
    size = math.prod(expansion.shape(name)) // (rows * heads) if name in expansion.types else -1
    return expansion.transpose(expansion.reshape(name, (1, rows, heads, size)), (0, 2, 1, 3))


def attend(expansion: Expansion, q: str, k: str, v: str, scale: float, biases: Sequence[str]) -> str:
    """softmax(scale q k^T + biases) v of heads (1, heads, rows, size)."""
    scores = expansion.apply("MatMul", q, expansion.transpose(k, (0, 1, 3, 2)))
    scores = expansion.apply("Mul", scores, expansion.constant(np.array(scale, np.float32)))
    for bias in biases:
        scores = expansion.apply("Add", scores, bias)
    return expansion.apply("MatMul", expansion.apply("Softmax", scores, axis=-1), v)


def _attention(expansion: Expansion) -> None:
    """``Attention`` of opset 23, without a cache of keys and values."""
    names = [expansion.operand(index) for index in range(3)]
    if not all(names) or any(expansion.operand(index) for index in (4, 5, 6)) or any(expansion.node.output[1:]):
        raise expansion.refuse("only queries, keys, values and a mask are supported, and one output")
    if expansion.attribute("is_causal", 0) or expansion.attribute("softcap", 0.0):
        raise expansion.refuse("causal attention and a soft cap are not supported: encoders only")
    packed = len(expansion.shape(names[0])) == 3
    counts = [expansion.attribute(name, 0) for name in ("q_num_heads", "kv_num_heads")]
    heads, kv_heads = counts if packed else (expansion.shape(name)[1] for name in names[:2])
    if heads < 1 or kv_heads != heads or any(expansion.shape(name)[0] != 1 for name in names):
        raise expansion.refuse(f"{kv_heads} heads of keys for {heads} of queries; as many are supported, and batch 1")
    rows, width = expansion.shape(names[0])[-2], expansion.shape(names[0])[-1]
    if packed:
        names = [split_heads(expansion, name, rows, heads) for name in names]
    size = width // heads if packed else width
    mask = expansion.operand(3)
    if mask and expansion.types[mask].dtype == "bool":
        ends = [expansion.constant(np.array(value, np.float32)) for value in (0, -np.inf)]
        mask = expansion.apply("Where", mask, *ends)
    q, k, v = names
    scale = expansion.attribute("scale", 0.0) or size**-0.5
    context = attend(expansion, q, k, v, scale, [mask] if mask else [])
    if packed:
        expansion.reshape(expansion.transpose(context, (0, 2, 1, 3)), (1, rows, width), expansion.output(0))
    else:
        expansion.apply("Identity", context, output=expansion.output(0))


def _einsum(expansion: Expansion) -> None:
    """``Einsum`` of two operands as one product of matrices between transpositions."""
    equation = expansion.attribute("equation", "").replace(" ", "")
    terms, _, result = equation.partition("->")
    left, _, right = terms.partition(",")
    names = [expansion.operand(0), expansion.operand(1)]
    sizes: dict[str, int] = {}
    for letters, name in zip((left, right), names, strict=True):
        if not letters.isalpha() or not len(set(letters)) == len(letters) == len(expansion.shape(name)):
            raise expansion.refuse(f"equation {equation!r} is not supported; a product of two tensors is")
        sizes |= dict(zip(letters, expansion.shape(name), strict=False))
    shared = [letter for letter in left if letter in right]
    batch = [letter for letter in shared if letter in result]
    summed = [letter for letter in shared if letter not in result]
    free = [[letter for letter in letters if letter not in shared] for letters in (left, right)]
    product = [*batch, *free[0], *free[1]]
    if "->" not in equation or sorted(product) != sorted(result):
        raise expansion.refuse(f"equation {equation!r} is not supported; a product of two tensors is")
    count = [math.prod(sizes[letter] for letter in letters) for letters in (free[0], summed, free[1])]
    lead = [sizes[letter] for letter in batch]
    one = _arranged(expansion, names[0], left, [*batch, *free[0], *summed], (*lead, count[0], count[1]))
    other = _arranged(expansion, names[1], right, [*batch, *summed, *free[1]], (*lead, count[1], count[2]))
    made = expansion.apply("MatMul", one, other)
    shaped = expansion.reshape(made, [sizes[letter] for letter in product])
    expansion.transpose(shaped, [product.index(letter) for letter in result], expansion.output(0))


def _arranged(expansion: Expansion, name: str, letters: str, order: Sequence[str], shape: Sequence[int]) -> str:
    return expansion.reshape(expansion.transpose(name, [letters.index(letter) for letter in order]), shape)


def chosen_branch(
    node: onnx.NodeProto, condition: np.ndarray
) -> Iterator[tuple[onnx.TensorProto, onnx.NodeProto | None]]:
    """What the branch of an ``If`` that a constant condition chooses holds: tensors, then nodes, which make the node's
    own outputs; a node comes with an empty tensor.

    Raises:
        ModelError: the node lacks that branch, or its outputs do not fit.
    """
    wanted = "then_branch" if condition.size == 1 and bool(condition.reshape(())) else "else_branch"
    found = [entry.g for entry in node.attribute if entry.name == wanted and entry.type == onnx.AttributeProto.GRAPH]
    if len(found) != 1 or len(found[0].output) != len(node.output):
        raise ModelError(f"{describe(node)}: its {wanted} is missing, or has another number of outputs")
    for tensor in found[0].initializer:
        yield tensor, None
    for inner in found[0].node:
        yield onnx.TensorProto(), inner
    for value, name in zip(found[0].output, node.output, strict=True):
        if name:
            yield onnx.TensorProto(), helper.make_node("Identity", [value.name], [name], name=node.name)


STANDARD: Mapping[str, Expand] = MappingProxyType({"Attention": _attention, "Einsum": _einsum})
