"""Architectures that cannot be compiled, told by what their graphs hold, so that an error names the true cause.

Without this a rotary model would be refused over some slice, and one with relative positions over a product.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from data.errors import UnsupportedOperatorError
from fusion.graph import Graph, Operator, TensorType
from fusion.rewriting.views import elements

_HEAD_AXES = 4
_INSTEAD = "take a model with absolute positions, such as BERT, RoBERTa or MiniLM"


def check_architecture(graph: Graph) -> None:
    """Refuses an imported graph that holds what no rule can take.

    Raises:
        UnsupportedOperatorError: names the operator and the cause.
    """
    for operator in graph.operators:
        told = _CAUSES.get(operator.kind)
        cause = told(graph, operator) if told is not None else ""
        if cause:
            raise UnsupportedOperatorError(
                f"operator {operator.kind} (node {operator.name or operator.output}): {cause}"
            )


def _dropout(graph: Graph, operator: Operator) -> str:
    ratio, training = ((*operator.inputs[1:], "", "")[index] for index in (0, 1))
    chosen = training in graph.constants and bool(graph.constants[training].any())
    drops = ratio not in graph.constants or bool(graph.constants[ratio].any())
    if chosen and drops:
        return "the model was exported in training mode, where dropout is random; export it after model.eval()"
    return ""


def _gather_elements(graph: Graph, operator: Operator) -> str:
    if graph.types[operator.output].dtype == "float32" and operator.inputs[0] not in graph.constants:
        return f"relative positions that choose among scores (as of DeBERTa) are not supported; {_INSTEAD}"
    return ""


def _constant_operand(graph: Graph, operator: Operator) -> tuple[np.ndarray, TensorType] | None:
    """The constant of a sum or a product, and the type of its result."""
    for name in operator.inputs:
        if name in graph.constants and graph.constants[name].dtype == np.float32:
            return graph.constants[name], graph.types[operator.output]
    return None


def _product(graph: Graph, operator: Operator) -> str:
    """Rotary positions: heads times cosines of each position and column."""
    found = _constant_operand(graph, operator)
    if found is None or len(found[1].shape) != _HEAD_AXES:
        return ""
    value, type_ = found
    length = graph.types[graph.inputs[0]].columns
    of_positions = value.size == length * type_.columns and length > 1 and value.shape[-1] == type_.columns
    if of_positions and np.abs(value).max() <= 1 and np.ptp(value.reshape(length, -1), axis=0).any():
        return f"rotary positions (as of ModernBERT, GTE, Nomic, RoFormer) are not supported; {_INSTEAD}"
    return ""


def _sum(graph: Graph, operator: Operator) -> str:
    """A bias of each pair of positions, of each head or of all."""
    found = _constant_operand(graph, operator)
    if found is None:
        return ""
    value, type_ = found
    length = graph.types[graph.inputs[0]].columns
    pairs = length * length
    scores = len(type_.shape) == _HEAD_AXES and type_.shape[-2:] == (length, length) and length > 1
    if not scores or value.size not in {pairs, elements(type_)} or not np.ptp(value.reshape(-1, length), axis=0).any():
        return ""
    if np.isin(value, (0, value.min())).all():
        return "attention within a window, or to earlier tokens alone, is not supported: encoders that see all tokens"
    return f"a bias of relative positions (as of MPNet, T5, ALiBi) is not supported; {_INSTEAD}"


_CAUSES: Mapping[str, Callable[[Graph, Operator], str]] = MappingProxyType(
    {"add": _sum, "dropout": _dropout, "gatherelements": _gather_elements, "mul": _product}
)
