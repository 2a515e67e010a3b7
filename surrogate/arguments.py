"""Checked arguments of predictors: numbers that users pass beside their tables."""

from __future__ import annotations

from numbers import Integral, Real

import numpy as np

from data.errors import InputError

_SEEDS = 2**32


def whole_number(name: str, value: object, lowest: int, highest: int | None) -> int:
    """``value`` as it is, where it is a whole number from ``lowest`` to ``highest`` if any; InputError where not."""
    whole = isinstance(value, Integral) and not isinstance(value, (bool, np.bool_))
    if not (whole and lowest <= int(value) and (highest is None or int(value) <= highest)):  # type: ignore[call-overload]
        limit = "up" if highest is None else f"to {highest}"
        raise InputError(f"{name} is a whole number from {lowest} {limit}, not {value!r}")
    return int(value)  # type: ignore[call-overload]


def check_seed(seed: object) -> int:
    """A seed that all random generators take, ``InputError`` for others."""
    return whole_number("a seed", seed, 0, _SEEDS - 1)


def positive_number(name: str, value: object) -> float:
    """``value`` as a number over zero, infinity included; ``InputError`` for others."""
    if not (_is_number(value) and float(value) > 0):  # type: ignore[arg-type]
        raise InputError(f"{name}, not {value}")
    return float(value)  # type: ignore[arg-type]


def check_coverage(coverage: object) -> float:
    """A share of cases, between 0 and 1; ``InputError`` for others."""
    if not (_is_number(coverage) and 0 < float(coverage) < 1):  # type: ignore[arg-type]
        raise InputError(f"coverage must lie between 0 and 1, not {coverage}")
    return float(coverage)  # type: ignore[arg-type]


def _is_number(value: object) -> bool:
    if isinstance(value, np.ndarray):
        return value.ndim == 0 and value.dtype.kind in "iuf"
    return isinstance(value, Real) and not isinstance(value, (bool, np.bool_))
