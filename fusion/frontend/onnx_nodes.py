"""What the passes over an ONNX file's nodes share: which tensors a node reads, and the graphs inside it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import onnx
from onnx import AttributeProto


def inner_graphs(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    """The graphs that a node holds as attributes, such as the branches of ``If``."""
    return [
        graph
        for entry in node.attribute
        for graph in ([entry.g] if entry.type == AttributeProto.GRAPH else entry.graphs)
    ]


def all_graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """A graph and those inside its nodes, however deep."""
    yield graph
    for node in graph.node:
        for inner in inner_graphs(node):
            yield from all_graphs(inner)


def reads(node: onnx.NodeProto) -> set[str]:
    """Tensors that a node reads, in the graphs inside it as well."""
    inside = {name for inner in inner_graphs(node) for one in all_graphs(inner) for name in _graph_reads(one)}
    return {name for name in {*node.input, *inside} if name}


def _graph_reads(graph: onnx.GraphProto) -> Iterator[str]:
    for node in graph.node:
        yield from node.input
    for value in graph.output:
        yield value.name


def all_reads(graph: onnx.GraphProto) -> set[str]:
    """Tensors that any node, or the model's outputs, read."""
    return {name for node in graph.node for name in reads(node)} | {value.name for value in graph.output}


def needed_nodes(nodes: Iterable[onnx.NodeProto], wanted: Iterable[str]) -> list[onnx.NodeProto]:
    """Those nodes that the wanted tensors depend on, in order."""
    needed, kept = set(wanted), []
    for node in reversed(list(nodes)):
        if needed & set(node.output):
            kept.append(node)
            needed |= reads(node)
    return kept[::-1]


def rename_tensors(graph: onnx.GraphProto, changes: Mapping[str, str]) -> None:
    """Renames tensors wherever they are made or read."""
    for one in all_graphs(graph):
        for node in one.node:
            node.input[:] = [changes.get(name, name) for name in node.input]
            node.output[:] = [changes.get(name, name) for name in node.output]
        for value in (*one.input, *one.output, *one.initializer):
            value.name = changes.get(value.name, value.name)
