"""Attention as three operators, for plans without fusion and for asking whether fusion pays."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from fusion.graph import Graph, Operator, TensorType


def expand_attention(graph: Graph, which: Collection[str] | None = None) -> Graph:
    """The graph with attention as scores (heads, rows, keys), softmax of them, and weighted values: those operators
    that make ``which`` tensors, or all."""
    operators: list[Operator] = []
    types = dict(graph.types)
    for operator in graph.operators:
        if operator.kind != "attention" or (which is not None and operator.output not in which):
            operators.append(operator)
            continue
        parts = attention_parts(graph, operator)
        operators.extend(parts)
        types |= {part.output: scores_type(graph, operator) for part in parts[:-1]}
    return replace(graph, operators=tuple(operators), types=types)


def attention_parts(graph: Graph, attention: Operator) -> tuple[Operator, Operator, Operator]:
    """Scores, softmax and context, which make what an attention operator makes."""
    q, k, v, *mask = attention.inputs
    heads = ("heads", attention.attribute("heads"))
    masked = tuple(entry for entry in attention.attributes if entry[0] == "masked_bias")
    scores, weights = f"{attention.output}/scores", f"{attention.output}/softmax"
    scale = ("scale", attention.attribute("scale"))
    return (
        Operator("scores", (q, k), scores, (heads,), f"{attention.name}/scores"),
        Operator("softmax", (scores, *mask), weights, (*masked, scale), f"{attention.name}/softmax"),
        Operator("context", (weights, v), attention.output, (heads,), f"{attention.name}/context"),
    )


def scores_type(graph: Graph, attention: Operator) -> TensorType:
    """Type of the scores that an attention operator makes inside."""
    heads = attention.attribute("heads")
    assert isinstance(heads, int)
    return TensorType((heads, graph.types[attention.inputs[0]].rows, graph.types[attention.inputs[1]].rows))
