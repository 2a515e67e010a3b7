"""Canonical graphs kept in the cache, without their weights' values, so that nothing is imported twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from data.errors import ModelError
from data.kept import read_sealed, replacing, seal
from fusion.graph import Graph, Operator, TensorType, check


def write_graph(graph: Graph, file: Path) -> None:
    """Writes a graph without its constants' values; ``StoreError`` when it cannot be written."""
    document = {
        "inputs": graph.inputs,
        "outputs": graph.outputs,
        "operators": [[o.kind, o.inputs, o.output, o.attributes, o.name] for o in graph.operators],
        "types": {name: [type_.shape, type_.dtype] for name, type_ in graph.types.items()},
        "constants": {name: [value.shape, str(value.dtype)] for name, value in graph.constants.items()},
        "source_operators": graph.source_operators,
        "output_shapes": graph.output_shapes,
        "output_names": graph.output_names,
        "output_dtypes": graph.output_dtypes,
        "renamed_inputs": graph.renamed_inputs,
        "unread_inputs": graph.unread_inputs,
        "labels": graph.labels,
        "quantised_bits": graph.quantised_bits,
        "fp32_products": graph.fp32_products,
    }
    with replacing(file) as partial:
        partial.write_text(json.dumps(document), encoding="utf-8")
        seal(partial)


def read_graph(file: Path) -> Graph | None:
    """A graph that was written before, its constants without values; None when there is none, or a damaged one."""
    content = read_sealed(file)
    if content is None:
        return None
    try:
        document = json.loads(content)
        operators = tuple(
            Operator(kind, tuple(inputs), output, tuple((key, _attribute(value)) for key, value in attributes), name)
            for kind, inputs, output, attributes, name in document["operators"]
        )
        constants = {
            name: np.broadcast_to(np.zeros((), np.dtype(dtype)), tuple(shape))
            for name, (shape, dtype) in document["constants"].items()
        }
        types = {name: TensorType(tuple(shape), dtype) for name, (shape, dtype) in document["types"].items()}
        inputs, outputs = tuple(document["inputs"]), tuple(document["outputs"])
        shapes = tuple(tuple(shape) for shape in document["output_shapes"])
        renamed = tuple((name, ours) for name, ours in document["renamed_inputs"])
        unread, count = tuple(document["unread_inputs"]), int(document["source_operators"])
        names, dtypes = tuple(document["output_names"]), tuple(document["output_dtypes"])
        labels, bits = tuple(document["labels"]), int(document["quantised_bits"])
        given = (shapes, renamed, unread, names, dtypes, labels, bits, tuple(document["fp32_products"]))
        graph = Graph(inputs, outputs, operators, types, constants, count, *given)
        return check(graph, canonical=True)
    except (ValueError, TypeError, KeyError, AttributeError, ModelError):
        return None


def _attribute(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
