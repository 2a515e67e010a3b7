"""A reference interpreter of canonical graphs in NumPy, double precision."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from scipy.special import erf

from fusion.graph import Graph, Operator

Values = Mapping[str, np.ndarray]


def evaluate(graph: Graph, inputs: Values) -> list[np.ndarray]:
    """The outputs of a graph."""
    values = {name: np.asarray(value) for name, value in {**graph.constants, **inputs}.items()}
    for operator in graph.operators:
        operands = [values[name] for name in operator.inputs]
        operands = [x.astype(np.float64) if x.dtype == np.float32 else x for x in operands]
        values[operator.output] = KINDS[operator.kind](operator, *operands)
        if operator.kind == "columns":
            values[operator.output] = values[operator.output][..., : graph.types[operator.output].columns]
    return [values[name] for name in graph.outputs]


def _attention(operator: Operator, q: np.ndarray, k: np.ndarray, v: np.ndarray, *mask: np.ndarray) -> np.ndarray:
    heads = int(operator.attribute("heads"))  # type: ignore[arg-type]
    q, k, v = (x.reshape(-1, heads, x.shape[-1] // heads).swapaxes(0, 1) for x in (q, k, v))
    scores = q @ k.swapaxes(1, 2) * float(operator.attribute("scale"))  # type: ignore[arg-type]
    if mask:
        scores = scores + np.where(mask[0].reshape(-1) != 0, 0.0, float(operator.attribute("masked_bias")))  # type: ignore[arg-type]
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    context = weights / weights.sum(-1, keepdims=True) @ v
    return context.swapaxes(0, 1).reshape(1, q.shape[1], -1)


def _layer_norm(operator: Operator, x: np.ndarray, scale: np.ndarray, shift: np.ndarray) -> np.ndarray:
    epsilon = float(operator.attribute("epsilon"))  # type: ignore[arg-type]
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + epsilon) * scale + shift


def _select_row(operator: Operator, x: np.ndarray) -> np.ndarray:
    row = int(operator.attribute("row"))  # type: ignore[arg-type]
    return x.reshape(-1, x.shape[-1])[row].reshape(1, 1, -1)


def _position_ids(operator: Operator, ids: np.ndarray) -> np.ndarray:
    padding = int(operator.attribute("padding"))  # type: ignore[arg-type]
    kept = (ids != padding).astype(np.int64)
    return np.asarray(np.cumsum(kept, axis=1) * kept + padding)


def _window(operator: Operator, x: np.ndarray) -> np.ndarray:
    rows = x.reshape(-1, x.shape[-1])
    offsets = operator.attribute("offsets")
    assert isinstance(offsets, tuple)
    places = [np.arange(len(rows)) + offset for offset in offsets]
    inside = [((place >= 0) & (place < len(rows)))[:, None] for place in places]
    parts = [np.where(kept, rows[place % len(rows)], 0.0) for place, kept in zip(places, inside, strict=True)]
    return np.concatenate(parts, axis=1)[None]


KINDS: dict[str, Callable[..., np.ndarray]] = {
    "gather": lambda _, table, ids: table[ids.reshape(1, -1)],
    "add": lambda _, x, y: x + y,
    "add_rows": lambda _, x, rows: x + rows,
    "bias": lambda _, x, vector: x + vector,
    "no_norm": lambda _, x, scale, shift: x * scale + shift,
    "position_ids": _position_ids,
    "window": _window,
    "gelu_tanh": lambda _, x: x * 0.5 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
    "gelu": lambda _, x: x * 0.5 * (1 + erf(x / np.sqrt(2))),
    "silu": lambda _, x: x / (1 + np.exp(-x)),
    "relu": lambda _, x: np.maximum(x, 0),
    "tanh": lambda _, x: np.tanh(x),
    "matmul": lambda _, x, w: x @ w,
    "layer_norm": _layer_norm,
    "attention": _attention,
    "select_row": _select_row,
    "columns": lambda operator, x: x[..., int(operator.attribute("first")) :],
}
