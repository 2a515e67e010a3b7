"""The fusion planner: from a canonical operator graph to blocks.

Each anchor (embeddings, matmul, attention) grows through its single consumer as long as the fusion table allows it
and the fused set stays convex: whatever else the consumer reads must exist before the anchor runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from data.errors import ModelError
from fusion.block import FLOAT_BYTES, Block, make_block
from fusion.graph import MAPPING_TYPES, Graph, Operator, check

# DNNFusion (PLDI'21), table 3, for a many-to-many or one-to-many producer (row) and its consumer (column):
# "fuse" or "never". "rowwise" is our extension: the last panel of a row block finishes the rows, so the
# row-wise pass runs on them while they are in cache. Reorganize before an anchor is free as a view.
FUSION_TABLE: Mapping[tuple[str, str], str] = MappingProxyType(
    {
        ("one-to-many", "one-to-one"): "fuse",
        ("one-to-many", "rowwise"): "fuse",
        ("one-to-many", "many-to-many"): "never",
        ("many-to-many", "one-to-one"): "fuse",
        ("many-to-many", "rowwise"): "fuse",
        ("many-to-many", "many-to-many"): "never",
        ("rowwise", "one-to-one"): "never",
        ("rowwise", "rowwise"): "never",
        ("rowwise", "many-to-many"): "never",
        ("one-to-one", "one-to-one"): "fuse",
        ("one-to-one", "rowwise"): "fuse",
        ("one-to-one", "many-to-many"): "never",
    }
)
_ANCHORS = {"gather": "embeddings", "matmul": "gemm", "attention": "attention"}


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


@dataclass(frozen=True)
class Plan:
    """Fused blocks in execution order; ``views`` maps a tensor that is a row of another to (tensor, row)."""

    graph: Graph
    blocks: tuple[FusedBlock, ...]
    views: Mapping[str, tuple[str, int]]

    @property
    def saved_bytes(self) -> int:
        """Bytes of intermediates that fusion keeps out of memory, counted once written and once read."""
        inner = 0
        for fused in self.blocks:
            for operator in fused.operators:
                if operator.output != fused.output:
                    type_ = self.graph.types[operator.output]
                    inner += 2 * type_.rows * type_.columns * FLOAT_BYTES
        return inner


def plan_graph(graph: Graph, *, fuse: bool = True) -> Plan:
    """The fusion plan of a canonical graph; without ``fuse``, one block an operator (a sum of embeddings stays one).

    Raises:
        ModelError: the graph is not canonical, or an operator has no block that can hold it.
    """
    check(graph, canonical=True)
    consumers, views = graph.consumers, _views(graph)
    taken: set[str] = set()
    blocks: list[FusedBlock] = []
    for operator in graph.operators:
        if operator.output in taken or operator.output in views:
            continue
        members = _grow(graph, operator, consumers, taken, fuse=fuse)
        taken.update(member.output for member in members)
        blocks.append(_fused_block(graph, members))
    return Plan(graph, _in_order(graph, blocks, views), views)


def _views(graph: Graph) -> dict[str, tuple[str, int]]:
    views = {}
    for operator in graph.operators:
        if operator.kind == "select_row":
            row = operator.attribute("row")
            if not isinstance(row, int):
                raise ModelError(f"operator {operator.name}: the row must be a whole number")
            views[operator.output] = (operator.inputs[0], row)
    return views


def _grow(
    graph: Graph, seed: Operator, consumers: Mapping[str, list[Operator]], taken: set[str], *, fuse: bool
) -> list[Operator]:
    """The seed and the consumers that fuse with it, in order."""
    members = [seed]
    while True:
        last = members[-1]
        readers = consumers.get(last.output, [])
        if len(readers) != 1 or last.output in graph.outputs:
            return members
        successor = readers[0]
        if successor.kind == "add" and _is_embedding_sum(graph, successor):
            members.extend(_other_gathers(graph, successor, members, taken))
            members.append(successor)
            continue
        if successor.kind == "add_rows" and seed.kind == "gather":
            members.append(successor)
            continue
        verdict = FUSION_TABLE.get((MAPPING_TYPES[last.kind], MAPPING_TYPES[successor.kind]), "never")
        if not fuse or verdict != "fuse" or successor.kind == "add_rows":
            return members
        if seed.kind == "attention" or not _is_convex(graph, members, successor):
            return members
        members.append(successor)


def _is_embedding_sum(graph: Graph, operator: Operator) -> bool:
    """Whether an addition sums looked-up embeddings only."""
    producers = graph.producers
    for name in operator.inputs:
        maker = producers.get(name)
        if maker is None or maker.kind not in {"gather", "add", "add_rows"}:
            return False
        if maker.kind != "gather" and not (maker.kind == "add_rows" or _is_embedding_sum(graph, maker)):
            return False
    return True


def _other_gathers(graph: Graph, total: Operator, members: list[Operator], taken: set[str]) -> list[Operator]:
    producers = graph.producers
    present = {member.output for member in members} | taken
    found = [producers[name] for name in total.inputs if name not in present]
    if any(operator.kind != "gather" for operator in found):
        raise ModelError(f"operator {total.name}: a sum of embeddings that is not a chain of look-ups")
    return found


def _is_convex(graph: Graph, members: list[Operator], successor: Operator) -> bool:
    """Whether every other operand of the successor exists without passing through the fused set."""
    inside = {member.output for member in members}
    first = graph.positions[members[0].output]
    for name in successor.inputs:
        if name in inside or name in graph.constants or name in graph.inputs:
            continue
        if graph.positions[name] > first and _depends_on(graph, name, inside):
            return False
    return True


def _depends_on(graph: Graph, name: str, targets: set[str]) -> bool:
    producers = graph.producers
    pending, seen = [name], set()
    while pending:
        current = pending.pop()
        if current in targets:
            return True
        if current in producers and current not in seen:
            seen.add(current)
            pending.extend(producers[current].inputs)
    return False


def _fused_block(graph: Graph, members: list[Operator]) -> FusedBlock:
    anchor = _ANCHORS.get(members[0].kind, "rowwise")
    makers = {"embeddings": _embeddings, "gemm": _gemm, "attention": _attention, "rowwise": _rowwise}
    return makers[anchor](graph, members)


def _embeddings(graph: Graph, members: list[Operator]) -> FusedBlock:
    lookups = [member for member in members if member.kind == "gather"]
    rows = [member.inputs[1] for member in members if member.kind == "add_rows"]
    type_ = graph.types[members[-1].output]
    last_sum = max(index for index, member in enumerate(members) if member.kind in {"gather", "add", "add_rows"})
    steps, inputs, weights, attributes = _epilogue(graph, members[last_sum + 1 :], members[last_sum].output)
    if len(rows) > 1:
        raise ModelError(f"operator {members[0].name}: more than one constant is added to the embeddings")
    entries = {f"entries{i}": graph.types[lookup.inputs[0]].rows for i, lookup in enumerate(lookups)}
    block = make_block(
        "embeddings",
        {"rows": type_.rows, "hidden": type_.columns, "tables": len(lookups) + len(rows)} | entries,
        ("positions",) * len(rows) + steps,
        attributes,
    )
    ids = tuple(lookup.inputs[1] for lookup in lookups)
    tables = tuple(lookup.inputs[0] for lookup in lookups)
    return FusedBlock(block, ids + inputs, tables + tuple(rows) + weights, members[-1].output, tuple(members))


def _gemm(graph: Graph, members: list[Operator]) -> FusedBlock:
    source, matrix = members[0].inputs
    if matrix not in graph.constants:
        raise ModelError(f"operator {members[0].name}: a product of two activations outside attention")
    inner, columns = graph.types[matrix].shape
    steps, inputs, weights, attributes = _epilogue(graph, members[1:], members[0].output)
    sizes = {"rows": graph.types[members[0].output].rows, "inner": inner, "columns": columns}
    block = make_block("gemm", sizes, steps, attributes)
    return FusedBlock(block, (source, *inputs), (matrix, *weights), members[-1].output, tuple(members))


def _attention(graph: Graph, members: list[Operator]) -> FusedBlock:
    operator = members[0]
    type_ = graph.types[operator.output]
    heads, scale = operator.attribute("heads"), operator.attribute("scale")
    assert isinstance(heads, int) and isinstance(scale, float)
    keys = graph.types[operator.inputs[0]].rows
    sizes = {"rows": type_.rows, "keys": keys, "heads": heads, "head_size": type_.columns // heads}
    attributes: dict[str, float | int | str] = {"scale": scale}
    if type_.rows < keys:
        first_row = operator.attribute("first_row")
        assert isinstance(first_row, int)
        attributes["first_row"] = first_row
    if len(operator.inputs) > 1:
        masked_bias = operator.attribute("masked_bias")
        assert isinstance(masked_bias, float)
        attributes["masked_bias"] = masked_bias
    block = make_block("attention", sizes, (), attributes)
    return FusedBlock(block, operator.inputs, (), operator.output, tuple(members))


def _rowwise(graph: Graph, members: list[Operator]) -> FusedBlock:
    activations = [name for name in members[0].inputs if name not in graph.constants]
    type_ = graph.types[members[-1].output]
    steps, inputs, weights, attributes = _epilogue(graph, members, activations[0])
    block = make_block("rowwise", {"rows": type_.rows, "columns": type_.columns}, steps, attributes)
    return FusedBlock(block, (activations[0], *inputs), weights, members[-1].output, tuple(members))


def _epilogue(
    graph: Graph, tail: list[Operator], current: str
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...], dict[str, float | int | str]]:
    """(steps, further activations, constants, attributes) of the operators that follow an anchor's result."""
    steps: list[str] = []
    inputs: list[str] = []
    weights: list[str] = []
    attributes: dict[str, float | int | str] = {}
    for operator in tail:
        others = [name for name in operator.inputs if name != current]
        steps.append("residual" if operator.kind == "add" else operator.kind)
        weights.extend(name for name in others if name in graph.constants)
        inputs.extend(name for name in others if name not in graph.constants)
        if operator.kind == "add" and not others:
            inputs.append(current)
        if operator.kind == "layer_norm":
            epsilon = operator.attribute("epsilon")
            assert isinstance(epsilon, float)
            attributes["epsilon"] = epsilon
        current = operator.output
    return tuple(steps), tuple(inputs), tuple(weights), attributes


def _in_order(graph: Graph, blocks: list[FusedBlock], views: Mapping[str, tuple[str, int]]) -> tuple[FusedBlock, ...]:
    """The blocks sorted so that each follows the makers of its inputs, otherwise as they came."""
    ready = set(graph.inputs)
    pending, ordered = list(blocks), []
    while pending:
        for fused in pending:
            sources = [views[name][0] if name in views else name for name in fused.inputs]
            if all(name in ready for name in sources):
                break
        else:
            raise ModelError(f"blocks depend on each other in a circle at {pending[0].block.name}")
        pending.remove(fused)
        ordered.append(fused)
        ready.add(fused.output)
    return tuple(ordered)
