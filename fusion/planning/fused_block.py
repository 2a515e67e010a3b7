"""Fused blocks: a block in its place in a graph, made from the operators that it stands for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from data.errors import ModelError, UnsupportedOperatorError
from fusion.block import Anchor, Block, make_block
from fusion.graph import Graph, Operator

MAX_INPUTS = 8
"""Activations that a kernel can read (PB_MAX_INPUTS of the runtime)."""

# Numbers that a step of an epilogue is made with.
_EPILOGUE_NUMBERS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"layer_norm": ("epsilon",), "l2_norm": ("inside", "floor", "outside")}
)

Attributes = dict[str, float | int | str]


@dataclass(frozen=True)
class View:
    """A tensor that lies within another: from a row and a column of it on, at the other's row stride."""

    source: str
    row: int = 0
    column: int = 0


@dataclass(frozen=True)
class FusedBlock:
    """A block in its place: what it reads and makes, and the operators that it stands for.

    ``inputs`` are activations or model inputs in the kernel's order, ``weights`` constants in packing order.
    """

    block: Block
    inputs: tuple[str, ...]
    weights: tuple[str, ...]
    output: str
    operators: tuple[Operator, ...]


def root_view(views: Mapping[str, View], view: View) -> View:
    """The same view, of the tensor that is no view itself."""
    while view.source in views:
        outer = views[view.source]
        view = View(outer.source, outer.row + view.row, outer.column + view.column)
    return view


def fused_block(graph: Graph, members: list[Operator], views: Mapping[str, View]) -> FusedBlock:
    """The block of a fused set whose first operator is its anchor.

    Raises:
        ModelError: no kernel holds this set.
    """
    seed = members[0]
    block, inputs, weights = _MAKERS.get(seed.kind, _rowwise)(graph, members, views)
    return FusedBlock(block, inputs, weights, members[-1].output, tuple(members))


_Made = tuple[Block, tuple[str, ...], tuple[str, ...]]


def _embeddings(graph: Graph, members: list[Operator], views: Mapping[str, View]) -> _Made:
    lookups = [member for member in members if member.kind == "gather"]
    lookup_kinds = {"gather", "window"}
    others = (
        index for index in range(len(members)) if members[index].kind not in lookup_kinds and not _sums(members, index)
    )
    summed = next(others, len(members)) - 1
    rows = [member.inputs[1] for member in members[: summed + 1] if member.kind == "add_rows"]
    type_ = graph.types[members[-1].output]
    steps, inputs, weights, attributes = _epilogue(graph, members[summed + 1 :], members[summed].output)
    attributes |= _wider_operands(graph, views, inputs, len(lookups), type_.columns)
    windows = [member for member in members if member.kind == "window"]
    if windows:
        attributes["offsets"] = ",".join(str(offset) for offset in _offsets(windows[0]))
    entries = {f"entries{i}": graph.types[lookup.inputs[0]].rows for i, lookup in enumerate(lookups)}
    sizes = {"rows": type_.rows, "hidden": type_.columns, "tables": len(lookups) + len(rows)} | entries
    block = make_block("embeddings", sizes, ("add_rows",) * len(rows) + steps, attributes)
    ids = tuple(lookup.inputs[1] for lookup in lookups)
    tables = tuple(lookup.inputs[0] for lookup in lookups)
    return block, ids + inputs, tables + tuple(rows) + weights


def _sums(members: list[Operator], index: int) -> bool:
    """Whether an operator adds looked-up embeddings or constant rows to those before it."""
    before = {member.output for member in members[:index]}
    return members[index].kind in {"add", "add_rows"} and all(
        name in before for name in members[index].inputs[: 2 if members[index].kind == "add" else 1]
    )


def _offsets(window: Operator) -> tuple[int, ...]:
    offsets = window.attribute("offsets")
    if not isinstance(offsets, tuple) or not offsets:
        raise ModelError(f"operator {window.name}: offsets must be whole numbers")
    return offsets


def _position_ids(graph: Graph, members: list[Operator], views: Mapping[str, View]) -> _Made:
    padding = members[0].attribute("padding")
    assert isinstance(padding, int)
    type_ = graph.types[members[0].output]
    block = make_block("position_ids", {"rows": type_.rows * type_.columns}, (), {"padding": padding})
    return block, members[0].inputs, ()


def _gemm(graph: Graph, members: list[Operator], views: Mapping[str, View]) -> _Made:
    source, matrix = members[0].inputs
    if matrix not in graph.constants or len(graph.types[matrix].shape) != 2:
        raise UnsupportedOperatorError(f"operator {members[0].name}: a product of two activations outside attention")
    inner, columns = graph.types[matrix].shape
    steps, inputs, weights, attributes = _epilogue(graph, members[1:], members[0].output)
    attributes |= _wider_operands(graph, views, (source,), 0, inner)
    attributes |= _wider_operands(graph, views, inputs, 1, columns)
    sizes = {"rows": graph.types[members[0].output].rows, "inner": inner, "columns": columns}
    return make_block("gemm", sizes, steps, attributes), (source, *inputs), (matrix, *weights)


def _attention(graph: Graph, members: list[Operator], views: Mapping[str, View]) -> _Made:
    q, k, v = members[0].inputs[:3]
    sizes = _head_sizes(graph, members[0], q, k)
    attributes: Attributes = {"scale": _number(members[0], "scale"), "sources": _sources(views, (q, k, v))}
    attributes |= _wider_operands(graph, views, (q, k, v), 0, graph.types[q].columns)
    if len(members[0].inputs) > 3:
        attributes["masked_bias"] = _number(members[0], "masked_bias")
    return make_block("attention", sizes, (), attributes), members[0].inputs, ()


def _scores(graph: Graph, members: list[Operator], views: Mapping[str, View]) -> _Made:
    q, k = members[0].inputs
    attributes = _wider_operands(graph, views, (q, k), 0, graph.types[q].columns)
    return make_block("scores", _head_sizes(graph, members[0], q, k), (), attributes), (q, k), ()


def _softmax(graph: Graph, members: list[Operator], views: Mapping[str, View]) -> _Made:
    type_ = graph.types[members[0].output]
    attributes: Attributes = {"scale": _number(members[0], "scale")}
    if len(members[0].inputs) > 1:
        attributes["masked_bias"] = _number(members[0], "masked_bias")
    return make_block("softmax", {"rows": type_.rows, "keys": type_.columns}, (), attributes), members[0].inputs, ()


def _context(graph: Graph, members: list[Operator], views: Mapping[str, View]) -> _Made:
    weights, v = members[0].inputs
    heads, rows, keys = graph.types[weights].shape
    width = graph.types[v].columns
    sizes = {"rows": rows, "keys": keys, "heads": heads, "head_size": width // heads}
    attributes = _wider_operands(graph, views, (v,), 1, width)
    return make_block("context", sizes, (), attributes), (weights, v), ()


def _reshaping(graph: Graph, members: list[Operator], views: Mapping[str, View]) -> _Made:
    """Blocks that move numbers about, or choose among those of a row."""
    (operator,), source = members, graph.types[members[0].inputs[0]]
    type_ = graph.types[operator.output]
    columns = type_.columns if operator.kind == "concat" else source.columns
    sizes = {"rows": source.rows, "columns": columns}
    results = {"result_rows": (type_.rows, source.rows), "result_columns": (type_.columns, columns)}
    sizes |= {name: result for name, (result, natural) in results.items() if result != natural}
    attributes: Attributes = {
        key: ",".join(map(str, value)) if isinstance(value, tuple) else value for key, value in operator.attributes
    }
    if operator.kind == "concat":
        attributes["widths"] = ",".join(str(graph.types[name].columns) for name in operator.inputs)
    for index, name in enumerate(operator.inputs):
        attributes |= _wider_operands(graph, views, (name,), index, graph.types[name].columns)
    return make_block(_RESHAPING[operator.kind], sizes, (), attributes), operator.inputs, ()


def _pooling(graph: Graph, members: list[Operator], views: Mapping[str, View]) -> _Made:
    """Rows scaled and shifted as the mask says, perhaps made one."""
    (operator,), source = members, graph.types[members[0].inputs[0]]
    mask, tables = operator.inputs[1:2], operator.inputs[2:]
    sizes = {"rows": source.rows, "columns": source.columns}
    sizes |= {"tokens": graph.types[mask[0]].columns} if mask else {}
    attributes: Attributes = {}
    if operator.kind == "pool":
        sizes["result_rows"], attributes["function"] = 1, str(operator.attribute("function"))
    attributes |= _wider_operands(graph, views, operator.inputs[:1], 0, source.columns)
    anchor: Anchor = "pool" if operator.kind == "pool" else "mask_rows"
    return make_block(anchor, sizes, (), attributes), (operator.inputs[0], *mask), tables


def _rowwise(graph: Graph, members: list[Operator], views: Mapping[str, View]) -> _Made:
    activations = [name for name in members[0].inputs if name not in graph.constants]
    type_ = graph.types[members[-1].output]
    steps, inputs, weights, attributes = _epilogue(graph, members, activations[0])
    attributes |= _wider_operands(graph, views, (activations[0], *inputs), 0, type_.columns)
    block = make_block("rowwise", {"rows": type_.rows, "columns": type_.columns}, steps, attributes)
    return block, (activations[0], *inputs), weights


_MAKERS = {
    "gather": _embeddings,
    "position_ids": _position_ids,
    "matmul": _gemm,
    "attention": _attention,
    "scores": _scores,
    "softmax": _softmax,
    "context": _context,
    "view": _reshaping,
    "concat": _reshaping,
    "top": _reshaping,
    "pool": _pooling,
    "mask_rows": _pooling,
}
_RESHAPING: Mapping[str, Anchor] = MappingProxyType({"view": "view", "concat": "concat", "top": "top"})


def _head_sizes(graph: Graph, operator: Operator, q: str, k: str) -> dict[str, int]:
    heads = operator.attribute("heads")
    assert isinstance(heads, int)
    queries, keys = graph.types[q], graph.types[k]
    return {"rows": queries.rows, "keys": keys.rows, "heads": heads, "head_size": queries.columns // heads}


def _number(operator: Operator, name: str) -> float:
    value = operator.attribute(name)
    if not isinstance(value, int | float):
        raise ModelError(f"operator {operator.name}: {name} must be a number")
    return float(value)


def _sources(views: Mapping[str, View], names: tuple[str, ...]) -> str:
    """Which operands lie within one tensor: a digit for each, equal where they do."""
    roots = [views[name].source if name in views else name for name in names]
    return "".join(str(roots.index(root)) for root in roots)


def _wider_operands(
    graph: Graph, views: Mapping[str, View], names: tuple[str, ...], first: int, natural: int
) -> Attributes:
    """Columns of the tensors that operands are views of, where that is not the operands' own width; the kernel needs
    their row stride."""
    found: Attributes = {}
    for index, name in enumerate(names, start=first):
        if name in views and graph.types[views[name].source].columns != natural:
            found[f"columns{index}"] = graph.types[views[name].source].columns
    return found


def _epilogue(
    graph: Graph, tail: list[Operator], current: str
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...], Attributes]:
    """(steps, further activations, constants, attributes) of the operators that follow an anchor's result."""
    steps: list[str] = []
    inputs: list[str] = []
    weights: list[str] = []
    attributes: Attributes = {}
    for operator in tail:
        others = [name for name in operator.inputs if name != current]
        steps.append("residual" if operator.kind == "add" else operator.kind)
        weights.extend(name for name in others if name in graph.constants)
        inputs.extend(name for name in others if name not in graph.constants)
        if operator.kind == "add" and not others:
            inputs.append(current)
        attributes |= {name: _number(operator, name) for name in _EPILOGUE_NUMBERS.get(operator.kind, ())}
        current = operator.output
    return tuple(steps), tuple(inputs), tuple(weights), attributes
