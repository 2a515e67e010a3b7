"""Weights stored as small whole numbers: scale times (number - zero point), of a tensor, an axis or blocks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from onnx import helper

_WIDEST_BYTES = 4


def dequantized(
    attributes: Mapping[str, Any], values: np.ndarray, scale: np.ndarray, zero: np.ndarray | None = None
) -> np.ndarray:
    """``DequantizeLinear``: fp32 weights.

    Raises:
        ValueError: the scale or the zero point does not fit the weights, or is no such number.
    """
    if values.dtype.kind not in "iuf" or values.dtype.itemsize > _WIDEST_BYTES:
        raise ValueError(f"numbers of the type {values.dtype.name}")
    blocks = attributes.get("block_size", 0) > 0
    check_scale(scale, signed=blocks)
    scale = np.asarray(scale, np.float32)
    shifted = values.astype(np.float32)
    if zero is not None:
        check_zero_point(zero, scale.shape, values.dtype)
        if values.dtype == np.int32 and zero.any():
            raise ValueError("zero points of the type int32, of which ONNX has none but zero")
        shifted = shifted - _spread(zero.astype(np.float32), values.shape, attributes)
    return shifted * _spread(scale, values.shape, attributes)


def quantized(
    attributes: Mapping[str, Any], values: np.ndarray, scale: np.ndarray, zero: np.ndarray | None = None
) -> np.ndarray:
    """``QuantizeLinear`` of weights to whole numbers of the zero point's type, or of ``output_dtype``, or uint8.

    Raises:
        ValueError: the scale or the zero point does not fit the weights, or is no such number.
    """
    check_scale(scale, signed=attributes.get("block_size", 0) > 0)
    zero = np.zeros(scale.shape, number_type(attributes.get("output_dtype", 0))) if zero is None else zero
    check_zero_point(zero, scale.shape, zero.dtype)
    limits = np.iinfo(zero.dtype)
    numbers = np.rint(values / _spread(np.asarray(scale, np.float32), values.shape, attributes))
    return (
        (numbers + _spread(zero.astype(np.float32), values.shape, attributes))
        .clip(limits.min, limits.max)
        .astype(zero.dtype)
    )


def number_type(kind: int) -> np.dtype[Any]:
    """The type of ONNX's number that whole numbers without a zero point have; uint8 when none is given.

    Raises:
        ValueError: no whole numbers of 8 bits or more.
    """
    try:
        dtype = helper.tensor_dtype_to_np_dtype(kind) if kind else np.dtype(np.uint8)
    except KeyError as error:
        raise ValueError(f"numbers of the type {kind}") from error
    if dtype.kind not in "iu":
        raise ValueError(f"numbers of the type {dtype.name}")
    return dtype


def check_scale(scale: np.ndarray, signed: bool = False) -> None:
    """Nothing, when scales are positive numbers, one or one an entry; ``signed`` ones, of blocks, may be of any shape
    and sign.

    Raises:
        ValueError: they are not.
    """
    if scale.dtype.kind != "f":
        raise ValueError(f"scales of the type {scale.dtype.name}")
    if scale.ndim > 1 and not signed:
        raise ValueError(f"scales of the shape {list(scale.shape)}")
    wrong = ~np.isfinite(scale) if signed else ~(np.isfinite(scale) & (scale > 0))
    if wrong.any():
        raise ValueError(f"a scale is {scale[wrong].flat[0]:g}")


def check_zero_point(zero: np.ndarray, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Nothing, when zero points are of the numbers' type and of the scales' shape.

    Raises:
        ValueError: they are not.
    """
    if zero.dtype != dtype or zero.dtype.kind not in "iuf":
        raise ValueError(f"zero points of the type {zero.dtype.name} for numbers of the type {dtype.name}")
    if zero.shape != shape and not {zero.shape, shape} <= {(), (1,)}:
        raise ValueError(f"zero points of the shape {list(zero.shape)} for scales of the shape {list(shape)}")


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
