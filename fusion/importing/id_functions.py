"""Finds what a model makes of its ids, apart from looking them up: nothing, constants, or RoBERTa's positions.

As with the mask (``key_mask.py``), whole numbers that depend on one input alone are evaluated for a few values of it,
rather than matched in each exporter's spelling.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx

from data.errors import UnsupportedOperatorError
from fusion.graph import Graph, Operator, TensorType, check, without_dead_code
from fusion.importing.evaluation import dependents, evaluate_part, frontier
from fusion.importing.key_mask import MASK

_PROBE_ID = 7
_MANY_IDS = 1 << 30
_MOST_APART = 16


def position_ids(ids: np.ndarray, padding: int) -> np.ndarray:
    """RoBERTa's positions of ids [1, S]: counted from padding + 1, and padding itself where the id is padding."""
    kept = (ids != padding).astype(np.int64)
    return np.cumsum(kept, axis=1) * kept + padding


def replace_id_functions(graph: Graph, model: onnx.ModelProto) -> Graph:
    """The graph with whole numbers that are made of ids as the ids themselves, as constants, or as ``position_ids``.

    Raises:
        UnsupportedOperatorError: the ids are used in another way.
    """
    for source in graph.inputs:
        if source != MASK:  # what depends on it alone is known already
            graph = _replaced(graph, model, source)
    return graph


def _replaced(graph: Graph, model: onnx.ModelProto, source: str) -> Graph:
    dependent = dependents(graph, source, "biu")
    read = frontier(graph, dependent, "is made of ids alone")
    if not read:
        return graph
    shape, dtype = graph.types[source].shape, graph.types[source].dtype
    probes = _probes(shape, dtype, _compared_ids(graph, dependent))
    values = evaluate_part(graph, model, read, [{source: ids} for ids in probes])
    aliases: dict[str, str] = {}
    made: list[Operator] = []
    constants = dict(graph.constants)
    for index, name in enumerate(read):
        results = [value[index] for value in values]
        if all(_equal(result, ids) for result, ids in zip(results, probes, strict=True)):
            aliases[name] = source
            continue
        if all(np.array_equal(result, results[0]) for result in results):
            constants[name] = results[0]
            continue
        padding = _padding(graph, model, source, name, results)
        made.append(Operator("position_ids", (source,), name, (("padding", padding),), name))
    kept = [operator for operator in graph.operators if operator.output not in dependent]
    renamed = [replace(one, inputs=tuple(aliases.get(name, name) for name in one.inputs)) for one in kept]
    types = dict(graph.types) | {operator.output: TensorType(shape, "int64") for operator in made}
    return check(without_dead_code(replace(graph, operators=(*made, *renamed), types=types, constants=constants)))


def _compared_ids(graph: Graph, dependent: set[str]) -> list[int]:
    """Whole numbers that the model's part holds: among them are the ids that it treats apart, such as padding."""
    found: set[int] = set()
    for operator in graph.operators:
        if operator.output in dependent:
            values = [graph.constants[name] for name in operator.inputs if name in graph.constants]
            found.update(*(np.unique(value).tolist()[:_MOST_APART] for value in values if value.dtype.kind in "iu"))
    return sorted(number for number in found if 0 <= number < _MANY_IDS)


def _probes(shape: tuple[int, ...], dtype: str, apart: list[int]) -> list[np.ndarray]:
    """One id everywhere, small ids at random, large ones, so that a limit on ids is noticed, and ids set apart."""
    generator = np.random.default_rng(0)
    plain = next(number for number in range(_PROBE_ID, _PROBE_ID + len(apart) + 1) if number not in apart)
    probes = [np.full(shape, plain), generator.integers(0, 9, shape), generator.integers(0, _MANY_IDS, shape)]
    for number in apart[:_MOST_APART]:
        probes += [np.full(shape, number), number + generator.integers(0, 2, shape)]
    probes.append(generator.choice([plain, *apart], shape))
    return [ids.astype(dtype) for ids in probes]


def _padding(graph: Graph, model: onnx.ModelProto, source: str, name: str, results: list[np.ndarray]) -> int:
    """The id that is padding, when the tensor holds RoBERTa's positions."""
    start = int(results[0].reshape(-1)[0]) if results[0].size else -1
    shape, dtype = graph.types[source].shape, graph.types[source].dtype
    generator = np.random.default_rng(1)
    for padding in (start - 1, start):
        if not 0 <= padding < _MANY_IDS:
            continue
        probes = [(padding + generator.integers(-2, 3, shape)).clip(0).astype(dtype) for _ in range(4)]
        probes.append(np.full(shape, padding).astype(dtype))
        values = evaluate_part(graph, model, [name], [{source: ids} for ids in probes])
        if all(_equal(value[0], position_ids(ids, padding)) for value, ids in zip(values, probes, strict=True)):
            return padding
    raise UnsupportedOperatorError(
        f"tensor {name!r} of shape {list(graph.types[name].shape)} is made of {source} alone, but is neither the ids "
        "nor positions counted from padding. Supported: gather of ids or of such positions"
    )


def _equal(value: np.ndarray, expected: np.ndarray) -> bool:
    return value.dtype.kind in "iu" and value.size == expected.size and bool((value.ravel() == expected.ravel()).all())
