"""Finds what a model makes of its attention mask, however it was exported.

Exporters spell "add the most negative number to masked keys" in many ways. Rather than know them all, the sub-graph
that depends on the mask alone is evaluated for a few masks; if each key's value depends on its own mask bit only, the
sub-graph is replaced by one ``key_bias`` operator.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from data.errors import ModelError, UnsupportedOperatorError
from fusion.graph import Graph, Operator, TensorType, check, without_dead_code

MASK = "attention_mask"


def replace_key_masks(graph: Graph, model: onnx.ModelProto, seq_len: int) -> Graph:
    """The graph with each float tensor that depends on the mask alone made by a ``key_bias`` operator.

    Raises:
        UnsupportedOperatorError: the mask is used in a way that is not a bias on keys.
    """
    if MASK not in graph.inputs:
        return check(graph)
    dependent = _mask_only(graph)
    frontier = _frontier(graph, dependent)
    if not frontier:
        return check(graph)
    values = _evaluate(graph, model, frontier, seq_len)
    biases = {name: _masked_bias(name, values[name]) for name in frontier}
    types = dict(graph.types) | {name: TensorType((1, 1, 1, seq_len)) for name in frontier}
    made = [Operator("key_bias", (MASK,), name, (("masked_bias", biases[name]),), name) for name in frontier]
    kept = [operator for operator in graph.operators if operator.output not in dependent]
    return check(without_dead_code(replace(graph, operators=(*made, *kept), types=types)))


def _mask_only(graph: Graph) -> set[str]:
    """Tensors that depend on the mask and on nothing else."""
    dependent = {MASK}
    for operator in graph.operators:
        sources = [name for name in operator.inputs if name and name not in graph.constants]
        if sources and all(name in dependent for name in sources):
            dependent.add(operator.output)
    return dependent - {MASK}


def _frontier(graph: Graph, dependent: set[str]) -> list[str]:
    """Mask tensors that other operators read."""
    found: dict[str, None] = {}
    for operator in graph.operators:
        if operator.output not in dependent:
            found.update(dict.fromkeys(name for name in operator.inputs if name in dependent))
    lost = [name for name in graph.outputs if name in dependent]
    if lost:
        raise UnsupportedOperatorError(f"output {lost[0]!r} depends on the attention mask alone")
    return list(found)


def _evaluate(
    graph: Graph, model: onnx.ModelProto, names: Iterable[str], seq_len: int
) -> Mapping[str, list[tuple[np.ndarray, np.ndarray]]]:
    """For each tensor, its value under a few masks: all keys, none, and two mixtures."""
    wanted = list(names)
    nodes = _needed_nodes(graph, model, set(wanted))
    inner = {name for node in nodes for name in node.output}
    feeds = {name: graph.constants[name] for node in nodes for name in node.input if name in graph.constants}
    inputs = [onnx.ValueInfoProto(name=name) for name in sorted({*feeds, MASK} - inner)]
    outputs = [onnx.ValueInfoProto(name=name) for name in wanted]
    part = onnx.helper.make_model(
        onnx.helper.make_graph(nodes, "mask", inputs, outputs), opset_imports=list(model.opset_import)
    )
    evaluator = ReferenceEvaluator(part)
    generator = np.random.default_rng(0)
    masks = [np.ones(seq_len), np.zeros(seq_len), *(generator.integers(0, 2, (2, seq_len)))]
    values: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {name: [] for name in wanted}
    for mask in masks:
        try:
            results = evaluator.run(None, {**feeds, MASK: mask.astype(np.int64)[None]})
        except (RuntimeError, ValueError, TypeError, IndexError, KeyError) as error:
            raise ModelError(f"the attention mask's part of the model cannot be computed ({error})") from error
        for name, result in zip(wanted, results, strict=True):
            values[name].append((mask, np.asarray(result)))
    return values


def _needed_nodes(graph: Graph, model: onnx.ModelProto, wanted: set[str]) -> list[onnx.NodeProto]:
    needed, kept = set(wanted), []
    for node in reversed(model.graph.node):
        if needed & set(node.output) and not all(name in graph.constants for name in node.output if name):
            kept.append(node)
            needed.update(node.input)
    return kept[::-1]


def _masked_bias(name: str, values: Iterable[tuple[np.ndarray, np.ndarray]]) -> float:
    """The number that is added to the score of a masked key, when that is all the mask does."""
    masked_bias = 0.0
    for mask, value in values:
        keys = value.reshape(-1, value.shape[-1]) if value.ndim else value.reshape(1, 1)
        if value.dtype.kind != "f" or keys.shape[1] != mask.size or (keys != keys[0]).any():
            raise UnsupportedOperatorError(f"tensor {name!r}: only masks that add to the scores of keys are supported")
        kept, masked = keys[0][mask != 0], keys[0][mask == 0]
        if (kept.size and (kept != 0).any()) or (masked.size and (masked != masked[0]).any()):
            raise UnsupportedOperatorError(f"tensor {name!r}: only masks that add to the scores of keys are supported")
        masked_bias = float(masked[0]) if masked.size else masked_bias
    return masked_bias
