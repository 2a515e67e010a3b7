"""What a tensor made of the attention mask alone says of each token, as a table.

Pooling multiplies by masks, divides by how many tokens are kept, by its root, by no less than 1e-9 ... All of these are
functions of two things: whether the token itself is kept, and how many are. So the function is tabulated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

# How the tensor's elements belong to tokens: along the last axis, along the one before it, or not at all.
KEYS, ROWS, NONE = "keys", "rows", "none"
_PROBES = 6


@dataclass(frozen=True)
class MaskTable:
    """``values[kept][count]``: the element of a token that is kept or not when ``count`` tokens are; fp64."""

    axis: str
    values: np.ndarray


def mask_table(evaluate: Callable[[np.ndarray], np.ndarray], length: int) -> MaskTable | None:
    """The table of a tensor, which ``evaluate`` gives for a mask [length] of zeros and ones; None when it has none."""
    generator = np.random.default_rng(0)
    probes = [generator.permutation(np.arange(length) < count) for count in _counts(length)]
    results = [evaluate(mask) for mask in probes]
    axis = _axis(results, length)
    if axis is None:
        return None
    values = np.zeros((2, length + 1))
    for count in range(length + 1):
        mask = generator.permutation(np.arange(length) < count)
        tokens = _by_token(evaluate(mask), axis, length)
        for kept in (0, 1):
            values[kept, count] = tokens[mask == kept][0] if (mask == kept).any() else 0
        if axis == NONE:
            values[:, count] = tokens[0]
    found = MaskTable(axis, values)
    expected = [values[mask.astype(int), mask.sum()] for mask in probes]
    fits = all(
        np.array_equal(_by_token(result, axis, length), tokens, equal_nan=True)
        for result, tokens in zip(results, expected, strict=True)
    )
    return found if fits else None


def _counts(length: int) -> Sequence[int]:
    """None, all, and numbers between."""
    return sorted({0, length, *np.linspace(1, length, _PROBES, dtype=int).tolist()})


def _axis(results: Sequence[np.ndarray], length: int) -> str | None:
    """How all results belong to tokens; the simplest that fits."""
    axes = [axis for axis in (NONE, ROWS, KEYS) if all(_fits(result, axis, length) for result in results)]
    return axes[0] if axes else None


def _fits(result: np.ndarray, axis: str, length: int) -> bool:
    """Whether elements differ along that axis alone."""
    if not result.size:
        return False
    if axis == NONE:
        return bool(np.array_equal(result, np.broadcast_to(result.flat[0], result.shape), equal_nan=True))
    place = -1 if axis == KEYS else -2
    if result.ndim < -place or result.shape[place] != length:
        return False
    lines = np.moveaxis(result, place, -1).reshape(-1, length)
    return bool(np.array_equal(lines, np.broadcast_to(lines[:1], lines.shape), equal_nan=True))


def _by_token(result: np.ndarray, axis: str, length: int) -> np.ndarray:
    if axis == NONE:
        return np.full(length, result.flat[0], np.float64)
    moved = np.moveaxis(result, -1 if axis == KEYS else -2, -1)
    return moved.reshape(-1, length)[0].astype(np.float64)
