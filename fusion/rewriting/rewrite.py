"""Rewriting passes on the canonical graph, shared by imported models and by bare architectures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from fusion.graph import Graph, Operator, TensorType, check, without_dead_code
from fusion.rewriting.deduplicate import deduplicate
from fusion.rewriting.merge_products import merge_products
from fusion.rewriting.outputs import with_outputs_of

# Operators that treat each row on its own, so that the selection of a row commutes with them; attention does so
# for its queries alone.
_ROW_BY_ROW = frozenset(
    "add bias columns concat gelu gelu_tanh l2_norm layer_norm matmul no_norm relu row_log_softmax row_softmax sigmoid "
    "silu tanh top".split()
)
_ALL_ROWS = -1


def simplify(graph: Graph) -> Graph:
    """The canonical graph after all passes; legality is checked between them.

    Raises:
        ModelError: the graph is not canonical.
    """
    rewritten = graph
    for rewriting in PASSES:
        rewritten = check(without_dead_code(rewriting(rewritten)), canonical=True)
    return check(with_outputs_of(rewritten, graph), canonical=True)


def select_rows_early(graph: Graph) -> Graph:
    """Computes only the rows that are read: a classifier looks at the first token alone, so the last layer's
    queries, output projection and feed-forward network are needed for one row, not for all."""
    single = _single_rows(graph)
    types = dict(graph.types)
    operators: list[Operator] = []
    renamed: dict[str, str] = {}

    def row_of(name: str, row: int) -> str:
        """The tensor that holds one row of another, made when it is first asked for."""
        if name in single or name in graph.constants:
            return name
        view = f"{name}/row{row}"
        if view not in types:
            types[view] = TensorType((1, 1, graph.types[name].columns))
            operators.append(Operator("select_row", (name,), view, (("row", row),), view))
        return view

    for operator in graph.operators:
        if operator.kind == "select_row" and operator.inputs[0] in single:
            renamed[operator.output] = operator.inputs[0]
            continue
        inputs = tuple(renamed.get(name, name) for name in operator.inputs)
        if operator.output in single:
            row, count = single[operator.output], _row_operands(operator)
            inputs = (*(row_of(name, row) for name in inputs[:count]), *inputs[count:])
            types[operator.output] = TensorType((1, 1, graph.types[operator.output].columns))
        operators.append(replace(operator, inputs=inputs))
    outputs = tuple(renamed.get(name, name) for name in graph.outputs)
    return replace(graph, operators=tuple(operators), outputs=outputs, types=types)


def _single_rows(graph: Graph) -> dict[str, int]:
    """Tensors of several rows of which only one is read, with its index, and which can be computed alone."""
    demand = _demanded_rows(graph)
    return {
        operator.output: demand[operator.output]
        for operator in graph.operators
        if _row_operands(operator)
        and demand.get(operator.output, _ALL_ROWS) != _ALL_ROWS
        and graph.types[operator.output].rows > 1
    }


def _row_operands(operator: Operator) -> int:
    """How many of the first operands are needed only at the rows at which the result is needed."""
    if operator.kind in _ROW_BY_ROW:
        return len(operator.inputs)
    return 1 if operator.kind == "attention" else 0


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
        row, count = demand.get(operator.output, _ALL_ROWS), _row_operands(operator)
        for index, name in enumerate(operator.inputs):
            ask(name, row if index < count else _ALL_ROWS)
    return demand


PASSES: tuple[Callable[[Graph], Graph], ...] = (deduplicate, select_rows_early, merge_products)
