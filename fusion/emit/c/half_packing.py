"""Half weights of a product: scaled so that no sum can overflow, and laid out as the kernels of fp16 read them."""

from __future__ import annotations

import numpy as np

from fusion.emit.layout import round_up

# runtime/fp16.h: numbers of the inner dimension that are summed up in half, and that a round of the inner loop takes.
HALF_DEPTH, HALF_STEP = 128, 8
# Roundings of the weights and of HALF_DEPTH sums, 1 + 2^-11 each, make a sum larger by less than this.
_ROUNDINGS = 1.07
# Powers of two that are whole fp32 numbers, and so are what they divide by.
_EXPONENTS = (-126, 126)


def halve_weights(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(fp16 [inner, columns], fp32 scales [columns]) of an fp32 matrix [inner, columns]: half times scale.

    A scale is the power of two with which the magnitudes of each ``HALF_DEPTH`` of its column, one after the other,
    sum up to less than one, and the largest of these sums to about half of that or more: products with rows in half's
    range, 65504, then cannot leave it, roundings included; and large and small matrices alike keep half's eleven bits.
    """
    matrix = np.asarray(matrix, np.float32)
    starts = np.arange(0, len(matrix), HALF_DEPTH)
    sums = np.add.reduceat(np.abs(matrix, dtype=np.float64), starts, axis=0).max(axis=0)
    exponents = np.frexp(sums * _ROUNDINGS)[1].clip(*_EXPONENTS).astype(np.int32)
    # Only columns that hold an infinity, or whose results no fp32 number holds, still overflow.
    with np.errstate(over="ignore"):
        halves = np.ldexp(matrix, -exponents).astype(np.float16)
    return halves, np.ldexp(np.float32(1), exponents)


def pack_half(halves: np.ndarray, panel: int, lanes: int) -> np.ndarray:
    """fp16 [:func:`half_matrix_numbers`] of halved weights [inner, columns]: for each panel of columns, for each number
    of the inner dimension, its columns. The last panel is cut to whole vectors of ``lanes`` columns; what is added to
    the inner dimension and the columns is zero."""
    inner, columns = halves.shape
    whole = np.zeros((round_up(inner, HALF_STEP), round_up(columns, lanes)), np.float16)
    whole[:inner, :columns] = halves
    return np.concatenate([whole[:, first : first + panel].reshape(-1) for first in range(0, whole.shape[1], panel)])


def half_matrix_numbers(inner: int, columns: int, lanes: int) -> int:
    """Length of what :func:`pack_half` returns, known without the weights."""
    return round_up(inner, HALF_STEP) * round_up(columns, lanes)
