"""A tiny matcher: patterns are data, a rule is a pattern and what replaces it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from fusion.graph import Graph, Operator, TensorType, without_dead_code

Bindings = dict[str, str]


@dataclass(frozen=True)
class Tensor:
    """Matches any tensor and binds its name; a name that is bound already must be the same tensor."""

    name: str


@dataclass(frozen=True)
class Constant:
    """Matches a constant tensor; with ``value``, a constant that holds this number alone."""

    name: str = ""
    value: float | None = None


@dataclass(frozen=True)
class Apply:
    """Matches an operator of one of the kinds and its operands; ``commutative`` tries both orders of two."""

    kinds: str
    operands: tuple[Pattern, ...]
    commutative: bool = False
    name: str = ""


Pattern = Tensor | Constant | Apply


def commutes(kind: str, first: Pattern, second: Pattern, name: str = "") -> Apply:
    """A commutative operator of two operands."""
    return Apply(kind, (first, second), commutative=True, name=name)


def match(pattern: Pattern, tensor: str, graph: Graph, bound: Bindings) -> Iterator[Bindings]:
    """All ways in which a tensor matches a pattern, given what is bound already."""
    if isinstance(pattern, Tensor):
        if bound.get(pattern.name, tensor) == tensor:
            yield {**bound, pattern.name: tensor}
    elif isinstance(pattern, Constant):
        value = graph.constants.get(tensor)
        if value is not None and (pattern.value is None or _holds(value, pattern.value)):
            yield {**bound, pattern.name: tensor} if pattern.name else bound
    else:
        operator = graph.producers.get(tensor)
        if operator is not None and operator.kind in pattern.kinds.split("|"):
            here = {**bound, pattern.name: tensor} if pattern.name else bound
            yield from _match_operands(pattern, operator, graph, here)


def _match_operands(pattern: Apply, operator: Operator, graph: Graph, bound: Bindings) -> Iterator[Bindings]:
    inputs = tuple(name for name in operator.inputs if name)
    if len(inputs) < len(pattern.operands):
        return
    orders = [inputs, inputs[::-1]] if pattern.commutative and len(inputs) == 2 else [inputs]
    for order in orders:
        states = [bound]
        for operand, name in zip(pattern.operands, order, strict=False):
            states = [after for state in states for after in match(operand, name, graph, state)]
        yield from states


def _holds(value: np.ndarray, number: float) -> bool:
    return value.size == 1 and bool(np.isclose(float(value.reshape(())), number, rtol=1e-5))


@dataclass
class Replacement:
    """What a rule puts in place of a match: operators, new constants and their types, or another tensor's name."""

    operators: list[Operator] = field(default_factory=list)
    constants: dict[str, np.ndarray] = field(default_factory=dict)
    types: dict[str, TensorType] = field(default_factory=dict)
    alias: str | None = None

    def constant(self, name: str, value: np.ndarray) -> str:
        """Adds a constant and returns its name."""
        self.constants[name] = value
        self.types[name] = TensorType(tuple(value.shape), str(value.dtype))
        return name


Build = Callable[[Graph, Mapping[str, str], Operator], Replacement | None]


@dataclass(frozen=True)
class Rule:
    """A pattern whose root is an operator, and the function that builds its replacement, or None to decline."""

    name: str
    pattern: Apply
    build: Build


def rewrite(graph: Graph, rules: tuple[Rule, ...]) -> Graph:
    """Applies rules, each operator's first that fits, until none does."""
    while True:
        graph, changed = _one_pass(graph, rules)
        if not changed:
            return graph


def _one_pass(graph: Graph, rules: tuple[Rule, ...]) -> tuple[Graph, bool]:
    operators: list[Operator] = []
    aliases: dict[str, str] = {}
    constants, types = dict(graph.constants), dict(graph.types)
    changed = False
    for operator in graph.operators:
        replacement = _first_replacement(graph, operator, rules)
        if replacement is None:
            operators.append(_renamed(operator, aliases))
            continue
        changed = True
        constants.update(replacement.constants)
        types.update(replacement.types)
        if replacement.alias is not None:
            aliases[operator.output] = aliases.get(replacement.alias, replacement.alias)
        operators.extend(_renamed(made, aliases) for made in replacement.operators)
    outputs = tuple(aliases.get(name, name) for name in graph.outputs)
    rewritten = replace(graph, operators=tuple(operators), outputs=outputs, constants=constants, types=types)
    return (without_dead_code(rewritten) if changed else graph), changed


def _first_replacement(graph: Graph, operator: Operator, rules: tuple[Rule, ...]) -> Replacement | None:
    for rule in rules:
        if operator.kind not in rule.pattern.kinds.split("|"):
            continue
        for bindings in match(rule.pattern, operator.output, graph, {}):
            replacement = rule.build(graph, bindings, operator)
            if replacement is not None:
                return replacement
    return None


def _renamed(operator: Operator, aliases: Mapping[str, str]) -> Operator:
    if not any(name in aliases for name in operator.inputs):
        return operator
    return replace(operator, inputs=tuple(aliases.get(name, name) for name in operator.inputs))
