"""Weights stored as small whole numbers: scale times (number - zero point), of a tensor, an axis or blocks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


def dequantized(
    attributes: Mapping[str, Any], values: np.ndarray, scale: np.ndarray, zero: np.ndarray | None = None
) -> np.ndarray:
    """``DequantizeLinear``: fp32 weights.

    Raises:
        ValueError: the scale does not fit the weights.
    """
    scale = _spread(np.asarray(scale, np.float32), values.shape, attributes)
    shifted = values.astype(np.float32)
    if zero is not None:
        shifted = shifted - _spread(zero.astype(np.float32), values.shape, attributes)
    return shifted * scale


def quantized(
    attributes: Mapping[str, Any], values: np.ndarray, scale: np.ndarray, zero: np.ndarray | None = None
) -> np.ndarray:
    """``QuantizeLinear`` of weights to whole numbers of the zero point's type, uint8 without one.

    Raises:
        ValueError: the scale does not fit the weights.
    """
    zero = np.zeros((), np.uint8) if zero is None else zero
    limits = np.iinfo(zero.dtype)
    numbers = np.rint(values / _spread(np.asarray(scale, np.float32), values.shape, attributes))
    return (
        (numbers + _spread(zero.astype(np.float32), values.shape, attributes))
        .clip(limits.min, limits.max)
        .astype(zero.dtype)
    )


def _spread(scale: np.ndarray, shape: tuple[int, ...], attributes: Mapping[str, Any]) -> np.ndarray:
    """One number for each weight, or for all: a scale for the tensor, for each entry of an axis, or for each block."""
    if scale.size == 1:
        return scale.reshape(())
    axis, block = attributes.get("axis", 1), attributes.get("block_size", 0)
    if not -len(shape) <= axis < len(shape):
        raise ValueError(f"axis {axis} of {len(shape)}")
    axis %= len(shape)
    if block > 0 and scale.ndim == len(shape):
        cut = tuple(slice(shape[axis]) if one == axis else slice(None) for one in range(len(shape)))
        scale = np.repeat(scale, block, axis)[cut]
        if scale.shape != shape:
            raise ValueError(f"blocks of {block} do not fit {list(shape)}")
        return scale
    if scale.shape != (shape[axis],):
        raise ValueError(f"{scale.size} scales for {shape[axis]} entries")
    return scale.reshape([-1 if one == axis else 1 for one in range(len(shape))])
