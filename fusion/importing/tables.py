"""Every index that a model computes lies in its table: known when it is compiled, as the length is.

The ids and token types that a caller gives are checked when the model runs (the ports' limits); what follows from the
length alone, or from the ids' number as RoBERTa's positions do, is checked here.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx

from data.errors import InputError, ModelError
from fusion.graph import Graph, Operator
from fusion.importing.evaluation import OutsideTableError


def check_lookups(graph: Graph, seq_len: int) -> Graph:
    """The graph itself, when each index that does not come from the caller lies in its table.

    Raises:
        InputError: the sequence is longer than the model's positions, or an index lies outside its table.
    """
    for operator in graph.operators:
        if operator.kind == "gather":
            _check_lookup(graph, operator, seq_len)
    return graph


def beyond_table(error: OutsideTableError, seq_len: int) -> InputError:
    """What is wrong with an index outside its table: the sequence is too long, or the model is at fault."""
    positions = error.entries - (error.index - (seq_len - 1))
    if error.many and 1 <= positions < seq_len:
        return too_long(seq_len, positions)
    return ModelError(
        f"{error.subject}: index {error.index} is looked up in a table of {error.entries} entries; "
        "export the model again, or give a shorter seq-len"
    )


def too_long(seq_len: int, positions: int) -> InputError:
    """The error of a sequence that has more tokens than the model has positions."""
    return InputError(f"seq-len {seq_len} exceeds the model's {positions} positions")


def check_cut(node: onnx.NodeProto, constants: Mapping[str, np.ndarray], lengths: set[str], seq_len: int) -> None:
    """Refuses to cut the sequence's length off a constant that is shorter: ``Slice`` would give less, silently.

    ``lengths`` are the constants that were computed from the inputs' shapes.

    Raises:
        InputError: the sequence is longer than the model's positions.
    """
    if node.op_type != "Slice" or len(node.input) < 3 or node.input[2] not in lengths:
        return
    shape, ends = constants[node.input[0]].shape, constants[node.input[2]].reshape(-1).tolist()
    axes = constants[node.input[3]].reshape(-1).tolist() if len(node.input) > 3 and node.input[3] else range(len(ends))
    for axis, end in zip(axes, ends, strict=False):
        if -len(shape) <= axis < len(shape) and shape[axis] < end <= shape[axis] + seq_len:
            raise too_long(seq_len, shape[axis] - (end - seq_len))


def _check_lookup(graph: Graph, operator: Operator, seq_len: int) -> None:
    table, index = graph.types[operator.inputs[0]].shape, operator.inputs[1]
    axis = operator.attribute("axis", 0)
    if not table or not isinstance(axis, int):
        return
    entries, maker = table[axis % len(table)], graph.producers.get(index)
    subject = f"operator gather (node {operator.name or operator.output})"
    if maker is not None and maker.kind == "position_ids":
        highest = int(maker.attribute("padding")) + seq_len  # type: ignore[arg-type]  # position_ids holds a number
        lowest, many = 0, True
    elif index in graph.constants and graph.constants[index].size:
        lowest, highest = int(graph.constants[index].min()), int(graph.constants[index].max())
        many = graph.constants[index].size == seq_len
    else:
        return
    if highest >= entries or lowest < -entries:
        raise beyond_table(
            OutsideTableError(subject, highest if highest >= entries else lowest, entries, many), seq_len
        )
