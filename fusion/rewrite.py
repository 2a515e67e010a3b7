"""Rewriting passes on the canonical graph, shared by imported models and by bare architectures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from fusion.graph import Graph, Operator, TensorType, check, without_dead_code

# Operators that treat each row on its own, so that the selection of a row commutes with them.
_ROW_BY_ROW = frozenset({"add", "bias", "gelu", "gelu_tanh", "layer_norm", "matmul", "relu", "tanh"})
_ALL_ROWS = -1


def simplify(graph: Graph) -> Graph:
    """The canonical graph after all passes; legality is checked between them.

    Raises:
        ModelError: the graph is not canonical.
    """
    for rewriting in PASSES:
        graph = check(without_dead_code(rewriting(graph)), canonical=True)
    return graph


def select_rows_early(graph: Graph) -> Graph:
    """Computes only the rows that are read: a classifier looks at the first token alone, so the last layer's
    queries, output projection and feed-forward network are needed for one row, not for all."""
    demand = _demanded_rows(graph)
    single = {
        operator.output
        for operator in graph.operators
        if operator.kind in _ROW_BY_ROW | {"attention"}
        and demand.get(operator.output, _ALL_ROWS) != _ALL_ROWS
        and graph.types[operator.output].rows > 1
    }
    types = dict(graph.types)
    operators: list[Operator] = []
    renamed: dict[str, str] = {}
    views: dict[str, str] = {}
    for operator in graph.operators:
        if operator.kind == "select_row" and operator.inputs[0] in single:
            renamed[operator.output] = operator.inputs[0]
            continue
        if operator.output not in single:
            operators.append(replace(operator, inputs=tuple(renamed.get(name, name) for name in operator.inputs)))
            continue
        row = demand[operator.output]
        types[operator.output] = TensorType((1, 1, graph.types[operator.output].columns))
        if operator.kind == "attention":
            attributes = tuple(sorted((*operator.attributes, ("first_row", row))))
            operators.append(replace(operator, attributes=attributes))
            continue
        inputs = []
        for name in operator.inputs:
            if name in single or name in graph.constants:
                inputs.append(name)
                continue
            if name not in views:
                views[name] = f"{name}/row"
                types[views[name]] = TensorType((1, 1, graph.types[name].columns))
                operators.append(Operator("select_row", (name,), views[name], (("row", row),), views[name]))
            inputs.append(views[name])
        operators.append(replace(operator, inputs=tuple(inputs)))
    outputs = tuple(renamed.get(name, name) for name in graph.outputs)
    return replace(graph, operators=tuple(operators), outputs=outputs, types=types)


def _demanded_rows(graph: Graph) -> dict[str, int]:
    """The one row of each tensor that is read, or all rows."""
    demand = dict.fromkeys(graph.outputs, _ALL_ROWS)

    def ask(name: str, row: int) -> None:
        demand[name] = row if demand.get(name, row) == row else _ALL_ROWS

    for operator in reversed(graph.operators):
        if operator.kind == "select_row":
            row = operator.attribute("row")
            assert isinstance(row, int)
            ask(operator.inputs[0], row)
            continue
        row = demand.get(operator.output, _ALL_ROWS) if operator.kind in _ROW_BY_ROW else _ALL_ROWS
        for name in operator.inputs:
            ask(name, row)
    return demand


PASSES: tuple[Callable[[Graph], Graph], ...] = (select_rows_early,)
