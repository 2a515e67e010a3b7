"""Finds activations in any spelling, with constants of any rounding: x times a gate that opens where x is large.

gelu        x (1 + erf(x / sqrt(2))) / 2
gelu_tanh   x (1 + tanh(sqrt(2 / pi) (x + .044715 x^3))) / 2
silu        x sigmoid(x) = x (1 + tanh(x / 2)) / 2

Each may have a factor before and behind it: with 1.4140625 for sqrt(2) it is gelu(s x) / s, x sigmoid(1.702 x) is
silu(1.702 x) / 1.702.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType

import numpy as np

from fusion.frontend.row_functions import erf, part_of, results_of
from fusion.graph import Graph, Operator, check, without_dead_code

_GATES = frozenset({"erf", "tanh", "sigmoid", "exp"})
_GRID = np.linspace(-6, 6, 241)[:, None]
_FAR = 40.0
# Half-precision constants within the tanh cannot be met by factors alone.
_TOLERANCES: Mapping[str, float] = MappingProxyType({"gelu": 1e-7, "gelu_tanh": 5e-5, "silu": 1e-7})
_BENT = 0.044715
_SAME = 1e-6
_NEAREST = 5
_STEPS = 60


def _erf_gate(x: np.ndarray) -> np.ndarray:
    return np.asarray(erf(x / math.sqrt(2)))


def _tanh_gate(x: np.ndarray) -> np.ndarray:
    return np.tanh(math.sqrt(2 / math.pi) * (x + _BENT * x**3))


_FUNCTIONS: Mapping[str, Callable[[np.ndarray], np.ndarray]] = MappingProxyType(
    {"gelu": _erf_gate, "gelu_tanh": _tanh_gate, "silu": lambda x: np.tanh(x / 2)}
)


def find_activations(graph: Graph) -> Graph:
    """The graph with every part that computes an activation made by one operator, between factors where need be."""
    gated = [operator.output for operator in graph.operators if operator.kind in _GATES]
    for gate in gated:
        for source in _sources(graph, gate):
            changed = _replaced(graph, source, gate)
            if changed is not graph:
                graph = changed
                break
    return graph


def _sources(graph: Graph, gate: str) -> list[str]:
    """Tensors from which a gate is made and that are read more than once, the nearest first."""
    found: dict[str, None] = {}
    pending = [gate]
    while pending:
        maker = graph.producers.get(pending.pop(0))
        if maker is None or maker.kind == "matmul" or len(found) >= _NEAREST:
            continue
        names = [name for name in maker.inputs if name in graph.producers]
        found.update(dict.fromkeys(name for name in names if len(graph.consumers[name]) > 1))
        pending.extend(names)
    return list(found)


def _replaced(graph: Graph, source: str, gate: str) -> Graph:
    part = part_of(graph, source)
    if gate not in {operator.output for operator in part.operators} or graph.types[source].dtype != "float32":
        return graph
    scalars = [one for one in part.operators if _has_numbers_alone(graph, one)]
    part = replace(part, operators=_connected(source, scalars))
    grid = np.concatenate([_GRID, [[1.0], [_FAR]]])
    values = part.values(graph, grid)
    for result in results_of(graph, part):
        for kind in _FUNCTIONS:
            with np.errstate(all="ignore"):  # values may be as large as they like
                factors = _fitted(kind, grid, values[result.output])
            if factors is not None:
                return _with_operator(graph, source, result, kind, *factors)
    return graph


def _has_numbers_alone(graph: Graph, operator: Operator) -> bool:
    constants = [graph.constants[name] for name in operator.inputs if name in graph.constants]
    return operator.kind != "mean" and all(value.size == 1 for value in constants)


def _connected(source: str, operators: list[Operator]) -> tuple[Operator, ...]:
    """Those operators that still follow from the source, now that others are left out."""
    dropped: set[str] = set()
    known, kept = {source}, []
    made = {operator.output for operator in operators}
    for operator in operators:
        if all(name in known or name not in made for name in operator.inputs) and not dropped & set(operator.inputs):
            kept.append(operator)
            known.add(operator.output)
        else:
            dropped.add(operator.output)
    return tuple(kept)


def _fitted(kind: str, grid: np.ndarray, values: np.ndarray) -> tuple[float, float] | None:
    """(before, behind) with values = behind * function(before * x), if there are such factors."""
    if values.shape != grid.shape or not np.isfinite(values).all():
        return None
    slope, opened = values[-1, 0] / _FAR, values[-2, 0]
    if not slope or not 0.5 < opened / slope < 1:
        return None
    before = _inverse(_FUNCTIONS[kind], 2 * opened / slope - 1)
    expected = slope * grid * (1 + _FUNCTIONS[kind](before * grid)) / 2
    if np.abs(values - expected).max() > _TOLERANCES[kind] * abs(slope):
        return None
    return before, slope / before


def _inverse(gate: Callable[[np.ndarray], np.ndarray], value: float) -> float:
    """Where a rising gate has a value between zero and one."""
    low, high = 0.0, _FAR
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if gate(np.array([middle]))[0] < value else (low, middle)
    return high


def _with_operator(graph: Graph, source: str, result: Operator, kind: str, before: float, behind: float) -> Graph:
    """One operator in place of the result's, between scales that are not one."""
    types, made, name = dict(graph.types), [], source
    steps = [("scale", before, f"{result.output}/before"), (kind, None, f"{result.output}/{kind}")]
    steps.append(("scale", behind, ""))
    steps = [step for step in steps if step[1] is None or abs(step[1] - 1) > _SAME]
    for index, (step, factor, output) in enumerate(steps):
        output = result.output if index == len(steps) - 1 else output
        attributes = () if factor is None else (("factor", factor),)
        made.append(Operator(step, (name,), output, attributes, result.name))
        types[output], name = types[result.output], output
    operators = [new for one in graph.operators for new in (made if one is result else [one])]
    return check(without_dead_code(replace(graph, operators=tuple(operators), types=types)))
