"""Parts of a graph that make something of one tensor row by row: found by their operators, known by their values.

Exporters spell layer normalisation and activations in many ways. Rather than know them all, what follows from one
tensor alone is computed in fp64 for a few rows, and its values tell what it is (as with masks, ``key_mask.py``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from fusion.graph import Graph, Operator
from fusion.rewriting.views import IDENTITY, elements, view_of

_LARGEST_PART = 40

# On the few numbers that are computed here, as good as a library's.
erf = np.vectorize(math.erf, otypes=[np.float64])

_ELEMENT_WISE: Mapping[str, Callable[..., np.ndarray]] = MappingProxyType(
    {
        "abs": np.abs,
        "add": np.add,
        "div": np.divide,
        "erf": erf,
        "exp": np.exp,
        "max": np.maximum,
        "min": np.minimum,
        "mul": np.multiply,
        "neg": np.negative,
        "pow": np.power,
        "reciprocal": np.reciprocal,
        "relu": lambda x: np.maximum(x, 0),
        "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
        "sqrt": np.sqrt,
        "sub": np.subtract,
        "tanh": np.tanh,
    }
)

_OF_ROWS: Mapping[str, Callable[[np.ndarray], np.ndarray]] = MappingProxyType(
    {
        "mean": lambda x: x.mean(-1, keepdims=True),
        "row_sum": lambda x: x.sum(-1, keepdims=True),
        "row_sum_of_squares": lambda x: (x * x).sum(-1, keepdims=True),
    }
)
# Of any number of operands in ONNX, of two here.
_OF_TWO = frozenset({"max", "min"})


@dataclass(frozen=True)
class Part:
    """Operators that depend on one tensor, ``source``, and on constants alone, in order."""

    source: str
    operators: tuple[Operator, ...]

    def values(self, graph: Graph, rows: np.ndarray) -> dict[str, np.ndarray]:
        """All tensors of the part, fp64 [rows, columns or 1], for rows of the source, fp64 [rows, columns]."""
        values = {self.source: rows}
        with np.errstate(all="ignore"):
            for operator in self.operators:
                operands = [_operand(graph, name, values) for name in operator.inputs if name]
                values[operator.output] = _computed(operator, operands)
        return values

    def numbers(self, graph: Graph) -> set[float]:
        """The single numbers among its constants."""
        names = {name for operator in self.operators for name in operator.inputs if name in graph.constants}
        return {float(graph.constants[name].reshape(())) for name in names if graph.constants[name].size == 1}


def part_of(graph: Graph, source: str) -> Part:
    """What follows from a tensor, up to a number of operators, and as far as rows of it can be computed."""
    inside = {source}
    found: list[Operator] = []
    pending = list(graph.consumers.get(source, ()))
    while pending and len(found) < _LARGEST_PART:
        operator = pending.pop(0)
        if operator.output not in inside and _belongs(graph, operator, source, inside):
            inside.add(operator.output)
            found.append(operator)
            pending.extend(graph.consumers.get(operator.output, ()))
    return Part(source, tuple(sorted(found, key=lambda operator: graph.positions[operator.output])))


def _belongs(graph: Graph, operator: Operator, source: str, inside: set[str]) -> bool:
    type_, made = graph.types[source], graph.types[operator.output]
    if operator.kind == "view":
        return operator.inputs[0] in inside and view_of(operator) == IDENTITY
    if operator.kind in _OF_ROWS:
        read = graph.types[operator.inputs[0]]
        return operator.inputs[0] in inside and (read.rows, read.columns) == (type_.rows, type_.columns)
    if operator.kind not in {*_ELEMENT_WISE, "scale"} or made.dtype != "float32":
        return False
    if operator.kind in _OF_TWO and len(operator.inputs) != 2:
        return False
    if not all(name in inside or _is_known(graph, name, type_.columns) for name in operator.inputs):
        return False
    if made.rows == type_.rows and made.columns in (1, type_.columns):
        return True
    return elements(made) == type_.rows and _have_shape(graph, operator, made.shape)


def _have_shape(graph: Graph, operator: Operator, shape: tuple[int, ...]) -> bool:
    """Whether all operands are single numbers or of a shape: one number for each row, with the rows along any axis."""
    others = [name for name in operator.inputs if name not in graph.constants or graph.constants[name].size != 1]
    return all(graph.types[name].shape == shape for name in others)


def _is_known(graph: Graph, name: str, columns: int) -> bool:
    """Whether a tensor is one constant number, or one for each column."""
    value = graph.constants.get(name)
    if value is None or value.dtype.kind not in "iuf":
        return False
    return value.size == 1 or (value.size == columns and value.shape[-1] == columns)


def _operand(graph: Graph, name: str, values: Mapping[str, np.ndarray]) -> np.ndarray:
    if name in values:
        return values[name]
    return graph.constants[name].astype(np.float64).reshape(-1)


def _computed(operator: Operator, operands: list[np.ndarray]) -> np.ndarray:
    if operator.kind in _OF_ROWS:
        return _OF_ROWS[operator.kind](operands[0])
    if operator.kind == "scale":
        factor = operator.attribute("factor")
        assert isinstance(factor, float)
        return operands[0] * factor
    return operands[0] if operator.kind == "view" else _ELEMENT_WISE[operator.kind](*operands)


def results_of(graph: Graph, part: Part) -> list[Operator]:
    """The operators of a part that make something of the source's own rows and columns, the last first."""
    size = elements(graph.types[part.source])
    return [one for one in reversed(part.operators) if one.kind != "view" and elements(graph.types[one.output]) == size]
