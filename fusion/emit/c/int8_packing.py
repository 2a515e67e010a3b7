"""int8 weights of a product: quantised a column at a time, and laid out as the integer kernels read them."""

from __future__ import annotations

import numpy as np

from fusion.emit.layout import round_up

_MOST = 127
# How much larger than the least possible a column's scale may be, where pairs are limited.
_WIDENINGS = tuple(1 + step / 32 for step in range(33))
# Rows that tell most columns that are no grid from those that may be one.
_SAMPLE = 3
# How far an fp32 number may lie from the grid that made it: a few roundings, relative.
_NEAR = 2.0**-22


def quantise_weights(matrix: np.ndarray, pair_limit: int | None) -> tuple[np.ndarray, np.ndarray]:
    """(int8 [inner, columns], fp32 scales [columns]) of an fp32 matrix [inner, columns], each column by itself.

    A column is ``scale`` times whole numbers from -127 to 127, ``scale`` its largest magnitude over 127. One whose
    numbers are already ``s`` times whole numbers from -128 to 127, as the weights of quantised models are, keeps
    exactly those.

    With a ``pair_limit`` (``Target.int8_pair_limit``) the magnitudes of neighbours in a column (0 and 1, 2 and 3, ...)
    that have the same sign sum up to that at most. What is above it is taken off both, and where a larger scale has the
    smaller squared error, the column has that.
    """
    matrix = np.asarray(matrix, np.float32)
    largest = np.abs(matrix).max(axis=0, initial=0)
    steps = _grid_steps(matrix, largest)
    scales = np.where(steps > 0, steps, largest / np.float32(_MOST)).astype(np.float32)
    if pair_limit is not None:
        scales *= _best_widening(matrix, scales, steps > 0, pair_limit)
    exact = matrix / np.where(scales > 0, scales, np.float32(1))
    whole = np.rint(exact).clip(-_MOST - 1, _MOST)
    if pair_limit is not None:
        _limit_pairs(exact, whole, pair_limit)
    return whole.astype(np.int8), scales


def _best_widening(matrix: np.ndarray, scales: np.ndarray, is_grid: np.ndarray, pair_limit: int) -> np.ndarray:
    """fp32 [columns]: by what to multiply the scales, so that rounding and what pairs lose come to the least squares.

    Rounding costs a twelfth of a step squared each number, and a grid nothing; a pair that is ``above`` the limit, half
    of that squared (its distance from the nearest pair that is not).
    """
    columns = matrix / np.where(scales > 0, scales, 1)
    pairs = np.abs(columns[0:-1:2] + columns[1::2]) * (columns[0:-1:2] * columns[1::2] > 0)
    above_row, above_column = np.nonzero(pairs > pair_limit)
    above = pairs[above_row, above_column]
    errors = []
    for widening in _WIDENINGS:
        lost = np.maximum(above - pair_limit * widening, 0) ** 2 / 2
        rounding = len(matrix) / 12 * widening**2 * ~(is_grid & (widening == 1))
        errors.append(rounding + np.bincount(above_column, lost, minlength=len(scales)))
    return np.asarray(_WIDENINGS)[np.argmin(errors, axis=0)].astype(np.float32)


def _limit_pairs(exact: np.ndarray, whole: np.ndarray, pair_limit: int) -> None:
    """Takes off both of each pair of ``whole`` that is above the limit, so that it is nearest to ``exact``."""
    first, second = whole[0:-1:2], whole[1::2]
    row, column = np.nonzero((np.abs(first + second) > pair_limit) & (first * second > 0))
    sign = np.sign(first[row, column])
    x, y = (np.abs(exact[2 * row + which, column]) for which in (0, 1))
    kept = np.rint(x - (x + y - pair_limit) / 2).clip(pair_limit - _MOST, _MOST)
    first[row, column], second[row, column] = sign * kept, sign * (pair_limit - kept)


def _grid_steps(matrix: np.ndarray, largest: np.ndarray) -> np.ndarray:
    """fp32 [columns]: ``s`` of each column that is a grid already, else 0. The column's largest number, ``largest``,
    stands for 1, 2, ... or 128."""
    steps = np.zeros(matrix.shape[1], np.float32)
    sample = matrix[np.linspace(0, len(matrix) - 1, min(_SAMPLE, len(matrix))).astype(int)]
    for level in range(1, _MOST + 2):
        left = np.flatnonzero(_on_grid(sample, largest, level) & (largest > 0) & (steps == 0))
        if left.size:
            found = left[_on_grid(matrix[:, left], largest[left], level)]
            steps[found] = _exact_steps(matrix[:, found], largest[found] / np.float32(level))
    return steps


def _on_grid(columns: np.ndarray, largest: np.ndarray, level: int) -> np.ndarray:
    """Which columns are whole multiples of their largest number over ``level``, up to fp32's rounding."""
    whole = columns * (level / np.where(largest > 0, largest, 1).astype(np.float64))
    nearest = np.rint(whole)
    near = np.abs(whole - nearest) <= np.abs(whole) * _NEAR
    return np.asarray((near & (nearest <= _MOST)).all(axis=0))


def _exact_steps(columns: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Of each step and its two neighbours in fp32 the one whose multiples are the columns' numbers most often."""
    choices = np.stack([steps, np.nextafter(steps, np.float32(0)), np.nextafter(steps, np.float32(np.inf))])
    whole = np.rint(columns / steps.astype(np.float64)).astype(np.float32)
    equal = [(whole * choice == columns).sum(axis=0) for choice in choices]
    return np.asarray(np.take_along_axis(choices, np.argmax(equal, axis=0)[None], axis=0)[0])


def pack_int8(quantised: np.ndarray, panel: int, lanes: int, group: int) -> np.ndarray:
    """int8 [:func:`int8_matrix_bytes`] of a quantised matrix [inner, columns]: for each panel of columns, for each
    ``group`` of the inner dimension, for each column, the group's numbers. The last panel is cut to whole vectors of
    ``lanes`` columns; what is added to the inner dimension and the columns is zero."""
    inner, columns = quantised.shape
    whole = np.zeros((round_up(inner, group), round_up(columns, lanes)), np.int8)
    whole[:inner, :columns] = quantised
    grouped = whole.reshape(-1, group, whole.shape[1]).transpose(0, 2, 1)
    panels = [grouped[:, first : first + panel].reshape(-1) for first in range(0, whole.shape[1], panel)]
    return np.concatenate(panels)


def int8_matrix_bytes(inner: int, columns: int, lanes: int, group: int) -> int:
    """Length of what :func:`pack_int8` returns, known without the weights."""
    return round_up(inner, group) * round_up(columns, lanes)


def column_corrections(quantised: np.ndarray, offset: int) -> np.ndarray:
    """int32 [columns]: what to add to each sum over rows that are stored with ``offset`` added."""
    return (-offset * quantised.sum(axis=0, dtype=np.int64)).astype(np.int32)
