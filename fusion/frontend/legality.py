"""What each canonical operator may look like when it leaves the front end: operands, shapes, attributes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from data.errors import ModelError, UnsupportedOperatorError
from fusion.graph import Graph, Operator, TensorType
from fusion.rewriting.views import elements, same_rows, view_of

# The front end's own kinds under the name of what they come from.
_ORIGINS: Mapping[str, str] = MappingProxyType(
    {
        "view": "reshape or transpose",
        "weigh": "softmax",
        "mean": "reducemean",
        "chosen": "topk",
        "part": "split",
        "shift": "pad",
        "key_bias": "attention mask",
        "key_keep": "attention mask",
        "mask_values": "attention mask",
    }
)
# Activations that one kernel reads.
MAX_OPERANDS = 8
# These tell least of what is wrong when something else is left over as well.
_VAGUE = frozenset({"view", "key_bias", "key_keep", "mask_values"})


def check_operators(graph: Graph) -> Graph:
    """The graph itself, when each operator is canonical and its operands are as the planner takes them.

    Raises:
        UnsupportedOperatorError: an operator that is not; names its node, its shapes and what is supported.
        ModelError: an output that does not depend on the ids.
    """
    wrong = [operator for operator in graph.operators if not _is_legal(graph, operator)]
    if wrong:
        raise _refusal(graph, next((operator for operator in wrong if operator.kind not in _VAGUE), wrong[0]))
    for name in graph.outputs:
        if name not in graph.producers or graph.types[name].dtype != "float32":
            raise ModelError(f"output {name!r} is not computed from the ids")
    return graph


def _refusal(graph: Graph, operator: Operator) -> UnsupportedOperatorError:
    origin = _ORIGINS.get(operator.kind, operator.kind)
    shape = list(graph.types[operator.output].shape)
    operands = [list(graph.types[name].shape) for name in operator.inputs if name]
    return UnsupportedOperatorError(
        f"operator {origin} (node {operator.name or operator.output}, output {shape}) of operands "
        f"{', '.join(map(str, operands))} is not supported here. "
        f"Supported after rewriting: {', '.join(sorted(_LEGAL))}"
    )


def _is_legal(graph: Graph, operator: Operator) -> bool:
    check = _LEGAL.get(operator.kind)
    type_ = graph.types[operator.output]
    return check is not None and math.prod(type_.shape) > 0 and check(graph, operator, type_)


def _is_rows(graph: Graph, name: str, like: TensorType) -> bool:
    """Whether a tensor is computed, of fp32, and of the rows and columns of another."""
    return name in graph.producers and same_rows(graph.types[name], like) and like.dtype == "float32"


def _is_constant(graph: Graph, name: str, *shape: int) -> bool:
    return name in graph.constants and graph.types[name] == TensorType(shape)


def _gather(graph: Graph, operator: Operator, type_: TensorType) -> bool:
    table, ids = operator.inputs
    entries = graph.types[table]
    return (
        not operator.attributes
        and _is_constant(graph, table, *entries.shape)
        and len(entries.shape) == 2
        and min(entries.shape) > 0
        and _are_ids(graph, ids)
        and (type_.rows, type_.columns) == (graph.types[ids].columns, entries.columns)
    )


def _are_ids(graph: Graph, name: str) -> bool:
    maker = graph.producers.get(name)
    return name in graph.inputs or (maker is not None and maker.kind == "position_ids")


def _position_ids(graph: Graph, operator: Operator, type_: TensorType) -> bool:
    return operator.inputs[0] in graph.inputs and type_ == TensorType(graph.types[operator.inputs[0]].shape, "int64")


def _window(graph: Graph, operator: Operator, type_: TensorType) -> bool:
    """Shifted copies of looked-up rows that nothing else reads."""
    source, offsets = graph.types[operator.inputs[0]], operator.attribute("offsets")
    wide = TensorType((source.rows, type_.columns))
    return (
        isinstance(offsets, tuple)
        and len(offsets) * source.columns == type_.columns
        and same_rows(type_, wide)
        and _is_looked_up(graph, operator.inputs[0])
    )


def _is_looked_up(graph: Graph, name: str) -> bool:
    maker = graph.producers.get(name)
    only = len(graph.consumers.get(name, ())) == 1 and name not in graph.outputs
    return maker is not None and maker.kind == "gather" and only


def _unary(graph: Graph, operator: Operator, type_: TensorType) -> bool:
    return len(operator.inputs) == 1 and _is_rows(graph, operator.inputs[0], type_)


def _add(graph: Graph, operator: Operator, type_: TensorType) -> bool:
    return len(operator.inputs) == 2 and all(_is_rows(graph, name, type_) for name in operator.inputs)


def _add_rows(graph: Graph, operator: Operator, type_: TensorType) -> bool:
    source, rows = operator.inputs
    return _is_rows(graph, source, type_) and _is_constant(graph, rows, type_.rows, type_.columns)


def _vectors(graph: Graph, operator: Operator, type_: TensorType) -> bool:
    source, *vectors = operator.inputs
    counts = {"bias": 1, "no_norm": 2, "layer_norm": 2}
    return (
        _is_rows(graph, source, type_)
        and len(vectors) == counts[operator.kind]
        and all(_is_constant(graph, name, type_.columns) for name in vectors)
    )


def _matmul(graph: Graph, operator: Operator, type_: TensorType) -> bool:
    source, weights = operator.inputs
    narrow = graph.types[source]
    return (
        _is_rows(graph, source, narrow)
        and _is_constant(graph, weights, narrow.columns, type_.columns)
        and narrow.rows == type_.rows
        and type_.dtype == "float32"
    )


def _attention(graph: Graph, operator: Operator, type_: TensorType) -> bool:
    heads, scale = operator.attribute("heads"), operator.attribute("scale")
    return (
        all(_is_rows(graph, name, type_) for name in operator.inputs[:3])
        and isinstance(heads, int)
        and heads > 0
        and type_.columns % heads == 0
        and isinstance(scale, float)
        and math.isfinite(scale)
        and set(operator.inputs[3:]) <= set(graph.inputs)
    )


def _select_row(graph: Graph, operator: Operator, type_: TensorType) -> bool:
    source, row = graph.types[operator.inputs[0]], operator.attribute("row")
    return (
        _is_rows(graph, operator.inputs[0], source)
        and isinstance(row, int)
        and 0 <= row < source.rows
        and (type_.rows, type_.columns) == (1, source.columns)
    )


def _columns(graph: Graph, operator: Operator, type_: TensorType) -> bool:
    source, first = graph.types[operator.inputs[0]], operator.attribute("first")
    return (
        _is_rows(graph, operator.inputs[0], source)
        and isinstance(first, int)
        and 0 <= first <= source.columns - type_.columns
        and same_rows(type_, TensorType((source.rows, type_.columns)))
    )


def _rows(graph: Graph, operator: Operator, type_: TensorType) -> bool:
    source, first = graph.types[operator.inputs[0]], operator.attribute("first")
    return (
        _is_rows(graph, operator.inputs[0], source)
        and isinstance(first, int)
        and 0 <= first <= source.rows - type_.rows
        and same_rows(type_, TensorType((type_.rows, source.columns)))
    )


def _view(graph: Graph, operator: Operator, type_: TensorType) -> bool:
    source, sizes = graph.types[operator.inputs[0]], view_of(operator)[0]
    return (
        _is_rows(graph, operator.inputs[0], source)
        and elements(source) == elements(type_)
        and math.prod(sizes) in {1, elements(type_)}
        and type_.dtype == "float32"
    )


def _concat(graph: Graph, operator: Operator, type_: TensorType) -> bool:
    parts = [graph.types[name] for name in operator.inputs]
    return (
        1 < len(parts) <= MAX_OPERANDS
        and all(_is_rows(graph, name, graph.types[name]) for name in operator.inputs)
        and {part.rows for part in parts} == {type_.rows}
        and sum(part.columns for part in parts) == type_.columns
        and type_.dtype == "float32"
    )


def _top(graph: Graph, operator: Operator, type_: TensorType) -> bool:
    source = graph.types[operator.inputs[0]]
    return (
        _is_rows(graph, operator.inputs[0], source)
        and type_.columns <= source.columns < 1 << 24
        and same_rows(type_, TensorType((source.rows, type_.columns)))
    )


def _pool(graph: Graph, operator: Operator, type_: TensorType) -> bool:
    source = graph.types[operator.inputs[0]]
    masked = len(operator.inputs) == 1 or graph.types[operator.inputs[1]].columns == source.rows
    return masked and _is_masked(graph, operator) and same_rows(type_, TensorType((1, source.columns)))


def _mask_rows(graph: Graph, operator: Operator, type_: TensorType) -> bool:
    """A table that differs from token to token belongs to as many rows."""
    scales, shifts = (graph.constants.get(name) for name in operator.inputs[2:])
    if scales is None or shifts is None or not same_rows(graph.types[operator.inputs[0]], type_):
        return False
    alike = all(np.array_equal(table[0], table[1], equal_nan=True) for table in (scales, shifts))
    return (alike or graph.types[operator.inputs[1]].columns == type_.rows) and _is_masked(graph, operator)


def _is_masked(graph: Graph, operator: Operator) -> bool:
    """Whether an operator reads rows, and perhaps the mask with two tables of its tokens."""
    rows, *mask = operator.inputs[:2]
    tokens = graph.types[mask[0]].columns if mask else 0
    tables = operator.inputs[2:]
    return (
        _is_rows(graph, rows, graph.types[rows])
        and set(mask) <= set(graph.inputs)
        and len(tables) == 2 * len(mask)
        and all(_is_constant(graph, name, 2, tokens + 1) for name in tables)
    )


def _l2_norm(graph: Graph, operator: Operator, type_: TensorType) -> bool:
    numbers = [operator.attribute(name) for name in ("inside", "floor", "outside")]
    return _unary(graph, operator, type_) and all(isinstance(number, float) and number >= 0 for number in numbers)


_LEGAL: Mapping[str, Callable[[Graph, Operator, TensorType], bool]] = MappingProxyType(
    {
        "add": _add,
        "add_rows": _add_rows,
        "attention": _attention,
        "bias": _vectors,
        "columns": _columns,
        "concat": _concat,
        "gather": _gather,
        "gelu": _unary,
        "gelu_tanh": _unary,
        "l2_norm": _l2_norm,
        "layer_norm": _vectors,
        "matmul": _matmul,
        "mask_rows": _mask_rows,
        "no_norm": _vectors,
        "pool": _pool,
        "position_ids": _position_ids,
        "relu": _unary,
        "row_log_softmax": _unary,
        "row_softmax": _unary,
        "rows": _rows,
        "select_row": _select_row,
        "sigmoid": _unary,
        "silu": _unary,
        "tanh": _unary,
        "top": _top,
        "view": _view,
        "window": _window,
    }
)
