"""A tiny matcher: patterns are data, a rule is a pattern and what replaces it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache

import numpy as np

from data.errors import ModelError
from fusion.graph import Graph, Operator, TensorType, without_dead_code

Bindings = dict[str, str]
# A rule set that never settles would turn a broken file into an endless loop.
_REPLACEMENTS_PER_OPERATOR = 60


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
    """Matches an operator of one of the kinds (``"a|b"``) and its operands; ``commutative`` tries both orders of two,
    ``once`` asks that nothing else reads the result, ``name`` binds it, ``factor`` is the number of a ``scale``."""

    kinds: str
    operands: tuple[Pattern, ...]
    commutative: bool = False
    name: str = ""
    once: bool = False
    factor: float | None = None


Pattern = Tensor | Constant | Apply


def commutes(kind: str, first: Pattern, second: Pattern, name: str = "", once: bool = False) -> Apply:
    """A commutative operator of two operands."""
    return Apply(kind, (first, second), commutative=True, name=name, once=once)


@dataclass
class Draft:
    """A graph while it is rewritten, as rules see it: everything before the operator at hand is rewritten already."""

    outputs: set[str]
    constants: dict[str, np.ndarray]
    types: dict[str, TensorType]
    uses: Counter[str]
    producers: dict[str, Operator] = field(default_factory=dict)

    def read_once(self, name: str) -> bool:
        """Whether one operand, and no output of the model, is this tensor."""
        return self.uses[name] == 1 and name not in self.outputs

    def fresh(self, name: str) -> str:
        """The name, or one made from it that no tensor has."""
        number, made = 1, name
        while made in self.types or made in self.constants:
            number += 1
            made = f"{name}{number}"
        return made


def match(pattern: Pattern, tensor: str, draft: Draft, bound: Bindings) -> Iterator[Bindings]:
    """All ways in which a tensor matches a pattern, given what is bound already."""
    if isinstance(pattern, Tensor):
        if bound.get(pattern.name, tensor) == tensor:
            yield {**bound, pattern.name: tensor}
    elif isinstance(pattern, Constant):
        value = draft.constants.get(tensor)
        if value is not None and (pattern.value is None or _holds(value, pattern.value)):
            yield {**bound, pattern.name: tensor} if pattern.name else bound
    else:
        operator = draft.producers.get(tensor)
        if operator is None or operator.kind not in _kinds(pattern.kinds):
            return
        if (pattern.once and not draft.read_once(tensor)) or not _has_factor(operator, pattern.factor):
            return
        here = {**bound, pattern.name: tensor} if pattern.name else bound
        yield from _match_operands(pattern, operator, draft, here)


def _match_operands(pattern: Apply, operator: Operator, draft: Draft, bound: Bindings) -> Iterator[Bindings]:
    inputs = tuple(name for name in operator.inputs if name)
    if len(inputs) < len(pattern.operands):
        return
    orders = [inputs, inputs[::-1]] if pattern.commutative and len(inputs) == 2 else [inputs]
    for order in orders:
        states = [bound]
        for operand, name in zip(pattern.operands, order, strict=False):
            states = [after for state in states for after in match(operand, name, draft, state)]
        yield from states


@cache
def _kinds(kinds: str) -> frozenset[str]:
    return frozenset(kinds.split("|"))


def _holds(value: np.ndarray, number: float) -> bool:
    return value.size == 1 and math.isclose(float(value.reshape(())), number, rel_tol=1e-5)


def _has_factor(operator: Operator, factor: float | None) -> bool:
    if factor is None:
        return True
    value = operator.attribute("factor")
    return isinstance(value, float) and math.isclose(value, factor, rel_tol=1e-5)


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


Build = Callable[[Draft, Mapping[str, str], Operator], Replacement | None]


@dataclass(frozen=True)
class Rule:
    """A pattern whose root is an operator, and the function that builds its replacement, or None to decline."""

    name: str
    pattern: Apply
    build: Build


def rewrite(graph: Graph, rules: tuple[Rule, ...]) -> Graph:
    """Applies rules, each operator's first that fits, until none does.

    Raises:
        ModelError: the rules find no end on this graph.
    """
    by_kind: dict[str, list[Rule]] = {}
    for rule in rules:
        for kind in _kinds(rule.pattern.kinds):
            by_kind.setdefault(kind, []).append(rule)
    budget = _REPLACEMENTS_PER_OPERATOR * (len(graph.operators) + 1)
    while True:
        sweep = _Sweep(graph, by_kind, budget)
        graph, budget = sweep.run(), sweep.budget
        if not sweep.changed:
            return graph


class _Sweep:
    """One walk through the operators; what a rule makes is offered to the rules again at once."""

    def __init__(self, graph: Graph, rules: Mapping[str, list[Rule]], budget: int) -> None:
        self._graph, self._rules, self.budget = graph, rules, budget
        self.changed = False
        self._aliases: dict[str, str] = {}
        self._kept: list[Operator] = []
        uses = Counter(name for operator in graph.operators for name in operator.inputs)
        self._draft = Draft(set(graph.outputs), dict(graph.constants), dict(graph.types), uses)

    def run(self) -> Graph:
        for operator in self._graph.operators:
            pending = [operator]
            while pending:
                pending.extend(reversed(self._step(self._renamed(pending.pop()))))
        if not self.changed:
            return self._graph
        outputs = tuple(self._aliases.get(name, name) for name in self._graph.outputs)
        draft = self._draft
        return without_dead_code(
            replace(
                self._graph,
                operators=tuple(self._kept),
                outputs=outputs,
                constants=draft.constants,
                types=draft.types,
            )
        )

    def _step(self, operator: Operator) -> list[Operator]:
        """Keeps the operator, or gives what replaces it."""
        draft = self._draft
        draft.producers[operator.output] = operator
        replacement = self._first_replacement(operator)
        if replacement is None:
            self._kept.append(operator)
            return []
        self.changed = True
        self.budget -= 1
        if self.budget < 0:
            raise ModelError(f"operator {operator.name or operator.output}: rewriting finds no end")
        del draft.producers[operator.output]
        draft.constants.update(replacement.constants)
        draft.types.update(replacement.types)
        draft.uses.subtract(operator.inputs)
        draft.uses.update(name for made in replacement.operators for name in made.inputs)
        if replacement.alias is not None:
            self._take_alias(operator.output, self._aliases.get(replacement.alias, replacement.alias))
        return replacement.operators

    def _take_alias(self, name: str, other: str) -> None:
        self._aliases[name] = other
        self._draft.uses[other] += self._draft.uses[name]
        if name in self._draft.outputs:
            self._draft.outputs.add(other)

    def _first_replacement(self, operator: Operator) -> Replacement | None:
        for rule in self._rules.get(operator.kind, ()):
            for bindings in match(rule.pattern, operator.output, self._draft, {}):
                replacement = rule.build(self._draft, bindings, operator)
                if replacement is not None:
                    return replacement
        return None

    def _renamed(self, operator: Operator) -> Operator:
        if not any(name in self._aliases for name in operator.inputs):
            return operator
        return replace(operator, inputs=tuple(self._aliases.get(name, name) for name in operator.inputs))
