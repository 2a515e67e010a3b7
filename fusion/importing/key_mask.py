"""Finds what a model makes of its attention mask, however it was exported.

Exporters spell "add the most negative number to masked keys" in many ways. Rather than know them all, the sub-graph
that depends on the mask alone is evaluated for a few masks; if each key's value depends on its own mask bit only, the
sub-graph is replaced by one operator: ``key_bias``, the number that is added to the scores of masked keys, or
``key_keep``, a truth value for each key. Minus infinity counts as the most negative fp32: the two differ only where
every key is masked, which is no input of use. What is neither, such as the masks of pooling, becomes ``mask_values``:
a table of what each token has (``mask_tables.py``).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx

from data.errors import UnsupportedOperatorError
from fusion.graph import Attribute, Graph, Operator, TensorType, check, without_dead_code
from fusion.importing.evaluation import dependents, evaluate_part, frontier
from fusion.importing.mask_tables import KEYS, NONE, ROWS, mask_table
from fusion.rewriting.attention_rule import MOST_NEGATIVE

MASK = "attention_mask"
# Elements of a tensor times tokens, as it is computed for each number of tokens: a second or two.
_MOST_TABULATED = 1 << 29


def replace_key_masks(graph: Graph, model: onnx.ModelProto) -> Graph:
    """The graph with each tensor that depends on the mask alone made by one operator: ``key_bias``, ``key_keep`` or
    ``mask_values``.

    Raises:
        UnsupportedOperatorError: the mask is used in a way that is not a bias on keys, or a choice of keys.
    """
    if MASK not in graph.inputs:
        return check(graph)
    dependent = dependents(graph, MASK)
    read = frontier(graph, dependent, "depends on the attention mask alone")
    if not read:
        return check(graph)
    masks = _masks(graph)
    values = evaluate_part(graph, model, read, [{MASK: mask} for mask in masks])
    made, types, constants = [], dict(graph.types), dict(graph.constants)
    for index, name in enumerate(read):
        results = [value[index] for value in values]
        meaning = _meaning(list(zip(masks, results, strict=True)))
        inputs: tuple[str, ...] = (MASK,)
        if meaning is None:
            meaning, shape, constants[f"{name}/table"] = _tabulated(graph, model, name)
            inputs, types[f"{name}/table"] = (MASK, f"{name}/table"), TensorType((2, masks[0].size + 1))
        else:
            shape = (1, 1, 1, masks[0].size)
        made.append(Operator(meaning[0], inputs, name, (meaning[1],), name))
        types[name] = TensorType(shape, str(results[0].dtype))
    kept = [operator for operator in graph.operators if operator.output not in dependent]
    return check(without_dead_code(replace(graph, operators=(*made, *kept), types=types, constants=constants)))


_Meaning = tuple[str, tuple[str, Attribute]]


def _tabulated(graph: Graph, model: onnx.ModelProto, name: str) -> tuple[_Meaning, tuple[int, ...], np.ndarray]:
    """(operator and attribute, shape, table) of a tensor that says something of each token, or of how many are kept."""
    type_, whole = graph.types[MASK], graph.types[name]
    if whole.rows * whole.columns * type_.columns > _MOST_TABULATED or whole.dtype not in {"float32", "bool"}:
        raise _refusal(name, whole)

    def evaluate(mask: np.ndarray) -> np.ndarray:
        return evaluate_part(graph, model, [name], [{MASK: mask.astype(type_.dtype).reshape(type_.shape)}])[0][0]

    table = mask_table(evaluate, type_.columns)
    if table is None:
        raise _refusal(name, whole)
    shapes = {KEYS: (1, 1, type_.columns), ROWS: (1, type_.columns, 1), NONE: (1, 1)}
    return ("mask_values", ("axis", table.axis)), shapes[table.axis], table.values.astype(np.float32)


def _masks(graph: Graph) -> list[np.ndarray]:
    """All keys, none, and two mixtures."""
    type_ = graph.types[MASK]
    generator = np.random.default_rng(0)
    length = type_.columns
    masks = [np.ones(length), np.zeros(length), *generator.integers(0, 2, (2, length))]
    return [mask.astype(type_.dtype).reshape(type_.shape) for mask in masks]


def _meaning(values: list[tuple[np.ndarray, np.ndarray]]) -> _Meaning | None:
    """The operator that a mask tensor of keys is, with its attribute: ``masked_bias``, or ``kept``, the value of kept
    keys; None when it is none."""
    if values[0][1].ndim == 3 and values[0][1].shape[1:] == (1, 1):
        return None  # of a single token: a row rather than a key
    found: dict[bool, set[float]] = {True: set(), False: set()}
    for mask, value in values:
        keys = value.reshape(-1, value.shape[-1]) if value.ndim and value.size else value.reshape(1, -1)
        if keys.shape[1] != mask.size or (keys != keys[:1]).any():
            return None
        bits = mask.reshape(-1) != 0
        for kept in (True, False):
            found[kept] |= set(np.unique(keys[0][bits == kept]).tolist())
    kind = values[0][1].dtype.kind
    if len(found[True]) == len(found[False]) == 1:
        kept_value, masked_value = found[True].pop(), found[False].pop()
        if kind == "f" and kept_value == 0 and not np.isnan(masked_value):
            return "key_bias", ("masked_bias", float(np.clip(masked_value, MOST_NEGATIVE, -MOST_NEGATIVE)))
        if kind == "b" and kept_value != masked_value:
            return "key_keep", ("kept", int(kept_value))
    return None


def _refusal(name: str, type_: TensorType) -> UnsupportedOperatorError:
    return UnsupportedOperatorError(
        f"tensor {name!r} of shape {list(type_.shape)} is made of the attention mask alone: only masks that add to the "
        "scores of keys, or choose among keys, and functions of a token's own mask and of how many tokens are kept are "
        "supported"
    )
