"""The fusion planner: from a canonical operator graph to blocks.

Each anchor (embeddings, matmul, attention) grows through its single consumer as long as the fusion table allows it,
its kernel can hold it, and the fused set stays convex: whatever else the consumer reads must exist before the anchor
runs. Where the table says "decide", the cheaper of fused and apart is taken: fusion follows what the target does well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from data.errors import ModelError
from fusion.block import FLOAT_BYTES, FP32_TENSORS, RESULT, Block
from fusion.graph import MAPPING_TYPES, Graph, Operator, TensorType, check
from fusion.planning.cost import roofline_ms
from fusion.planning.expand_attention import attention_parts, expand_attention, scores_type
from fusion.planning.fused_block import MAX_INPUTS, FusedBlock, View, fused_block, root_view

# DNNFusion (PLDI'21), table 3: producer (row), consumer (column). "rowwise" is our extension: the panel that completes
# a block of rows runs the row-wise pass on them while they are in cache, at the price of rows that wait for each other.
_CONSUMERS = ("one-to-one", "one-to-many", "many-to-many", "reorganize", "shuffle", "rowwise")
_TABLE = {
    "one-to-one": ("fuse", "fuse", "fuse", "fuse", "fuse", "fuse"),
    "one-to-many": ("fuse", "decide", "never", "decide", "decide", "fuse"),
    "many-to-many": ("fuse", "decide", "never", "decide", "decide", "decide"),
    "reorganize": ("fuse", "decide", "decide", "fuse", "fuse", "decide"),
    "shuffle": ("fuse", "decide", "decide", "fuse", "fuse", "decide"),
    "rowwise": ("never", "never", "never", "never", "never", "never"),
}
FUSION_TABLE: Mapping[tuple[str, str], str] = MappingProxyType(
    {(producer, consumer): row[i] for producer, row in _TABLE.items() for i, consumer in enumerate(_CONSUMERS)}
)
# What each anchor's kernel can hold after the anchor itself; all others are blocks of their own.
_HELD: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "gather": frozenset({"one-to-one", "rowwise"}),
        "matmul": frozenset({"one-to-one", "rowwise"}),
        **dict.fromkeys(
            ("add", "add_rows", "bias", "gelu", "gelu_tanh", "relu", "sigmoid", "silu", "tanh", "no_norm"),
            frozenset({"one-to-one", "rowwise"}),
        ),
    }
)
_NOTHING: frozenset[str] = frozenset()
_TIE = 1 + 1e-9

BlockCost = Callable[[Block], float]


@dataclass(frozen=True)
class Plan:
    """Fused blocks in execution order; ``views`` maps a tensor that lies within another to its place there."""

    graph: Graph
    blocks: tuple[FusedBlock, ...]
    views: Mapping[str, View]

    def viewed(self, name: str) -> str:
        """The tensor in which another lies; itself where it lies in none."""
        return self.views[name].source if name in self.views else name

    @property
    def saved_bytes(self) -> int:
        """Bytes of intermediates that fusion keeps out of memory, counted once written and once read."""
        inner = 0
        for fused in self.blocks:
            for operator in fused.operators:
                if operator.output != fused.output:
                    inner += _moved_bytes(self.graph.types[operator.output])
                if operator.kind == "attention":
                    inner += 2 * _moved_bytes(scores_type(self.graph, operator))
        return inner


def with_precision(plan: Plan, precision: str) -> Plan:
    """The plan with its blocks in a precision.

    In half precision residual sums and outputs stay fp32: what is rounded in a sum that all layers add to is never made
    up for, while what else is rounded stays small beside it.
    """
    if precision == "fp32":
        return plan
    single = _residual_sums(plan) | {plan.viewed(name) for name in plan.graph.outputs}
    blocks = tuple(replace(fused, block=_in_precision(plan, fused, precision, single)) for fused in plan.blocks)
    return replace(plan, blocks=blocks)


def _residual_sums(plan: Plan) -> set[str]:
    """What is added to a block's result, and what comes of it."""
    sums: set[str] = set()
    for fused in plan.blocks:
        if count := fused.block.epilogue.count("residual"):
            sums |= {fused.output, *map(plan.viewed, fused.inputs[-count:])}
    return sums


def _in_precision(plan: Plan, fused: FusedBlock, precision: str, single: set[str]) -> Block:
    names = [str(place) for place, name in enumerate(fused.inputs) if plan.viewed(name) in single]
    names += [RESULT] if fused.output in single else []
    attributes = dict(fused.block.attributes) | ({FP32_TENSORS: ",".join(names)} if names else {})
    return replace(fused.block, attributes=tuple(sorted(attributes.items())), precision=precision)


def _moved_bytes(type_: TensorType) -> int:
    return 2 * type_.rows * type_.columns * FLOAT_BYTES


def plan_graph(graph: Graph, *, fuse: bool = True, cost: BlockCost = roofline_ms) -> Plan:
    """The fusion plan of a canonical graph; without ``fuse``, one block an operator.

    ``cost`` (milliseconds of a block: modelled, predicted or measured) settles what the table leaves open.

    Raises:
        ModelError: the graph is not canonical, or an operator has no block that can hold it.
    """
    graph = check(_with_attention_settled(graph, fuse, cost), canonical=True)
    views = _views(graph)
    planner = _Planner(graph, views, fuse, cost)
    blocks = [
        fused_block(graph, planner.grow(operator), views)
        for operator in graph.operators
        if operator.output not in planner.block_of and operator.output not in views
    ]
    return Plan(graph, _in_order(graph, blocks, views), views)


def _with_attention_settled(graph: Graph, fuse: bool, cost: BlockCost) -> Graph:
    """Attention as one operator, or as three: never together in the published table, as one kernel in ours."""
    if not fuse:
        return expand_attention(graph)
    views = _views(graph)
    apart = set()
    for operator in graph.operators:
        if operator.kind == "attention":
            parts = attention_parts(graph, operator)
            types = dict(graph.types) | {part.output: scores_type(graph, operator) for part in parts[:-1]}
            expanded = replace(graph, types=types)
            separate = sum(cost(fused_block(expanded, [part], views).block) for part in parts)
            if separate < cost(fused_block(graph, [operator], views).block):
                apart.add(operator.output)
    return expand_attention(graph, apart)


def _views(graph: Graph) -> dict[str, View]:
    """Rows and columns of other tensors, which need no block."""
    views: dict[str, View] = {}
    for operator in graph.operators:
        source = operator.inputs[0] if operator.inputs else ""
        if operator.kind == "select_row":
            views[operator.output] = root_view(views, View(source, row=_index(operator, "row")))
        elif operator.kind == "rows":
            views[operator.output] = root_view(views, View(source, row=_index(operator, "first")))
        elif operator.kind == "columns":
            views[operator.output] = root_view(views, View(source, column=_index(operator, "first")))
    return views


def _index(operator: Operator, name: str) -> int:
    value = operator.attribute(name)
    if not isinstance(value, int):
        raise ModelError(f"operator {operator.name}: {name} must be a whole number")
    return value


@dataclass(frozen=True)
class _Planner:
    """Grows blocks in one graph; ``block_of`` finds the operators of the block that makes a tensor."""

    graph: Graph
    views: Mapping[str, View]
    fuse: bool
    cost: BlockCost
    block_of: dict[str, list[Operator]] = field(default_factory=dict)

    def grow(self, seed: Operator) -> list[Operator]:
        """The seed and the consumers that fuse with it, in order."""
        members = [seed]
        while (successor := self._only_reader(members[-1])) is not None:
            if successor.kind == "window" and seed.kind == "gather" and len(members) == 1:
                members.append(successor)  # the neighbours' rows are looked up, too
                continue
            addition = self._other_lookups(successor, members)
            if addition is None and not self._fuses(members, successor):
                break
            members.extend([*(addition or []), successor])
        self.block_of.update((member.output, members) for member in members)
        return members

    def _only_reader(self, operator: Operator) -> Operator | None:
        """The one operator that reads a result, unless another block has it already."""
        readers = self.graph.consumers.get(operator.output, [])
        if len(readers) != 1 or operator.output in self.graph.outputs or readers[0].output in self.block_of:
            return None
        return readers[0]

    def _other_lookups(self, successor: Operator, members: list[Operator]) -> list[Operator] | None:
        """The other embeddings of a sum of embeddings, or None when the successor is no such sum."""
        if not self.fuse or members[0].kind != "gather" or successor.kind != "add":
            return None
        producers = self.graph.producers
        inside = {member.output for member in members} | self.block_of.keys()
        others = [producers[name] for name in successor.inputs if name in producers and name not in inside]
        plain = all(operator.kind == "gather" and self._only_reader(operator) for operator in others)
        summed = all(member.kind in {"gather", "add", "add_rows"} for member in members)
        known = all(name in producers for name in successor.inputs)
        room = sum(member.kind == "gather" for member in members) + len(others) <= MAX_INPUTS
        return others if plain and summed and known and room and others else None

    def _fuses(self, members: list[Operator], successor: Operator) -> bool:
        """Whether the table, the kernel, convexity and, where the table leaves it open, cost speak for fusion."""
        kind = MAPPING_TYPES[successor.kind]
        verdict = FUSION_TABLE[_mapping_type(members), kind]
        held = kind in _HELD.get(members[0].kind, _NOTHING) and successor.kind not in _ANCHORED_ROWWISE
        if not self.fuse or verdict == "never" or not held or not self._is_convex(members, successor):
            return False
        together = fused_block(self.graph, [*members, successor], self.views)
        if len(together.inputs) > MAX_INPUTS:
            return False
        if verdict == "fuse":
            return True
        apart = [fused_block(self.graph, part, self.views).block for part in (members, [successor])]
        # On a GPU both may be the same kernels: what costs as much is taken together, whatever rounding makes of it.
        return self.cost(together.block) <= _TIE * sum(self.cost(block) for block in apart)

    def _is_convex(self, members: list[Operator], successor: Operator) -> bool:
        """Whether every operand of the successor but the last result exists without passing through the fused set."""
        others = list(successor.inputs)
        others.remove(members[-1].output)
        return not self._depend_on(others, {member.output for member in members})

    def _depend_on(self, names: list[str], targets: set[str]) -> bool:
        """Whether any tensor needs one of the targets, when each block that is grown already runs as a whole."""
        producers = self.graph.producers
        pending = list(names)
        seen: set[str] = set()
        while pending:
            current = pending.pop()
            if current in targets:
                return True
            if current in producers and current not in seen:
                makers = self.block_of.get(current, [producers[current]])
                seen.update(maker.output for maker in makers)
                pending.extend(name for maker in makers for name in maker.inputs)
        return False


# Row-wise operators that are anchors: no other kernel holds them.
_ANCHORED_ROWWISE = frozenset({"softmax", "position_ids"})


def _mapping_type(members: list[Operator]) -> str:
    """Mapping type of a fused set: its anchor's, until a row-wise operator has closed the rows."""
    kinds = [MAPPING_TYPES[member.kind] for member in members]
    return "rowwise" if "rowwise" in kinds else kinds[0]


def _in_order(graph: Graph, blocks: list[FusedBlock], views: Mapping[str, View]) -> tuple[FusedBlock, ...]:
    """The blocks sorted so that each follows the makers of its inputs, otherwise as they came."""
    ready = set(graph.inputs)
    pending, ordered = list(blocks), []
    while pending:
        for fused in pending:
            sources = [views[name].source if name in views else name for name in fused.inputs]
            if all(name in ready for name in sources):
                break
        else:
            raise ModelError(f"blocks depend on each other in a circle at {pending[0].block.name}")
        pending.remove(fused)
        ordered.append(fused)
        ready.add(fused.output)
    return tuple(ordered)
