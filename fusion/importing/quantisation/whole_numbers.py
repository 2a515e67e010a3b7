"""Whole numbers of a file, and the fp32 tensors that they stand for, wherever they have been moved to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from fusion.importing.evaluation import describe
from fusion.importing.quantisation.known import KnownTensors
from fusion.importing.quantised_weights import check_scale, check_zero_point, number_type

# Operators that move whole numbers about as they are.
_MOVES = frozenset(
    "Expand Flatten Gather GatherElements GatherND Identity Reshape Slice Split Squeeze Tile Transpose "
    "Unsqueeze".split()
)
_TYPES = frozenset(
    {TensorProto.INT8, TensorProto.UINT8, TensorProto.INT16, TensorProto.UINT16, TensorProto.INT32}
    | {TensorProto.INT4, TensorProto.UINT4, TensorProto.INT2, TensorProto.UINT2}
    | {TensorProto.FLOAT8E4M3FN, TensorProto.FLOAT8E4M3FNUZ, TensorProto.FLOAT8E5M2, TensorProto.FLOAT8E5M2FNUZ}
)
# Types of activations.
_NARROW = ("int8", "uint8", "int16", "uint16")


@dataclass(frozen=True)
class Root:
    """Where whole numbers come from: the fp32 tensor that was quantised, by which scale and zero point, and to how many
    bits."""

    real: str
    scale: str
    zero: str
    bits: int = 8


@dataclass
class WholeNumbers:
    """The nodes of a file as they are gone through, and what its whole numbers stand for.

    Nodes that are replaced stay, and are read by nothing in the end. ``bits``: the most that a quantised activation had
    which has become its fp32 tensor, 0 where none has.
    """

    graph: onnx.GraphProto
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    bits: int = 0

    def __post_init__(self) -> None:
        self.known = KnownTensors(self.graph)
        self._roots: dict[str, Root] = {}
        self._reals: dict[tuple[str, str, str], str] = {}

    def append(self, node: onnx.NodeProto) -> None:
        """Adds a node as it is."""
        self.nodes.append(node)
        self.known.add(node)

    def emit(self, kind: str, operands: Sequence[str], output: str, source: onnx.NodeProto, **attributes: int) -> str:
        """Adds a node in the place of another, and returns its output's name."""
        name = f"{source.name or source.output[0]}/{kind}"
        self.append(helper.make_node(kind, [one for one in operands if one], [output], name=name, **attributes))
        return output

    def constant(self, value: np.ndarray, name: str) -> str:
        """Adds a constant, and returns its name."""
        tensor = numpy_helper.from_array(np.ascontiguousarray(value), name)
        self.graph.initializer.append(tensor)
        self.known.add_tensor(tensor)
        return name

    def quantise(self, node: onnx.NodeProto, name: str, scale: str, zero: str) -> str:
        """Notes what a ``QuantizeLinear`` makes of an activation or a number, or returns what is wrong with it.

        Raises:
            ValueError: the scale or the zero point is no such number.
        """
        problem = self.check_single(scale, zero)
        if not problem:
            point = self._zero_point(node, zero)
            real = self._above_zero(node, name, scale, point)
            self.add_root(node.output[0], Root(real, scale, zero, 8 * point.itemsize))
        return problem

    def add_root(self, name: str, root: Root) -> None:
        """Notes what a tensor of whole numbers stands for."""
        self._roots[name] = root

    def root(self, name: str) -> Root | None:
        """What whole numbers stood for before they were moved, if it is known."""
        return self._roots.get(self._origin(name)[0])

    def check_numbers(self, name: str, zero: str) -> None:
        """Nothing, when a constant is of a type that whole numbers of a file have, and so is its zero point.

        Raises:
            ValueError: it is not.
        """
        kind, other = self.known.element_type(name), self.known.element_type(zero)
        if kind and kind not in _TYPES:
            raise ValueError(f"numbers of the type {TensorProto.DataType.Name(kind)}")
        if kind and other and kind != other:
            kinds = [TensorProto.DataType.Name(one) for one in (other, kind)]
            raise ValueError(f"zero points of the type {kinds[0]} for numbers of the type {kinds[1]}")

    def check_single(self, scale: str, zero: str) -> str:
        """What is wrong with the scale and the zero point of numbers that share them, if anything is.

        Raises:
            ValueError: they are no such numbers.
        """
        value, point = self.known.value(scale), self.known.value(zero) if zero else None
        if value is None or (zero and point is None):
            return "its scale is computed while the model runs, which is not supported"
        if np.isposinf(value).any():
            raise ValueError(
                "a scale is inf, as calibrating on masks of minus infinity makes it; quantise again without the "
                "operators of the mask"
            )
        check_scale(value)
        if point is not None:
            if point.dtype.name not in _NARROW:
                raise ValueError(f"zero points of the type {point.dtype.name}")
            check_zero_point(point, value.shape, point.dtype)
        if value.size != 1:
            return f"{value.size} scales of activations, or of a table that is looked up, are not supported: one is"
        return "activations of 4 bits are not supported" if self.known.is_of_few_bits(zero) else ""

    def real(self, node: onnx.NodeProto, name: str, scale: str, zero: str) -> tuple[str, str]:
        """The fp32 tensor that whole numbers stand for, or what is wrong; ``node`` is the one that reads them.

        Raises:
            ValueError: the scale or the zero point is no such number.
        """
        origin, moves = self._origin(name)
        real, problem = self._real_origin(node, origin, scale, zero)
        if not problem:
            for move, output in reversed(moves):
                real = self._moved(move, output, real, scale, zero)
        return real, problem

    def same(self, one: str, other: str) -> bool:
        """Whether two scales, or zero points, are the same number; one that is absent is zero."""
        if one == other:
            return True
        values = [self.known.value(name) if name else None for name in (one, other)]
        first, second = (np.zeros(1) if not name else value for name, value in zip((one, other), values, strict=True))
        if first is None or second is None or (one and other and first.dtype != second.dtype):
            return False
        return np.array_equal(first.ravel(), second.ravel())

    def _zero_point(self, node: onnx.NodeProto, zero: str) -> np.ndarray:
        """The number that stands for zero, of the type of the whole numbers."""
        point = self.known.value(zero) if zero else None
        if point is not None:
            return point
        given = next((entry.i for entry in node.attribute if entry.name == "output_dtype"), 0)
        return np.zeros((), number_type(given))

    def _above_zero(self, node: onnx.NodeProto, name: str, scale: str, point: np.ndarray) -> str:
        """What is quantised, without its negative numbers where the range has none: tools take a ReLU out there.

        Numbers that would be rounded to zero are no such.
        """
        step = self.known.value(scale)
        assert step is not None
        least = -float(step.reshape(())) / 2
        if int(point.reshape(())) > np.iinfo(point.dtype).min or self.known.bounds(name)[0] >= least:
            return name
        return self.emit("Relu", [name], f"{node.output[0]}/relu", node)

    def _origin(self, name: str) -> tuple[str, list[tuple[onnx.NodeProto, str]]]:
        """Whole numbers before they were moved, and the nodes that moved them, last first, each with its output."""
        moves: list[tuple[onnx.NodeProto, str]] = []
        seen: set[str] = set()
        while name not in self._roots and not self.known.is_constant(name) and name not in seen:
            seen.add(name)
            maker = self.known.maker(name)
            if maker is None or maker.op_type not in _MOVES or not maker.input:
                break
            moves.append((maker, name))
            name = maker.input[0]
        return name, moves

    def _real_origin(self, node: onnx.NodeProto, name: str, scale: str, zero: str) -> tuple[str, str]:
        root = self._roots.get(name)
        if root is not None:
            if not (self.same(root.scale, scale) and self.same(root.zero, zero)):
                return "", "its scale and zero point are not those by which the numbers were made"
            self.bits = self.bits if self.known.is_constant(root.real) else max(self.bits, root.bits)
            return root.real, ""
        if self.known.is_constant(name):
            return self._real_constant(node, name, scale, zero)
        maker = self.known.maker(name)
        return "", f"its numbers are made by {describe(maker)}" if maker is not None else "its numbers are an input"

    def _real_constant(self, node: onnx.NodeProto, name: str, scale: str, zero: str) -> tuple[str, str]:
        self.check_numbers(name, zero)
        problem = self.check_single(scale, zero)
        key = (name, scale, zero)
        if not problem and key not in self._reals:
            output = f"{name}/real{len(self._reals)}"
            self._reals[key] = self.emit("DequantizeLinear", [name, scale, zero], output, node)
        return self._reals.get(key, ""), problem

    def _moved(self, move: onnx.NodeProto, output: str, real: str, scale: str, zero: str) -> str:
        """What a node that moves whole numbers makes of the real ones."""
        key = (output, scale, zero)
        if key not in self._reals:
            ending = f"/real{len(self._reals)}"
            copy = onnx.NodeProto.FromString(move.SerializeToString())
            copy.input[0] = real
            copy.output[:] = [f"{name}{ending}" if name else "" for name in move.output]
            self._reals |= {(name, scale, zero): f"{name}{ending}" for name in move.output if name}
            self.append(copy)
        return self._reals[key]
