"""Outputs of a model keep their names and shapes, whatever rewriting makes of the tensors behind them."""

from __future__ import annotations

from dataclasses import replace

from data.errors import ModelError
from fusion.graph import Graph
from fusion.rewriting.views import same_rows


def with_outputs_of(graph: Graph, original: Graph) -> Graph:
    """The graph whose outputs are called, and shaped, as in the original; two that are one tensor share a name.

    Raises:
        ModelError: an output does not depend on the ids.
    """
    names: dict[str, str] = {}
    types = dict(graph.types)
    for now, before in zip(graph.outputs, original.outputs, strict=True):
        if now not in graph.producers:
            raise ModelError(f"output {before!r} is not computed from the ids")
        if now in names or not same_rows(graph.types[now], original.types[before]):
            continue
        taken = before in graph.producers and before != now
        names[now] = now if taken else before
        types[names[now]] = original.types[before]
    operators = tuple(
        replace(
            operator,
            inputs=tuple(names.get(name, name) for name in operator.inputs),
            output=names.get(operator.output, operator.output),
        )
        for operator in graph.operators
    )
    outputs = tuple(names.get(name, name) for name in graph.outputs)
    shapes = original.output_shapes or tuple(original.types[name].shape for name in original.outputs)
    return replace(graph, operators=operators, outputs=outputs, types=types, output_shapes=shapes)
