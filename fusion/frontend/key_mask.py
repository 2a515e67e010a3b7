"""Finds what a model makes of its attention mask, however it was exported.

Exporters spell "add the most negative number to masked keys" in many ways. Rather than know them all, the sub-graph
that depends on the mask alone is evaluated for a few masks; if each key's value depends on its own mask bit only, the
sub-graph is replaced by one operator: ``key_bias``, the number that is added to the scores of masked keys, or
``key_keep``, a truth value for each key. Minus infinity counts as the most negative fp32: the two differ only where
every key is masked, which is no input of use.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx

from data.errors import UnsupportedOperatorError
from fusion.frontend.evaluation import dependents, evaluate_part, frontier
from fusion.graph import Attribute, Graph, Operator, TensorType, check, without_dead_code
from fusion.rewriting.attention_rule import MOST_NEGATIVE

MASK = "attention_mask"


def replace_key_masks(graph: Graph, model: onnx.ModelProto) -> Graph:
    """The graph with each tensor that depends on the mask alone made by a ``key_bias`` or ``key_keep`` operator.

    Raises:
        UnsupportedOperatorError: the mask is used in a way that is not a bias on keys, or a choice of keys.
    """
    if MASK not in graph.inputs:
        return check(graph)
    dependent = dependents(graph, MASK)
    read = frontier(graph, dependent, "depends on the attention mask alone")
    if not read:
        return check(graph)
    masks = _masks(graph)
    values = evaluate_part(graph, model, read, [{MASK: mask} for mask in masks])
    made, types = [], dict(graph.types)
    for index, name in enumerate(read):
        results = [value[index] for value in values]
        kind, attribute = _meaning(name, list(zip(masks, results, strict=True)))
        made.append(Operator(kind, (MASK,), name, (attribute,), name))
        types[name] = TensorType((1, 1, 1, masks[0].size), str(results[0].dtype))
    kept = [operator for operator in graph.operators if operator.output not in dependent]
    return check(without_dead_code(replace(graph, operators=(*made, *kept), types=types)))


def _masks(graph: Graph) -> list[np.ndarray]:
    """All keys, none, and two mixtures."""
    type_ = graph.types[MASK]
    generator = np.random.default_rng(0)
    length = type_.columns
    masks = [np.ones(length), np.zeros(length), *generator.integers(0, 2, (2, length))]
    return [mask.astype(type_.dtype).reshape(type_.shape) for mask in masks]


def _meaning(name: str, values: list[tuple[np.ndarray, np.ndarray]]) -> tuple[str, tuple[str, Attribute]]:
    """The operator that a mask tensor is, with its attribute: ``masked_bias``, or ``kept``, the value of kept keys."""
    found: dict[bool, set[float]] = {True: set(), False: set()}
    for mask, value in values:
        keys = value.reshape(-1, value.shape[-1]) if value.ndim and value.size else value.reshape(1, -1)
        if keys.shape[1] != mask.size or (keys != keys[:1]).any():
            raise _refusal(name, value)
        bits = mask.reshape(-1) != 0
        for kept in (True, False):
            found[kept] |= set(np.unique(keys[0][bits == kept]).tolist())
    kind = values[0][1].dtype.kind
    if len(found[True]) == len(found[False]) == 1:
        kept_value, masked_value = found[True].pop(), found[False].pop()
        if kind == "f" and kept_value == 0 and not np.isnan(masked_value):
            return "key_bias", ("masked_bias", float(np.clip(masked_value, MOST_NEGATIVE, -MOST_NEGATIVE)))
        if kind == "b" and kept_value != masked_value:
            return "key_keep", ("kept", int(kept_value))
    raise _refusal(name, values[0][1])


def _refusal(name: str, value: np.ndarray) -> UnsupportedOperatorError:
    return UnsupportedOperatorError(
        f"tensor {name!r} of shape {list(value.shape)}: only masks that add to the scores of keys, or choose "
        "among keys, are supported"
    )
