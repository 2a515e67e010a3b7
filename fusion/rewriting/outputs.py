"""Outputs of a model keep their names and shapes, whatever rewriting makes of the tensors behind them."""

from __future__ import annotations

from dataclasses import replace

from data.errors import ModelError
from fusion.graph import Graph, TensorType, without_dead_code
from fusion.rewriting.views import IDENTITY, elements, same_rows, view_of

# What tensors of whole numbers hold before they become fp32: positions chosen by ``top``, and parts of them.
_WHOLE_NUMBERS = frozenset({"top", "view", "columns", "select_row", "concat"})


def without_output_views(graph: Graph) -> Graph:
    """The graph whose outputs are not reshaped: rows are copied out one after the other, whatever their length.

    Whole numbers that the model computes become fp32, which holds them exactly; ``output_dtypes`` still says what
    they were.
    """
    outputs = tuple(_unviewed(graph, name) for name in graph.outputs)
    whole = {
        operator.output: TensorType(graph.types[operator.output].shape)
        for operator in graph.operators
        if operator.kind in _WHOLE_NUMBERS and graph.types[operator.output].dtype in {"int32", "int64"}
    }
    return without_dead_code(replace(graph, outputs=outputs, types={**graph.types, **whole}))


def _unviewed(graph: Graph, name: str) -> str:
    maker = graph.producers.get(name)
    while maker is not None and maker.kind == "view" and view_of(maker) == IDENTITY:
        name = maker.inputs[0]
        maker = graph.producers.get(name)
    return name


def with_outputs_of(graph: Graph, original: Graph) -> Graph:
    """The graph whose outputs are called, shaped and typed as in the original; two that are one tensor share a tensor.

    Raises:
        ModelError: an output does not depend on the ids.
    """
    names: dict[str, str] = {}
    types = dict(graph.types)
    for now, before in zip(graph.outputs, original.outputs, strict=True):
        if now not in graph.producers:
            raise ModelError(f"output {before!r} is not computed from the ids")
        if now in names or elements(graph.types[now]) != elements(original.types[before]):
            continue
        taken = before in graph.producers and before != now
        names[now] = now if taken else before
        same = same_rows(graph.types[now], original.types[before])
        types[names[now]] = original.types[before] if same else graph.types[now]
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
    return replace(
        graph,
        operators=operators,
        outputs=outputs,
        types=types,
        output_shapes=shapes,
        output_names=original.output_names or original.outputs,
        output_dtypes=original.output_dtypes or tuple(original.types[name].dtype for name in original.outputs),
    )
