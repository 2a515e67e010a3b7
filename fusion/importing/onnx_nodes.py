"""What the passes over an ONNX file's nodes share: which tensors a node reads, and the graphs inside it."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence

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
    """Those nodes that the wanted tensors depend on, each behind the makers of what it reads; otherwise as they came.

    Nodes of a cycle come last, in their order: reading one before it is made is an error that the importer names.
    """
    makers: dict[str, list[int]] = {}
    given = list(nodes)
    for index, node in enumerate(given):
        for name in node.output:
            makers.setdefault(name, []).append(index)
    sources = [sorted({maker for name in reads(node) for maker in makers.get(name, ())}) for node in given]
    needed = _reached(sources, [maker for name in wanted for maker in makers.get(name, ())])
    return [given[index] for index in _sorted(sources, sorted(needed))]


def _reached(sources: Sequence[Sequence[int]], first: Sequence[int]) -> set[int]:
    found, pending = set(first), list(first)
    while pending:
        new = [index for index in sources[pending.pop()] if index not in found]
        found.update(new)
        pending.extend(new)
    return found


def _sorted(sources: Sequence[Sequence[int]], indices: Sequence[int]) -> list[int]:
    """Indices behind their sources, the lowest first where several may come."""
    missing = {index: len(sources[index]) for index in indices}
    readers: dict[int, list[int]] = {}
    for index in indices:
        for source in sources[index]:
            readers.setdefault(source, []).append(index)
    ready = [index for index in indices if not missing[index]]
    order: list[int] = []
    while ready:
        index = heapq.heappop(ready)
        order.append(index)
        for reader in readers.get(index, ()):
            missing[reader] -= 1
            if not missing[reader]:
                heapq.heappush(ready, reader)
    return [*order, *(index for index in indices if missing[index])]


def rename_tensors(graph: onnx.GraphProto, changes: Mapping[str, str]) -> None:
    """Renames tensors wherever they are made or read."""
    for one in all_graphs(graph):
        for node in one.node:
            node.input[:] = [changes.get(name, name) for name in node.input]
            node.output[:] = [changes.get(name, name) for name in node.output]
        for value in (*one.input, *one.output, *one.initializer):
            value.name = changes.get(value.name, value.name)
