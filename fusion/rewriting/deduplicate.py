"""Equal constants and equal operators, once each: common subexpression elimination."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fusion.graph import Attribute, Graph, Operator, TensorType

_SAMPLES = 64

_Key = tuple[str, tuple[str, ...], tuple[tuple[str, Attribute], ...], TensorType]


def deduplicate(graph: Graph) -> Graph:
    """The graph in which no two constants are equal, and no two operators do the same; outputs of the model stay."""
    aliases = _equal_constants(graph)
    known: dict[_Key, str] = {}
    kept: list[Operator] = []
    for operator in graph.operators:
        inputs = tuple(aliases.get(name, name) for name in operator.inputs)
        key = (operator.kind, inputs, operator.attributes, graph.types[operator.output])
        if key in known and operator.output not in graph.outputs:
            aliases[operator.output] = known[key]
            continue
        known.setdefault(key, operator.output)
        kept.append(replace(operator, inputs=inputs) if inputs != operator.inputs else operator)
    return replace(graph, operators=tuple(kept)) if aliases else graph


def _equal_constants(graph: Graph) -> dict[str, str]:
    """For each constant that equals an earlier one, that one's name; weights without values (stride 0) differ."""
    aliases: dict[str, str] = {}
    alike: dict[tuple[str, tuple[int, ...], bytes], list[str]] = {}
    for name, value in graph.constants.items():
        if not any(value.strides) and value.size > 1:
            continue
        flat = value.reshape(-1)
        sample = flat[:: max(1, flat.size // _SAMPLES)].tobytes()
        others = alike.setdefault((str(value.dtype), value.shape, sample), [])
        same = next((other for other in others if _are_equal(graph.constants[other], value)), None)
        if same is None:
            others.append(name)
        else:
            aliases[name] = same
    return aliases


def _are_equal(first: np.ndarray, second: np.ndarray) -> bool:
    return first is second or np.array_equal(first, second)
