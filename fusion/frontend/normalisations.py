"""Finds layer normalisation in any spelling: gamma (x - mean) / sqrt(variance + epsilon) + beta of each row.

PyTorch writes it one way before opset 17, TensorFlow another (x r + (beta - mean r), where r = gamma / sqrt(...)),
others with x^2's mean less the mean's square, with powers, without gamma or beta. All have one thing in common: they
compute the same.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from fusion.frontend.row_functions import part_of, results_of
from fusion.graph import Graph, Operator, TensorType, check, without_dead_code

# What a mean may be made of.
_MEANS = frozenset({"mean", "row_sum"})
_ROWS = 48
_TOLERANCE = 1e-6
# Larger numbers are no epsilon.
_LARGEST_EPSILON = 0.1


@dataclass(frozen=True)
class _Normalisation:
    gamma: np.ndarray
    beta: np.ndarray
    epsilon: float


def find_normalisations(graph: Graph) -> Graph:
    """The graph with every part that computes a layer normalisation made by one ``layer_norm`` operator."""
    sources = dict.fromkeys(operator.inputs[0] for operator in graph.operators if operator.kind in _MEANS)
    for source in sources:
        graph = _replaced(graph, source)
    return graph


def _replaced(graph: Graph, source: str) -> Graph:
    if source not in graph.types or source in graph.constants or graph.types[source].columns < 2:
        return graph  # it may have gone with an earlier one
    columns = graph.types[source].columns
    part, rows = part_of(graph, source), _rows(columns)
    values = part.values(graph, rows)
    epsilons = sorted(number for number in {0.0, *part.numbers(graph)} if 0 <= number < _LARGEST_EPSILON)
    for result in results_of(graph, part):
        for epsilon in epsilons:
            with np.errstate(all="ignore"):  # values may be as large as they like
                found = _fitted(rows, values[result.output], epsilon)
            if found is not None:
                return _with_operator(graph, source, result, found)
    return graph


def _rows(columns: int) -> np.ndarray:
    """Rows that lie around numbers of their own and spread from less than any epsilon to more."""
    generator = np.random.default_rng(0)
    spread = np.logspace(-8, 1, _ROWS)[:, None]
    return spread * (generator.standard_normal((_ROWS, columns)) + generator.standard_normal((_ROWS, 1)))


def _fitted(rows: np.ndarray, values: np.ndarray, epsilon: float) -> _Normalisation | None:
    """The normalisation that gives these values of the rows, if one does."""
    if values.shape != rows.shape or not np.isfinite(values).all():
        return None
    centred = rows - rows.mean(-1, keepdims=True)
    unit = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + epsilon)
    apart, means = unit - unit.mean(0), (unit.mean(0), values.mean(0))
    spread = (apart**2).sum(0)
    if not spread.all():
        return None
    gamma = (apart * (values - means[1])).sum(0) / spread
    beta = means[1] - gamma * means[0]
    largest = np.abs(values).max()
    if not gamma.any() or np.abs(unit * gamma + beta - values).max() > _TOLERANCE * largest:
        return None
    return _Normalisation(gamma.astype(np.float32), beta.astype(np.float32), epsilon)


def _with_operator(graph: Graph, source: str, result: Operator, found: _Normalisation) -> Graph:
    names = [f"{result.output}/{part}" for part in ("scale", "shift")]
    made = Operator("layer_norm", (source, *names), result.output, (("epsilon", found.epsilon),), result.name)
    operators = tuple(made if one is result else one for one in graph.operators)
    vectors = dict(zip(names, (found.gamma, found.beta), strict=True))
    types = dict(graph.types) | {name: TensorType(vector.shape) for name, vector in vectors.items()}
    changed = replace(graph, operators=operators, constants=dict(graph.constants) | vectors, types=types)
    return check(without_dead_code(changed))
